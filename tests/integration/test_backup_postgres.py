"""Copies of a PostgreSQL database by its own programs, with and without TimescaleDB."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from boardherd_collector import backup_postgres
from boardherd_collector.stores.base import BoardFilter, StoreError
from boardherd_collector.stores.migrations import migrations
from boardherd_collector.stores.postgres_address import Address
from boardherd_collector.stores.timescale import TimescaleStore
from support.postgres import execute, query
from support.telemetry import NOW, board, event, host, lab, received

STEPS = migrations("timescale")


@pytest.fixture(params=["postgres", "timescale"])
def dsn(request: pytest.FixtureRequest) -> str:
    """An empty database, without and with TimescaleDB."""
    url: str = request.getfixturevalue(f"{request.param}_dsn")
    return url


def quiet(what: str, share: float) -> None:
    assert 0 <= share <= 1, what


async def filled(url: str, envelopes: int) -> None:
    async with TimescaleStore(Address(url)) as store:
        await store.sync_inventory(lab(), NOW)
        for seq in range(1, envelopes + 1):
            await store.commit([received(seq, host(NOW + seq), board(NOW + seq), event(NOW + seq))])


async def backup(url: str, target: Path) -> Path:
    return await asyncio.to_thread(backup_postgres.backup, Address(url), target, quiet)


async def restore(source: Path, url: str, site: str = "lab") -> str:
    return await asyncio.to_thread(backup_postgres.restore, source, Address(url), STEPS, site, quiet)


async def samples(url: str) -> int:
    ((count,),) = await query(url, "SELECT count(*) FROM pc_stats")
    return int(count)


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def at(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{name}").geturl()


async def test_a_copy_made_in_use_is_put_back_and_the_database_before_is_kept(
    dsn: str, tmp_path: Path
) -> None:
    """DEL-1: what the copy lacks is asked for again, because its ledger lacks it too."""
    copy = tmp_path / "copy.dump"
    async with TimescaleStore(Address(dsn)) as store:
        await store.sync_inventory(lab(), NOW)
        await store.commit([received(1, host(), board(), event())])
        assert await backup(dsn, copy) == copy
        await store.commit([received(2, host(NOW + 1))])
        with pytest.raises(StoreError, match="is in use by boardherd-collector"):
            await restore(copy, dsn)
    aside = await restore(copy, dsn)
    try:
        assert (await samples(dsn), await samples(at(dsn, aside))) == (1, 2)
        async with TimescaleStore(Address(dsn)) as store:
            assert await store.missing("pc-01", "a" * 32, [(1, 2)]) == ((2, 2),)
            await store.commit([received(2, host(NOW + 1))])
            await store.roll_up(0, 1.0)
            assert len(await store.host_history("pc-01", 0)) == 2
            assert (await store.boards(BoardFilter()))[0].id == "evm-07"
    finally:
        await execute(at(dsn, "postgres"), f'DROP DATABASE "{aside}" WITH (FORCE)')


async def test_what_cannot_be_put_back_changes_nothing(postgres_dsn: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy.dump"
    await filled(postgres_dsn, 2)
    await backup(postgres_dsn, copy)
    with pytest.raises(StoreError, match='belongs to the site "lab", the inventory to "hq"'):
        await restore(copy, postgres_dsn, "hq")
    with pytest.raises(StoreError, match="there is no file"):
        await restore(tmp_path / "nothing", postgres_dsn)
    broken = tmp_path / "broken.dump"
    broken.write_bytes(copy.read_bytes()[:3000])
    with pytest.raises(StoreError, match="pg_restore failed"):
        await restore(broken, postgres_dsn)
    assert await samples(postgres_dsn) == 2
    rows = await query(postgres_dsn, "SELECT datname FROM pg_database WHERE datname LIKE '%_restored_%'")
    assert rows == []


async def test_a_failed_backup_leaves_the_one_before(postgres_dsn: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy.dump"
    copy.write_bytes(b"the one before")
    with pytest.raises(StoreError, match="is no database of boardherd"):
        await backup(postgres_dsn, copy)
    with pytest.raises(StoreError, match=r"pg_dump failed: .*Connection refused"):
        await backup("postgresql://postgres@127.0.0.1:1/x", copy)
    assert names(tmp_path) == ["copy.dump"]
    assert copy.read_bytes() == b"the one before"


async def test_the_migrations_of_a_database_are_told(postgres_dsn: str) -> None:
    assert await asyncio.to_thread(backup_postgres.applied, Address(postgres_dsn), STEPS) == set()
    await filled(postgres_dsn, 1)
    applied = await asyncio.to_thread(backup_postgres.applied, Address(postgres_dsn), STEPS)
    assert applied == {step.number for step in STEPS}
    with pytest.raises(StoreError, match="newer boardherd"):
        await asyncio.to_thread(backup_postgres.applied, Address(postgres_dsn), STEPS[:-1])
