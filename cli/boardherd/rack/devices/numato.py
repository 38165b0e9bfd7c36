"""A simulated Numato Lab USB relay module: a command line with an echo and a prompt.

Lines end with CR on the way in and with LF CR on the way out. Relays are numbered from 0, in one digit 0 to 9
or A to V, of either case up to F, and in two decimal digits by modules with 64 relays. Small modules do not
know the command that reads all relays.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from boardherd.rack.devices.contacts import Contacts
from boardherd.rack.devices.serial_device import SerialDevice

_NEWLINE, _PROMPT = "\n\r", ">"
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUV"


class NumatoModule(SerialDevice):
    """One module on one serial port, alive inside ``async with``."""

    def __init__(
        self,
        *,
        relays: int = 8,
        version: str = "A0.05",
        path: str | Path | None = None,
        process_delay: float = 0.002,
        on_change: Callable[[int, bool, float], None] | None = None,
    ) -> None:
        """Describe a module.

        Args:
            relays: how many relays it has: 1, 2, 4, 8, 16, 32 or 64.
            version: firmware version that it reports.
            path: where its port is to be found; in a directory of its own unless given.
            process_delay: seconds between the arrival of a command and acting on it.
            on_change: called with port, energised and monotonic time at each change of a relay.
        """
        contacts = Contacts(range(1, relays + 1), on_change=on_change)
        super().__init__("numato", contacts, path=path, process_delay=process_delay)
        self.relays, self.version = relays, version
        self.objection = ""
        """What it answers in place of carrying out a switch, if anything."""

    def cut(self, typed: bytearray) -> bytes | None:
        """Take out the next line."""
        line, end, rest = typed.partition(b"\r")
        if not end:
            return None
        typed[:] = rest
        return bytes(line)

    def execute(self, command: bytes) -> bytes:
        """Echo the line, carry it out, and show the prompt."""
        line = command.decode("ascii", "replace").lstrip("\n")
        answer = self._answer(line.split())
        body = f"{answer}{_NEWLINE}" if answer else ""
        return f"{line}{_NEWLINE}{body}{_PROMPT}".encode("ascii", "replace")

    def _answer(self, words: list[str]) -> str:
        match words:
            case ["ver"]:
                return self.version
            case ["id", "get"]:
                return "00000000"
            case ["relay", "readall"] if self.relays >= 8:
                mask = sum(1 << (port - 1) for port, energised in self.outputs.items() if energised)
                return f"{mask:0{self.relays // 4}x}"
            case ["relay", verb, name] if (port := self._port(name)) in self.contacts:
                return self._relay(verb, port)
            case ["reset"]:
                for port in self.outputs:
                    self.command_contact(port, False)
        return ""

    def _relay(self, verb: str, port: int) -> str:
        if verb == "read":
            return "on" if self.outputs[port] else "off"
        if verb in {"on", "off"} and self.objection:
            return self.objection
        if verb in {"on", "off"}:
            self.command_contact(port, verb == "on")
        return ""

    def _port(self, name: str) -> int:
        """Return the port of the relay that the wire calls ``name``, 0 if there is none."""
        if self.relays == 64:
            return int(name) + 1 if len(name) == 2 and name.isdecimal() else 0
        if self.relays <= 16:
            name = name.upper()
        return _DIGITS.find(name) + 1 if len(name) == 1 else 0


simulate = NumatoModule
