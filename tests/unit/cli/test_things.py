"""What a name on the command line means."""

from __future__ import annotations

import pytest

from boardherd.exit_codes import Failure
from boardherd.things import Thing, find
from unit.cli.fleets import fleet


@pytest.mark.parametrize(
    ("name", "thing", "path", "subject"),
    [
        ("evm-01", Thing("board", "evm-01"), "boards/evm-01", "board/evm-01"),
        ("pc-01", Thing("pc", "pc-01"), "pcs/pc-01", "pc/pc-01"),
        ("eth-1", Thing("relay", "eth-1"), "relays/eth-1", "relay/eth-1"),
        ("eth-1:3", Thing("port", "eth-1", 3), "relays/eth-1/ports/3", "relay/eth-1/3"),
    ],
)
def test_a_name_is_found_among_all_things(name: str, thing: Thing, path: str, subject: str) -> None:
    found = find(fleet(), name)
    assert found == thing
    assert (found.path, found.subject) == (path, subject)


def test_what_is_not_there_is_refused_with_what_is_near() -> None:
    with pytest.raises(Failure) as refused:
        find(fleet(), "evm-0")
    assert refused.value.message.startswith('there is no board, PC or relay "evm-0"; did you mean ')
    assert refused.value.exit_code == 2


def test_the_id_of_a_board_goes_before_the_name_of_a_pc() -> None:
    lab = fleet()
    twin = lab.pcs[0].model_copy(update={"name": lab.boards[0].id})
    both = lab.model_copy(update={"pcs": (twin, *lab.pcs[1:])})
    assert find(both, lab.boards[0].id).kind == "board"
