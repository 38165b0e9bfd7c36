"""What the collector consists of, in which order it starts, and which loops run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from boardherd_collector.administration import Administration
from boardherd_collector.command_watch import CommandWatch
from boardherd_collector.connection import Connection, Listeners
from boardherd_collector.counters import Counters
from boardherd_collector.fleet import Fleet
from boardherd_collector.health import BROKER, STORE, Health
from boardherd_collector.ingest import Ingest
from boardherd_collector.maintenance import Maintenance
from boardherd_collector.opening import opened
from boardherd_collector.settings import CollectorSettings
from boardherd_collector.stores.base import Store
from boardherd_collector.stores.memory import MemoryStore
from boardherd_collector.stores.sqlite import SqliteStore
from boardherd_collector.stores.timescale import TimescaleStore
from boardherd_collector.stores.timescale_objects import Policies
from boardherd_collector.times import SECOND
from boardherd_collector.web.server import serve as serve_web
from boardherd_shared.definitions import definitions_of
from boardherd_shared.inventory import Inventory
from boardherd_shared.lifecycle import notify, watchdog_interval
from boardherd_shared.topics import Topics

STANDINGS_S = 1.0
"""How often it is looked whether agents have to be told what others decided."""
STUCK_S = 60.0
"""A transaction that takes longer than this is no progress, and systemd is told nothing any more."""

log = structlog.get_logger()


def open_store(settings: CollectorSettings) -> Store:
    """Return the store that the settings name, not open yet."""
    address, path = settings.store.address, settings.store.path
    if address is not None:
        policies = Policies(
            raw=round(settings.retention.raw * SECOND),
            audit=round(settings.retention.audit * SECOND),
            five_minutes=round(settings.retention.five_minutes * SECOND),
            window=round(settings.rollup.window * SECOND),
        )
        return TimescaleStore(address, policies)
    return MemoryStore() if path is None else SqliteStore(path)


async def run(
    settings: CollectorSettings,
    inventory: Inventory,
    on_listening: Callable[[str], None] | None = None,
) -> None:
    """Run the collector until cancelled; ``on_listening`` hears the address of the page.

    While the database is locked, full or away at the start there are page, health and metrics, and agents
    keep what they have: the broker is told that the collector is there once the database is open.

    Raises StoreError when the database cannot be used and waiting does not help, and what the web side
    raises when its port is taken, each with one sentence.
    """
    counters, health, topics = Counters(), Health(), Topics(inventory.lab.site)
    fleet = Fleet(inventory, health.banner)
    begin = asyncio.Event()

    def waiting(text: str) -> None:
        log.warning("waiting for the database", why=text)
        health.set(STORE, ok=False, text=text)
        health.set(BROKER, ok=False, text="not asked before the database is open")
        begin.set()

    def listening(url: str) -> None:
        notify("READY=1")
        if on_listening is not None:
            on_listening(url)

    store = open_store(settings)
    connection = Connection(settings.broker, topics, fleet, counters, health)
    ingest = Ingest(
        topics, store, fleet, counters, health, post=connection.post, on_store_back=connection.renew
    )
    watch = CommandWatch(
        topics,
        store,
        fleet,
        counters,
        health,
        post=connection.post,
        connected_since=lambda: connection.since,
    )
    administration = Administration(topics, inventory, store, fleet, counters, post=connection.post)
    upkeep = Maintenance(store, health, settings.retention, settings.rollup)

    async def show() -> None:
        await begin.wait()
        await serve_web(
            settings.http,
            fleet=fleet,
            health=health,
            counters=counters,
            store=store,
            definitions=definitions_of(inventory),
            on_listening=listening,
        )

    async with asyncio.TaskGroup() as around:
        # While the store is waited for, there is something to ask why.
        around.create_task(show(), name="web")
        around.create_task(_feed_watchdog(ingest), name="watchdog")
        async with opened(store, inventory, waiting) as snapshot:
            fleet.restore(snapshot)
            counters.commands.update(snapshot.commands)
            health.set(STORE, ok=True, text=store.name)
            begin.set()
            async with asyncio.TaskGroup() as group:
                group.create_task(ingest.run(), name="ingest")
                group.create_task(
                    connection.run(Listeners(ingest, watch, administration)), name="broker connection"
                )
                group.create_task(watch.run(), name="command watch")
                group.create_task(administration.run(), name="administration")
                group.create_task(_keep_standings(fleet, ingest), name="standings")
                group.create_task(connection.watch_clock(), name="clock watch")
                group.create_task(upkeep.run(), name="upkeep")


async def _keep_standings(fleet: Fleet, ingest: Ingest) -> None:
    """Tell agents what others decided about their boards and relays, when that is no longer what they know."""
    seen = -1
    while True:
        if seen != fleet.version:
            seen = fleet.version
            ingest.tell_standings(fleet.standings())
        await asyncio.sleep(STANDINGS_S)


async def _feed_watchdog(ingest: Ingest) -> None:
    """Tell systemd that we are well, as long as the event loop turns and transactions end."""
    interval = watchdog_interval()
    while interval is not None:
        if ingest.busy_for < STUCK_S:
            notify("WATCHDOG=1")
        await asyncio.sleep(interval)
