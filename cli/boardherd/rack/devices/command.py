"""A simulated power switch that is reached by a program: the program, and the device that it talks to.

The program is a real one, made when the device comes alive. It takes ``--at HOST:PORT``, then ``on N``, ``off N``,
``state N``, ``is-on N``, ``states`` or ``check``. It ends with 0 for done, 1 for refused or, asked ``is-on``, for off,
64 for nonsense, 69 when the device cannot be reached. Between the two goes one line of text for each run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from boardherd.rack.devices.contacts import Contacts
from boardherd.rack.devices.tcp_device import Connection, TcpDevice

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


class CommandDevice(TcpDevice[str]):
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
        contacts = Contacts(range(1, outlets + 1), on_change=on_change)
        super().__init__(contacts, host=host, port=port, process_delay=process_delay)
        self.reads, self.program = reads, program
        self.directory = Path(directory or ".")
        """Where the program is, as soon as the device is alive."""
        self.requests: deque[str] = deque(maxlen=1000)
        """What the program asked last."""
        self._needs_directory = directory is None

    def prepare(self) -> None:
        """Write the program."""
        if self._needs_directory:
            self.directory = self.own_directory("command")
        program = self.directory / self.program
        program.write_text(_PROGRAM, encoding="utf-8")
        program.chmod(0o755)

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

    def cut(self, unread: bytearray) -> str | None:
        """Take out the next line."""
        line, end, rest = unread.partition(b"\n")
        if not end:
            return None
        unread[:] = rest
        return line.decode("utf-8", "replace").strip()

    def received(self, connection: Connection, request: str) -> None:
        """Queue a request; lost if the device hangs, and the program waits until it gives up."""
        self.requests.append(request)
        super().received(connection, request)

    def serve(self, connection: Connection, request: str) -> None:
        """Act on a request, answer it and close the connection."""
        code, text = self._act(request.split(" "))
        connection.send(f"{code} ".encode() + text)
        connection.close()

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
