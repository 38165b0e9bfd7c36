"""The composition root of the agent: what exists, in what order, which loops run."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from importlib.metadata import version

import structlog

from boardherd_agent.bench import Bench, driver_factories
from boardherd_agent.control.commands import Commander, Request
from boardherd_agent.control.cycle import Executor
from boardherd_agent.control.journal import Journal, JournalAway, PortMemory
from boardherd_agent.delivery.figures import delivery_fields
from boardherd_agent.delivery.files import SpoolBusyError
from boardherd_agent.delivery.outbox import Outbox
from boardherd_agent.delivery.results import Results
from boardherd_agent.delivery.spool import Spool
from boardherd_agent.delivery.states import RetainedStates
from boardherd_agent.delivery.uplink import Uplink
from boardherd_agent.devices.ports import PortStatus
from boardherd_agent.reporting import Reporter
from boardherd_agent.settings import AgentSettings
from boardherd_agent.watch.facts import host_facts
from boardherd_agent.watch.sampling import HostSampler
from boardherd_shared.clock import SystemClock
from boardherd_shared.command import CommandStep
from boardherd_shared.inventory import Inventory, PcConfig
from boardherd_shared.lifecycle import (
    CannotStart,
    credentials_directory,
    notify,
    version_of_python,
    watchdog_interval,
)
from boardherd_shared.link import Farewell, Incoming, Link, LinkDown, Session
from boardherd_shared.messages import Hello, HostFacts, ProtocolError, Status, decode, encode
from boardherd_shared.records import HostRecord
from boardherd_shared.topics import Address, Kind, Topics, parse

_LAST_WORDS_S = 1.5
"""How long a stop waits for the last results to reach the broker."""

_OWN_TOPICS = (Kind.STATUS, Kind.ACK, Kind.RESUME, Kind.COMMAND, Kind.RELAY_STATE, Kind.BOARD_STATE)
"""What an agent reads below its own id: orders and answers, and what the broker remembers of it."""

log = structlog.get_logger()


async def main(settings: AgentSettings, inventory: Inventory) -> None:
    """Be the agent until cancelled; raises CannotStart, or ConfigError for a driver's keys, in words."""
    facts = await asyncio.to_thread(host_facts)
    async with _open(settings) as (spool, journal):
        agent = Agent(settings, inventory, facts, spool, journal)
        await agent.prepare()
        await agent.run()


@contextlib.asynccontextmanager
async def _open(settings: AgentSettings) -> AsyncIterator[tuple[Spool, Journal]]:
    """Open what is kept on the disk."""
    clock = SystemClock()
    with contextlib.suppress(OSError):  # without it everything is kept in memory, and commands are refused
        settings.state_dir.mkdir(parents=True, exist_ok=True)
    spool = Spool(settings.state_dir, agent=settings.pc, clock=clock, limits=settings.spool.limits)
    async with contextlib.AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(spool)
        except SpoolBusyError as error:
            raise CannotStart(str(error)) from error
        yield spool, await stack.enter_async_context(Journal(settings.state_dir / "control.db", clock))


