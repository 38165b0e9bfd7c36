"""Every case of the catalogue has its test, and the page that says so is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.catalogue import CASES, TESTS, NamedTest, by_case, find_tests, renew, table

PAGE = TESTS.parent / "docs" / "reliability.md"


@pytest.fixture(scope="module")
def named() -> list[NamedTest]:
    return find_tests()


def test_every_case_is_a_test(named: list[NamedTest]) -> None:
    assert [case for case in CASES if case not in by_case(named)] == []


def test_no_test_names_a_case_that_there_is_not(named: list[NamedTest]) -> None:
    assert sorted(by_case(named).keys() - CASES.keys()) == []


def test_every_test_of_a_case_names_a_promise(named: list[NamedTest]) -> None:
    assert [(test.file, test.name) for test in named if not test.promises] == []


def test_the_page_has_the_table_of_now(named: list[NamedTest]) -> None:
    page = PAGE.read_text()
    assert renew(page, named) == page, (
        "renew it: PYTHONPATH=tests python -m faults.catalogue docs/reliability.md"
    )


@pytest.mark.parametrize("case", ["D01", "N09", "F06"])
def test_a_case_without_a_test_is_seen(tmp_path: Path, case: str) -> None:
    """The check can accuse: a docstring that names a case is found, and one that lacks it is missed."""
    file = tmp_path / "test_it.py"
    file.write_text(f'async def test_a_b():\n    """DEL-1, OPS-1 (X99, {case}, S01): as in D02."""\n')
    (found,) = find_tests(tmp_path)
    assert (found.cases, found.promises, found.name) == ((case, "S01"), ("DEL-1", "OPS-1"), "test_a_b")
    assert f"| {case} | {CASES[case]} | DEL-1, OPS-1 | `test_it.py` a b |" in table([found])
    assert by_case([found]).keys() == {case, "S01"}
    marks = "before <!-- cases: made by faults.catalogue -->what stood here<!-- end of cases --> after"
    assert "what stood here" not in renew(marks, [found])
    assert renew(renew(marks, [found]), [found]) == renew(marks, [found])
    assert renew("no place", [found]) == "no place"
