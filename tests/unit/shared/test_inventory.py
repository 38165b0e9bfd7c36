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


def test_there_are_many_mistakes_to_make() -> None:
    """A folder of at least forty broken files, each with the exact sentence that a person reads."""
    assert len(BAD) >= 40
    assert not [path.stem for path in BAD if not path.read_text().startswith("#! ")]


def test_no_sentence_shows_a_regular_expression() -> None:
    said = [line for path in BAD for line in path.read_text().splitlines() if line.startswith("#! ")]
    assert not [line for line in said if "pattern" in line or "(?:" in line or "]{" in line]


def test_a_byte_order_mark_and_windows_line_ends_are_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "plain.toml").write_bytes(LAB.encode())
    (tmp_path / "odd.toml").write_bytes(b"\xef\xbb\xbf" + LAB.replace("\n", "\r\n").encode())
    plain, odd = (Inventory.read(tmp_path / name) for name in ("plain.toml", "odd.toml"))
    assert odd.lab == plain.lab
    assert odd.hash == plain.hash
    assert odd.document.line(("board", "evm-07", "power", 1)) == plain.document.line(
        ("board", "evm-07", "power")
    )


def test_other_encodings_are_named(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_bytes('site = "B\u00f6blingen"'.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"lab\.toml: is not UTF-8 text \(byte 9\)"):
        Inventory.read(tmp_path / "lab.toml")


def test_boards_behind_one_address_are_told_apart_by_their_ports() -> None:
    text = 'site = "lab"\nboard.a = { board_ip = "10.0.6.7", probes = ["ssh:2201"] }\n'
    Inventory.parse(text + 'board.b = { board_ip = "10.0.6.7", probes = ["ssh:2202"] }\n')
    with pytest.raises(ConfigError, match=r"10\.0\.6\.7 with the probe ssh is also claimed by a"):
        Inventory.parse(
            text.replace(":2201", ":22") + 'board.b = { board_ip = "10.0.6.7", probes = ["ssh"] }\n'
        )


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


def test_the_boards_of_a_pc_without_an_agent_are_those_of_the_one_that_watches_it() -> None:
    inventory = Inventory.parse(LAB.replace("pc.pc-02 = {}", 'pc.pc-02 = { watched_by = "pc-01" }'))
    assert list(inventory.boards_of("pc-01")) == ["evm-07", "evm-08"]
    assert inventory.boards_of("pc-02") == {}
    assert inventory.agent_of(inventory.lab.board["evm-08"]) == "pc-01"


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
    known = 'did you mean "password"?'
    assert str(caught.value) == f"lab.toml:8 relay.eth-1.pasword: is not a known key here; {known}"
    with pytest.raises(ConfigError, match=r'relay.eth-1.port_cuont: .* did you mean "port_count"'):
        Inventory.parse(LAB.replace("password =", "port_cuont =")).options_of("eth-1", Options, [tmp_path])


def test_the_hash_follows_the_text() -> None:
    assert Inventory.parse(LAB).hash == Inventory.parse(LAB).hash != Inventory.parse(LAB + "\n").hash
