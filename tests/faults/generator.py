"""A test PC that does nothing but report, fast: the agent's own spool, outbox, uplink and link, and a ledger.

Run as ``python -m faults.generator``. Every record carries its number, so that it is known again in whatever
database it ends in: samples as their count of processes, events in their text.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from boardherd_agent.delivery.envelopes import Class
from boardherd_agent.delivery.outbox import Outbox
from boardherd_agent.delivery.spool import Key, Limits, Spool
from boardherd_agent.delivery.uplink import Uplink
from boardherd_shared import lifecycle, logs
from boardherd_shared.clock import SystemClock
from boardherd_shared.link import BrokerSettings, Farewell, Link, Session
from boardherd_shared.messages import Hello, HostFacts, Status, encode
from boardherd_shared.records import EventRecord, Health, HostRecord, Record
from boardherd_shared.topics import Kind, Topics, parse
from faults.ledger import LedgerFile

SUBJECT = "agent/generator"
EVENT_EVERY = 25
"""One record of so many is an event, the others are samples."""
_TICK_S = 0.02


def number_of(record: Record) -> int | None:
    """Return the number of a record of the generator, None for one that the product made itself."""
    if isinstance(record, HostRecord):
        return record.process_count
    if isinstance(record, EventRecord) and record.subject == SUBJECT:
        return int(record.text.split()[-1])
    return None


class WitnessedSpool(Spool):
    """The agent's spool, with a line in the ledger before and after each append."""

    def __init__(self, ledger: LedgerFile, directory: Path, agent: str, limits: Limits) -> None:
        super().__init__(directory, agent=agent, clock=SystemClock(), limits=limits)
        self._ledger = ledger

    async def append(self, class_: Class, records: Sequence[Record]) -> list[Key]:
        """Write ``records``; see the base."""
        numbers = [number for record in records if (number := number_of(record)) is not None]
        if numbers:
            self._ledger.offer(numbers)
        keys = await super().append(class_, records)
        if numbers:
            self._ledger.accept(numbers, keys, volatile=self.figures.volatile)
        return keys


class Generator:
    """Makes records and sends them home."""

    def __init__(self, options: argparse.Namespace, spool: WitnessedSpool, ledger: LedgerFile) -> None:
        self._agent: str = options.agent
        self._rate: float = options.rate
        self._ledger = ledger
        self._clock = SystemClock()
        self._topics = Topics(options.site)
        self._spool = spool
        self._outbox = Outbox(spool, self._clock, samples_every_s=options.gather)
        self._uplink = Uplink(
            spool,
            self._topics,
            self._agent,
            self._clock,
            hello=self._hello,
            on_event=self._outbox.put,
            silence_s=options.silence,
        )
        self._link = Link(
            BrokerSettings(url=options.broker, keepalive_s=options.keepalive),
            name=self._agent,
            will=self._farewell,
            goodbye=self._farewell,
        )

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._spool.run(), name="spool")
            group.create_task(self._outbox.run(), name="outbox")
            group.create_task(self._link.run(self._serve), name="link")
            group.create_task(self._produce(), name="produce")

    async def _produce(self) -> None:
        owed, before = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(_TICK_S)
            now = time.monotonic()
            # A process that was frozen does not make up for more than a second of it.
            owed, before = owed + self._rate * min(1.0, now - before), now
            while owed >= 1:
                owed -= 1
                self._outbox.put(self._record(self._ledger.next))
                self._ledger.next += 1

    def _record(self, number: int) -> Record:
        at, up = self._clock.wall(), self._clock.up()
        if number % EVENT_EVERY == 0:
            return EventRecord(at=at, up=up, event="lifecycle", subject=SUBJECT, text=f"record {number}")
        return HostRecord(at=at, up=up, status=Health.HEALTHY, process_count=number)

    async def _serve(self, session: Session) -> None:
        await session.subscribe(
            *(self._topics.filter(kind, agent=self._agent) for kind in (Kind.ACK, Kind.RESUME)),
            self._topics.filter(Kind.COLLECTOR_STATUS),
        )
        topic = self._topics.build(Kind.STATUS, agent=self._agent)
        await session.publish(topic, self._status("online", session.id), retain=True)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._receive(session), name="receive")
            group.create_task(self._uplink.serve(session), name="uplink")

    async def _receive(self, session: Session) -> None:
        doors = {
            Kind.ACK: self._uplink.on_ack,
            Kind.RESUME: self._uplink.on_resume,
            Kind.COLLECTOR_STATUS: self._uplink.on_collector_status,
        }
        async for message in session.messages():
            address = parse(message.topic)
            if address and address.kind in doors:
                doors[address.kind](message.payload)

    def _hello(self, session: str) -> Hello:
        facts = HostFacts(hostname=self._agent)
        return Hello(session=session, boot=self._clock.boot, wall=0, up=0, host=facts, sample_interval_s=1.0)

    def _farewell(self, session: str) -> Farewell:
        return Farewell(self._topics.build(Kind.STATUS, agent=self._agent), self._status("offline", session))

    def _status(self, state: str, session: str) -> bytes:
        return encode(
            Status.model_validate({"state": state, "session": session, "at": time.time(), "text": state})
        )


async def _main(options: argparse.Namespace) -> None:
    ledger = LedgerFile(options.ledger)
    limits = Limits(max_bytes=options.max_bytes, ballast_bytes=options.ballast)
    async with WitnessedSpool(ledger, options.state, options.agent, limits) as spool:
        await Generator(options, spool, ledger).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="faults.generator", description=__doc__)
    parser.add_argument("--agent", required=True)
    parser.add_argument("--site", required=True)
    parser.add_argument("--broker", required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=100.0, help="records a second")
    parser.add_argument("--gather", type=float, default=0.1, help="seconds that samples wait for company")
    parser.add_argument("--keepalive", type=int, default=5)
    parser.add_argument(
        "--silence", type=float, default=30.0, help="seconds until missing answers are told of"
    )
    parser.add_argument("--max-bytes", type=int, default=1024**3)
    parser.add_argument("--ballast", type=int, default=1024**2)
    return parser


if __name__ == "__main__":
    arguments = _parser().parse_args()
    logs.configure("info", "text")
    sys.exit(lifecycle.run(lambda: _main(arguments)))
