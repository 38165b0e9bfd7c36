"""What probes make of the world's bytes: known examples, and arbitrary ones, which never raise."""

from __future__ import annotations

import ipaddress
import string
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from boardherd_agent.devices.programs import Ended
from boardherd_agent.watch.probes.command import judged
from boardherd_agent.watch.probes.http import Status, request, status_in
from boardherd_agent.watch.probes.ssh import MAX_BANNER, banner_in
from boardherd_agent.watch.probes.usb import UsbProbe
from boardherd_agent.watch.probing import echo, usb_devices
from boardherd_agent.watch.probing.usb_devices import UsbDevice, waits_in
from boardherd_shared.ids import is_slug
from boardherd_shared.probes import HttpTarget, http_target, parse_probe
from support.probe_rigs import UsbTree, unreachable

NOISE = st.binary(max_size=400)
TOKEN = b"8 bytes!"


@given(NOISE)
@example(b"SSH-" + b"\xff" * 300)
def test_any_banner(text: bytes) -> None:
    banner = banner_in(text)
    assert banner is None or (
        banner.startswith("SSH-") and banner.isprintable() and len(banner) <= MAX_BANNER
    )


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n", Status(200, "OK")),
        (b"HTTP/1.0 404 Not\tFound\n", Status(404, "Not Found")),
        (b"HTTP/1.1 204\r\nServer: x\r\n", Status(204, "")),
        (b"HTTP/1.1 204 \r\n", Status(204, "")),
        (b"HTTP/1.1 200 OK", None),
        (b"HTTP/1.1 999 Odd\r\n", None),
        (b"HTTP/1.1 2000 OK\r\n", None),
        (b" HTTP/1.1 200 OK\r\n", None),
        (b"ICY 200 OK\r\n", None),
        (b"", None),
    ],
)
def test_status_lines(text: bytes, status: Status | None) -> None:
    assert status_in(text) == status


@given(NOISE | NOISE.map(lambda noise: b"HTTP/1.1 200 " + noise + b"\n"))
def test_any_status_line(text: bytes) -> None:
    status = status_in(text)
    assert status is None or (100 <= status.code < 600 and status.text.isprintable())


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert b"\r\nHost: [fe80::1]:8080\r\n" in request("fe80::1", HttpTarget(8080, "/", None))


@given(st.text(max_size=60).map("http:80/".__add__) | st.text(max_size=60).map("http:".__add__))
def test_nothing_in_lab_toml_adds_a_line_to_the_request(text: str) -> None:
    """SEC-4: a pushed inventory asks for a path, and for nothing else."""
    try:
        target = http_target(parse_probe(text).argument)
    except ValueError:
        return
    lines = request("10.0.6.7", target).split(b"\r\n")
    assert [line.partition(b":")[0] for line in lines[1:]] == [
        b"Host",
        b"User-Agent",
        b"Accept",
        b"Connection",
        b"",
        b"",
    ]
    assert lines[0] == f"GET {target.path} HTTP/1.1".encode()
    assert lines[0].count(b" ") == 2


@given(st.text(max_size=80) | st.sampled_from(["tcp", "ssh", "http", "https", "usb", "command"]).flatmap(
    lambda kind: st.text(alphabet=string.printable, max_size=80).map(lambda rest: f"{kind}:{rest}")
))  # fmt: skip
def test_any_text_is_a_probe_or_refused_in_words(text: str) -> None:
    """OPS-4, SEC-4: what is accepted has a safe name and an argument that leads nowhere else."""
    spec, refusal = None, ""
    try:
        spec = parse_probe(text)
    except ValueError as error:
        refusal = str(error)
    if spec is None:
        assert "is no probe" in refusal
        assert refusal.isprintable()
        return
    assert is_slug(spec.name)
    assert parse_probe(f"{spec.kind}:{spec.argument}" if spec.argument else spec.kind) == spec
    if spec.kind in {"usb", "command"}:
        assert "/" not in spec.argument
        assert ".." not in Path(spec.argument).parts


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tcp", 'write tcp:PORT, for example "tcp:80"'),
        ("tcp:0", "a TCP port is a number from 1 to 65535"),
        ("tcp:65536", "a TCP port is a number from 1 to 65535"),
        ("tcp:٣", "a TCP port is a number from 1 to 65535"),
        ("ssh:x", "write ssh or ssh:PORT"),
        ("ping:80", "nothing may stand behind it"),
        ("ping:", 'write for example "ping", "ssh", "tcp:80" or "console"'),
        ("http:80 /", "write http, http:PORT, http:PORT/PATH or http:PORT/PATH#STATUS"),
        ("https:99999/", "a TCP port is a number"),
        ("usb", "write usb:PORT-PATH or usb:SERIAL-NUMBER"),
        ("usb:../../etc", "write usb:PORT-PATH"),
        ("command:/bin/sh", "a program is a plain file name"),
        ("command:", 'write for example "ping"'),
        ("gopher", 'write for example "ping"'),
    ],
)
def test_a_probe_that_is_none_is_refused_with_the_way_to_write_it(text: str, says: str) -> None:
    """OPS-4."""
    with pytest.raises(ValueError, match="is no probe") as caught:
        parse_probe(text)
    assert f'"{text}"' in str(caught.value)
    assert says in str(caught.value)


