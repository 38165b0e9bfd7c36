"""What a search makes of answers: words, guesses and a lab.toml that somebody completes."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from boardherd.discovery import devantech, snmp, usb
from boardherd.discovery.found import Found, summary
from boardherd.discovery.stanzas import Setting, additions, lab_toml, new_to
from boardherd.discovery.sweep import Network, Plan, TooMany
from boardherd.rack.devices._devantech_discovery import Announcer
from boardherd_agent.devices import drivers
from boardherd_agent.devices.codecs import devantech as driver_codec
from boardherd_agent.devices.codecs.snmp import PORT, PROFILES
from boardherd_shared.inventory import Inventory

HERE = Setting("lab", "pc-01", found_at="on pc-01")
MODULE = Found(
    "relay",
    "Devantech ETH008",
    "10.0.5.21",
    {"kind": "devantech", "address": "10.0.5.21", "mac": "00:04:A3:12:34:56"},
    8,
    3,
    "hardware 2 firmware 28",
)
CONSOLE = Found(
    "console",
    "serial adapter",
    "usb-FTDI_X-if00",
    {"serial_port": "usb-FTDI_X-if00"},
    others=("usb-FTDI_X-if01",),
)
KNOWN = """
site = "rack-lab"
pc.pc-01 = {}
relay.eth-1 = { kind = "devantech", address = "10.0.5.21", mac = "00:04:A3:12:34:56" }
[board.evm-07]
pc = "pc-01"
serial_port = "/dev/serial/by-id/usb-FTDI_X-if01-port0"
power = ["eth-1:1"]
"""


def relay(kind: str, address: str, **more: Any) -> Found:
    sure = bool(more.pop("sure", True))
    return Found("relay", kind.title(), address, {"kind": kind, "address": address, **more}, sure=sure)


def test_the_summary_is_the_line_that_the_handbook_shows() -> None:
    assert summary([MODULE, CONSOLE, CONSOLE]) == (
        "1 Devantech ETH008 (8 ports, 3 on), 2 serial adapters; nothing was written to any device"
    )
    assert summary([]) == "nothing was found; nothing was written to any device"


def test_what_is_printed_is_a_lab_toml() -> None:
    strip = Found(
        "relay", "SNMP strip", "10.0.5.9", {"kind": "snmp", "profile": "eaton", "address": "10.0.5.9"}, 8, 0
    )
    setting = Setting("lab", "pc-01", community="secret:pdus")
    inventory = Inventory.parse(lab_toml([MODULE, strip, CONSOLE], setting))
    assert set(inventory.lab.relay) == {"eth-1", "pdu-1"}
    assert inventory.lab.relay["eth-1"].mac == "00:04:A3:12:34:56"
    assert inventory.lab.relay["pdu-1"].options["community"] == "secret:pdus"
    assert set(inventory.lab.pc) == {"pc-01"}
    assert not inventory.lab.board


def test_boards_are_a_matter_of_taking_the_mark_away() -> None:
    """The commented stanza, without its marks, is a board of the very lab."""
    lines = lab_toml([MODULE, CONSOLE], HERE).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("# [board."))
    text = "\n".join([*lines[:start], *(line.removeprefix("# ") for line in lines[start:])])
    board = Inventory.parse(text).lab.board["board-1"]
    assert board.serial_port == "usb-FTDI_X-if00"
    assert [feed.name for feed in board.power] == ["eth-1:1"]
    assert "usb-FTDI_X-if01" in text


def test_a_guess_stays_a_comment() -> None:
    """A driver chosen by a guess would write to whatever is at that port."""
    guess = Found("relay", "USB-RLY", "usb-x", {"kind": "usb_rly", "serial_port": "usb-x"}, sure=False)
    text = lab_toml([guess], HERE)
    assert "# [relay.usb-1]" in text
    assert not Inventory.parse(text).lab.relay


def test_words_of_the_network_cannot_leave_their_comment() -> None:
    """SEC-4: what a device calls itself is no configuration."""
    bad = Found(
        "relay", "Shelly\nsite = 'evil'\n[board.x]", "10.0.5.1", {"kind": "shelly", "address": "10.0.5.1"}
    )
    other = Found("other", "x\n[board.y]", "10.0.5.2", text="\r\n[board.z]")
    lab = Inventory.parse(lab_toml([bad, other], HERE)).lab
    assert lab.site == "lab"
    assert not lab.board


def test_only_what_a_lab_lacks_is_added_and_the_whole_is_a_lab_again() -> None:
    known = Inventory.parse(KNOWN)
    fresh = relay("shelly", "10.0.5.30")
    text = additions([MODULE, fresh, CONSOLE], HERE, known.lab)
    both = Inventory.parse(KNOWN + "\n" + text)
    assert set(both.lab.relay) == {"eth-1", "shelly-1"}
    assert "usb-FTDI_X" not in text
    assert additions([MODULE, CONSOLE], HERE, known.lab) == ""


def test_a_new_relay_gets_an_id_that_is_free() -> None:
    second = Found(
        "relay", "Devantech ETH008", "10.0.5.22", {"kind": "devantech", "address": "10.0.5.22"}, 8, 0
    )
    text = additions([second], HERE, Inventory.parse(KNOWN).lab)
    assert set(Inventory.parse(KNOWN + text).lab.relay) == {"eth-1", "eth-2"}


@pytest.mark.parametrize(
    ("found", "is_new"),
    [
        (MODULE, False),
        (relay("devantech", "10.0.5.99", mac="00:04:A3:12:34:56"), False),  # it has moved; the MAC tells
        (relay("devantech", "10.0.5.21"), False),
        (relay("shelly", "10.0.5.21", tcp_port=8080), True),  # another service at the same address
        (relay("devantech", "10.0.5.22"), True),
        (CONSOLE, False),
        (Found("console", "serial adapter", "b", {"serial_port": "b"}), True),
    ],
)
def test_what_counts_as_known(found: Found, is_new: bool) -> None:
    assert bool(new_to([found], Inventory.parse(KNOWN).lab)) is is_new


@pytest.mark.parametrize("kind", ["devantech", "shelly", "netio", "gude", "dli", "tasmota"])
def test_the_keys_that_are_written_are_keys_of_the_driver(kind: str) -> None:
    found = relay(kind, "10.0.5.1", mac="00:04:A3:12:34:56")
    inventory = Inventory.parse(lab_toml([found], HERE))
    [id_] = inventory.lab.relay
    module = drivers.load(kind)
    options = inventory.options_of(id_, module.Options)
    if kind not in {"dli", "tasmota"}:  # these need a login that nobody can find out
        assert module.Driver(inventory.lab.relay[id_], options)


def test_models_are_those_of_the_driver() -> None:
    assert {id_: tuple(model) for id_, model in devantech.MODELS.items()} == {
        id_: (model.name, model.outputs, model.mask_bytes) for id_, model in driver_codec.MODELS.items()
    }


def test_profiles_are_those_of_the_driver() -> None:
    assert {name: (it.column + f".{PORT}", it.on) for name, it in snmp.PROFILES.items()} == {
        name: (profile.state, frozenset(profile.says_on)) for name, profile in PROFILES.items()
    }


def test_an_answer_to_the_broadcast_is_read_even_where_a_value_holds_a_line_end() -> None:
    reply = Announcer("13.10.0.7", 19, "0D:0A:A3:00:0D:0A", "RACK-1").answer()
    assert devantech.parse_reply(reply, "127.0.0.1") == devantech.Reply(
        "13.10.0.7", 19, "0D:0A:A3:00:0D:0A", "RACK-1"
    )


@pytest.mark.parametrize(
    "datagram", [b"", devantech.QUESTION, b"x" * 60, b"\x02abc", b"\x02" + bytes(5), b"\xff" * 40 + b"\r\n"]
)
def test_other_datagrams_are_no_answer(datagram: bytes) -> None:
    assert devantech.parse_reply(datagram, "127.0.0.1") is None


def test_a_module_of_another_series_is_named_and_not_used() -> None:
    found = devantech.unreached(devantech.Reply("10.0.5.3", 30, "00:04:A3:00:00:09"))
    assert (found.role, found.text) == ("other", "speaks a protocol for which there is no driver")


def test_questions_over_snmp_are_those_of_the_standard() -> None:
    """RFC 1157, by hand: version 1, community public, GET of sysDescr.0, request 1."""
    assert snmp.question("1", "public", 1, snmp.SYS_DESCR) == bytes.fromhex(
        "302602010004067075626c6963a019020101020100020100300e300c06082b060102010101000500"
    )


@pytest.mark.parametrize(
    "datagram",
    [b"", b"0", b"\x30\x00", b"\x30\x84\xff\xff\xff\xff", b"HTTP/1.1 400", bytes(30), b"\x30\x02\x02\x00"],
)
def test_what_is_no_snmp_is_said_so(datagram: bytes) -> None:
    with pytest.raises(snmp.Garbled):
        snmp.answer(datagram)


def test_more_addresses_than_sensible_are_refused() -> None:
    with pytest.raises(TooMany, match="65536 addresses are too many"):
        Plan(networks=(Network("10.0.0.0/16"),)).addresses()


def test_datagrams_leave_by_the_loopback_where_nobody_else_is_asked() -> None:
    assert Plan(networks=(Network("127.0.0.0/30"),), broadcast=False).bind == "127.0.0.1"
    assert Plan(networks=(Network("10.0.5.0/30"),), broadcast=False).bind == "0.0.0.0"
    assert Plan(networks=(Network("127.0.0.0/30"),)).bind == "0.0.0.0"


@pytest.fixture
def machine(tmp_path: Path) -> tuple[Path, Path]:
    """A machine's /dev/serial/by-id and /sys, as Linux lays them out."""
    by_id, sysfs = tmp_path / "by-id", tmp_path / "sys"
    by_id.mkdir()
    (sysfs / "bus" / "usb" / "devices").mkdir(parents=True)
    return by_id, sysfs


