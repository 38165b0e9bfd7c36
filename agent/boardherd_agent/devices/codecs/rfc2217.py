"""Serial ports behind a telnet server: RFC 854 (telnet), RFC 855 (options) and RFC 2217 (COM-PORT option).

The client's side, as far as it takes to set a port to 8N1 at some speed and to pass bytes. DTR, RTS and flow
control are left as the server has them.
"""

from __future__ import annotations

import struct

_IAC, _DONT, _DO, _WONT, _WILL, _SB, _SE = 255, 254, 253, 252, 251, 250, 240
_BINARY, _ECHO, _SUPPRESS_GO_AHEAD, _COM_PORT = 0, 1, 3, 44
_SET_BAUDRATE, _SET_DATASIZE, _SET_PARITY, _SET_STOPSIZE = 1, 2, 3, 4
_NO_PARITY, _ONE_STOP_BIT = 1, 1

_OURS = frozenset({_BINARY, _SUPPRESS_GO_AHEAD, _COM_PORT})
"""Options that we offer."""
_THEIRS = frozenset({_BINARY, _SUPPRESS_GO_AHEAD, _ECHO})
"""Options that the server may use."""

_LONGEST = 1024
"""Bytes of one suboption; a longer one is garbage, and what follows is text again."""


class TelnetPort:
    """One connection to such a server: bytes of the network in, bytes of the port out, and back."""

    def __init__(self, baud: int) -> None:
        """Speak for a port of ``baud`` bits a second."""
        self._baud = baud
        self._rest = b""
        self._answered: set[tuple[int, int]] = set()
        self._they_binary = self._we_binary = False
        self._after_return = False
        self.refused = False
        """Whether the server does not know the COM-PORT option: the port has the speed that it has."""

    def greeting(self) -> bytes:
        """Return what opens the conversation."""
        ours = b"".join(_command(_WILL, option) for option in sorted(_OURS))
        return ours + _command(_DO, _BINARY) + _command(_DO, _SUPPRESS_GO_AHEAD)

    def received(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the bytes of the port in what came from the network, and what is to be answered."""
        data, self._rest = self._rest + data, b""
        text, answer, place = bytearray(), bytearray(), 0
        while place < len(data):
            found = data.find(_IAC, place)
            text += self._plain(data[place : found if found >= 0 else len(data)])
            if found < 0:
                break
            length = _length(data, found)
            if length is None:
                self._rest = data[found:]
                break
            if length == 2 and data[found + 1] == _IAC:
                text += self._plain(b"\xff")
            elif length == 3:
                answer += self._answer(data[found + 1], data[found + 2])
            place = found + length
        return bytes(text), bytes(answer)

    def sent(self, data: bytes) -> bytes:
        """Return what to send so that ``data`` leaves the port."""
        data = data.replace(b"\xff", b"\xff\xff")
        return data if self._we_binary else data.replace(b"\r", b"\r\0")

    def _plain(self, run: bytes) -> bytes:
        """Return text as the port said it: outside binary mode a NUL follows each lone carriage return."""
        if not run or self._they_binary:
            return run
        if self._after_return and run[0] == 0:
            run = run[1:]
        self._after_return = run.endswith(b"\r")
        return run.replace(b"\r\0", b"\r")

    def _answer(self, verb: int, option: int) -> bytes:
        """Return what follows from one command of the server; each is answered once, or two would never stop."""
        if (verb, option) in self._answered:
            return b""
        self._answered.add((verb, option))
        self._they_binary |= (verb, option) == (_WILL, _BINARY)
        self._we_binary |= (verb, option) == (_DO, _BINARY)
        self.refused |= (verb, option) == (_DONT, _COM_PORT)
        if (verb, option) == (_DO, _COM_PORT):
            return self._settings()
        if verb == _DO and option not in _OURS:
            return _command(_WONT, option)
        if verb == _WILL:
            asked = option in {_BINARY, _SUPPRESS_GO_AHEAD}
            return b"" if asked else _command(_DO if option in _THEIRS else _DONT, option)
        return b""

    def _settings(self) -> bytes:
        return b"".join([
            _suboption(_SET_BAUDRATE, struct.pack("!I", self._baud)),
            _suboption(_SET_DATASIZE, bytes([8])),
            _suboption(_SET_PARITY, bytes([_NO_PARITY])),
            _suboption(_SET_STOPSIZE, bytes([_ONE_STOP_BIT])),
        ])  # fmt: skip


def _command(verb: int, option: int) -> bytes:
    return bytes([_IAC, verb, option])


def _suboption(code: int, value: bytes) -> bytes:
    return bytes([_IAC, _SB, _COM_PORT, code]) + value.replace(b"\xff", b"\xff\xff") + bytes([_IAC, _SE])


def _length(data: bytes, place: int) -> int | None:
    """Return how long the command at ``place`` is; None while it is not complete."""
    if place + 1 >= len(data):
        return None
    match data[place + 1]:
        case 250:  # SB
            return _suboption_length(data, place)
        case 251 | 252 | 253 | 254:  # WILL, WONT, DO, DONT
            return 3 if place + 2 < len(data) else None
        case _:
            return 2


def _suboption_length(data: bytes, place: int) -> int | None:
    """Return how long a suboption is: up to IAC SE, in which IAC IAC stands for a byte 255."""
    end = place + 2
    while (end := data.find(_IAC, end)) >= 0 and end + 1 < len(data):
        if data[end + 1] == _SE:
            length = end + 2 - place
            return length if length <= _LONGEST else 2
        end += 2
    return 2 if len(data) - place > _LONGEST else None
