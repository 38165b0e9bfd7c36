"""How the store is opened at the start: patiently, and with few words."""

from __future__ import annotations

import asyncio
from typing import Self

import pytest

from boardherd_collector.opening import opened
from boardherd_collector.stores.base import NotYet, StoreError
from boardherd_collector.stores.memory import MemoryStore
from boardherd_shared.inventory import Inventory
from support.telemetry import lab


class Stubborn(MemoryStore):
    """A store that has troubles, one after the other, before it opens or when it is given the inventory."""

    def __init__(self, *troubles: StoreError, late: StoreError | None = None) -> None:
        super().__init__()
        self.troubles = list(troubles)
        self.late = late
        self.opened = 0
        self.slowly: asyncio.Event | None = None

    async def __aenter__(self) -> Self:
        if self.troubles:
            raise self.troubles.pop(0)
        if self.slowly is not None:
            await self.slowly.wait()
        self.opened += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self.opened -= 1

    async def sync_inventory(self, inventory: Inventory, now: int) -> None:
        late, self.late = self.late, None
        if late is not None:
            raise late
        await super().sync_inventory(inventory, now)


async def test_each_reason_to_wait_is_said_once() -> None:
    """OPS-1: however often it tries; and what fails after the opening is closed before the next try."""
    reasons = [NotYet("locked"), NotYet("locked"), NotYet("locked"), NotYet("full")]
    store, heard = Stubborn(*reasons, late=NotYet("away")), list[str]()
    async with opened(store, lab(), heard.append, retry_s=0) as snapshot:
        assert [pc.agent for pc in snapshot.pcs] == ["pc-01", "pc-02"]
        assert store.opened == 1
    assert heard == ["locked", "full", "away"]
    assert store.opened == 0


async def test_what_waiting_does_not_mend_is_raised_at_once() -> None:
    heard = list[str]()
    store = Stubborn(NotYet("locked"), StoreError("no database"), NotYet("never asked"))
    with pytest.raises(StoreError, match="no database"):
        async with opened(store, lab(), heard.append, retry_s=0):
            pass
    assert heard == ["locked"]


async def test_a_long_opening_is_said() -> None:
    store, heard = Stubborn(), list[str]()
    store.slowly = asyncio.Event()

    def hear(text: str) -> None:
        heard.append(text)
        assert store.slowly is not None
        store.slowly.set()

    async with opened(store, lab(), hear, slow_s=0):
        pass
    assert heard == ["memory is being opened, which takes long when a new version changes its schema"]


async def test_a_fault_of_those_who_use_it_is_theirs() -> None:
    """It closes the store, and nothing is tried again."""
    store = Stubborn()
    with pytest.raises(NotYet, match="in use"):
        async with opened(store, lab(), lambda _: None, retry_s=0):
            raise NotYet("in use")
    assert store.opened == 0
