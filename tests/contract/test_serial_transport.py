"""The serial transport against a pseudo-terminal whose other end is played by hand."""

from __future__ import annotations

import asyncio
import errno
import os
import termios
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import serial

from boardherd.rack.serial_line import SerialLine
from boardherd_agent.devices.device import DeviceError, DeviceGarbled, DeviceOffline
from boardherd_agent.devices.serial_ports import device_path, open_failure
from boardherd_agent.devices.transports import SerialTransport, of_length

SETTLE_S = 0.05


class Peer:
    """The device's end: keeps what it is asked, and answers as told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked = bytearray()
        self.answer: Callable[[bytes], bytes] = lambda _: b""
        self.line = SerialLine(path, self._typed)

    def _typed(self, data: bytes) -> None:
        self.asked += data
        self.line.write(self.answer(data))

    async def until_asked(self) -> None:
        async with asyncio.timeout(5):
            while not self.asked:  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.005)


@pytest.fixture
async def peer(tmp_path: Path) -> AsyncIterator[Peer]:
    it = Peer(tmp_path / "relay")
    with it.line:
        yield it


@pytest.fixture
async def transport(peer: Peer) -> AsyncIterator[SerialTransport]:
    it = SerialTransport(str(peer.path), settle=SETTLE_S)
    await it.open(5)
    yield it
    await it.close()


def free_for_others(path: Path) -> bool:
    """Return whether somebody else can have the port."""
    try:
        serial.Serial(str(path), exclusive=True).close()
    except serial.SerialException:
        return False
    return True


def there(transport: SerialTransport) -> bool:
    try:
        transport.check()
    except DeviceOffline:
        return False
    return True


async def test_a_reply_may_come_in_pieces(peer: Peer, transport: SerialTransport) -> None:
    exchange = asyncio.create_task(transport.exchange(b"\x5a", of_length(3), 5), name="exchange")
    await peer.until_asked()
    assert peer.asked == b"\x5a"
    peer.line.write(b"\x09")
    await asyncio.sleep(0.02)
    assert not exchange.done()
    peer.line.write(b"\x02\x03")
    assert await exchange == b"\x09\x02\x03"


async def test_a_reply_may_end_with_a_sign(peer: Peer, transport: SerialTransport) -> None:
    peer.answer = lambda _: b"A0.05\n\r>"
    assert await transport.exchange(b"ver\r", lambda reply: reply.endswith(b">"), 5) == b"A0.05\n\r>"


async def test_a_reply_of_unknown_length_ends_with_silence(peer: Peer, transport: SerialTransport) -> None:
    peer.answer = lambda _: b"CH1: ON\r\n"
    assert await transport.exchange(b"\xff", lambda _: False, 5, quiet=0.03) == b"CH1: ON\r\n"


async def test_what_came_unasked_is_no_answer(peer: Peer, transport: SerialTransport) -> None:
    transport.send(b"\x65")
    await peer.until_asked()
    peer.line.write(b"\xee\xee")
    await asyncio.sleep(0.02)
    peer.answer = lambda _: b"\x01"
    assert await transport.exchange(b"\x5b", of_length(1), 5) == b"\x01"


async def test_the_answer_to_a_question_of_somebody_else_is_waited_out(peer: Peer) -> None:
    transport = SerialTransport(str(peer.path), settle=0.4)
    opening = asyncio.create_task(transport.open(5), name="open")
    for _ in range(10):
        await asyncio.sleep(0.01)
        peer.line.write(b"late")
    await opening
    peer.answer = lambda _: b"\x01"
    assert await transport.exchange(b"\x5b", of_length(1), 5) == b"\x01"
    await transport.close()


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (b"", DeviceOffline, "does not answer within 0.3 s"),
        (b"\x01", DeviceOffline, "does not answer within 0.3 s, only 01 came"),
        (b"\x01\x55", DeviceGarbled, "answers 01 55"),
    ],
    ids=["silence", "too short", "impossible"],
)
async def test_the_port_is_given_up_after_a_wrong_reply(
    peer: Peer, transport: SerialTransport, reply: bytes, error: type[DeviceError], words: str
) -> None:
    peer.answer = lambda _: reply
    with pytest.raises(error) as caught:
        await transport.exchange(b"\xff", of_length(3), 0.3, alphabet=b"\0\1")
    assert words in str(caught.value)
    assert str(peer.path) in str(caught.value)
    with pytest.raises(DeviceOffline, match="is gone"):
        await transport.exchange(b"\xff", of_length(3), 5)
    await transport.close()
    assert free_for_others(peer.path)


async def test_the_port_is_given_up_after_a_cancelled_exchange(
    peer: Peer, transport: SerialTransport
) -> None:
    exchange = asyncio.create_task(transport.exchange(b"\xff", of_length(1), 60), name="exchange")
    await peer.until_asked()
    exchange.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange
    await transport.close()
    assert free_for_others(peer.path)


async def test_an_unplugged_device_is_noticed_in_mid_question(peer: Peer, transport: SerialTransport) -> None:
    exchange = asyncio.create_task(transport.exchange(b"\xff", of_length(1), 60), name="exchange")
    await peer.until_asked()
    peer.line.__exit__(None, None, None)
    with pytest.raises(DeviceOffline, match=f"^{peer.path} is gone; was the relay unplugged"):
        await exchange
    peer.line.__enter__()


async def test_an_unplugged_device_is_noticed_while_idle(peer: Peer, transport: SerialTransport) -> None:
    assert there(transport)
    peer.line.__exit__(None, None, None)
    async with asyncio.timeout(5):
        while there(transport):  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.005)
    with pytest.raises(DeviceOffline, match="is gone"):
        transport.send(b"\xff")
    peer.line.__enter__()


async def test_one_program_has_the_port_alone(peer: Peer, transport: SerialTransport) -> None:
    other = SerialTransport(str(peer.path), settle=SETTLE_S)
    with pytest.raises(DeviceOffline, match=f"^{peer.path} is busy: another program"):
        await other.open(5)
    await transport.close()
    await other.open(5)
    await other.close()


def hangs_up_on_close(path: Path, demand: bool = False) -> bool:
    """Return whether the system will drop DTR at close, after having asked for it if ``demand``."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        attributes = termios.tcgetattr(descriptor)
        if demand:
            attributes[2] |= termios.HUPCL
            termios.tcsetattr(descriptor, termios.TCSANOW, attributes)
        return bool(termios.tcgetattr(descriptor)[2] & termios.HUPCL)
    finally:
        os.close(descriptor)


