"""A board's boots compared with its own past, and the small file that keeps them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardherd_agent.watch.booting.boot_history import ENOUGH, KEPT, STAGES, BootHistory, slow_note, stages_of
from boardherd_shared.records import BootTimes

USUAL = [
    BootTimes(spl_s=0.5, uboot_s=1.2 + 0.01 * n, kernel_s=4.0 + 0.1 * n, login_s=14.0 + 0.1 * n)
    for n in range(6)
]


def boot(**seconds: float) -> BootTimes:
    return BootTimes.model_validate(
        {"spl_s": 0.5, "uboot_s": 1.2, "kernel_s": 4.2, "login_s": 14.2} | seconds
    )


@pytest.mark.parametrize(
    ("times", "note"),
    [
        (boot(), None),
        (boot(login_s=20.0), None),  # less than half as long again
        (boot(spl_s=1.4), None),  # nearly three times as long, but less than a second more
        (boot(login_s=3.0), None),  # quicker than ever
        (boot(ssh_s=300.0), None),  # never seen before, so nobody knows what is usual
        (boot(login_s=41.0), "login after 41.0 s, usually 14.2 s; the delay is between kernel and login"),
        (boot(kernel_s=31.0, login_s=41.0),
         "login after 41.0 s, usually 14.2 s; the delay is between U-Boot and kernel"),
        (BootTimes(spl_s=30.5), "SPL after 30.5 s, usually 0.5 s; the delay is between power-on and SPL"),
        (BootTimes(), None),
    ],
)  # fmt: skip
def test_what_was_slower_than_usual(times: BootTimes, note: str | None) -> None:
    assert slow_note(times, USUAL) == note


def test_a_board_with_a_short_past_is_never_slow() -> None:
    assert slow_note(boot(login_s=400), USUAL[: ENOUGH - 1]) is None


def test_one_odd_boot_in_the_past_moves_nothing_and_an_uneven_past_excuses_much() -> None:
    assert slow_note(boot(login_s=41.0), [*USUAL, boot(login_s=400.0)]) is not None
    uneven = [boot(login_s=seconds) for seconds in (10, 40, 12, 38, 14, 36)]
    assert slow_note(boot(login_s=50.0), uneven) is None


TIMES = st.builds(
    BootTimes.model_validate,
    st.dictionaries(st.sampled_from(list(STAGES)), st.floats(0, 1e9, allow_nan=False), max_size=8),
)


@given(TIMES, st.lists(TIMES, max_size=KEPT))
def test_any_past_can_be_compared_and_no_boot_is_slower_than_itself(
    times: BootTimes, past: list[BootTimes]
) -> None:
    note = slow_note(times, past)
    assert note is None or note.split()[0] in stages_of(times)
    assert slow_note(times, [times] * KEPT) is None


@contextlib.asynccontextmanager
async def kept(path: Path, *boards: str) -> AsyncIterator[BootHistory]:
    """A history that is written down until the block ends."""
    history = BootHistory(path, boards)
    task = asyncio.create_task(history.run(), name="history under test")
    try:
        yield history
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def remembered(path: Path, boots: list[BootTimes], board: str = "evm-07") -> None:
    async with kept(path, board) as history:
        for times in boots:
            history.remember(board, history.compare(board, times))
        async with asyncio.timeout(5):
            while not path.exists():  # noqa: ASYNC110, ASYNC240 - as an onlooker would
                await asyncio.sleep(0.005)


async def test_the_past_and_what_was_slow_outlive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "boots.json"
    await remembered(path, [*USUAL, boot(login_s=41.0)])
    again = BootHistory(path, ["evm-07"])
    assert again.slow("evm-07") == slow_note(boot(login_s=41.0), USUAL)
    assert again.compare("evm-07", boot(login_s=42.0)).slow is not None
    assert [it.name for it in tmp_path.iterdir()] == ["boots.json"]  # noqa: ASYNC240 - a look at a test's directory


async def test_only_so_many_boots_are_kept_and_boards_that_left_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "boots.json"
    await remembered(path, [boot(login_s=100.0)] * KEPT + [boot()] * KEPT)
    assert "100.0" not in path.read_text()
    assert BootHistory(path, ["evm-08"]).slow("evm-07") is None
    assert BootHistory(path, ["evm-08"]).compare("evm-07", boot(login_s=400.0)).slow is None


@pytest.mark.parametrize(
    "text", ["", "[]", '{"boards": 3}', '{"boards": {"evm-07": {"boots": [{"ssh_s": -1}]}}}', "\0" * 9]
)
async def test_a_file_that_cannot_be_read_is_a_past_that_is_lost(tmp_path: Path, text: str) -> None:
    path = tmp_path / "boots.json"
    path.write_text(text)
    history = BootHistory(path, ["evm-07"])
    assert history.compare("evm-07", boot()) == boot()
    path.unlink()
    await remembered(path, USUAL)
    assert BootHistory(path, ["evm-07"]).compare("evm-07", boot(login_s=41.0)).slow is not None


async def test_a_directory_that_cannot_be_written_costs_nothing_but_the_past(tmp_path: Path) -> None:
    async with kept(tmp_path / "missing" / "boots.json", "evm-07") as history:
        for times in USUAL:
            history.remember("evm-07", times)
        await asyncio.sleep(0.02)
        assert history.compare("evm-07", boot(login_s=41.0)).slow is not None
