"""A TCP proxy that treats a connection as badly as a network can, and MQTT a little worse.

Everything is a field of :class:`Conditions` that may be changed at any time; what is under way obeys at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

from faults.frames import Frame, Splitter, puback

Way = Literal["up", "down"]
"""``up`` is from the client to the server."""

_CHUNK = 65536
_MAX_WAITING = 256
"""Packets that may be held in one direction before the sender feels it."""
_SLICE_S = 0.02


@dataclass
class Conditions:
    """How the network is at the moment. The beginning is a perfect one."""

    latency_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float = 0.0
    """0 for as many as there are."""
    stalled: frozenset[Way] = frozenset()
    """Directions in which nothing moves, while the connection seems well."""
    refuse: bool = False
    """New connections are reset as soon as they are made."""
    cut_after: int | None = None
    """Bytes, both ways together, after which the connection is reset; in the middle of a packet if so it falls."""
    drop_acks: float = 0.0
    """Share of the collector's acknowledgements that vanish, although the broker believes them delivered."""
    double_acks: float = 0.0
    double_telemetry: float = 0.0
    delay_acks_s: float = 0.0
    """Acknowledgements come up to so much later, and so in another order."""


@dataclass
class Tally:
    """What the proxy did."""

    connections: int = 0
    resets: int = 0
    done: Counter[str] = field(default_factory=Counter)


class FaultProxy:
    """Listens on a loopback port and passes everything on to another one, as the conditions have it."""

    def __init__(self, target: int, *, mqtt: bool = True, rng: random.Random | None = None) -> None:
        """Prepare a proxy for the server on port ``target``; ``mqtt`` False passes any bytes on."""
        self._target = target
        self._mqtt = mqtt
        self._rng = rng or random.Random()
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()
        self._busy: set[asyncio.Task[None]] = set()
        self.port = 0
        self.conditions = Conditions()
        self.tally = Tally()

    @property
    def open(self) -> int:
        """How many connections there are now."""
        return len(self._pairs)

    def reset(self) -> None:
        """End every connection with a RST."""
        for pair in list(self._pairs):
            pair.reset()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.reset()
        for task in list(self._busy):
            task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        try:
            await self._serve(reader, writer)
        except OSError:  # the other side has gone: that is what proxies see all day
            _kill(writer)
        finally:
            self._busy.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tally.connections += 1
        if self.conditions.refuse:
            self.tally.resets += 1
            _kill(writer)
            return
        there, onward = await asyncio.open_connection("127.0.0.1", self._target)
        pair = _Pair(self, writer, onward)
        self._pairs.add(pair)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(pair.pump("up", reader), name="proxy up")
                group.create_task(pair.pump("down", there), name="proxy down")
        except* (OSError, _Cut):
            pair.reset()
        finally:
            self._pairs.discard(pair)
            pair.close()

    def frames(self, splitter: Splitter | None, data: bytes) -> list[Frame]:
        """Return what ``data`` consists of: packets, or itself."""
        return list(splitter.feed(data)) if splitter else [Frame(data)]

    def splitter(self) -> Splitter | None:
        """Return what cuts one direction into packets, None when that is not wanted."""
        return Splitter() if self._mqtt else None

    def chance(self, share: float, what: str) -> bool:
        """Tell whether something that happens in this ``share`` of cases happens now, and count it."""
        happens = share > 0 and self._rng.random() < share
        self.tally.done[what] += happens
        return happens

    def uniform(self, low: float, high: float) -> float:
        """Return a number from the proxy's own source of chance."""
        return self._rng.uniform(low, high)


class _Cut(Exception):  # noqa: N818 - an order, not a fault
    """The connection ends here, by order."""


class _Pair:
    """Two connections that are one to those at their ends."""

    def __init__(self, proxy: FaultProxy, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._writers: dict[Way, asyncio.StreamWriter] = {"up": server, "down": client}
        self._late: set[asyncio.TimerHandle] = set()
        self._until_cut: int | None = None
        for writer in self._writers.values():
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def reset(self) -> None:
        """End both with a RST."""
        self._proxy.tally.resets += 1
        for writer in self._writers.values():
            _kill(writer)

    def close(self) -> None:
        """Let go of both."""
        for timer in self._late:
            timer.cancel()
        for writer in self._writers.values():
            writer.close()

    async def pump(self, way: Way, reader: asyncio.StreamReader) -> None:
        """Pass on what comes, until there is no more."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_MAX_WAITING)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(way, reader, waiting), name=f"proxy read {way}")
            group.create_task(self._write(way, waiting), name=f"proxy write {way}")

    async def _read(
        self, way: Way, reader: asyncio.StreamReader, waiting: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        splitter = self._proxy.splitter()
        while data := await reader.read(_CHUNK):
            now = self._proxy.conditions
            due = time.monotonic() + now.latency_s + self._proxy.uniform(0, now.jitter_s)
            for frame in self._proxy.frames(splitter, data):
                for packet in self._fate(way, frame):
                    await waiting.put((due, packet))
        raise _Cut

    async def _write(self, way: Way, waiting: asyncio.Queue[tuple[float, bytes]]) -> None:
        while True:
            due, packet = await waiting.get()
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            while way in self._proxy.conditions.stalled:  # noqa: ASYNC110 - conditions are plain fields
                await asyncio.sleep(_SLICE_S)
            await self._send(way, packet)

    async def _send(self, way: Way, packet: bytes) -> None:
        if (cut := self._proxy.conditions.cut_after) is not None:
            self._proxy.conditions.cut_after = max(0, cut - len(packet))
            if cut <= len(packet):
                self._proxy.conditions.cut_after = None
                self._writers[way].write(packet[:cut])
                raise _Cut
        self._writers[way].write(packet)
        await self._writers[way].drain()
        if rate := self._proxy.conditions.bytes_per_s:
            await asyncio.sleep(len(packet) / rate)

    def _fate(self, way: Way, frame: Frame) -> list[bytes]:
        """Return what becomes of a packet: itself, twice itself, or nothing for now."""
        now, chance = self._proxy.conditions, self._proxy.chance
        if way == "up" and frame.topic.endswith("/telemetry"):
            return [frame.data] * (2 if chance(now.double_telemetry, "telemetry doubled") else 1)
        if way == "up" or not frame.topic.endswith("/ack"):
            return [frame.data]
        if chance(now.drop_acks, "acks dropped"):
            self._pretend(frame)
            return []
        if now.delay_acks_s:
            self._proxy.tally.done["acks delayed"] += 1
            self._pretend(frame)
            self._later(self._proxy.uniform(0, now.delay_acks_s), frame.data)
            return []
        return [frame.data] * (2 if chance(now.double_acks, "acks doubled") else 1)

    def _pretend(self, frame: Frame) -> None:
        """Have the broker believe that a packet arrived, so that it goes on with the next."""
        if frame.packet_id:
            self._writers["up"].write(puback(frame.packet_id))

    def _later(self, seconds: float, data: bytes) -> None:
        self._late.add(asyncio.get_running_loop().call_later(seconds, self._writers["down"].write, data))


def _kill(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            # No lingering: the kernel then sends RST instead of FIN (socket(7), SO_LINGER).
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