@given(st.sampled_from([echo.V4, echo.V6]), NOISE)
@example(echo.V4, b"\x4f\x00")
@example(echo.V4, b"\x03\x01" + bytes(6) + b"\x4f" + bytes(30))
def test_any_icmp_packet(kind: echo.Kind, packet: bytes) -> None:
    reply = echo.parse(kind, packet)
    if reply and reply.trouble:
        assert ipaddress.ip_address(str(reply.target)).version in {4, 6}
        assert echo.words(kind, reply.trouble).isprintable()


def test_an_echo_request_and_what_comes_back() -> None:
    """RFC 792: the checksum is right when the sum over the whole message is all ones."""
    asked = echo.request(echo.V4, 0x1234, 7, TOKEN)
    words = [int.from_bytes(asked[at : at + 2], "big") for at in range(0, len(asked), 2)]
    assert sum(words) % 0xFFFF == 0
    assert echo.parse(echo.V4, asked) is None, "a request is no reply"
    reply = echo.Reply(7, 0x1234, TOKEN, None)
    assert echo.parse(echo.V4, b"\x00\x00" + asked[2:]) == reply
    with_ip_header = b"\x45" + bytes(19) + b"\x00\x00" + asked[2:]
    assert echo.parse(echo.V4, with_ip_header) == reply
    assert echo.parse(echo.V4, unreachable(asked)) == echo.Reply(7, 0x1234, None, "127.0.0.1", (3, 1))


def test_an_icmpv6_error_quotes_the_request() -> None:
    """RFC 4443 section 3.1."""
    asked = echo.request(echo.V6, 0x1234, 7, TOKEN)
    header = bytes(6) + b"\x3a\x40" + bytes(16) + ipaddress.ip_address("fd00::7").packed
    said = b"\x01\x03" + bytes(6) + header + asked
    assert echo.parse(echo.V6, said) == echo.Reply(7, 0x1234, None, "fd00::7", (1, 3))
    assert echo.parse(echo.V6, b"\x81\x00" + asked[2:]) == echo.Reply(7, 0x1234, TOKEN, None)


DFU, RUNTIME, FASTBOOT, ADB = (0xFE, 1, 2), (0xFE, 1, 1), (0xFF, 0x42, 3), (0xFF, 0x42, 1)


@pytest.mark.parametrize(
    ("device", "state"),
    [
        (UsbDevice(0x0451, 0x6165, 0x0200, "01.00.00.00", interfaces=(DFU,)), "in DFU mode (TI ROM, K3)"),
        (UsbDevice(0x0451, 0x6163, 0x0200, interfaces=(DFU,)), "in DFU mode (TI ROM, J721E)"),
        (
            UsbDevice(0x0451, 0x6163, 0x0224, title="TI DFU", interfaces=(DFU,)),
            "in DFU mode (U-Boot, TI DFU (0451:6163))",
        ),
        (UsbDevice(0x0483, 0xDF11, title="ST", interfaces=(DFU,)), "in DFU mode (ST (0483:df11))"),
        (UsbDevice(0x0451, 0x6141), "in its boot ROM (TI AM335x), which waits for an image over USB"),
        (UsbDevice(0x15A2, 0x0080), "in its boot ROM (NXP i.MX), which waits for an image over USB"),
        (UsbDevice(0x18D1, 0x4EE0, interfaces=(FASTBOOT,)), "in fastboot"),
        (UsbDevice(0x1D6B, 0x0104, interfaces=((2, 6, 0), RUNTIME, ADB)), ""),
        (UsbDevice(0x0525, 0xA4A2), ""),
    ],
)
def test_the_states_of_a_board_on_usb(device: UsbDevice, state: str) -> None:
    assert waits_in(device) == state