def plug(machine: tuple[Path, Path], usb_id: str, product: str, ports: dict[str, str]) -> None:
    """Plug in a USB device; ``ports`` are names below by-id and their ttys."""
    by_id, sysfs = machine
    folder = sysfs / "devices" / "pci0" / f"usb-{usb_id.replace(':', '-')}-{len(list(by_id.iterdir()))}"
    folder.mkdir(parents=True)
    vendor, number = usb_id.split(":")
    (folder / "idVendor").write_text(f"{vendor}\n")
    (folder / "idProduct").write_text(f"{number}\n")
    (folder / "product").write_text(f"{product}\n")
    (sysfs / "bus" / "usb" / "devices" / folder.name).symlink_to(folder)
    for name, tty in ports.items():
        inner = folder / "1-1:1.0" / tty
        inner.mkdir(parents=True)
        place = sysfs / "class" / "tty" / tty
        place.mkdir(parents=True)
        (place / "device").symlink_to(inner)
        (by_id.parent / tty).touch()
        (by_id / name).symlink_to(by_id.parent / tty)


def test_four_uarts_of_one_adapter_are_one_adapter(machine: tuple[Path, Path]) -> None:
    names = {f"usb-FTDI_Quad_RS232-HS-if0{i}-port0": f"ttyUSB{i}" for i in range(4)}
    plug(machine, "0403:6011", "Quad RS232-HS", names)
    [found] = usb.serial_ports(*machine)
    assert found.role == "console"
    assert found.where == "usb-FTDI_Quad_RS232-HS-if00"
    assert found.others == tuple(f"usb-FTDI_Quad_RS232-HS-if0{i}" for i in (1, 2, 3))
    assert "TI's evaluation modules" in found.text


