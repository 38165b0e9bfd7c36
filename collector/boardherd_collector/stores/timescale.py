"""The store on a PostgreSQL server, with TimescaleDB where it is there.

One connection commits, and holds the advisory lock of its site as long as it lives; a few others answer
questions. Everything that differs between plain PostgreSQL and TimescaleDB is decided at each opening, so the
extension may be added later.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Literal, Self

from boardherd_collector.ledger import merged
from boardherd_collector.owners import Owners
from boardherd_collector.stores import (
    timescale_aggregates,
    timescale_ledger,
    timescale_objects,
    timescale_questions,
    timescale_reader,
    timescale_upkeep,
    timescale_writer,
)
from boardherd_collector.stores.answers import (
    BoardRow,
    BootRow,
    CommandRow,
    Counts,
    DeadLetterRow,
    DiskRow,
    EventRow,
    LivenessRow,
    LossRow,
    PcStatsRow,
    ReportRow,
    Step,
    SummaryRow,
    TrendRow,
)
from boardherd_collector.stores.base import BoardFilter, Commit, Received, RollUp, Snapshot
from boardherd_collector.stores.migrations import Migration, migrations
from boardherd_collector.stores.postgres import Db, NotYet, Readers, Writer
from boardherd_collector.stores.postgres_address import Address
from boardherd_collector.stores.postgres_migrations import migrate
from boardherd_collector.stores.timescale_inventory import hear, set_setting, sync_inventory
from boardherd_collector.stores.timescale_objects import Edition, Found, Policies
from boardherd_collector.times import SECOND
from boardherd_shared.inventory import Inventory
from boardherd_shared.messages import Hello, Range

_RETRY_S = 0.5


class TimescaleStore:
    """A :class:`~boardherd_collector.stores.base.Store` in a PostgreSQL database; of one collector at a time."""

    def __init__(
        self,
        address: Address,
        policies: Policies | None = None,
        *,
        on_wait: Callable[[str], None] | None = None,
        steps: Sequence[Migration] | None = None,
    ) -> None:
        """Use the database at ``address``.

        Args:
            address: where the database is.
            policies: for how long TimescaleDB keeps what; they follow the configuration at each opening.
            on_wait: hears for what :meth:`__aenter__` waits: the server, another collector, a change of the
                schema. Without it, opening fails with StoreError instead of waiting.
            steps: the migrations.
        """
        self.name = f"postgresql {address.display}"
        self.upkeep = ""
        self._address = address
        self._policies = policies or Policies()
        self._on_wait = on_wait
        self._steps = migrations("timescale") if steps is None else steps
        self._owners = Owners()
        self._inventory: Inventory | None = None
        self._found = Found(Edition.NONE)
        self._hypertables: frozenset[str] = frozenset()
        self._writer = Writer(address)
        self._readers = Readers(address)

    async def __aenter__(self) -> Self:
        """Connect, become the one that writes, and bring the schema up to date.

        Waits, if it may, while the server does not answer or another collector of the site writes. Raises
        StoreError in one sentence for what waiting does not mend.
        """
        try:
            await self._open_patiently()
        except BaseException:
            self._writer.abandon()
            await self._readers.close()
            raise
        return self

    async def _open_patiently(self) -> None:
        said = ""
        while True:
            try:
                await self._writer.open()
            except NotYet as reason:
                if self._on_wait is None:
                    raise
                if str(reason) != said:
                    said = str(reason)
                    self._on_wait(said)
                await asyncio.sleep(_RETRY_S)
            else:
                break
        if self._on_wait is not None:
            self._on_wait(f"{self._address.display}: bringing the schema up to date")
        await self._prepare()

    async def _prepare(self) -> None:
        await self._writer.run(self._set_up)
        await self._readers.open()

    async def _set_up(self, db: Db) -> None:
        await migrate(db, self._steps, _now())
        self._found = await timescale_objects.find(db)
        await timescale_objects.apply(db, self._found, self._policies)
        self._hypertables = await timescale_objects.present(db, self._found)
        server = str(await db.fetchval("SHOW server_version")).split(" ")[0]
        unsafe = "" if await db.fetchval("SHOW fsync") == "on" else "; fsync is OFF, a power cut loses data"
        self.name = f"{self._address.display}, PostgreSQL {server}, {self._found.short}{unsafe}"
        self.upkeep = self._found.upkeep

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close it, after what is under way."""
        await self._readers.close()
        await self._writer.close()

    async def reopen(self) -> None:
        """Connect anew, become the one that writes again, and see that the database can be written."""
        self._writer.abandon()
        await self._readers.close()
        await self._writer.open()
        await self._prepare()
        await self._writer.transact(self._begin_again)

    async def _begin_again(self, db: Db) -> None:
        """Write something, to see that it can be done; and the inventory, should the database be a new one."""
        await set_setting(db, "reopened_at", str(_now()))
        if self._inventory is not None:
            await sync_inventory(db, self._inventory, _now())

    async def sync_inventory(self, inventory: Inventory, now: int) -> None:
        """Make PCs, relays, boards and capabilities those of ``inventory``; what left it is retired."""
        self._owners, self._inventory = Owners(inventory), inventory
        await self._writer.transact(lambda db: sync_inventory(db, inventory, now))

    async def commit(self, group: Sequence[Received]) -> Commit:
        """Store the envelopes that are new, in one transaction, and return when it is fsynced.

        After a StoreError it may have been stored or not. The ledger tells: the same envelopes are duplicates then,
        or they are stored now.
        """
        return await self._writer.transact(
            lambda db: timescale_writer.commit(db, group, self._owners, _now())
        )

    async def missing(self, agent: str, stream: str, ranges: Sequence[Range]) -> tuple[Range, ...]:
        """Return which numbers of ``ranges`` are neither stored nor declared lost."""
        books = await self._writer.run(lambda db: timescale_ledger.read_books(db, [stream]))
        book = books.get(stream)
        return tuple(merged(ranges)) if book is None or book.agent != agent else book.ledger.missing(ranges)

    async def hear(self, agent: str, hello: Hello, now: int) -> None:
        """Keep what an agent says of itself and of its PC."""
        await self._writer.transact(lambda db: hear(db, agent, hello, now))

    async def learn_clock(self, agent: str, boot: str, offset: int, now: int) -> int:
        """Keep the offset of a boot's clock unless one is known, and return the one that holds."""
        return await self._writer.transact(
            lambda db: timescale_ledger.learn_clock(db, agent, boot, offset, now)
        )

    async def snapshot(self) -> Snapshot:
        """Return the current state."""
        return await self._readers.run(timescale_reader.snapshot)

    async def events(self, subject: str | None = None, limit: int = 100) -> list[EventRow]:
        """Return events, newest first; those about ``subject`` or anything below it."""
        return await self._readers.run(lambda db: timescale_reader.events(db, subject, limit))

    async def commands(self, target: str | None = None, limit: int = 100) -> list[CommandRow]:
        """Return commands, newest first; those for ``target``."""
        return await self._readers.run(lambda db: timescale_reader.commands(db, target, limit))

    async def boots(self, board: str | None = None, limit: int = 100) -> list[BootRow]:
        """Return boots, newest first."""
        return await self._readers.run(lambda db: timescale_reader.boots(db, board, limit))

    async def losses(self, limit: int = 100) -> list[LossRow]:
        """Return reported losses, newest first."""
        return await self._readers.run(lambda db: timescale_reader.losses(db, limit))

    async def dead_letters(self, limit: int = 100) -> list[DeadLetterRow]:
        """Return records that could not be stored, newest first."""
        return await self._readers.run(lambda db: timescale_reader.dead_letters(db, limit))

    async def host_history(self, pc: str, since: int, limit: int = 10_000) -> list[PcStatsRow]:
        """Return the newest ``limit`` samples of ``pc`` after ``since``, oldest of them first."""
        return await self._readers.run(lambda db: timescale_reader.host_history(db, pc, since, limit))

    async def counts(self) -> Counts:
        """Return how much is stored."""
        return await self._readers.run(timescale_reader.counts)

    async def boards(self, wanted: BoardFilter) -> list[BoardRow]:
        """Return everything about the boards that are wanted, as it is now, by id."""
        return await self._readers.run(lambda db: timescale_questions.boards(db, wanted))

    async def board_history(self, board: str, since: int, limit: int = 1000) -> list[LivenessRow]:
        """Return the newest entries of a board's history after ``since``, and what held then."""
        return await self._readers.run(lambda db: timescale_questions.board_history(db, board, since, limit))

    async def switches(self, relay: str, port: int, limit: int = 100) -> list[CommandRow]:
        """Return the commands that switched a port, newest first."""
        return await self._readers.run(lambda db: timescale_questions.switches(db, relay, port, limit))

    async def host_trend(self, pc: str, since: int, step: Step, limit: int = 10_000) -> list[TrendRow]:
        """Return the newest rollups of ``pc`` since ``since``, oldest of them first."""
        return await self._readers.run(lambda db: timescale_questions.host_trend(db, pc, since, step, limit))

    async def summary(self, by: Literal["test_farm", "platform"]) -> list[SummaryRow]:
        """Return how the boards of each group are, by the name of the group."""
        return await self._readers.run(lambda db: timescale_questions.summary(db, by))

    async def report(self, since: int, until: int) -> list[ReportRow]:
        """Return use, reachability and power cycles of every board, by id."""
        return await self._readers.run(lambda db: timescale_questions.report(db, since, until))

    async def disks(self, within_s: float, since: int) -> list[DiskRow]:
        """Return the PCs whose disk fills in time, soonest first."""
        return await self._readers.run(lambda db: timescale_questions.disks(db, within_s, since))

    async def roll_up(self, window_from: int, budget_s: float) -> RollUp:
        """Work out rollups of hours that records came for, as many as the budget allows.

        Where continuous aggregates roll samples up, those of late samples are refreshed here at once.
        """
        if self._found.edition is Edition.COMMUNITY:
            return await self._writer.run(lambda db: timescale_aggregates.roll_up(db, window_from, budget_s))
        return await self._writer.transact(lambda db: timescale_upkeep.roll_up(db, window_from, budget_s))

    async def prune(self, before: int, limit: int) -> int:
        """Delete up to ``limit`` rows of each series older than ``before``; return how many went.

        Whole chunks go by the retention policy, or here where the licence has no policies: those are counted
        as one. Aggregates are brought up to ``before`` first, should their jobs not have done it. StoreError
        when TimescaleDB's own jobs are behind with their work.
        """
        found = self._found
        if found.edition is Edition.COMMUNITY:
            await self._writer.run(lambda db: timescale_aggregates.check_effects(db, self._policies.raw))
            await self._writer.run(lambda db: timescale_aggregates.materialize(db, before))
        gone = await self._writer.transact(
            lambda db: timescale_upkeep.prune(db, before, limit, self._hypertables)
        )
        if gone == 0 and found.edition is Edition.APACHE:
            gone = await self._writer.transact(
                lambda db: timescale_upkeep.drop_chunks(db, before, self._hypertables)
            )
        return gone

    async def prune_rollups(self, before: int, limit: int) -> int:
        """Delete up to ``limit`` five-minute rollups of the collector's own from before ``before``."""
        return await self._writer.transact(lambda db: timescale_upkeep.prune_rollups(db, before, limit))

    async def forget_deleted(self, limit: int) -> int:
        """Delete up to ``limit`` rows of each series of what a person deleted; return how many went."""
        return await self._writer.transact(
            lambda db: timescale_upkeep.forget_deleted(db, limit, self._hypertables)
        )


def _now() -> int:
    return round(time.time() * SECOND)
