"""What the collector consists of, in which order it starts, and which loops run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from boardherd_collector.connection import Connection
from boardherd_collector.counters import Counters
from boardherd_collector.fleet import Fleet
from boardherd_collector.health import STORE, Health
from boardherd_collector.ingest import Ingest
from boardherd_collector.settings import CollectorSettings, StoreSettings
from boardherd_collector.stores.base import Store, StoreError
from boardherd_collector.stores.memory import MemoryStore
from boardherd_collector.stores.sqlite import SqliteStore
from boardherd_collector.times import MAX_AGE, SECOND
from boardherd_collector.web.server import serve as serve_web
from boardherd_shared.inventory import Inventory
from boardherd_shared.lifecycle import notify, watchdog_interval
from boardherd_shared.topics import Topics

STUCK_S = 60.0
"""A transaction that takes longer than this is no progress, and systemd is told nothing any more."""
_PRUNE_EVERY_S = 600.0
_PRUNE_SLICE = 5000
_PRUNE_PAUSE_S = 0.2

log = structlog.get_logger()


def open_store(settings: StoreSettings) -> Store:
    """Return the store that the settings name, not open yet."""
    return MemoryStore() if settings.path is None else SqliteStore(settings.path)


async def run(
    settings: CollectorSettings,
    inventory: Inventory,
    on_listening: Callable[[str], None] | None = None,
) -> None:
    """Run the collector until cancelled; ``on_listening`` hears the address of the page.

    Raises StoreError when the database cannot be opened, and what the web side raises when its port is
    taken, each with one sentence.
    """
    counters, health, topics = Counters(), Health(), Topics(inventory.lab.site)
    fleet = Fleet(inventory, health.banner)
    async with open_store(settings.store) as store:
        await store.sync_inventory(inventory, round(time.time() * SECOND))
        snapshot = await store.snapshot()
        fleet.restore(snapshot)
        counters.commands.update(snapshot.commands)
        health.set(STORE, ok=True, text=store.name)
        connection = Connection(settings.broker, topics, fleet, counters, health)
        ingest = Ingest(
            topics,
            store,
            fleet,
            counters,
            health,
            post=connection.post,
            on_store_back=connection.renew,
        )

        def listening(url: str) -> None:
            notify("READY=1")
            if on_listening is not None:
                on_listening(url)

        async with asyncio.TaskGroup() as group:
            web = serve_web(
                settings.http,
                fleet=fleet,
                health=health,
                counters=counters,
                store=store,
                on_listening=listening,
            )
            group.create_task(web, name="web")
            group.create_task(ingest.run(), name="ingest")
            group.create_task(connection.run(ingest), name="broker connection")
            group.create_task(_prune(store, health), name="retention")
            group.create_task(_feed_watchdog(ingest), name="watchdog")


async def _prune(store: Store, health: Health) -> None:
    """Delete what is older than is kept, in small slices, so that the writer is never held for long."""
    while True:
        try:
            while health.ok(STORE):
                before = round(time.time() * SECOND) - MAX_AGE
                if not await store.prune(before, _PRUNE_SLICE):
                    break
                await asyncio.sleep(_PRUNE_PAUSE_S)
        except StoreError as error:
            log.warning("retention failed, trying again later", why=str(error))
        await asyncio.sleep(_PRUNE_EVERY_S)


async def _feed_watchdog(ingest: Ingest) -> None:
    """Tell systemd that we are well, as long as the event loop turns and transactions end."""
    interval = watchdog_interval()
    while interval is not None:
        if ingest.busy_for < STUCK_S:
            notify("WATCHDOG=1")
        await asyncio.sleep(interval)
