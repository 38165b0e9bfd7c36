"""How the collector starts on a database file that cannot be used: it waits, or it says why it does not."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from boardherd_collector.opening import opened
from boardherd_collector.stores.base import NotYet, Outcome
from boardherd_collector.stores.sqlite import SqliteStore
from faults.disks import SmallDisk
from support.agent import AgentProcess
from support.broker import Mosquitto
from support.collector import CollectorProcess
from support.telemetry import SECOND, host, lab, received


def make_database(path: Path) -> None:
    """Make a database as a collector does that ran before."""

    async def make() -> None:
        async with SqliteStore(path):
            pass

    asyncio.run(make())


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db, db:
        return db.execute(sql).fetchall()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Be in the middle of a transaction, as somebody with ``sqlite3`` at a terminal may be."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep even readers out, as a program that mends the file does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


@pytest.mark.parametrize("locked", [writing, alone])
def test_a_database_that_is_locked_is_waited_for(
    mosquitto: Mosquitto, tmp_path: Path, locked: Callable[[Path], AbstractContextManager[None]]
) -> None:
    """OPS-1, DEL-1: page, health and metrics are there, agents spool, and all is stored when the lock is gone."""
    collector = CollectorProcess(tmp_path, mosquitto.url, f"locked-{locked.__name__}")
    make_database(collector.database)
    try:
        with AgentProcess(tmp_path, mosquitto.url):
            with locked(collector.database):
                collector.start(ready=False)
                see_what_it_shows(collector)
                assert collector.stop() == 0  # OPS-2: it can be told to end while it waits
                collector.start(ready=False)
                unlocked_at = round(time.time() * SECOND)
            collector.wait_for("readyz", 200)
            newer = f"SELECT count(*) FROM pc_stats WHERE timestamp > {unlocked_at}"
            until(lambda: query(collector.database, newer) > [(0,)])
        assert collector.stop() == 0
    finally:
        collector.stop()
    ((oldest,),) = query(collector.database, "SELECT min(timestamp) FROM pc_stats")
    assert oldest < unlocked_at
    ((watermark, ranges, envelopes),) = query(
        collector.database, "SELECT watermark, ranges, envelopes FROM streams"
    )
    assert (ranges, envelopes) == ("[]", watermark)
    log = collector.log.read_text()
    assert log.count("waiting for the database") == 2  # once in each life, however often it tries
    assert "Traceback" not in log


def see_what_it_shows(collector: CollectorProcess) -> None:
    """See that there is everything but history, and the reason."""
    ready = collector.get("readyz")[1]
    assert f"{collector.database}: database is locked" in ready
    assert "not asked before the database is open" in ready
    assert collector.get("healthz")[0] == 200
    assert "database is locked" in collector.get("")[1]
    assert "boardherd_collector_store_up 0.0" in collector.get("metrics")[1]
    assert collector.get("api/v1/events")[0] == 503


def until(truth: Callable[[], bool], seconds: float = 20.0) -> None:
    """Poll until something is true."""
    deadline = time.monotonic() + seconds
    while not truth():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)


async def test_a_full_disk_is_waited_for_at_the_start(tmp_path: Path) -> None:
    """OPS-1: SQLite cannot even open its file then, and says what sounds like a broken disk."""
    disk = SmallDisk(tmp_path / "small", 3)
    with disk.mounted() as there:
        if not there:
            pytest.skip("mounting a small file system needs root")
        store = SqliteStore(disk.place / "history.db")
        async with store:
            pass
        disk.fill()
        with pytest.raises(NotYet, match="disk I/O error"):
            async with store:
                pass
        async with opened(store, lab(), lambda _: disk.relieve(), retry_s=0.01):
            assert (await store.commit([received(1, host())])).outcomes == [Outcome.COMMITTED]


def cut_short(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(20_000)


def from_the_future(path: Path) -> None:
    query(path, "INSERT INTO schema_migrations VALUES (99, '0099_far_ahead.sql', '', 0)")


def tampered(path: Path) -> None:
    query(path, "UPDATE schema_migrations SET sha256 = 'other' WHERE number = 3")


def of_somebody_else(path: Path) -> None:
    query(path, "DROP TABLE schema_migrations")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (cut_short, "database disk image is malformed"),
        (from_the_future, "made by a newer boardherd: it has 0099_far_ahead.sql"),
        (tampered, "made with another 0003_series.sql than this program has"),
        (of_somebody_else, "belongs to another program"),
    ],
)
def test_what_waiting_does_not_mend_is_refused(
    mosquitto: Mosquitto, tmp_path: Path, spoil: Callable[[Path], None], sentence: str
) -> None:
    """OPS-4: exit code 1 and one sentence."""
    collector = CollectorProcess(tmp_path, mosquitto.url, "spoilt")
    make_database(collector.database)
    spoil(collector.database)
    done = subprocess.run(
        [sys.executable, "-m", "boardherd_collector", "--config", str(collector.config)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
