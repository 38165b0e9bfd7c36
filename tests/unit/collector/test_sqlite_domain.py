"""The domain in the SQLite schema: its rules, what is derived, and that every question is one indexed query."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from boardherd_collector.stores import sqlite_questions, sqlite_reader, sqlite_upkeep
from boardherd_collector.stores.base import BoardFilter, Outcome
from boardherd_collector.stores.migrations import migrate, migrations
from boardherd_collector.stores.sqlite import SqliteStore
from boardherd_shared.command import State
from boardherd_shared.records import Power
from support.telemetry import NOW, SECOND, board, event, host, lab, received, relay, step

SERIES = (
    "pc_stats", "pc_stats_5m", "pc_stats_1h", "board_liveness", "board_verdict_hours", "board_minutes",
    "relay_states", "events", "commands", "boots", "board_usage", "losses",
)  # fmt: skip
SINCE = NOW - 7 * 86400 * SECOND

QUESTIONS: dict[str, Callable[[sqlite3.Connection], Any]] = {
    "free boards with CAMERA on j721e": lambda db: sqlite_questions.boards(
        db, BoardFilter(available=True, platform="j721e", capabilities=("CAMERA",))
    ),
    "everything about a board": lambda db: sqlite_questions.boards(db, BoardFilter(board="evm-07")),
    "its commands": lambda db: sqlite_reader.commands(db, "board/evm-07", 20),
    "its events": lambda db: sqlite_reader.events(db, "board/evm-07", 20),
    "its boots": lambda db: sqlite_reader.boots(db, "evm-07", 20),
    "its history": lambda db: sqlite_questions.board_history(db, "evm-07", SINCE, 100),
    "the last 24 h of a PC": lambda db: sqlite_reader.host_history(db, "pc-01", SINCE, 1000),
    "the same by five minutes": lambda db: sqlite_questions.host_trend(db, "pc-01", SINCE, "5m", 1000),
    "the same by hours": lambda db: sqlite_questions.host_trend(db, "pc-01", SINCE, "1h", 1000),
    "the same by days": lambda db: sqlite_questions.host_trend(db, "pc-01", SINCE, "1d", 1000),
    "who switched a port and why": lambda db: sqlite_questions.switches(db, "eth-1", 3, 100),
    "locked boards": lambda db: sqlite_questions.boards(db, BoardFilter(locked=True)),
    "boards dead for an hour": lambda db: sqlite_questions.boards(db, BoardFilter(dead_for_s=3600)),
    "use, idle hours and cycles this week": lambda db: sqlite_questions.report(db, SINCE, NOW),
    "disks full within a week": lambda db: sqlite_questions.disks(db, 7 * 86400, SINCE),
    "boards by test farm": lambda db: sqlite_questions.summary(db, "test_farm"),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


async def filled(path: Path) -> None:
    async with SqliteStore(path) as store:
        await store.sync_inventory(lab(), NOW)
        await store.commit([received(1, host(), board(), relay(), step(State.SUCCEEDED), event())])
        while (await store.roll_up(0, 1.0)).left:
            pass


@pytest.mark.parametrize("question", QUESTIONS)
async def test_each_question_is_one_query_that_never_scans_a_series(path: Path, question: str) -> None:
    await filled(path)
    asked: list[str] = []
    with closing(sqlite3.connect(path)) as db:
        db.set_trace_callback(asked.append)
        QUESTIONS[question](db)
        db.set_trace_callback(None)
        (sql,) = asked
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}")]
    scans = [line for line in plan if line.startswith("SCAN")]
    assert not [line for line in scans if line.split()[1] in SERIES], "\n".join(plan)
    assert not [line for line in plan if "AUTOMATIC" in line and line.split()[1] in SERIES], "\n".join(plan)


async def test_a_scan_would_be_noticed(path: Path) -> None:
    await filled(path)
    with closing(sqlite3.connect(path)) as db:
        plan = [
            row[3] for row in db.execute("EXPLAIN QUERY PLAN SELECT * FROM pc_stats WHERE cpu_percent > 1")
        ]
    assert plan[0].split()[:2] == ["SCAN", "pc_stats"]


async def test_rolling_up_and_deleting_never_scan_a_series(path: Path) -> None:
    await filled(path)
    asked: list[str] = []
    async with SqliteStore(path) as store:
        await store.commit([received(2, host(NOW + 1), board(NOW + 1))])
        await store._writer.run(lambda db: db.execute("DELETE FROM test_pcs WHERE id = 'pc-02'"))
        await store._writer.run(lambda db: db.set_trace_callback(asked.append))
        await store.roll_up(0, 1.0)
        await store.prune(SINCE, 100)
        await store.prune_audit(SINCE, 100)
        await store.prune_rollups(SINCE, 100)
        await store.forget_deleted(100)
        await store._writer.run(lambda db: db.set_trace_callback(None))
        work = [sql for sql in asked if sql.split()[0] in {"SELECT", "INSERT", "DELETE", "UPDATE"}]
        plans = await store._writer.run(
            lambda db: [row[3] for sql in work for row in db.execute(f"EXPLAIN QUERY PLAN {sql}")]
        )
    assert len(work) > 20
    assert not [line for line in plans if line.startswith("SCAN") and line.split()[1] in SERIES]


async def test_what_is_derived_is_in_the_tables_and_views(path: Path) -> None:
    now = round(time.time() * SECOND)
    async with SqliteStore(path) as store:
        await store.sync_inventory(lab(), now)
        records = host(now, memory_used=6_000_000_000), board(now), relay(now)
        await store.commit([received(1, *records, received_at=now)])
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT is_healthy, memory_available_gb FROM pc_stats").fetchone() == (1, 10.0)
        assert db.execute(
            "SELECT id, is_online, is_available_for_testing, is_healthy FROM pc_overview ORDER BY id"
        ).fetchall() == [("pc-01", 1, 1, 1), ("pc-02", 0, 0, None)]
        assert db.execute("SELECT id, is_healthy FROM relay_overview").fetchall() == [("eth-1", 1)]
        assert db.execute(
            "SELECT id, is_alive, is_healthy, can_execute_test, capabilities FROM board_overview ORDER BY id"
        ).fetchall() == [("evm-07", 1, 1, 1, '["CAMERA","CMD"]'), ("evm-08", 0, 0, 0, "[]")]
        db.execute("UPDATE capabilities SET is_active = 0 WHERE name = 'CAMERA'")
        assert db.execute("SELECT capabilities FROM board_overview WHERE id = 'evm-07'").fetchone() == (
            '["CMD"]',
        )


async def test_a_lock_ends_with_its_deadline_and_the_use_with_the_lock(path: Path) -> None:
    now = round(time.time() * SECOND)
    async with SqliteStore(path) as store:
        await store.sync_inventory(lab(), now)
        await store.commit([received(1, host(now), board(now), received_at=now)])

        async def lock(until: int) -> None:
            await store._writer.run(
                lambda db: db.execute(
                    "UPDATE boards SET use_status = 'BUSY', lock_id = 'l-1', lock_owner = 'maria',"
                    " lock_purpose = 'camera', lock_deadline = ? WHERE id = 'evm-07'",
                    (until,),
                )
            )

        await lock(now + 3600 * SECOND)
        (held,) = await store.boards(BoardFilter(locked=True))
        assert (held.id, held.status, held.lock_owner, held.lock_purpose) == (
            "evm-07",
            "BUSY",
            "maria",
            "camera",
        )
        assert held.lock_deadline == (now + 3600 * SECOND) / SECOND
        assert await store.boards(BoardFilter(available=True)) == []
        await lock(now - SECOND)
        assert await store.boards(BoardFilter(locked=True)) == []
        (free,) = await store.boards(BoardFilter(available=True))
        assert (free.status, free.lock_owner, free.is_locked) == ("IDLE", None, False)


async def test_hours_in_use_are_those_of_its_locks_within_the_span(path: Path) -> None:
    hour = 3600 * SECOND
    begin = NOW - NOW % hour
    async with SqliteStore(path) as store:
        await store.sync_inventory(lab(), NOW)
        minutes = [board(begin + minute * 60 * SECOND, change=minute == 0) for minute in range(180)]
        await store.commit([received(1, *minutes, received_at=begin + 3 * hour)])
        while (await store.roll_up(0, 1.0)).left:
            pass
        uses = [
            (begin - hour, begin + hour // 2),
            (begin + hour, begin + 2 * hour),
            (begin + 5 * hour // 2, None),
        ]
        await store._writer.run(
            lambda db: db.executemany(
                "INSERT INTO board_usage (board, started_at, ended_at, who, purpose)"
                " SELECT number, ?, ?, 'maria', 'busy' FROM boards WHERE id = 'evm-07'",
                uses,
            )
        )
        (row, _) = await store.report(begin, begin + 3 * hour)
    assert (row.used_h, row.alive_h, row.idle_h) == pytest.approx((2.0, 3.0, 1.0))


async def test_drift_is_dated_by_its_beginning(path: Path) -> None:
    async with SqliteStore(path) as store:
        await store.sync_inventory(lab(), NOW)

        async def since(seq: int, observed: Power, asked: Power) -> int | None:
            await store.commit([received(seq, relay(NOW + seq, observed, asked=asked))])
            (row,) = await store._reader.run(
                lambda db: db.execute("SELECT drift, drift_since FROM relay_port_overview").fetchall()
            )
            assert row[0] == (row[1] is not None)
            found: int | None = row[1]
            return found

        assert await since(1, Power.OFF, Power.ON) == NOW + 1
        assert await since(2, Power.OFF, Power.ON) == NOW + 1
        assert await since(3, Power.ON, Power.ON) is None
        assert await since(4, Power.OFF, Power.ON) == NOW + 4
        assert await since(5, Power.UNKNOWN, Power.ON) is None


async def test_a_deleted_pc_takes_its_rows_with_it_and_its_number_to_the_grave(path: Path) -> None:
    """DEL-1: its agent, if it lives on, begins anew, and nobody inherits what was stored."""
    async with SqliteStore(path) as store:
        await store.sync_inventory(lab(), NOW)
        first = received(1, host(), board(name="evm-08"), event(), step(State.SUCCEEDED), agent="pc-02")
        await store.commit([first, received(1, host(), stream="b" * 32)])
        await store.roll_up(0, 1.0)
        number = await store._writer.run(
            lambda db: db.execute("DELETE FROM test_pcs WHERE id = 'pc-02' RETURNING number").fetchone()[0]
        )
        assert await store.missing("pc-02", "a" * 32, [(1, 1)]) == ((1, 1),)
        assert (await store.commit([first])).outcomes == [Outcome.COMMITTED]
        assert (await store.commit([first])).outcomes == [Outcome.DUPLICATE]
        (again,) = await store._writer.run(
            lambda db: db.execute("SELECT number FROM test_pcs WHERE id = 'pc-02'").fetchone()
        )
        assert again > number
        assert len(await store.host_history("pc-02", 0)) == 1
        assert await store.forget_deleted(1) >= 1
        while await store.forget_deleted(1):
            pass
        rows = (await store.counts()).rows
        assert (rows["pc_stats"], rows["events"], rows["commands"]) == (2, 2, 1)
        await store.prune_audit(round(time.time() * SECOND) + SECOND, 100)
        left = await store._writer.run(lambda db: db.execute("SELECT count(*) FROM tombstones").fetchone())
        assert left == (0,)


LINE = (
    "INSERT INTO board_lines (uuid, board, name, relay, relay_number, kind, pulse_s, created_at, updated_at)"
    f" SELECT '{uuid.UUID(int=1)}', boards.uuid, 'reset', relays.uuid, {{port}}, {{kind}}, 1, 1"
    " FROM boards, relays WHERE boards.id = 'evm-07'"
)


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("UPDATE relays SET mac_address = '00:00:00:00:00:0G'", "XX:XX"),
        ("UPDATE relays SET mac_address = '00:00-00:00:00:00'", "XX:XX"),
        (LINE.format(port=3, kind="'pulse', 0.3"), "feeds a board"),
        (LINE.format(port=7, kind="'pulse', NULL"), "CHECK"),
        (LINE.format(port=7, kind="'flash', 1"), "CHECK"),
        (LINE.format(port=101, kind="'pulse', 1"), "CHECK"),
        (
            "INSERT INTO board_usage (board, started_at, ended_at, who, purpose) VALUES (1, 5, 4, 'x', 'y')",
            "CHECK",
        ),
        ("INSERT INTO board_usage (board, started_at, who, purpose) VALUES (1, 5, '', 'y')", "CHECK"),
        (
            "INSERT INTO board_usage (board, started_at, who, purpose) VALUES (1, 5, 'x', 'y'), (1, 6, 'x', 'y')",
            "UNIQUE",
        ),
        ("INSERT INTO board_verdict_hours VALUES (1, 0, 'alive', 3601)", "CHECK"),
        ("INSERT INTO board_verdict_hours VALUES (1, 0, 'asleep', 1)", "CHECK"),
        ("INSERT INTO capabilities VALUES ('" + "x" * 36 + "', 'CAMERA', NULL, 1, 1, 1)", "UNIQUE"),
        ("UPDATE boards SET project = '" + "x" * 51 + "'", "CHECK"),
        ("UPDATE boards SET test_farm = 'FARM'", "CHECK"),
    ],
)
async def test_the_database_itself_keeps_the_rules(path: Path, sql: str, why: str) -> None:
    await filled(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA foreign_keys = ON")
        with pytest.raises(sqlite3.IntegrityError, match=why):
            db.execute(sql)


async def test_a_line_and_a_good_address_are_taken(path: Path) -> None:
    await filled(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE relays SET mac_address = '00-04-A3-12-34-56'")
        db.execute(LINE.format(port=4 + 3, kind="'pulse', 0.3"))
        with pytest.raises(sqlite3.IntegrityError, match="a line of a board"):
            db.execute("UPDATE board_feeds SET relay_number = 7 WHERE relay_number = 3")


def test_samples_from_before_rollups_are_rolled_up(path: Path) -> None:
    """The migration puts every hour on the list that has rows already."""
    steps = migrations()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        migrate(db, steps[:4], NOW)
        db.execute(
            "INSERT INTO test_pcs (uuid, id, created_at, updated_at) VALUES (?, 'pc-01', 1, 1)",
            (str(uuid.UUID(int=1)),),
        )
        for at in (NOW, NOW + SECOND, NOW - 7200 * SECOND):
            db.execute(
                "INSERT INTO pc_stats (test_pc, timestamp, received_at, time_quality, status, cpu_percent)"
                " VALUES (1, ?, ?, 'agent', 'HEALTHY', 50)",
                (at, at),
            )
        migrate(db, steps, NOW)
        assert sqlite_upkeep.roll_up(db, 0, 1.0).hours == 2
        assert db.execute("SELECT samples FROM pc_stats_1h ORDER BY bucket").fetchall() == [(1,), (2,)]
        assert db.execute("SELECT samples, cpu_percent_avg FROM pc_stats_1d").fetchall() == [(3, 50.0)]
