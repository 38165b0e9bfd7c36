"""The broker of the demo: amqtt behind a door that answers MQTT 5 correctly.

amqtt speaks MQTT 3.1.1 only and reads the properties of an MQTT 5 CONNECT as if they were the client id, so
that such a client waits for ever. The door looks at the protocol level first and answers level 5 with reason
code 132 (unsupported protocol version), upon which clients fall back.

``python -m boardherd.embedded_broker --port 1883`` runs it as a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from typing import Any

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker

from boardherd_shared import lifecycle, logs

_LISTENER = "default"
_CONFIG: dict[str, Any] = {
    "listeners": {_LISTENER: {"type": "external"}},
    "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
}
_MQTT_3_1_1 = 4
_CONNACK_UNSUPPORTED_V5 = bytes([0x20, 0x03, 0x00, 132, 0x00])
_CONNECT_TIMEOUT_S = 5.0


class _Replay(StreamReaderAdapter):  # type: ignore[misc]
    """A reader that gives back first what was already looked at."""

    def __init__(self, reader: asyncio.StreamReader, seen: bytes) -> None:
        super().__init__(reader)
        self._seen = seen

    async def read(self, n: int = -1) -> bytes:
        """Read ``n`` bytes, the seen ones first."""
        if not self._seen:
            data: bytes = await super().read(n)
            return data
        part, self._seen = (self._seen, b"") if n < 0 else (self._seen[:n], self._seen[n:])
        if 0 <= len(part) < n:
            part += await super().read(n - len(part))
        return part


async def serve(host: str, port: int) -> None:
    """Be a broker on ``host:port`` until cancelled; raises CannotStart when the port is taken."""
    broker = Broker(_CONFIG)
    await broker.start()
    clients: set[asyncio.StreamWriter] = set()

    async def on_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.add(writer)
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                seen, level = await _look(reader)
            if level == _MQTT_3_1_1:
                await broker.external_connected(_Replay(reader, seen), StreamWriterAdapter(writer), _LISTENER)
            else:
                writer.write(_CONNACK_UNSUPPORTED_V5)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # a client that talks nonsense or has gone
        finally:
            clients.discard(writer)
            writer.close()

    try:
        server = await asyncio.start_server(on_client, host, port)
    except OSError as error:
        await broker.shutdown()
        raise lifecycle.CannotStart(f"the broker cannot listen on {host}:{port}: {_why(error)}") from error
    try:
        async with server:
            bound = server.sockets[0].getsockname()[1]
            print(json.dumps({"ready": True, "port": bound}), flush=True)
            await asyncio.Event().wait()
    finally:
        for writer in list(clients):
            writer.transport.abort()
        await broker.shutdown()


def _why(error: OSError) -> str:
    """Return the system's own words; asyncio's repeat the address."""
    return os.strerror(error.errno) if error.errno else str(error)


async def _look(reader: asyncio.StreamReader) -> tuple[bytes, int]:
    """Return the beginning of a CONNECT packet and the protocol level that stands in it (MQTT 3.1.1, 3.1.2)."""
    seen = await reader.readexactly(2)
    while seen[-1] & 0x80 and len(seen) < 5:  # the remaining length goes on
        seen += await reader.readexactly(1)
    name_length = await reader.readexactly(2)
    seen += name_length + await reader.readexactly(min(int.from_bytes(name_length), 16) + 1)
    return seen, seen[-1]


def main() -> int:
    """Run the broker until a signal ends it."""
    parser = argparse.ArgumentParser(prog="boardherd.embedded_broker", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=1883, help="port to listen on; 0 takes a free one")
    arguments = parser.parse_args()
    logs.configure("warning")
    logging.getLogger("amqtt").setLevel(logging.CRITICAL)
    logging.getLogger("transitions").setLevel(logging.CRITICAL)
    return lifecycle.run(lambda: serve(arguments.host, arguments.port))


if __name__ == "__main__":
    sys.exit(main())
