"""A simulated Devantech ETH module: the binary and ASCII protocol on a real TCP port.

It keeps the oddities that a client has to cope with. There is no framing: what arrives together counts as
one command, and whatever follows the first command in it is lost. Opcodes it does not know get no answer at
all. It serves five connections; a sixth is accepted and stays mute until an earlier one closes. A command
takes a moment to act on, and is lost when the client closes before it is acknowledged. Pulses run on the
module's own clock and end in the opposite state. Outputs are off after a reboot unless they are latched.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from boardherd.rack.devices._devantech_discovery import Announcer
from boardherd.rack.devices.contacts import Contacts
from boardherd.rack.devices.tcp_device import Connection, TcpDevice

SERVED_CONNECTIONS = 5
"""Connections that get answers; further ones are accepted and stay mute."""

UNLOCK_S = 30.0
"""A password unlocks its connection for this long after the last authorised command."""

PULSE_UNIT_S = 0.1
"""The unit of the time byte of a set command."""

_OK, _FAIL = b"\x00", b"\x01"


@dataclass(frozen=True)
class Model:
    """What one type of module has."""

    name: str
    outputs: tuple[int, ...]
    mask_bytes: int
    input_bytes: int | None = None
    """Length of the answer to the inputs command; None if the module never answers it."""


_ETH484 = (*range(1, 5), *range(9, 17))

MODELS: dict[int, Model] = {
    18: Model("ETH002", (1, 2), 1),
    19: Model("ETH008", tuple(range(1, 9)), 1),
    20: Model("ETH484", _ETH484, 2, 2),
    21: Model("ETH8020", tuple(range(1, 21)), 3, 4),
    22: Model("WIFI484", _ETH484, 2, 2),
    23: Model("ETH0621", (1, 2, 9, 10), 3, 4),
    24: Model("WIFI8020", tuple(range(1, 21)), 3, 4),
    26: Model("WIFI002", (1, 2), 1),
    28: Model("WIFI008", tuple(range(1, 9)), 1),
    29: Model("ETH044", tuple(range(1, 5)), 2, 2),
    51: Model("ETH1620", tuple(range(1, 21)), 3),
    52: Model("ETH1610", tuple(range(1, 11)), 2, 2),
    54: Model("ETH24V008", tuple(range(1, 9)), 1, 1),
}
"""The modules of the vendor's table, by the id that they report."""


