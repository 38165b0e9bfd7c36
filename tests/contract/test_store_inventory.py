"""What every database makes of a new lab.toml: who leaves, comes back, moves, is renamed, is installed anew."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from boardherd_collector.stores.base import BoardFilter, Store
from boardherd_collector.stores.postgres_address import Address
from boardherd_collector.stores.sqlite import SqliteStore
from boardherd_collector.stores.timescale import TimescaleStore
from boardherd_shared.inventory import Inventory
from boardherd_shared.messages import HostFacts
from boardherd_shared.records import Verdict
from support.postgres import query, schema
from support.stores import KINDS, greet
from support.telemetry import LAB, NOW, SECOND, board, hello, lab, received

MINUTE = 60 * SECOND
WITHOUT = LAB.partition("[board.evm-08]")[0]
UUID = "0b6b5f3e-8a52-4ef1-9f2c-2a6f0f6c8a11"


KEYS = "SELECT id, uuid FROM boards WHERE retired_at IS NULL ORDER BY id"


@dataclass
class Base:
    """A database, and a look into its tables."""

    store: Store
    ask: Callable[[str], Awaitable[list[tuple[str, str]]]]

    async def take(self, inventory: Inventory, minute: int) -> None:
        """Have it take in a lab.toml."""
        await self.store.sync_inventory(inventory, NOW + minute * MINUTE)

    async def keys(self) -> dict[str, str]:
        """Return the UUIDs of the boards that are not retired."""
        return {id_: str(key) for id_, key in await self.ask(KEYS)}

    async def texts(self, subject: str) -> list[str]:
        """Return what was told about something itself, oldest first."""
        events = await self.store.events(subject)
        return [row.text for row in reversed(events) if row.subject == subject]

    async def verdicts(self, board: str) -> list[str]:
        return [row.verdict for row in await self.store.board_history(board, 0)]


@pytest.fixture(params=[kind for kind in KINDS if kind != "memory"])
async def base(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Base]:
    if request.param == "sqlite":
        async with SqliteStore(tmp_path / "history.db") as store:

            async def look(sql: str) -> list[tuple[str, str]]:
                with closing(sqlite3.connect(tmp_path / "history.db")) as db:
                    return db.execute(sql).fetchall()

            yield Base(store, look)
        return
    server = request.getfixturevalue(f"{request.param}_server")
    async with (
        schema(server, timescale=request.param == "timescale") as url,
        TimescaleStore(Address(url)) as store,
    ):
        yield Base(store, lambda sql: rows(url, sql))


async def rows(url: str, sql: str) -> list[tuple[str, str]]:
    return [tuple(row) for row in await query(url, sql)]


async def test_what_leaves_the_file_is_retired_with_its_history_and_comes_back_when_it_returns(
    base: Base,
) -> None:
    await base.take(lab(), 0)
    await base.store.commit([received(1, board(NOW, Verdict.ALIVE, "evm-08"), agent="pc-02")])
    before = await base.keys()
    await base.take(lab(WITHOUT), 1)
    assert list(await base.keys()) == ["evm-07"]
    assert await base.verdicts("evm-08") == ["alive"]

    await base.take(lab(), 2)
    assert await base.keys() == before
    assert await base.verdicts("evm-08") == ["alive"]
    assert await base.texts("board/evm-08") == [
        "retired: lab.toml names it no more; its history stays",
        "in use again: lab.toml names it again",
    ]
    assert await base.texts("board/evm-07") == []


async def test_a_test_pc_that_leaves_and_comes_back_is_told(base: Base) -> None:
    await base.take(lab(), 0)
    await base.take(lab(WITHOUT.replace("pc.pc-02 = {}\n", "")), 1)
    await base.take(lab(), 2)
    assert await base.texts("pc/pc-02") == [
        "retired: lab.toml names it no more; its history stays",
        "in use again: lab.toml names it again",
    ]


async def test_a_board_that_moves_keeps_its_key_and_the_move_is_an_event(base: Base) -> None:
    await base.take(lab(), 0)
    before = await base.keys()
    moved = lab(LAB.replace('pc = "pc-01"', 'pc = "pc-02"'))
    for minute in (1, 2):
        await base.take(moved, minute)
    assert await base.keys() == before
    assert {row.id: row.test_pc for row in await base.store.boards(BoardFilter())}["evm-07"] == "pc-02"
    assert await base.texts("board/evm-07") == ["moved from pc-01 to pc-02, as lab.toml says"]
    [event] = await base.store.events("board/evm-07")
    assert (event.pc, event.at) == ("pc-02", (NOW + MINUTE) / SECOND)


async def test_a_given_uuid_holds_at_first_and_the_one_that_is_there_holds_later(base: Base) -> None:
    await base.take(with_uuid("evm-07", UUID), 0)
    assert (await base.keys())["evm-07"] == UUID
    await base.take(lab(), 1)
    assert (await base.keys())["evm-07"] == UUID
    other = UUID.replace("11", "12")
    await base.take(with_uuid("evm-07", other), 2)
    assert (await base.keys())["evm-07"] == UUID


async def test_another_id_with_the_same_uuid_is_the_same_board_with_its_history(base: Base) -> None:
    await base.take(with_uuid("evm-07", UUID), 0)
    await base.store.commit([received(1, board(NOW, Verdict.SILENT, "evm-07"), agent="pc-01")])
    await base.take(with_uuid("evm-70", UUID, renamed="evm-70"), 1)
    assert {id_: key for id_, key in (await base.keys()).items() if key == UUID} == {"evm-70": UUID}
    assert await base.verdicts("evm-70") == ["silent"]
    assert "evm-07" not in await base.keys()


async def test_a_uuid_that_another_board_has_is_not_taken_from_it(base: Base) -> None:
    await base.take(with_uuid("evm-07", UUID), 0)
    await base.take(with_uuid("evm-08", UUID), 1)
    found = await base.keys()
    assert found["evm-07"] == UUID != found["evm-08"]


async def test_a_pc_that_is_installed_anew_is_the_same_pc(base: Base) -> None:
    """Another stream and another session under the same id; an address that moved is told."""
    await base.take(lab(), 0)
    first = hello("pc-01", "1" * 16, host=HostFacts(hostname="pc-01", ip_address="10.0.9.1"))
    again = hello("pc-01", "2" * 16, host=HostFacts(hostname="pc-01", ip_address="10.0.9.2"))
    stranger = hello("pc-77", "3" * 16, host=HostFacts(hostname="pc-77", ip_address="10.0.9.2"))
    for agent, said, at in (("pc-01", first, 0), ("pc-01", again, 1), ("pc-77", stranger, 2)):
        await greet(base.store, agent, said, NOW + at * MINUTE)
    now = {pc.agent: pc for pc in (await base.store.snapshot()).pcs}
    assert now["pc-01"].declared is True
    assert now["pc-77"].declared is False
    assert now["pc-01"].hello is not None
    assert now["pc-01"].hello.session == "2" * 16
    assert await base.texts("pc/pc-77") == ["address 10.0.9.2 moved here from pc-01"]

    await base.take(lab(LAB.replace("pc.pc-02", "pc.pc-77 = {}\npc.pc-02")), 3)
    assert {pc.agent: pc.declared for pc in (await base.store.snapshot()).pcs}["pc-77"] is True


async def test_things_may_swap_what_must_be_unique(base: Base) -> None:
    text = LAB.replace("pc.pc-02 = {}", 'pc.pc-02 = { ip = "10.0.0.2" }')
    await base.take(lab(text), 0)
    swapped = text.replace("10.0.0.1", "X").replace("10.0.0.2", "10.0.0.1").replace("X", "10.0.0.2")
    await base.take(lab(swapped), 1)


def with_uuid(id_: str, key: str, *, renamed: str | None = None) -> Inventory:
    """Return the lab with a UUID at one board, evm-07 under another id if wanted."""
    text = LAB.replace("evm-07", renamed) if renamed else LAB
    return lab(text.replace(f"[board.{id_}]", f'[board.{id_}]\nuuid = "{key}"'))
