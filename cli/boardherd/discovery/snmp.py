"""Power strips with SNMP, where a community is given: what they call themselves, and which outlets they have.

Only GET and GETNEXT leave here. The messages are few and simple, so they are written and read by hand (SNMP
versions 1 and 2c, RFC 1157 and RFC 3416, in BER); one socket serves all addresses. A device does not answer a
wrong community, so silence means nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Mapping
from types import TracebackType
from typing import NamedTuple, Self

from boardherd.discovery.found import Found

UDP_PORT = 161
SYS_DESCR = "1.3.6.1.2.1.1.1.0"
SYS_OBJECT_ID = "1.3.6.1.2.1.1.2.0"

_GET, _GET_NEXT, _RESPONSE = 0xA0, 0xA1, 0xA2
_INTEGER, _STRING, _NULL, _OID, _SEQUENCE = 0x02, 0x04, 0x05, 0x06, 0x30
_ABSENT = {0x80, 0x81, 0x82}
"""noSuchObject, noSuchInstance and endOfMibView of version 2c."""
_VERSIONS = {"1": 0, "2c": 1}
_MOST_OUTLETS = 64
_LONGEST_TITLE = 60
_APC_MODEL = re.compile(r"\bMN:\s*([^\s)]+)")
_ENTERPRISES = {
    "318": "APC",
    "13742": "Raritan",
    "534": "Eaton",
    "1718": "Server Technology",
    "21317": "ATEN",
    "28507": "Gude",
    "47952": "NETIO",
}


class Outlets(NamedTuple):
    """Where a family of strips tells the states of its outlets, and which values mean on."""

    column: str
    on: frozenset[int]


PROFILES: Mapping[str, Outlets] = {
    "apc-rpdu2": Outlets("1.3.6.1.4.1.318.1.1.26.9.2.4.1.5", frozenset({1})),
    "apc-rpdu": Outlets("1.3.6.1.4.1.318.1.1.12.3.3.1.1.4", frozenset({1})),
    "apc-spdu": Outlets("1.3.6.1.4.1.318.1.1.4.4.2.1.3", frozenset({1})),
    "apc-epdu": Outlets("1.3.6.1.4.1.318.1.1.30.6.2.1.4", frozenset({1})),
    "raritan": Outlets("1.3.6.1.4.1.13742.6.4.1.2.1.3.1", frozenset({7})),
    "eaton": Outlets("1.3.6.1.4.1.534.6.6.7.6.6.1.2.0", frozenset({1, 2})),
    "sentry3": Outlets("1.3.6.1.4.1.1718.3.2.3.1.10.1.1", frozenset({1, 3, 5})),
    "poe": Outlets("1.3.6.1.2.1.105.1.1.1.3.1", frozenset({1})),
}
"""The profiles of the SNMP driver, the newer objects of a maker first: many strips have the older ones, too."""


class Garbled(ValueError):  # noqa: N818
    """A datagram is no answer to SNMP."""


class Answer(NamedTuple):
    """One object of an answer; None where the device has none of that name."""

    request: int
    oid: str
    value: int | bytes | None


def question(version: str, community: str, request: int, oid: str, *, following: bool = False) -> bytes:
    """Return the message that asks for an object, or for the one after it."""
    binding = _wrap(_SEQUENCE, _oid(oid) + bytes([_NULL, 0]))
    numbers = _integer(request) + _integer(0) + _integer(0)
    pdu = _wrap(_GET_NEXT if following else _GET, numbers + _wrap(_SEQUENCE, binding))
    head = _integer(_VERSIONS[version]) + _wrap(_STRING, community.encode())
    return _wrap(_SEQUENCE, head + pdu)


def answer(datagram: bytes) -> Answer:
    """Return what a datagram answers; raises Garbled."""
    try:
        tag, message, _ = _element(datagram)
        _, _, rest = _element(message)
        _, _, rest = _element(rest)
        kind, pdu, _ = _element(rest)
        if tag != _SEQUENCE or kind != _RESPONSE:
            raise Garbled("no answer")
        _, request, rest = _element(pdu)
        _, status, rest = _element(rest)
        _, _, rest = _element(rest)
        _, bindings, _ = _element(rest)
        _, binding, _ = _element(bindings)
        _, name, rest = _element(binding)
        code, value, _ = _element(rest)
    except IndexError as error:
        raise Garbled("cut short") from error
    absent = _number(status) != 0 or code in _ABSENT or code == _NULL
    return Answer(_number(request), _name(name), None if absent else _value(code, value))


def _value(code: int, value: bytes) -> int | bytes:
    if code == _OID:
        return _name(value).encode()
    return value if code == _STRING else _number(value)


def _wrap(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _integer(value: int) -> bytes:
    return _wrap(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _oid(text: str) -> bytes:
    first, second, *rest = (int(part) for part in text.split("."))
    content = bytes([first * 40 + second])
    for part in rest:
        digits = [part & 0x7F]
        while part := part >> 7:
            digits.append(0x80 | part & 0x7F)
        content += bytes(reversed(digits))
    return _wrap(_OID, content)


def _name(content: bytes) -> str:
    parts, value = [], 0
    for byte in content[1:]:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            parts.append(value)
            value = 0
    return ".".join(map(str, (content[0] // 40, content[0] % 40, *parts))) if content else ""


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    tag, length, start = data[0], data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    if start + length > len(data):
        raise IndexError
    return tag, data[start : start + length], data[start + length :]


def _number(content: bytes) -> int:
    return int.from_bytes(content, "big", signed=True)


class Asker(asyncio.DatagramProtocol):
    """One socket for all addresses, open inside ``async with``; answers find their questions by number."""

    def __init__(self, community: str, *, bind: str, within_s: float) -> None:
        """Remember how to ask.

        Args:
            community: what devices may be read with.
            bind: own address.
            within_s: how long one answer may take.
        """
        self._community, self._bind, self._within_s = community, bind, within_s
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._transport: asyncio.DatagramTransport

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(self._bind, 0))
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Hand an answer to whoever waits for it."""
        del addr
        try:
            told = answer(data)
        except Garbled:
            return
        if (waiting := self._waiting.get(told.request)) and not waiting.done():
            waiting.set_result(told)

    def error_received(self, exc: Exception) -> None:
        """Ignore that somebody has no such port: who asked will see that nothing comes."""

    async def ask(self, address: str, *, port: int = UDP_PORT) -> Found | None:
        """Return the strip at ``address``; None when nothing answers, or something that has no outlets."""
        place = address, port
        answers = await asyncio.gather(*(self._get(place, version, SYS_DESCR) for version in _VERSIONS))
        for version, told in zip(_VERSIONS, answers, strict=True):
            if told is not None:
                return await self._describe(place, version, told)
        return None

    async def _describe(self, place: tuple[str, int], version: str, told: Answer) -> Found | None:
        for profile, outlets in PROFILES.items():
            if states := await self._walk(place, version, outlets.column):
                maker = await self._get(place, version, SYS_OBJECT_ID)
                return _strip(place, version, profile, _title(told.value, maker), states)
        return None

    async def _walk(self, place: tuple[str, int], version: str, column: str) -> list[int]:
        states: list[int] = []
        oid = column
        while len(states) < _MOST_OUTLETS:
            told = await self._get(place, version, oid, following=True)
            below = told is not None and told.oid.startswith(f"{column}.") and told.oid != oid
            if told is None or not below or not isinstance(told.value, int):
                break
            states.append(told.value)
            oid = told.oid
        return states

    async def _get(
        self, place: tuple[str, int], version: str, oid: str, *, following: bool = False
    ) -> Answer | None:
        """Return an answer, None when nothing comes in time; asked twice, for datagrams get lost."""
        number = next(self._numbers)
        coming: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = coming
        try:
            for _ in range(2):
                self._transport.sendto(
                    question(version, self._community, number, oid, following=following), place
                )
                await asyncio.wait([coming], timeout=self._within_s / 2)
                if coming.done():
                    return coming.result()
            return None
        finally:
            del self._waiting[number]
            coming.cancel()


def _title(description: int | bytes | None, maker: Answer | None) -> str:
    text = description.decode("utf-8", "replace") if isinstance(description, bytes) else ""
    if model := _APC_MODEL.search(text):
        return f"APC {model[1]}"
    first = next(iter(text.strip().splitlines()), "")[:_LONGEST_TITLE].strip()
    told = maker.value if maker else None
    oid = told.decode() if isinstance(told, bytes) else ""
    enterprise = oid.removeprefix("1.3.6.1.4.1.").partition(".")[0] if oid.startswith("1.3.6.1.4.1.") else ""
    return first or _ENTERPRISES.get(enterprise, "SNMP device")


def _strip(place: tuple[str, int], version: str, profile: str, title: str, states: list[int]) -> Found:
    address, port = place
    keys: dict[str, object] = {"kind": "snmp", "profile": profile, "address": address}
    keys |= {"tcp_port": port} if port != UDP_PORT else {}
    keys |= {"version": version} if version != "1" else {}
    keys |= {"port_count": len(states)} if len(states) != 8 else {}
    on = sum(state in PROFILES[profile].on for state in states)
    return Found("relay", f"SNMP strip ({profile})", address, keys, len(states), on, title)
