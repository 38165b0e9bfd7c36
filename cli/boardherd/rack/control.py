"""The rack's back door for other processes: inject faults, read the truth.

One JSON object a line, one answer a line, over a Unix socket, or loopback TCP where there is none::

    {"op": "fault", "target": "evm-01", "fault": "hang"}
    {"op": "miswire", "a": "eth-1:1", "b": "eth-2:1"}
    {"op": "heal", "target": "evm-01"}          without a target: everything
    {"op": "truth"}

Answers are ``{"ok": true, "text": ...}``, ``{"ok": true, "truth": {...}}`` or ``{"ok": false, "error": ...}``
with a sentence that lists what is known.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from boardherd.rack.background import Background
from boardherd.rack.rack import Rack, RackError
from boardherd.rack.truth import Truth

_LONGEST_PATH = 100
"""Bytes of a Unix socket's path that every system takes."""

_LONGEST_ANSWER = 64 * 1024 * 1024
_TIMEOUT_S = 5.0

_FIELDS = {"fault": ("target", "fault"), "miswire": ("a", "b"), "heal": (), "truth": ()}
"""The operations, and the fields that each one needs."""


class ControlServer:
    """Answers requests about one rack while its context is entered."""

    def __init__(self, rack: Rack, path: Path) -> None:
        """Prepare to serve ``rack`` at the Unix socket ``path``; ``address`` tells where it really is."""
        self.address = ""
        self._rack = rack
        self._path = path.absolute()
        self._background = Background()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        await self._background.__aenter__()
        if hasattr(socket, "AF_UNIX") and len(str(self._path).encode()) <= _LONGEST_PATH:
            self.address = f"unix:{self._path}"
            self._server = await asyncio.start_unix_server(self._welcome, self._path)
        else:
            self._server = await asyncio.start_server(self._welcome, "127.0.0.1", 0)
            self.address = f"tcp:127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        if self.address.startswith("unix:"):
            self._path.unlink(missing_ok=True)
        await self._background.__aexit__(exc_type, exc, tb)

    def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._background.start(self._converse(reader, writer), "rack control connection")

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer line by line until the client goes; a line that is too long ends the conversation."""
        with contextlib.closing(writer), contextlib.suppress(ConnectionError, ValueError):
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            return {"ok": True} | await self._carry_out(_parse(line))
        except RackError as error:
            return {"ok": False, "error": str(error)}

    async def _carry_out(self, request: Mapping[str, str]) -> dict[str, Any]:
        match request["op"]:
            case "fault":
                return {"text": await self._rack.fault(request["target"], request["fault"])}
            case "miswire":
                return {"text": self._rack.miswire(request["a"], request["b"])}
            case "heal":
                return {"text": await self._rack.heal(request.get("target"))}
            case _:
                return {"truth": self._rack.truth().model_dump(mode="json")}


class RackControl:
    """The other side of :class:`ControlServer`: talks to a rack that another process runs."""

    def __init__(self, address: str) -> None:
        """Remember where the rack is: ``unix:<path>`` or ``tcp:<host>:<port>``, as its ready line says."""
        self.address = address

    async def fault(self, target: str, fault: str) -> str:
        """Inject a fault (see :meth:`Rack.fault`) and return what the rack says; raises RackError."""
        return str((await self._ask(op="fault", target=target, fault=fault))["text"])

    async def miswire(self, a: str, b: str) -> str:
        """Swap what two ports feed and return what they feed now; raises RackError."""
        return str((await self._ask(op="miswire", a=a, b=b))["text"])

    async def heal(self, target: str | None = None) -> str:
        """End the faults of a target, or of everything, and return what the rack says; raises RackError."""
        request = {"op": "heal"} if target is None else {"op": "heal", "target": target}
        return str((await self._ask(**request))["text"])

    async def truth(self) -> Truth:
        """Return what really is in the rack; raises RackError if there is none."""
        return Truth.model_validate((await self._ask(op="truth"))["truth"])

    async def _ask(self, **request: str) -> dict[str, Any]:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                line = await self._exchange(json.dumps(request).encode() + b"\n")
        except (OSError, ValueError) as error:
            raise RackError(f"no rack answers at {self.address}; is the demo running?") from error
        if not line:
            raise RackError(f"the rack at {self.address} went away while it was asked")
        answer: dict[str, Any] = json.loads(line)
        if not answer["ok"]:
            raise RackError(answer["error"])
        return answer

    async def _exchange(self, line: bytes) -> bytes:
        kind, _, place = self.address.partition(":")
        if kind == "unix":
            reader, writer = await asyncio.open_unix_connection(place, limit=_LONGEST_ANSWER)
        else:
            host, _, port = place.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port), limit=_LONGEST_ANSWER)
        with contextlib.closing(writer):
            writer.write(line)
            return await reader.readline()


def _parse(line: bytes) -> dict[str, str]:
    """Return a request whose operation is known and whose fields are there; raises RackError."""
    try:
        request = json.loads(line)
    except ValueError as error:
        raise RackError(f"that is no JSON: {error}") from error
    if not isinstance(request, dict) or not all(isinstance(value, str) for value in request.values()):
        raise RackError('a request is a JSON object of texts, such as {"op": "truth"}')
    op = request.get("op")
    if op not in _FIELDS:
        raise RackError(f'there is no operation "{op}"; known are: {", ".join(_FIELDS)}')
    if missing := [field for field in _FIELDS[op] if field not in request]:
        raise RackError(f'the operation "{op}" also needs: {", ".join(missing)}')
    return request