@pytest.fixture
def tree(tmp_path: Path) -> UsbTree:
    tree = UsbTree(tmp_path / "devices")
    tree.plug("1-1", idVendor="05e3", idProduct="0608", product="USB2.0 Hub")
    return tree


async def usb(tree: UsbTree, wanted: str) -> tuple[str, str]:
    outcome = await UsbProbe("usb-it", wanted, sysfs=tree.root).check(20)
    return outcome.answer, outcome.text


async def test_a_board_on_usb_from_rom_to_linux(tree: UsbTree) -> None:
    assert await usb(tree, "1-1.4") == ("no", "nothing at the USB port 1-1.4")
    tree.plug("1-1.4", DFU, idVendor="0451", idProduct="6165", bcdDevice="0200", serial="01.00.00.00")
    assert await usb(tree, "1-1.4") == ("no", "in DFU mode (TI ROM, K3)")
    tree.plug(
        "1-1.4", (2, 6, 0), idVendor="1d6b", idProduct="0104", manufacturer="TI", product="evm", serial="E7"
    )
    assert await usb(tree, "1-1.4") == ("yes", "there as a Linux gadget: TI evm (1d6b:0104)")
    assert await usb(tree, "E7") == ("yes", "there as a Linux gadget: TI evm (1d6b:0104)")
    assert await usb(tree, "E8") == ("no", "no USB device has the serial number E8")
    tree.plug("1-1.4", idVendor="0403", idProduct="6011", manufacturer="FTDI", product="Quad")
    assert await usb(tree, "1-1.4") == ("yes", "there as FTDI Quad (0403:6011)")


async def test_a_hub_that_is_gone_says_nothing_about_the_board(tree: UsbTree) -> None:
    assert await usb(tree, "1-2.1") == ("unavailable", "the USB hub 1-2 is not there")
    assert await usb(tree, "2-1") == ("unavailable", "the USB hub usb2 is not there")


@given(st.dictionaries(st.sampled_from(["idVendor", "idProduct", "bcdDevice", "serial", "product"]), NOISE))
def test_any_text_in_sysfs(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    root = tmp_path_factory.mktemp("devices")
    place = root / "1-1.4"
    place.mkdir()
    for name, content in files.items():
        (place / name).write_bytes(content)
    device = usb_devices.at_port(root, "1-1.4")
    if device:
        assert device.label.isprintable()
        assert waits_in(device).isprintable() or not waits_in(device)
    usb_devices.with_serial(root, "E7")


@pytest.mark.parametrize(
    ("ended", "answer", "text"),
    [
        (Ended(0, b"checking\n1200 rpm\n", b"note\n"), "yes", "1200 rpm"),
        (Ended(0, b"", b""), "yes", "fan says yes"),
        (Ended(1, b"", b"stands still\n"), "no", "stands still"),
        (Ended(2, b"", b""), "unavailable", "fan says unavailable"),
        (Ended(77, b"", b"no module named fan\n"), "unavailable", "fan ended with 77: no module named fan"),
        (Ended(-11, b"", b""), "unavailable", "fan was killed by signal 11"),
    ],
)
def test_what_the_end_of_a_program_means(ended: Ended, answer: str, text: str) -> None:
    outcome = judged("fan", ended, 0.5)
    assert (outcome.answer, outcome.text) == (answer, text)
    assert (outcome.duration_s is None) == (answer == "unavailable")


@given(st.integers(-64, 255), NOISE, NOISE)
def test_any_end_of_a_program(code: int, output: bytes, errors: bytes) -> None:
    outcome = judged("fan", Ended(code, output, errors), 0.5)
    assert outcome.text
    assert outcome.text.isprintable()
