"""lab.toml: what it means, and the sentence for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from boardherd_shared.inventory import Inventory
from boardherd_shared.settings import ConfigError

BAD = sorted((Path(__file__).parents[2] / "bad_configs" / "lab").glob("*.toml"))

LAB = """
site = "lab"
admins = ["ops-lead"]
defaults.board = { off_time = "6s", normally = "on" }
codes.platform = ["am68x"]
pc.pc-01 = { rack = "r1" }
pc.pc-02 = {}
relay.eth-1 = { model_type = "ETH_008_B", address = "10.0.5.21", mac = "00:04:a3:12:34:56", password = "secret:eth-1" }
relay.apc-r1 = { kind = "snmp", port_count = 24, address = "10.0.5.9" }
[board.evm-07]
name = "J721E_EVM #7"
pc = "pc-01"
platform = "am68x"
capabilities = ["CMD", "CAMERA"]
power = ["eth-1:3", { port = "apc-r1:12", after = "2s", off_time = "10s" }]
[board.evm-08]
pc = "pc-02"
off_time = "8s"
power = ["eth-1:4"]
"""


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_every_mistake_has_its_sentence(path: Path) -> None:
    """OPS-4: a bad configuration is refused in words that name file, line and key."""
    text = path.read_text()
    expected = [line.removeprefix("#! ") for line in text.splitlines() if line.startswith("#! ")]
    with pytest.raises(ConfigError) as caught:
        Inventory.parse(text, Path(path.name))
    assert str(caught.value).splitlines() == expected


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"nowhere/lab\.toml: cannot be read: No such file or directory"):
        Inventory.read(Path("nowhere/lab.toml"))


def test_boards_get_defaults_and_keep_their_own() -> None:
    boards = Inventory.parse(LAB).lab.board
    assert boards["evm-07"].off_time == 6
    assert boards["evm-08"].off_time == 8
    assert boards["evm-08"].normally == "on"


def test_feeds_are_ordered_and_carry_their_options() -> None:
    feeds = Inventory.parse(LAB).lab.board["evm-07"].power
    assert [feed.name for feed in feeds] == ["eth-1:3", "apc-r1:12"]
    assert (feeds[1].after, feeds[1].off_time, feeds[0].polarity) == (2, 10, "NO")


def test_an_agent_sees_its_own_part() -> None:
    inventory = Inventory.parse(LAB)
    assert list(inventory.boards_of("pc-01")) == ["evm-07"]
    assert list(inventory.relays_of("pc-01")) == ["eth-1", "apc-r1"]
    assert list(inventory.relays_of("pc-02")) == ["eth-1"]


def test_a_board_is_found_by_id_and_by_name() -> None:
    inventory = Inventory.parse(LAB)
    assert inventory.find_board("evm-07") == inventory.find_board("J721E_EVM #7") == "evm-07"
    assert inventory.find_board("nobody") is None


def test_a_driver_gets_its_own_keys_and_refuses_strange_ones_with_their_line(tmp_path: Path) -> None:
    class Options(BaseModel):
        model_config = ConfigDict(extra="forbid")
        password: str | None = None

    (tmp_path / "eth-1").write_text("apple\n")
    assert Inventory.parse(LAB).options_of("eth-1", Options, [tmp_path]) == Options(password="apple")
    with pytest.raises(ConfigError, match=r'lab.toml:8 relay.eth-1: there is no secret "eth-1" in nowhere'):
        Inventory.parse(LAB).options_of("eth-1", Options, [Path("nowhere")])
    with pytest.raises(ConfigError) as caught:
        Inventory.parse(LAB.replace("password =", "pasword ="), Path("lab.toml")).options_of(
            "eth-1", Options, [tmp_path]
        )
    assert str(caught.value) == "lab.toml:8 relay.eth-1.pasword: is not a known key here"


def test_the_hash_follows_the_text() -> None:
    assert Inventory.parse(LAB).hash == Inventory.parse(LAB).hash != Inventory.parse(LAB + "\n").hash