def _model(module_id: int, outputs: int | None) -> Model:
    """Return the model with an id; one that the table lacks has as many plain outputs as is said, or eight."""
    if model := MODELS.get(module_id):
        if outputs not in {None, len(model.outputs), max(model.outputs)}:
            raise ValueError(f"an {model.name} has {len(model.outputs)} outputs, not {outputs}")
        return model
    count = 8 if outputs is None else outputs
    if not 0 <= module_id <= 255 or not 1 <= count <= 24:
        raise ValueError("a module id is a number from 0 to 255, and a module has 1 to 24 outputs")
    return Model(f"module id {module_id}", tuple(range(1, count + 1)), (count + 7) // 8)


class DevantechModule(TcpDevice[bytes]):
    """One module on one TCP port, alive inside ``async with``."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        module_id: int = 19,
        outputs: int | None = None,
        hardware: int = 2,
        firmware: int = 28,
        mac: str = "00:04:A3:00:00:01",
        password: str | None = None,
        volts: float = 12.0,
        discovery_port: int | None = None,
        process_delay: float = 0.002,
        on_change: Callable[[int, bool, float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Describe a module; it is switched on by entering its context.

        Args:
            host: address to listen on.
            port: TCP port, 0 for a free one; the attribute ``port`` tells which, and it stays the same.
            module_id: which of :data:`MODELS` it is, or any other id for a module that nobody knows.
            outputs: how many outputs a module has whose id nobody knows; 8 unless given.
            hardware: hardware version it reports.
            firmware: firmware version it reports.
            mac: hardware address it reports.
            password: ASCII password that set commands need, None for none.
            volts: supply voltage it reports.
            discovery_port: UDP port where it answers the vendor's question who is there, 0 for a free one; None
                for a module that does not.
            process_delay: seconds between the arrival of a command and acting on it.
            on_change: called with port, energised and monotonic time at each change of an output.
            clock: the module's clock in seconds.
            sleep: how the module waits for the end of a pulse.
        """
        self.model = _model(module_id, outputs)
        contacts = Contacts(self.model.outputs, on_change=on_change, clock=clock, sleep=sleep)
        super().__init__(contacts, host=host, port=port, process_delay=process_delay)
        self.module_id, self.hardware, self.firmware = module_id, hardware, firmware
        self.mac, self.password, self.volts = mac, password, volts
        self.inputs = 0
        self.commands: deque[bytes] = deque(maxlen=1000)
        """What arrived last, one entry for each received chunk, unanswered ones included."""
        self.announcer = Announcer(host, module_id, mac)
        """Answers who asks who is there, and knows what it heard."""
        self.discovery_port = discovery_port
        self.clock = clock
        self._unlocked_until: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()

    async def plug_in(self) -> None:
        """Listen; to the vendor's question, too, if it answers that at all."""
        await super().plug_in()
        if self.discovery_port is not None:
            self.discovery_port = await self.announcer.listen(self.host, self.discovery_port)

    async def unplug(self) -> None:
        """Stop listening and reset all connections."""
        self.announcer.close()
        await super().unplug()

    def stanza(self) -> dict[str, Any]:
        """Return the keys of lab.toml with which a relay reaches this module."""
        keys = {"kind": "devantech", "address": self.host, "tcp_port": self.port, "mac": self.mac}
        keys["port_count"] = max(self.outputs)
        return keys | ({"password": self.password} if self.password else {})

    async def reboot(self, *, latched: bool = False, seconds: float = 0.2) -> None:
        """Reset all connections, drop the outputs unless ``latched``, and return when it is back."""
        self.keeps_outputs = latched
        await super().reboot(seconds=seconds)

    def cut(self, unread: bytearray) -> bytes | None:
        """Take all that has arrived together for one command."""
        chunk = bytes(unread)
        unread.clear()
        return chunk or None

    def received(self, connection: Connection, request: bytes) -> None:
        """Queue what arrived; lost if the connection is mute or the module hangs."""
        self.commands.append(request)
        if connection in self._connections[:SERVED_CONNECTIONS]:
            super().received(connection, request)

    def serve(self, connection: Connection, request: bytes) -> None:
        """Carry out the first command in what arrived, and acknowledge it."""
        if answer := self._execute(connection, request):
            connection.send(answer if self.garble is None else self.garble)

    def _execute(self, connection: Connection, chunk: bytes) -> bytes:
        """Carry out the first command in ``chunk`` and return the answer, empty for none."""
        match chunk[0]:
            case 0x20 | 0x21 | 0x23:
                return self._set(connection, chunk)
            case 0x79 | 0x7A | 0x7B:
                return self._password(connection, chunk)
            case 0x3A:
                self._ascii(chunk)
                return b""
            case opcode:
                return self._report(opcode)

    def _report(self, opcode: int) -> bytes:
        """Answer the commands that only read."""
        match opcode:
            case 0x10:
                return bytes([self.module_id, self.hardware, self.firmware])
            case 0x24:
                mask = sum(1 << (port - 1) for port, energised in self.outputs.items() if energised)
                return mask.to_bytes(self.model.mask_bytes, "little")
            case 0x25 if self.model.input_bytes is not None:
                return self.inputs.to_bytes(self.model.input_bytes, "big")
            case 0x77:
                return bytes.fromhex(self.mac.replace(":", "").replace("-", ""))
            case 0x78:
                return bytes([round(self.volts * 10)])
            case _:
                return b""

    def _set(self, connection: Connection, chunk: bytes) -> bytes:
        """Set one output, with an optional pulse, or all; a command cut short gets no answer."""
        arguments = chunk[1 : 1 + self.model.mask_bytes] if chunk[0] == 0x23 else chunk[1:3]
        if len(arguments) < (self.model.mask_bytes if chunk[0] == 0x23 else 2):
            return b""
        if self.answer_fail or not self._authorised(connection):
            return _FAIL
        if chunk[0] == 0x23:
            bits = int.from_bytes(arguments, "little")
            for port in self.outputs:
                self.contacts.set(port, bool(bits >> (port - 1) & 1))
            return _OK
        port, pulse = arguments
        if port not in self.contacts:
            return _FAIL
        self.contacts.set(port, chunk[0] == 0x20, hold=pulse * PULSE_UNIT_S)
        return _OK

    def _ascii(self, chunk: bytes) -> None:
        """Carry out ``:DOA,<n>,<t>[,<password>]`` or ``:DOI``; anything malformed is ignored."""
        verb, *fields = chunk.decode("ascii", "replace").strip("\r\n,").split(",")
        if verb not in {":DOA", ":DOI"} or len(fields) < 2 or not all(f.isdecimal() for f in fields[:2]):
            return
        port, pulse = int(fields[0]), int(fields[1])
        password = fields[2] if len(fields) > 2 else None
        if (
            port in self.contacts
            and pulse <= 255
            and not self.answer_fail
            and self.password in {None, password}
        ):
            self.contacts.set(port, verb == ":DOA", hold=pulse * PULSE_UNIT_S)

    def _password(self, connection: Connection, chunk: bytes) -> bytes:
        """Log in (1 is right and 2 wrong, unlike everywhere else), say how long that holds, or log out."""
        if chunk[0] == 0x7B:
            self._unlocked_until.pop(connection, None)
            return _OK
        if chunk[0] == 0x79:
            if self.password is not None and chunk[1:] != self.password.encode("ascii"):
                return b"\x02"
            self._unlocked_until[connection] = self.clock() + UNLOCK_S
            return b"\x01"
        if self.password is None:
            return b"\xff"
        left = self._unlocked(connection) - self.clock()
        return bytes([math.ceil(left)]) if self._authorised(connection) else b"\x00"

    def _authorised(self, connection: Connection) -> bool:
        if self.password is None:
            return True
        if self._unlocked(connection) <= self.clock():
            return False
        self._unlocked_until[connection] = self.clock() + UNLOCK_S
        return True

    def _unlocked(self, connection: Connection) -> float:
        """Return until when a connection may change something."""
        return self._unlocked_until.get(connection, -math.inf)


simulate = DevantechModule
