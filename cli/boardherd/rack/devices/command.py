"""A simulated power switch that is reached by a program: the program, and the device that it talks to.

The program is a real one, made when the device comes alive. It takes ``--at HOST:PORT``, then ``on N``, ``off N``,
``state N``, ``is-on N``, ``states`` or ``check``. It ends with 0 for done, 1 for refused or, asked ``is-on``, for off,
64 for nonsense, 69 when the device cannot be reached. Between the two goes one line of text for each run.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from boardherd.rack.devices.contacts import Contacts
from boardherd.rack.devices.device import SimulatedDevice

Reading = Literal["all", "each", "exit", "no"]

_DONE, _NO, _USAGE = 0, 1, 64
_READ = {
    "all": {"read": ["states"]},
    "each": {"read": ["state", "{port}"]},
    "exit": {"read": ["is-on", "{port}"]},
    "no": {"check": ["check"]},
}
_PLACE = ["--at", "{address}:{tcp_port}"]

_PROGRAM = r"""#!/usr/bin/env bash
# Switches a simulated device; see its simulator.
place=$2
shift 2
exec 3<>"/dev/tcp/${place%:*}/${place##*:}" || exit 69
echo "$*" >&3
IFS= read -r -d " " code <&3
case $code in
    "") echo "$place: it has closed the connection" >&2; exit 69 ;;
    0) cat <&3 ;;
    *) cat <&3 >&2 ;;
esac
exit "$code"
"""


class CommandDevice(SimulatedDevice):
    """One device behind one TCP port, and its program, alive inside ``async with``."""

    def __init__(
        self,
        *,
        outlets: int = 8,
        reads: Reading = "all",
        directory: str | Path | None = None,
        program: str = "simulated-power",
        host: str = "127.0.0.1",
        port: int = 0,
        process_delay: float = 0.002,
        on_change: Callable[[int, bool, float], None] | None = None,
    ) -> None:
        """Describe a device.

        Args:
            outlets: how many outputs it has.
            reads: how it is read back: "all" in one run, "each" by what is printed, by the "exit" status, or "no",
                when it can only be asked whether it is there.
            directory: where the program is put; a directory of its own, which goes with the device, unless given.
            program: the program's file name.
            host: address to listen on.
            port: TCP port, 0 for a free one; the attribute ``port`` tells which, and it stays the same.
            process_delay: seconds between the arrival of a request and acting on it.
            on_change: called with port, energised and monotonic time at each change of an output.
        """
        super().__init__(Contacts(range(1, outlets + 1), on_change=on_change))
        self.reads, self.program = reads, program
        self.host, self.port, self.process_delay = host, port, process_delay
        self.directory = Path(directory or ".")
        """Where the program is, as soon as the device is alive."""
        self.requests: deque[str] = deque(maxlen=1000)
        """What the program asked last."""
        self._own_directory = directory is None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._server: asyncio.Server | None = None
        self._users: dict[asyncio.Task[None], asyncio.StreamReader] = {}
        self._hung = False

    async def __aenter__(self) -> Self:
        if self._own_directory:
            self._temporary = tempfile.TemporaryDirectory(prefix="boardherd-command-")
            self.directory = Path(self._temporary.name)
        program = self.directory / self.program
        program.write_text(_PROGRAM, encoding="utf-8")
        program.chmod(0o755)
        await self._plug()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._unplug()
        await self.contacts.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def stanza(self) -> dict[str, Any]:
        """Return the keys of lab.toml with which a relay reaches this device."""
        keys = {
            "kind": "command",
            "program": self.program,
            "address": self.host,
            "tcp_port": self.port,
            "port_count": len(self.outputs),
            "on": [*_PLACE, "on", "{port}"],
            "off": [*_PLACE, "off", "{port}"],
        }
        read = {key: [*_PLACE, *arguments] for key, arguments in _READ[self.reads].items()}
        return keys | read | ({"read_by": "exit"} if self.reads == "exit" else {})

    def environment(self) -> dict[str, str]:
        """Return the variable that makes the agent find the program."""
        return {"BOARDHERD_COMMANDS": str(self.directory)}

    @property
    def connections(self) -> int:
        """How many runs of the program are connected now; one that was killed is not."""
        return sum(not reader.at_eof() for reader in self._users.values())

    async def hang(self) -> None:
        """Accept connections, and neither act nor answer until :meth:`heal`."""
        self._hung = True

    async def dead(self) -> None:
        """Be out of the program's reach until :meth:`heal`; the outputs stay as they are."""
        await self._unplug()

    async def reboot(self, *, seconds: float = 0.5) -> None:
        """Lose all connections and the outputs, and return when it is back."""
        await self._unplug()
        self.contacts.drop()
        await asyncio.sleep(seconds)
        await self.heal()

    async def heal(self) -> None:
        """End every fault; what came during a hang stays lost."""
        self._hung = self.answer_fail = False
        self.delay, self.garble = 0.0, None
        if self._server is None:
            await self._plug()

    async def _plug(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _unplug(self) -> None:
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for user in self._users:
            user.cancel()
        await asyncio.gather(*self._users, return_exceptions=True)
        await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        user = asyncio.current_task()
        assert user is not None
        user.set_name(f"program at :{self.port}")
        self._users[user] = reader
        self.connections_max = max(self.connections_max, self.connections)
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # unplugged, or the program was killed; asyncio.streams would log a cancelled task
        finally:
            if self._server is None:
                writer.transport.abort()
            writer.close()
            del self._users[user]

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readline()).decode("utf-8", "replace").strip()
        self.requests.append(request)
        await asyncio.sleep(self.process_delay + self.delay)
        if self._hung:
            await reader.read()  # until the program gives up
        if reader.at_eof():
            return
        code, text = self._act(request.split(" "))
        writer.write(f"{code} ".encode() + text)
        with contextlib.suppress(ConnectionError):
            await writer.drain()

    def _act(self, words: list[str]) -> tuple[int, bytes]:
        """Carry out a request; return the program's exit status and what it says."""
        verb, port = words[0], int(words[1]) if len(words) == 2 and words[1].isdecimal() else 0
        if verb == "check":
            return _DONE, b""
        if verb == "states":
            lines = (f"{port} {'on' if energised else 'off'}\n" for port, energised in self.outputs.items())
            return self._told("".join(lines))
        if port not in self.contacts:
            return _USAGE, b"there is no such output\n"
        return self._act_on(verb, port)

    def _act_on(self, verb: str, port: int) -> tuple[int, bytes]:
        """Carry out a request about an output that exists."""
        energised = self.outputs[port]
        match verb:
            case "state":
                return self._told("on\n" if energised else "off\n")
            case "is-on" if self.garble is None:
                return _DONE if energised else _NO, b""
            case "is-on":
                return _USAGE, self.garble or b""
            case "on" | "off" if not self.answer_fail:
                self.contacts.set(port, verb == "on")
                return _DONE, b""
        return _NO, b"the device refuses\n"

    def _told(self, text: str) -> tuple[int, bytes]:
        return _DONE, text.encode() if self.garble is None else self.garble


simulate = CommandDevice
