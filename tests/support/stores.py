"""Every kind of store, for tests that hold for all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from boardherd_collector.stores.base import Greeting, Store
from boardherd_collector.stores.memory import MemoryStore
from boardherd_collector.stores.migrations import Migration
from boardherd_collector.stores.postgres_address import Address
from boardherd_collector.stores.sqlite import SqliteStore
from boardherd_collector.stores.timescale import TimescaleStore
from boardherd_shared.messages import Hello
from support.postgres import schema

KINDS = ("memory", "sqlite", "postgres", "timescale")
"""PostgreSQL without and with TimescaleDB; tests skip what is not installed."""


async def greet(store: Store, agent: str, said: Hello, now: int) -> int:
    """Have a store take in one hello, which it must keep; return the clock that holds for its boot."""
    (greeted,) = await store.greet([Greeting(agent, said, now)])
    assert greeted.refused == ""
    return greeted.clock


@asynccontextmanager
async def opened(kind: str, request: pytest.FixtureRequest, directory: Path) -> AsyncIterator[Store]:
    """Open a new store of a kind; one in a file has it in ``directory``."""
    if kind in {"postgres", "timescale"}:
        server = request.getfixturevalue(f"{kind}_server")
        async with (
            schema(server, timescale=kind == "timescale") as url,
            TimescaleStore(Address(url)) as store,
        ):
            yield store
    else:
        made: Store = MemoryStore() if kind == "memory" else SqliteStore(directory / "history.db")
        async with made as store:
            yield store


def timescale_at(url: str, steps: Sequence[Migration] | None = None) -> TimescaleStore:
    """Return a store at ``url``, not open yet; with other migrations than its own if ``steps`` are given."""
    return TimescaleStore(Address(url), steps=steps)


async def opened_at(url: str, *steps: Migration) -> None:
    """Open a store at ``url`` with ``steps`` for its only migrations, and close it again."""
    async with timescale_at(url, steps):
        pass
