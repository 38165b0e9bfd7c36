"""The composition root of the agent: what exists, in what order, which loops run."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import sys
from collections.abc import AsyncIterator
from functools import partial
from importlib.metadata import version

import structlog

from boardherd_agent.bench import Bench, driver_factories
from boardherd_agent.control.consoles import left_to, writing_refused
from boardherd_agent.control.control_file import ControlFile
from boardherd_agent.control.desk import Desk
from boardherd_agent.control.journal import Journal, JournalAway, PortMemory
from boardherd_agent.control.wiring import News
from boardherd_agent.conversation import Conversation
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
from boardherd_agent.watch.consoles.sharing import Place, Sharing
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
from boardherd_shared.link import Link, LinkDown
from boardherd_shared.locks import Lock
from boardherd_shared.messages import Hello, HostFacts, Standing
from boardherd_shared.records import HostRecord, Power
from boardherd_shared.topics import Topics

_DRAIN_S = 60.0
"""How long a drain waits for the collector before it says what is left."""

_LAST_WORDS_S = 1.5
"""How long a stop waits for the last results to reach the broker."""

log = structlog.get_logger()


async def main(settings: AgentSettings, inventory: Inventory) -> None:
    """Be the agent until cancelled; raises CannotStart, or ConfigError for a driver's keys, in words."""
    facts = await asyncio.to_thread(host_facts)
    async with _open(settings) as (spool, control):
        agent = Agent(settings, inventory, facts, spool, control)
        await agent.prepare()
        await agent.run()


@contextlib.asynccontextmanager
async def _open(settings: AgentSettings) -> AsyncIterator[tuple[Spool, ControlFile]]:
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
        yield spool, await stack.enter_async_context(ControlFile(settings.state_dir / "control.db"))


