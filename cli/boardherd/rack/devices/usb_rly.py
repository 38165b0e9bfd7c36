"""A simulated Devantech USB-RLY module: commands of a single byte, switches without an answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from boardherd.rack.devices.contacts import Contacts
from boardherd.rack.devices.serial_device import SerialDevice

RELAYS = {8: 8, 9: 8, 10: 2, 15: 8}
"""How many relays there are, by module id: USB-RLY08, USB-RLY16, USB-RLY02, USB-RLY16L."""

LATCHING = 15
"""The module whose contacts stay where they are without power."""

_SET_STATES = 0x5C
_ENERGISE, _RELEASE = 0x64, 0x6E


class UsbRlyModule(SerialDevice):
    """One module on one serial port, alive inside ``async with``."""

    def __init__(
        self,
        *,
        module_id: int = 9,
        version: int = 2,
        path: str | Path | None = None,
        process_delay: float = 0.002,
        on_change: Callable[[int, bool, float], None] | None = None,
    ) -> None:
        """Describe a module.

        Args:
            module_id: which of :data:`RELAYS` it is; an id that is not there has eight.
            version: software version that it reports.
            path: where its port is to be found; in a directory of its own unless given.
            process_delay: seconds between the arrival of a command and acting on it.
            on_change: called with port, energised and monotonic time at each change of a relay.
        """
        contacts = Contacts(range(1, RELAYS.get(module_id, 8) + 1), on_change=on_change)
        super().__init__("usb_rly", contacts, path=path, process_delay=process_delay)
        self.module_id, self.version = module_id, version

    def cut(self, typed: bytearray) -> bytes | None:
        """Take out the next byte, or the next two if a mask follows."""
        length = 2 if typed[:1] == bytes([_SET_STATES]) else 1
        if len(typed) < length:
            return None
        command = bytes(typed[:length])
        del typed[:length]
        return command

    def execute(self, command: bytes) -> bytes:
        """Answer a question, or set relays without a word."""
        match command[0]:
            case 0x5A:
                return bytes([self.module_id, self.version])
            case 0x5B:
                return bytes([sum(1 << (port - 1) for port, energised in self.outputs.items() if energised)])
            case 0x5D:
                return bytes([50])  # 5.0 V, from USB
            case 0x5C:
                for port in self.outputs:
                    self.command_contact(port, bool(command[1] >> (port - 1) & 1))
            case byte if _ENERGISE <= byte <= _ENERGISE + 8:
                self._set(byte - _ENERGISE, energised=True)
            case byte if _RELEASE <= byte <= _RELEASE + 8:
                self._set(byte - _RELEASE, energised=False)
        return b""

    def lose_power(self) -> None:
        """Drop the contacts; those of the latching module stay as they are."""
        if self.module_id != LATCHING:
            super().lose_power()

    def _set(self, relay: int, *, energised: bool) -> None:
        """Set one relay, or all for 0."""
        for port in [relay] if relay else list(self.outputs):
            self.command_contact(port, energised)


simulate = UsbRlyModule
