"""Opens the store at the start, and waits for it as long as waiting may help."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from boardherd_collector.stores.base import NotYet, Snapshot, Store
from boardherd_collector.times import SECOND
from boardherd_shared.inventory import Inventory

RETRY_S = 0.5
"""How long the store is left alone before it is tried again."""
SLOW_S = 15.0
"""No try that fails takes longer than this; one that does is worth a word."""


@asynccontextmanager
async def opened(
    store: Store,
    inventory: Inventory,
    on_wait: Callable[[str], None],
    *,
    retry_s: float = RETRY_S,
    slow_s: float = SLOW_S,
) -> AsyncIterator[Snapshot]:
    """Have ``store`` open, with ``inventory`` in it, and yield the state that it remembers.

    Waits while the store says NotYet: it is locked, full or away, or another collector writes.

    Args:
        store: not open yet.
        inventory: what there is.
        on_wait: hears, in one sentence, why it takes long: once for each reason.
        retry_s: how long to wait between two tries.
        slow_s: after how long a try is worth a word.

    Raises:
        StoreError: for what waiting does not mend.
    """
    said = ""

    def say(text: str) -> None:
        nonlocal said
        if text != said:
            said = text
            on_wait(text)

    while True:
        async with AsyncExitStack() as stack:
            try:
                snapshot = await _told_when_slow(_open(store, inventory, stack), store.name, say, slow_s)
            except NotYet as reason:
                say(str(reason))
            else:
                yield snapshot
                return
        await asyncio.sleep(retry_s)


async def _open(store: Store, inventory: Inventory, stack: AsyncExitStack) -> Snapshot:
    await stack.enter_async_context(store)
    await store.sync_inventory(inventory, round(time.time() * SECOND))
    return await store.snapshot()


async def _told_when_slow(
    work: Awaitable[Snapshot], name: str, say: Callable[[str], None], slow_s: float
) -> Snapshot:
    text = f"{name} is being opened, which takes long when a new version changes its schema"
    slow = asyncio.get_running_loop().call_later(slow_s, say, text)
    try:
        return await work
    finally:
        slow.cancel()