async def test_closing_does_not_drop_dtr(peer: Peer) -> None:
    """A pseudo-terminal has no such line, but it keeps the setting that spares real ones the edge."""
    assert hangs_up_on_close(peer.path, demand=True)
    transport = SerialTransport(str(peer.path), settle=0.01)
    await transport.open(5)
    assert not hangs_up_on_close(peer.path)
    await transport.close()


async def test_an_opening_that_nobody_waits_for_leaves_the_port_free(peer: Peer) -> None:
    transport = SerialTransport(str(peer.path), settle=5)
    for pause in (0, 0, 0.0005, 0.001, 0.002, 0.1):
        opening = asyncio.create_task(transport.open(60), name="open")
        await asyncio.sleep(pause)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert free_for_others(peer.path)


async def test_a_port_that_never_falls_silent_is_not_used(peer: Peer) -> None:
    async def chatter() -> None:
        while True:
            peer.line.write(b"U-Boot ")
            await asyncio.sleep(0.01)

    talking = asyncio.create_task(chatter(), name="chatter")
    with pytest.raises(DeviceOffline, match=r"is not ready within 0\.3 s"):
        await SerialTransport(str(peer.path), settle=0.1).open(0.3)
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)
    assert free_for_others(peer.path)


async def test_a_closed_transport_refuses_and_closes_again_quietly(transport: SerialTransport) -> None:
    await transport.close()
    await transport.close()
    with pytest.raises(DeviceOffline):
        await transport.exchange(b"\xff", of_length(1), 5)


async def test_a_terminal_server_will_do() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(1) + b"\x02")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        transport = SerialTransport(f"socket://127.0.0.1:{port}", settle=0.01)
        await transport.open(5)
        assert await transport.exchange(b"\x5a", of_length(2), 5) == b"\x5a\x02"
        await transport.close()


@pytest.mark.parametrize(
    ("port", "words"),
    [
        ("/dev/serial/by-id/usb-no-such-relay", "/dev/serial/by-id/usb-no-such-relay is not there"),
        ("usb-no-such-relay", "/dev/serial/by-id/usb-no-such-relay is not there"),
        ("/dev/null", "/dev/null is no serial port"),
        ("rfc2217://127.0.0.1:4000", "write socket://host:port"),
        ("socket://127.0.0.1", "write socket://host:port"),
        ("socket://127.0.0.1:70000", "write socket://host:port"),
    ],
)
async def test_a_port_that_cannot_be_opened_is_said_in_words(port: str, words: str) -> None:
    with pytest.raises(DeviceOffline) as caught:
        await SerialTransport(port).open(5)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "the group that owns it, dialout"),
        (errno.EBUSY, "another program has it open"),
        (errno.ENXIO, "nothing is behind it"),
        (errno.EMFILE, "Too many open files"),
    ],
)
def test_what_the_system_says_is_put_in_words(number: int, words: str) -> None:
    sentence = open_failure("/dev/ttyUSB0", serial.SerialException(number, "could not open port"))
    assert sentence.startswith("/dev/ttyUSB0")
    assert words in sentence


def test_names_below_by_id_may_lack_the_ending_that_udev_adds(tmp_path: Path) -> None:
    (tmp_path / "usb-relay-port0").touch()
    assert device_path("usb-relay", tmp_path) == str(tmp_path / "usb-relay-port0")
    assert device_path("usb-relay-port0", tmp_path) == str(tmp_path / "usb-relay-port0")
    assert device_path("usb-other", tmp_path) == str(tmp_path / "usb-other")
    assert device_path("/dev/ttyUSB0", tmp_path) == "/dev/ttyUSB0"
    assert device_path("socket://h:1", tmp_path) == "socket://h:1"