class Agent:
    """Everything that runs on a test PC."""

    def __init__(
        self,
        settings: AgentSettings,
        inventory: Inventory,
        facts: HostFacts,
        spool: Spool,
        control: ControlFile,
    ) -> None:
        """Put the parts together; nothing runs yet."""
        self._settings = settings
        self._inventory = inventory
        self._facts = facts
        self._spool = spool
        self._control = control
        self._pc = settings.pc
        self._clock = SystemClock()
        self._journal = Journal(control, self._clock)
        self._topics = Topics(inventory.lab.site)
        self._outbox = Outbox(spool, self._clock)
        self._states = RetainedStates()
        self._results = Results(self._topics)
        self._reporter = Reporter(
            self._pc, self._topics, self._clock, put=self._outbox.put, retain=self._states.set
        )
        self._uplink = Uplink(
            spool,
            self._topics,
            self._pc,
            self._clock,
            hello=self._hello,
            on_event=self._outbox.put,
            on_standing=self._heed,
        )
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
        self._bench: Bench
        self._desk: Desk
        self._conversation: Conversation

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
            may_restore=self._may_restore,
            past_boots=self._settings.state_dir / "boots.json",
        )
        self._desk = Desk(
            self._pc,
            self._inventory,
            self._bench,
            self._control,
            self._clock,
            server_offset=lambda: self._uplink.server_offset,
            announce=self._announce,
            lock_changed=self._lock_changed,
            drained=self._drained,
            wiring_changed=self._wiring_changed,
        )
        self._reporter.lock_of = self._desk.locks.of
        self._reporter.fault_of = self._desk.safety.tripped
        self._reporter.words_of = self._bench.last_words
        for board, console in self._bench.consoles.items():
            console.held = partial(self._console_left_to, board)
        self._reporter.wiring_of = self._desk.wiring.of
        self._conversation = Conversation(
            self._pc,
            self._topics,
            self._bench.boards,
            self._bench.has,
            self._desk.locks,
            self._desk.commander.submit,
            self._uplink,
            self._states,
            self._results,
        )
        if self._pc not in self._inventory.lab.pc:
            log.warning(
                "lab.toml names no such test PC, so it only reports itself",
                pc=self._pc,
                add=f"pc.{self._pc} = {{}}",
            )

    def _console_left_to(self, board: str) -> str:
        locks = self._desk.locks
        return left_to(locks.of(board), unsure=locks.unsure)

    def _may_write(self, board: str, user: str, lock_id: str | None) -> str:
        return writing_refused(board, self._desk.locks.of(board), user, lock_id)

    def _may_restore(self, relay: str, port: int) -> bool:
        return self._desk.may_restore(relay, port)

    async def _port_memories(self) -> dict[tuple[str, int], PortMemory]:
        try:
            return await self._journal.ports()
        except JournalAway as away:
            log.warning("what was asked of the relays is not remembered", why=str(away))
            return {}

    async def run(self) -> None:
        """Run until cancelled. What decides stops first, then the hardware, then what delivers."""
        link = Link(
            self._settings.broker,
            name=self._pc,
            will=self._conversation.will,
            goodbye=self._conversation.goodbye,
        )
        async with asyncio.TaskGroup() as delivery:
            delivery.create_task(self._spool.run(), name="spool")
            delivery.create_task(self._outbox.run(), name="outbox")
            delivery.create_task(link.run(self._conversation.live), name="link")
            try:
                await self._run_bench()
            finally:
                await self._last_words()

    async def _run_bench(self) -> None:
        async with asyncio.TaskGroup() as hardware:
            hardware.create_task(self._bench.run_relays(), name="relays")
            hardware.create_task(self._keep_port_memory(), name="port memory")
            async with asyncio.TaskGroup() as deciding:
                deciding.create_task(self._desk.run(), name="desk")
                deciding.create_task(self._listen_locally(), name="local socket")
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
        session = self._conversation.session
        with contextlib.suppress(LinkDown, TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_S):
                if session:
                    await self._conversation.say_stopping(session)
                    await self._results.drained()

    async def _listen_locally(self) -> None:
        """Take commands from this machine and share consoles with it, where it has Unix sockets."""
        if sys.platform == "win32":
            return
        from boardherd_agent.control.local import LocalSocket
        from boardherd_agent.local_users import user_of_tcp

        places = {
            board: Place(config.console, config.console_tcp) for board, config in self._bench.boards.items()
        }
        sharing = Sharing(places, self._bench.consoles, self._may_write, user_of_tcp)
        local = LocalSocket(self._settings.socket, self._desk.commander.submit, sharing.converse)
        async with asyncio.TaskGroup() as doors:
            doors.create_task(sharing.run(), name="consoles over TCP")
            doors.create_task(local.run(), name="commands of this machine")

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

    def _heed(self, standing: Standing) -> None:
        """Take what others decided: boards that are not this agent's, relays that are out of service."""
        contested = self._desk.admission.contested
        if contested != standing.contested:
            log.warning("boards are contested", boards=standing.contested)
            contested.clear()
            contested.update(standing.contested)
        for relay, worker in self._bench.workers.items():
            worker.maintenance = standing.maintenance.get(relay, "")

    def _announce(self, step: CommandStep) -> None:
        self._results.put(step)
        self._reporter.command(step)

    def _lock_changed(self, board: str, lock: Lock, ended: str) -> None:
        self._reporter.lock(board, lock, ended)
        if console := self._bench.watches[board].console:
            console.look_again()
        self._reporter.board(self._bench.watches[board].record(change=True))

    def _wiring_changed(self, news: News) -> None:
        if news.event:
            self._reporter.event(news.event, f"board/{news.board}", news.text)
        self._bench.wiring_changed(news.board, news.wiring, change=bool(news.event))

    async def _drained(self) -> str:
        """Wait until what is spooled is stored, but not for ever; return what is left, in words."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                while self._spool.figures.pending:  # noqa: ASYNC110 - acknowledged in many places
                    await asyncio.sleep(0.2)
        left = self._spool.figures.pending
        return (
            f"drained; {left} envelopes stay in the spool until the collector takes them"
            if left
            else "drained"
        )

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
        if status.observed is not Power.UNKNOWN:
            self._desk.safety.observed((status.relay, status.port), on=status.observed is Power.ON)

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