@pytest.mark.parametrize(
    ("usb_id", "product", "role", "kind", "text"),
    [
        ("1a86:7523", "USB Serial", "console", None, "if it is a relay: kind lcus"),
        ("0403:6001", "FT232R USB UART", "console", None, "KMTronic or Denkovi"),
        ("04d8:ffee", "Devantech Ltd.", "relay", "usb_rly", "same USB numbers"),
        ("2a19:0c02", "Numato Lab 8 Channel USB Relay Module", "relay", "numato", "by its name"),
        ("0451:bef3", "XDS110", "console", None, "debug probe of TI"),
        ("ffff:0001", "Something", "console", None, "Something"),
    ],
)
def test_adapters_and_relays_are_guessed_from_what_usb_tells(
    machine: tuple[Path, Path], usb_id: str, product: str, role: str, kind: str | None, text: str
) -> None:
    plug(machine, usb_id, product, {"usb-x-if00-port0": "ttyUSB0"})
    [found] = usb.serial_ports(*machine)
    assert (found.role, found.keys.get("kind")) == (role, kind)
    assert text in found.text
    assert found.sure is (role == "console")


def test_a_hid_relay_is_known_by_its_product(machine: tuple[Path, Path]) -> None:
    plug(machine, "16c0:05df", "USBRelay4", {})
    plug(machine, "16c0:05dc", "a keyboard of a small maker", {})
    [found] = usb.hid_boards(machine[1])
    assert (found.keys["kind"], found.ports) == ("hid_relay", 4)


def test_a_machine_without_serial_ports_has_none(tmp_path: Path) -> None:
    assert usb.serial_ports(tmp_path / "nothing", tmp_path) == []
    assert usb.hid_boards(tmp_path) == []


def test_addresses_of_modules_are_text() -> None:
    assert socket.inet_aton("10.0.5.21") in Announcer("10.0.5.21", 19, "00:04:A3:00:00:01").answer()
