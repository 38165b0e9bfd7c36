"""What changes between two versions of lab.toml, line by line."""

from __future__ import annotations

import pytest

from boardherd.inventory.diff import Change, compare, summary
from boardherd_shared.definitions import definitions_of
from boardherd_shared.inventory import Inventory

OLD = """
site = "lab"
admins = ["ops-lead"]
pc.pc-01 = { rack = "r1" }
pc.pc-02 = {}
relay.eth-1 = { model_type = "ETH_008_B", address = "10.0.5.21", password = "apple" }
[board.evm-07]
name = "J721E #7"
pc = "pc-01"
hardware_serial_number = "S7"
power = ["eth-1:3"]
lines.reset = "eth-1:4"
"""


def changes(new: str, old: str = OLD) -> list[Change]:
    return compare(*(definitions_of(Inventory.parse(text), fingerprints=True) for text in (old, new)))


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("", "# only a comment\n", []),
        ('pc = "pc-01"', 'pc = "pc-02"', ["> board evm-07 moves from pc-01 to pc-02"]),
        ('pc = "pc-01"\n', "", ["> board evm-07 moves from pc-01 to nobody"]),
        (
            'power = ["eth-1:3"]',
            'power = ["eth-1:5", { port = "eth-1:6", after = "2s" }]',
            ["~ board evm-07 is rewired, power: eth-1:3 -> eth-1:5, eth-1:6 (after 2)"],
        ),
        (
            'lines.reset = "eth-1:4"',
            'lines.reset = { port = "eth-1:4", pulse = "1s" }',
            ["~ board evm-07 is rewired, lines: reset eth-1:4 -> reset eth-1:4 (pulse 1)"],
        ),
        ('"apple"', '"secret:eth-1"', ["~ relay eth-1 password: (not shown) -> secret:eth-1"]),
        ('"apple"', '"pear"', ["~ relay eth-1 password: (not shown) -> (not shown)"]),
        ('rack = "r1"', 'rack = "r2"', ["~ test PC pc-01 rack: r1 -> r2"]),
        ('{ rack = "r1" }', "{}", ["~ test PC pc-01 rack: r1 -> nothing"]),
        ('["ops-lead"]', "[]", ["~ admins: ops-lead -> nothing"]),
        ('site = "lab"', 'site = "lab"\ncodes.platform = ["am68x"]', ["~ codes.platform: nothing -> am68x"]),
        ("pc.pc-02 = {}", "", ["- test PC pc-02 leaves; its history stays"]),
        (
            "board.evm-07",
            "board.evm-70",
            [
                (
                    "+ board evm-70 (J721E #7, pc-01, eth-1:3); has the hardware_serial_number of evm-07, "
                    "whose history it does not take over"
                ),
                "- board evm-07 leaves; its history stays",
            ],
        ),
    ],
)
def test_each_change_is_a_line(old: str, new: str, lines: list[str]) -> None:
    assert [change.line for change in changes(OLD.replace(old, new, 1) if old else OLD + new)] == lines


def test_a_thing_with_the_same_uuid_is_the_same_thing() -> None:
    before = OLD.replace("[board.evm-07]", '[board.evm-07]\nuuid = "0b6b5f3e-8a52-4ef1-9f2c-2a6f0f6c8a11"')
    [added, _] = changes(before.replace("board.evm-07", "board.evm-70"), before)
    assert added.text.endswith("it is evm-07 under another id, and keeps its history")


def test_what_comes_from_defaults_is_compared_where_it_counts() -> None:
    found = changes(OLD.replace("pc.pc-01", 'defaults.board = { off_time = "9s" }\npc.pc-01'))
    assert [change.line for change in found] == ["~ board evm-07 off_time: nothing -> 9"]


def test_the_summary_counts_things_and_not_keys() -> None:
    new = OLD.replace('"pc-01"', '"pc-02"').replace("pc.pc-02 = {}", "pc.pc-02 = {}\npc.pc-03 = {}")
    new = new.replace('"J721E #7"', '"x"').replace('"S7"', '"S8"')
    assert summary(changes(new)) == "1 added, 1 moved, 1 changed"
    assert summary([]) == "no difference"