class Agent:
    """Everything that runs on a test PC."""

    def __init__(
        self, settings: AgentSettings, inventory: Inventory, facts: HostFacts, spool: Spool, journal: Journal
    ) -> None:
        """Put the parts together; nothing runs yet."""
        self._settings = settings
        self._inventory = inventory
        self._facts = facts
        self._spool = spool
        self._journal = journal
        self._pc = settings.pc
        self._clock = SystemClock()
        self._topics = Topics(inventory.lab.site)
        self._outbox = Outbox(spool, self._clock)
        self._states = RetainedStates()
        self._results = Results(self._topics)
        self._reporter = Reporter(
            self._pc, self._topics, self._clock, put=self._outbox.put, retain=self._states.set
        )
        self._uplink = Uplink(
            spool, self._topics, self._pc, self._clock, hello=self._hello, on_event=self._outbox.put
        )
        self._link = Link(settings.broker, name=self._pc, will=self._will, goodbye=self._goodbye)
        self._sampler = HostSampler(
            self._clock,
            settings.sampling.interval,
            inventory.lab.pc.get(self._pc, PcConfig()).disk_mountpoint,
            settings.sampling.process_patterns,
            settings.sampling.thresholds,
            self._delivery_fields,
        )
        self._dirty: dict[tuple[str, int], PortMemory] = {}
        self._port_memory_wanted = asyncio.Event()
        self._last_sample = self._clock.up()
        self._session: Session | None = None
        self._bench: Bench
        self._commander: Commander

    async def prepare(self) -> None:
        """Set up the bench with what is remembered of it; raises ConfigError for a driver's keys."""
        places = [*filter(None, [credentials_directory()]), self._settings.secrets_dir]
        factories = driver_factories(self._inventory, self._pc, places)
        self._bench = Bench(
            self._inventory,
            self._pc,
            factories,
            await self._port_memories(),
            self._settings.probing,
            self._clock,
            self._reporter,
            self._remember,
        )
        self._commander = Commander(
            self._pc,
            self._bench.targets,
            self._journal,
            Executor(self._clock, self._bench),
            self._announce,
            self._clock,
            lambda: self._uplink.server_offset,
        )
        if self._pc not in self._inventory.lab.pc:
            log.warning(
                "lab.toml names no such test PC, so it only reports itself",
                pc=self._pc,
                add=f"pc.{self._pc} = {{}}",
            )

    async def _port_memories(self) -> dict[tuple[str, int], PortMemory]:
        try:
            return await self._journal.ports()
        except JournalAway as away:
            log.warning("what was asked of the relays is not remembered", why=str(away))
            return {}

    async def run(self) -> None:
        """Run until cancelled. What decides stops first, then the hardware, then what delivers."""
        async with asyncio.TaskGroup() as delivery:
            delivery.create_task(self._spool.run(), name="spool")
            delivery.create_task(self._outbox.run(), name="outbox")
            delivery.create_task(self._link.run(self._serve), name="link")
            try:
                await self._run_bench()
            finally:
                await self._last_words()

    async def _run_bench(self) -> None:
        async with asyncio.TaskGroup() as hardware:
            hardware.create_task(self._bench.run_relays(), name="relays")
            hardware.create_task(self._keep_port_memory(), name="port memory")
            async with asyncio.TaskGroup() as deciding:
                deciding.create_task(self._commander.run(), name="commands")
                deciding.create_task(self._bench.run_watches(), name="watches")
                deciding.create_task(self._sampler.run(self._sampled), name="sampler")
                deciding.create_task(
                    self._reporter.refresh(self._bench.port_records, self._bench.board_records),
                    name="refresh",
                )
                deciding.create_task(self._feed_watchdog(), name="watchdog")
                self._reporter.lifecycle(f"the agent {version('boardherd-agent')} starts")
                notify("READY=1")

    async def _last_words(self) -> None:
        """Say that the agent stops, and let the last results out."""
        self._reporter.lifecycle("the agent stops")
        session = self._session
        with contextlib.suppress(LinkDown, TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_S):
                if session:
                    await session.publish(
                        self._topics.build(Kind.STATUS, agent=self._pc),
                        self._status("stopping", session.id, "stopping on purpose"),
                        retain=True,
                    )
                    await self._results.drained()

    async def _serve(self, session: Session) -> None:
        """Live one connection to the broker."""
        await session.subscribe(
            *(self._topics.filter(kind, agent=self._pc) for kind in _OWN_TOPICS),
            *(self._topics.filter(Kind.BOARD_COMMAND, board=board) for board in self._bench.boards),
            self._topics.filter(Kind.COLLECTOR_STATUS),
        )
        await self._say_online(session)
        self._session = session
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._receive(session), name="receive")
                tasks.create_task(self._uplink.serve(session), name="uplink")
                tasks.create_task(self._states.serve(session), name="states")
                tasks.create_task(self._results.serve(session), name="results")
        finally:
            self._session = None

    async def _receive(self, session: Session) -> None:
        async for message in session.messages():
            if address := parse(message.topic):
                await self._dispatch(session, address, message)

    async def _dispatch(self, session: Session, address: Address, message: Incoming) -> None:
        match address.kind:
            case Kind.COMMAND | Kind.BOARD_COMMAND:
                if message.payload or not message.retain:  # an empty retained message only clears the topic
                    self._commander.submit(
                        Request(
                            message.payload,
                            address.operator,
                            address.board or None,
                            message.retain,
                            message.received_at,
                        )
                    )
            case Kind.ACK:
                self._uplink.on_ack(message.payload)
            case Kind.RESUME:
                self._uplink.on_resume(message.payload)
            case Kind.COLLECTOR_STATUS:
                self._uplink.on_collector_status(message.payload)
            case Kind.STATUS:
                await self._repair(session, message.payload)
            case Kind.RELAY_STATE | Kind.BOARD_STATE:
                self._clear_if_gone(address, message)

    async def _repair(self, session: Session, payload: bytes) -> None:
        """Say again that we are there, if the will of an older session says that we are not."""
        try:
            said = decode(Status, payload)
        except ProtocolError:
            return
        if said.session == session.id:
            return
        if said.state == "online":
            log.error("another agent claims to be this test PC", pc=self._pc, its_session=said.session)
        else:
            await self._say_online(session)

    def _clear_if_gone(self, address: Address, message: Incoming) -> None:
        """Take back a retained state of something that is no longer ours."""
        if message.payload and not self._bench.has(address.board, address.relay, address.port):
            self._states.set(message.topic, None)

    async def _say_online(self, session: Session) -> None:
        topic = self._topics.build(Kind.STATUS, agent=self._pc)
        await session.publish(topic, self._status("online", session.id, "online"), retain=True)

    def _status(self, state: str, session: str, text: str) -> bytes:
        return encode(
            Status.model_validate({"state": state, "session": session, "at": time.time(), "text": text})
        )

    def _will(self, session: str) -> Farewell:
        topic = self._topics.build(Kind.STATUS, agent=self._pc)
        return Farewell(topic, self._status("offline", session, "the connection was lost"))

    def _goodbye(self, session: str) -> Farewell:
        topic = self._topics.build(Kind.STATUS, agent=self._pc)
        return Farewell(topic, self._status("offline", session, "stopped on purpose"))

    def _hello(self, session: str) -> Hello:
        """Introduce this agent; the uplink adds what its spool holds."""
        return Hello(
            session=session,
            boot=self._clock.boot,
            wall=self._clock.wall(),
            up=self._clock.up(),
            versions={
                "boardherd": version("boardherd-agent"),
                "python": version_of_python(),
                "sqlite": sqlite3.sqlite_version,
                "system": sys.platform,
            },
            inventory=self._inventory.hash,
            host=self._facts,
            boards=tuple(self._bench.boards),
            relays=tuple(self._bench.workers),
            sample_interval_s=self._settings.sampling.interval,
        )

    def _announce(self, step: CommandStep) -> None:
        self._results.put(step)
        self._reporter.command(step)

    def _sampled(self, record: HostRecord) -> None:
        self._last_sample = self._clock.up()
        self._outbox.put(record)

    def _delivery_fields(self) -> dict[str, float | int]:
        return delivery_fields(self._spool.figures, self._uplink.traffic, self._outbox.dropped)

    def _remember(self, status: PortStatus) -> None:
        self._dirty[status.relay, status.port] = PortMemory(
            status.asked, status.switch_count, status.switched_at, status.switched_by
        )
        self._port_memory_wanted.set()

    async def _keep_port_memory(self) -> None:
        """Write down what shall outlive this process of the ports."""
        while True:
            await self._port_memory_wanted.wait()
            self._port_memory_wanted.clear()
            while self._dirty:
                (relay, port), memory = self._dirty.popitem()
                with contextlib.suppress(JournalAway):  # told where it matters: every command is refused
                    await self._journal.remember_port(relay, port, memory)

    async def _feed_watchdog(self) -> None:
        """Tell systemd that there is progress: samples are taken, not merely that the process exists."""
        interval = watchdog_interval()
        while interval:
            if self._clock.up() - self._last_sample < (3 * self._settings.sampling.interval + 10) * 1e6:
                notify("WATCHDOG=1")
            await asyncio.sleep(interval)
