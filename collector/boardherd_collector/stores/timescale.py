"""The store on a PostgreSQL server, with TimescaleDB where it is there.

One connection commits, and holds the advisory lock of its site as long as it lives; a few others answer
questions. Everything that differs between plain PostgreSQL and TimescaleDB is decided at each opening, so the
extension may be added later.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from boardherd_collector.marks import Done, Order
from boardherd_collector.owners import Owners
from boardherd_collector.stores import (
    timescale_aggregates,
    timescale_ledger,
    timescale_objects,
    timescale_orders,
    timescale_past,
    timescale_questions,
    timescale_reader,
    timescale_upkeep,
    timescale_writer,
)
from boardherd_collector.stores.base import (
    Closed,
    Commit,
    Greeted,
    Greeting,
    Received,
    RollUp,
    Unanswered,
)
from boardherd_collector.stores.intake import missing
from boardherd_collector.stores.migrations import Migration, migrations
from boardherd_collector.stores.postgres import Db, Readers, Writer
from boardherd_collector.stores.postgres_address import Address
from boardherd_collector.stores.postgres_migrations import migrate
from boardherd_collector.stores.timescale_inventory import set_setting, sync_inventory
from boardherd_collector.stores.timescale_objects import AUDIT, Edition, Found, Policies
from boardherd_collector.times import SECOND
from boardherd_shared.inventory import Inventory
from boardherd_shared.messages import Range

P = ParamSpec("P")
T = TypeVar("T")


def _asks(
    question: Callable[Concatenate[Db, P], Awaitable[T]],
) -> Callable[Concatenate[TimescaleStore, P], Coroutine[Any, Any, T]]:
    """Make a method of the store of a function that asks a connection; one of the readers answers it."""

    @functools.wraps(question)
    async def ask(self: TimescaleStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._readers.run(lambda db: question(db, *args, **kwargs))

    return ask


class TimescaleStore:
    """A :class:`~boardherd_collector.stores.base.Store` in a PostgreSQL database; of one collector at a time."""

    def __init__(
        self,
        address: Address,
        policies: Policies | None = None,
        *,
        steps: Sequence[Migration] | None = None,
    ) -> None:
        """Use the database at ``address``.

        Args:
            address: where the database is.
            policies: for how long TimescaleDB keeps what; they follow the configuration at each opening.
            steps: the migrations.
        """
        self.name = f"postgresql {address.display}"
        self.upkeep = ""
        self._address = address
        self._policies = policies or Policies()
        self._steps = migrations("timescale") if steps is None else steps
        self._owners = Owners()
        self._inventory: Inventory | None = None
        self._found = Found(Edition.NONE)
        self._hypertables: frozenset[str] = frozenset()
        self._writer = Writer(address)
        self._readers = Readers(address)

    async def __aenter__(self) -> Self:
        """Connect, become the one that writes, and bring the schema up to date.

        Raises StoreError in one sentence if that cannot be: NotYet while the server does not answer or
        another collector of the site writes.
        """
        try:
            await self._writer.open()
            await self._prepare()
        except BaseException:
            self._writer.abandon()
            await self._readers.close()
            raise
        return self

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
        return missing(books.get(stream), agent, ranges)

    async def greet(self, greetings: Sequence[Greeting]) -> list[Greeted]:
        """Take hellos in, in one transaction, and tell what the ledger lacks."""
        return await self._writer.transact(lambda db: timescale_ledger.greet(db, greetings))

    async def administer(self, order: Order) -> Done | None:
        """Keep a command to the collector, and what it changes, in one transaction."""
        return await self._writer.transact(lambda db: timescale_orders.administer(db, order))

    async def note_open(self, seen: Sequence[tuple[str, int, str]], gone: Sequence[str]) -> None:
        """Keep commands that wait for an answer, and forget others."""
        await self._writer.transact(lambda db: timescale_orders.note_open(db, seen, gone))

    async def close_unanswered(self, closed: Sequence[Unanswered]) -> Closed:
        """Write down that commands were not answered, unless it is known that they were."""
        return await self._writer.transact(lambda db: timescale_orders.close_unanswered(db, closed))

    open_commands = _asks(timescale_orders.open_commands)
    snapshot = _asks(timescale_reader.snapshot)
    events = _asks(timescale_reader.events)
    commands = _asks(timescale_reader.commands)
    boots = _asks(timescale_reader.boots)
    losses = _asks(timescale_reader.losses)
    dead_letters = _asks(timescale_reader.dead_letters)
    host_history = _asks(timescale_reader.host_history)
    counts = _asks(timescale_reader.counts)
    boards = _asks(timescale_questions.boards)
    board_history = _asks(timescale_questions.board_history)
    switches = _asks(timescale_questions.switches)
    port_history = _asks(timescale_past.port_history)
    usage = _asks(timescale_past.usage)
    host_trend = _asks(timescale_questions.host_trend)
    summary = _asks(timescale_questions.summary)
    report = _asks(timescale_questions.report)
    disks = _asks(timescale_questions.disks)

    async def roll_up(self, window_from: int, budget_s: float) -> RollUp:
        """Work out rollups of hours that records came for, as many as the budget allows.

        Where continuous aggregates roll samples up, those of late samples are refreshed here at once.
        """
        if self._found.edition is Edition.COMMUNITY:
            return await self._writer.run(lambda db: timescale_aggregates.roll_up(db, window_from, budget_s))
        return await self._writer.transact(lambda db: timescale_upkeep.roll_up(db, window_from, budget_s))

    async def prune(self, before: int, limit: int) -> int:
        """Delete up to ``limit`` samples, verdicts and states of each series older than ``before``.

        Whole chunks go by the retention policy, or here where the licence has no policies: those are counted
        as one. Aggregates are brought up to ``before`` first, should their jobs not have done it. StoreError
        when TimescaleDB's own jobs are behind with their work.
        """
        if self._found.edition is Edition.COMMUNITY:
            await self._writer.run(lambda db: timescale_objects.check_effects(db, self._policies))
            await self._writer.run(lambda db: timescale_aggregates.materialize(db, before))
        gone = await self._writer.transact(
            lambda db: timescale_upkeep.prune(db, before, limit, self._hypertables)
        )
        return gone or await self._drop_chunks(before, self._hypertables - AUDIT)

    async def prune_audit(self, before: int, limit: int) -> int:
        """Delete up to ``limit`` commands, events, boots and losses of each kind older than ``before``.

        Whole chunks go as with :meth:`prune`.
        """
        gone = await self._writer.transact(
            lambda db: timescale_upkeep.prune_audit(db, before, limit, self._hypertables)
        )
        return gone or await self._drop_chunks(before, self._hypertables & AUDIT)

    async def _drop_chunks(self, before: int, tables: frozenset[str]) -> int:
        """Do what a retention policy does, where the licence has none."""
        if self._found.edition is not Edition.APACHE:
            return 0
        return await self._writer.transact(lambda db: timescale_upkeep.drop_chunks(db, before, tables))

    async def prune_rollups(self, before: int, limit: int) -> int:
        """Delete up to ``limit`` five-minute rollups of the collector's own from before ``before``."""
        return await self._writer.transact(lambda db: timescale_upkeep.prune_rollups(db, before, limit))

    async def prune_digests(self, before: int, limit: int) -> int:
        """Delete up to ``limit`` digests of streams that are done with; return how many went."""
        return await self._writer.transact(lambda db: timescale_ledger.prune_digests(db, before, limit))

    async def forget_deleted(self, limit: int) -> int:
        """Delete up to ``limit`` rows of each series of what a person deleted; return how many went."""
        return await self._writer.transact(
            lambda db: timescale_upkeep.forget_deleted(db, limit, self._hypertables)
        )


def _now() -> int:
    return round(time.time() * SECOND)
