"""The collector as a process of its own, and somebody who speaks to it as an agent would."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from boardherd_shared.link import BrokerSettings, Incoming, Link, LinkDown, Session
from boardherd_shared.messages import (
    Ack,
    ProtocolError,
    RefusedEnvelope,
    Resume,
    Standing,
    Status,
    StreamInfo,
    decode,
    digest,
    encode,
)
from boardherd_shared.topics import Kind, Topics, parse
from support.ports import free_port
from support.telemetry import LAB, SECOND, hello, payload


class CollectorProcess:
    """``boardherd-collector`` on files of its own."""

    def __init__(self, directory: Path, broker: str, site: str, lab: str = LAB) -> None:
        self.site = site
        self.database = directory / "history.db"
        self.log = directory / "collector.log"
        self.port = free_port()
        self.config = directory / "collector.toml"
        (directory / "lab.toml").write_text(lab.replace('site = "lab"', f'site = "{site}"'))
        self.config.write_text(
            f'inventory = "{directory}/lab.toml"\n'
            f'[broker]\nurl = "{broker}"\nkeepalive_s = 5\n'
            f'[store]\nurl = "sqlite://{self.database}"\n'
            f"[http]\nport = {self.port}\n"
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, ready: bool = True) -> None:
        """Start it, and return once it is ready, or once it says why it is not."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "boardherd_collector", "--config", str(self.config)],
                stdout=log,
                stderr=log,
            )
        self.wait_for("readyz", 200 if ready else 503)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it with a signal; return its exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(how)
        code = self.process.wait(15)
        self.process = None
        return code

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body of a page; 0 when there is no answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except (OSError, urllib.error.URLError):
            return 0, ""

    def wait_for(self, path: str, status: int, timeout: float = 20.0) -> str:
        """Return the body of ``path`` once it answers with ``status``."""
        deadline = time.monotonic() + timeout
        seen: tuple[int, str] = (0, "")
        while time.monotonic() < deadline:
            seen = self.get(path)
            if seen[0] == status:
                return seen[1]
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(f"/{path} gave {seen}, not {status}; log:\n{self.log.read_text()}")

    def until_online(self, pc: str, timeout: float = 20.0) -> None:
        """Return once the collector says that a test PC is online."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            _, body = self.get("api/v1/fleet")
            if any(
                it["id"] == pc and it["status"] == "ONLINE" for it in json.loads(body or "{}").get("pcs", ())
            ):
                return
            time.sleep(0.05)
        raise AssertionError(f"{pc} is not online: {body}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()


class AgentStandIn:
    """Keeps envelopes until they are acknowledged, and sends again what is not: what the contract asks for."""

    def __init__(self, broker: str, site: str, agent: str = "pc-01", stream: str = "a" * 32) -> None:
        self.topics = Topics(site)
        self.agent, self.stream = agent, stream
        self.pending: dict[int, bytes] = {}
        self.acked: set[int] = set()
        self.refused: list[RefusedEnvelope] = []
        self.resumes: list[Resume] = []
        self.standings: list[Standing] = []
        self.facts: dict[str, Any] = {}
        self.collector: Status | None = None
        self._seq = 0
        self._hello_due = False
        self._link = Link(BrokerSettings(url=broker, keepalive_s=5), name=f"stand-in-{agent}")
        self._session: Session | None = None
        self._task: asyncio.Task[None] | None = None

    def put(self, *records: Any, **other: Any) -> int:
        """Take records into an envelope."""
        self._seq += 1
        self.pending[self._seq] = payload(self._seq, *records, agent=self.agent, stream=self.stream, **other)
        return self._seq

    async def publish(self, topic: str, body: bytes, *, retain: bool = False) -> None:
        """Publish anything."""
        assert self._session is not None
        await self._session.publish(topic, body, retain=retain)

    async def until(self, condition: Any, timeout: float = 30.0) -> None:
        """Wait for something to become true."""
        async with asyncio.timeout(timeout):
            while not condition():
                assert self._task is not None
                assert not self._task.done(), self._task
                await asyncio.sleep(0.01)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._link.run(self._serve), name="agent stand-in")
        await self.until(lambda: self._session is not None)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _serve(self, session: Session) -> None:
        await session.subscribe(
            self.topics.build(Kind.ACK, agent=self.agent),
            self.topics.build(Kind.RESUME, agent=self.agent),
            self.topics.build(Kind.COLLECTOR_STATUS),
        )
        status = Status(state="online", session=session.id, at=time.time())
        await session.publish(self.topics.build(Kind.STATUS, agent=self.agent), encode(status), retain=True)
        self._session = session
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(session), name="stand-in listener")
            group.create_task(self._send(session), name="stand-in sender")

    async def _listen(self, session: Session) -> None:
        async for message in session.messages():
            with contextlib.suppress(ProtocolError):  # somebody may be talking nonsense on purpose
                self._heard(message)
            if self._hello_due:
                self._hello_due = False
                await self._say_hello(session)

    def _heard(self, message: Incoming) -> None:
        address = parse(message.topic)
        assert address is not None
        if address.kind is Kind.COLLECTOR_STATUS:
            status = decode(Status, message.payload)
            known = self.collector.session if self.collector else None
            self._hello_due = status.state == "online" and status.session != known
            self.collector = status
        elif address.kind is Kind.RESUME:
            self.resumes.append(decode(Resume, message.payload))
        else:
            ack = decode(Ack, message.payload)
            assert ack.stream == self.stream
            self.standings += [ack.standing] if ack.standing else []
            for first, last in ack.committed:
                for seq in range(first, last + 1):
                    self.acked.add(seq)
                    self.pending.pop(seq, None)
            for refused in ack.refused:
                self.refused.append(refused)
                body = self.pending.get(refused.seq)
                if body is not None and digest(body) == refused.digest:
                    del self.pending[refused.seq]

    async def _say_hello(self, session: Session) -> None:
        streams = (StreamInfo(stream=self.stream, retained=((1, max(1, self._seq)),), last=self._seq),)
        up = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
        said = hello(
            self.agent, session.id, wall=round(time.time() * SECOND), up=up, streams=streams, **self.facts
        )
        await session.publish(self.topics.build(Kind.HELLO, agent=self.agent), encode(said), retain=True)

    async def _send(self, session: Session) -> None:
        """Send what is pending, again and again, until it is acknowledged."""
        topic = self.topics.build(Kind.TELEMETRY, agent=self.agent)
        while True:
            for body in list(self.pending.values())[:20]:
                with contextlib.suppress(LinkDown):
                    await session.publish(topic, body)
            await asyncio.sleep(0.05)


async def retained(broker: str, topic: str) -> dict[str, Any]:
    """Return the JSON that the broker keeps on ``topic``."""
    link = Link(BrokerSettings(url=broker), name="reader")
    async with asyncio.timeout(10), link.session() as session:
        await session.subscribe(topic)
        async for message in session.messages():
            found: dict[str, Any] = json.loads(message.payload)
            return found
    raise AssertionError("nothing is kept there")
