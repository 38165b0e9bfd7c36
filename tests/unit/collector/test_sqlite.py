"""What is particular to the SQLite store: its file, its constraints, its views."""

from __future__ import annotations

import asyncio
import sqlite3
import time
import uuid
from contextlib import closing
from pathlib import Path

import pytest

from boardherd_collector.stores.base import Outcome, StoreError
from boardherd_collector.stores.migrations import migrations
from boardherd_collector.stores.sqlite import SqliteStore
from boardherd_shared.command import State
from boardherd_shared.messages import HostFacts
from boardherd_shared.records import Power
from support.stores import greet
from support.telemetry import LAB, NOW, SECOND, board, event, hello, host, lab, received, relay, step


def query(path: Path, sql: str, *values: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db, db:
        return db.execute(sql, values).fetchall()


def write_letter(path: Path) -> None:
    path.write_bytes(b"this is a letter to my aunt" * 100)


def size(path: Path) -> int:
    return path.stat().st_size


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


async def test_what_was_committed_is_there_after_closing(path: Path) -> None:
    async with SqliteStore(path) as store:
        await store.sync_inventory(lab(), NOW)
        await store.commit([received(1, host(), board(), relay(), step(State.SUCCEEDED))])
        before = await store.snapshot()
    async with SqliteStore(path) as store:
        assert await store.snapshot() == before
        assert (await store.commit([received(1, host())])).outcomes == [Outcome.CONFLICT]


async def test_it_is_as_durable_as_it_says(path: Path) -> None:
    """DEL-3: a commit that returned has been fsynced."""
    async with SqliteStore(path) as store:
        writer = store._writer
        (sync,) = await writer.run(lambda db: db.execute("PRAGMA synchronous").fetchone())
        (journal,) = await writer.run(lambda db: db.execute("PRAGMA journal_mode").fetchone())
        (keys,) = await writer.run(lambda db: db.execute("PRAGMA foreign_keys").fetchone())
        (vacuum,) = await writer.run(lambda db: db.execute("PRAGMA auto_vacuum").fetchone())
    assert (sync, journal, keys, vacuum) == (2, "wal", 1, 2)


async def test_a_second_collector_on_one_file_is_refused(path: Path) -> None:
    async with SqliteStore(path):
        with pytest.raises(StoreError, match=r"history\.db is in use by another collector"):
            async with SqliteStore(path):
                pass
    async with SqliteStore(path):
        pass


async def test_a_file_that_cannot_be_made_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere/history\.db cannot be written: No such file"):
        async with SqliteStore(tmp_path / "nowhere" / "history.db"):
            pass


async def test_a_file_that_is_no_database_is_refused_in_words(path: Path) -> None:
    write_letter(path)
    with pytest.raises(StoreError, match="file is not a database"):
        async with SqliteStore(path):
            pass


async def test_a_newer_database_is_refused_in_words(path: Path) -> None:
    async with SqliteStore(path):
        pass
    with pytest.raises(StoreError, match="newer boardherd"):
        async with SqliteStore(path, migrations()[:-1]):
            pass


async def test_a_row_that_the_database_refuses_does_not_cost_its_neighbours(path: Path) -> None:
    """DEL-1: nothing of it is kept, and the reason is."""
    async with SqliteStore(path) as store:
        await store.sync_inventory(lab(), NOW)
        query(
            path,
            "CREATE TRIGGER poison BEFORE INSERT ON board_current WHEN NEW.reason = 'poison'"
            " BEGIN SELECT RAISE(ABORT, 'poison'); END",
        )
        bad = board(NOW, name="evm-new", reason="poison")
        commit = await store.commit([received(1, host(), bad, board(), event())])
        await store.commit([received(2, board(NOW + 1, name="evm-new"))])
        (letter,) = await store.dead_letters()
        counts = await store.counts()
    assert (commit.outcomes, commit.dead_letters) == ([Outcome.COMMITTED], 1)
    assert (letter.position, letter.reason) == (1, "poison")
    assert (counts.rows["pc_stats"], counts.rows["board_liveness"], counts.rows["events"]) == (1, 2, 1)


async def test_a_failing_transaction_keeps_nothing(path: Path) -> None:
    """DEL-1: ledger and records change together or not at all."""
    async with SqliteStore(path) as store:
        await store.sync_inventory(lab(), NOW)
        await store._writer.run(lambda db: db.execute("ALTER TABLE stream_digests RENAME TO gone"))
        with pytest.raises(StoreError, match="stream_digests"):
            await store.commit([received(1, host())])
        await store._writer.run(lambda db: db.execute("ALTER TABLE gone RENAME TO stream_digests"))
        counts = await store.counts()
        assert (counts.rows["pc_stats"], counts.streams) == (0, ())
        assert (await store.commit([received(1, host())])).outcomes == [Outcome.COMMITTED]


async def test_a_task_that_is_cancelled_leaves_a_whole_transaction(path: Path) -> None:
    """DEL-1: whether it took place or not, sending again makes it so, once."""
    async with SqliteStore(path) as store:
        await store.sync_inventory(lab(), NOW)
        task = asyncio.create_task(store.commit([received(1, host(), event())]))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await store.commit([received(1, host(), event())])
        rows = (await store.counts()).rows
    assert (rows["pc_stats"], rows["events"]) == (1, 1)


async def test_the_inventory_becomes_rows_and_what_left_it_is_retired(path: Path) -> None:
    async with SqliteStore(path) as store:
        await store.sync_inventory(lab(), NOW)
        keys = dict(query(path, "SELECT id, uuid FROM boards"))  # type: ignore[arg-type]
        smaller = LAB[: LAB.index("[board.evm-08]")]
        await store.sync_inventory(lab(smaller), NOW + 1)
        assert query(path, "SELECT id FROM boards WHERE retired_at IS NOT NULL") == [("evm-08",)]
        await store.sync_inventory(lab(), NOW + 2)
    assert dict(query(path, "SELECT id, uuid FROM boards WHERE retired_at IS NULL")) == keys  # type: ignore[arg-type]
    feeds = query(
        path,
        "SELECT b.id, r.id, relay_number FROM board_feeds f JOIN boards b ON b.uuid = f.board"
        " JOIN relays r ON r.uuid = f.relay ORDER BY 1",
    )
    assert feeds == [("evm-07", "eth-1", 3), ("evm-08", "eth-1", 4)]
    names = query(
        path, "SELECT name FROM board_capabilities JOIN capabilities ON uuid = capability ORDER BY 1"
    )
    assert names == [("CAMERA",), ("CMD",)]


async def test_two_relays_may_swap_their_addresses_and_names(path: Path) -> None:
    text = """
    site = "lab"
    relay.a = { name = "upper", address = "10.0.0.1", mac = "00:00:00:00:00:01", kind = "x" }
    relay.b = { name = "lower", address = "10.0.0.2", mac = "00:00:00:00:00:02", kind = "x" }
    """
    swapped = text.replace("relay.a", "relay.c").replace("relay.b", "relay.a").replace("relay.c", "relay.b")
    async with SqliteStore(path) as store:
        await store.sync_inventory(lab(text), NOW)
        await store.sync_inventory(lab(swapped), NOW)
    assert query(path, "SELECT id, relay_name, ip_address FROM relays ORDER BY id") == [
        ("a", "lower", "10.0.0.2"),
        ("b", "upper", "10.0.0.1"),
    ]


async def test_an_observed_address_moves_and_says_so(path: Path) -> None:
    facts = HostFacts(hostname="twin", ip_address="10.1.1.1")
    async with SqliteStore(path) as store:
        await store.sync_inventory(lab(), NOW)
        await greet(store, "pc-01", hello("pc-01", host=facts), NOW)
        await greet(store, "pc-02", hello("pc-02", host=facts), NOW)
        assert [row.text for row in await store.events("pc/pc-02")] == [
            "address 10.1.1.1 moved here from pc-01"
        ]
    rows = query(path, "SELECT id, observed_ip_address, hostname, hostname_clash FROM test_pcs ORDER BY id")
    assert rows == [("pc-01", None, "twin", 0), ("pc-02", "10.1.1.1", "twin", 1)]


@pytest.mark.parametrize(
    "sql",
    [
        (
            "INSERT INTO pc_stats (test_pc, timestamp, received_at, time_quality, status, cpu_percent)"
            " VALUES (1, 1, 1, 'agent', 'HEALTHY', 101)"
        ),
        "UPDATE boards SET device_type = 'TOASTER'",
        "UPDATE boards SET use_status = 'BUSY'",
        "UPDATE boards SET test_pc = '00000000-0000-0000-0000-000000000000'",
        "UPDATE boards SET deactivated_at = 1",
        "UPDATE relays SET port_count = 101",
        "UPDATE test_pcs SET ip_address = '10.0.0.1'",
        "UPDATE test_pcs SET ip_address = ''",
        "UPDATE board_feeds SET relay_number = 3",
        "UPDATE test_pcs SET maintenance_since = 1",
    ],
)
async def test_the_database_itself_keeps_the_rules_of_the_domain(path: Path, sql: str) -> None:
    async with SqliteStore(path) as store:
        await store.sync_inventory(lab(), NOW)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA foreign_keys = ON")
        with pytest.raises(sqlite3.IntegrityError):
            db.execute(sql)


async def test_a_deleted_relay_or_pc_empties_what_named_it(path: Path) -> None:
    async with SqliteStore(path) as store:
        await store.sync_inventory(lab(), NOW)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("DELETE FROM relays")
        db.execute("DELETE FROM test_pcs WHERE id = 'pc-01'")
    rows = query(path, "SELECT id, test_pc, relay, relay_number FROM board_overview ORDER BY id")
    assert rows == [("evm-07", None, None, None), ("evm-08", "pc-02", None, None)]


async def test_views_tell_what_is_so_now_and_not_what_was(path: Path) -> None:
    """States age in the views: what nobody confirms any more is unknown, never off."""
    now = round(time.time() * SECOND)
    old = now - 600 * SECOND
    async with SqliteStore(path) as store:
        await store.sync_inventory(lab(), now)
        await store.commit([received(1, host(now), board(now), relay(now), received_at=now)])
        stale = host(old), board(old, name="evm-08"), relay(old, Power.OFF, port=4)
        await store.commit([received(1, *stale, agent="pc-02", stream="c" * 32, received_at=old)])
    assert query(path, "SELECT id, status FROM pc_overview ORDER BY id") == [
        ("pc-01", "ONLINE"),
        ("pc-02", "OFFLINE"),
    ]
    boards = query(
        path, "SELECT id, status, verdict, is_alive, can_execute_test FROM board_overview ORDER BY id"
    )
    assert boards == [("evm-07", "IDLE", "alive", 1, 1), ("evm-08", "OFFLINE", "unknown", 0, 0)]
    assert query(path, "SELECT port, board, observed FROM relay_port_overview ORDER BY port") == [
        (3, "evm-07", "on"),
        (4, "evm-08", "unknown"),
    ]
    assert query(path, "SELECT id, status FROM relay_overview") == [("eth-1", "ACTIVE")]
    assert query(
        path, "SELECT test_farm, boards, alive, available FROM board_summary_by_test_farm ORDER BY 1"
    ) == [
        ("HLOS", 1, 1, 1),
        ("RTOS", 1, 0, 0),
    ]
    assert query(path, "SELECT platform, boards FROM board_summary_by_platform ORDER BY 1") == [
        ("am62x", 1),
        ("j721e", 1),
    ]


async def test_a_relay_is_at_fault_only_by_the_word_of_an_agent_that_is_there(path: Path) -> None:
    """What a silent agent said last of a module says nothing about it, and about its ports neither."""
    now = round(time.time() * SECOND)
    statuses = "SELECT relay.status, port.observed, port.is_confirmed FROM relay_overview AS relay"
    statuses += " JOIN relay_port_overview AS port ON port.relay = relay.id"
    async with SqliteStore(path) as store:
        await store.sync_inventory(lab(), now)
        await store.commit([received(1, relay(now - 2 * SECOND), received_at=now - 2 * SECOND)])
        assert query(path, statuses) == [("ACTIVE", "on", 1)]
        await store.commit([received(2, relay(now, Power.UNKNOWN), received_at=now)])
        assert query(path, statuses) == [("FAULT", "unknown", 1)]
        query(path, "UPDATE test_pcs SET last_heartbeat_at = ? WHERE id = 'pc-01'", now - 31 * SECOND)
        assert query(path, statuses) == [("INACTIVE", "unknown", 0)]
        query(path, "UPDATE test_pcs SET sample_interval_s = 60 WHERE id = 'pc-01'")
        assert query(path, statuses) == [("FAULT", "unknown", 1)]


async def test_an_older_database_knows_the_interval_from_the_hello_that_it_holds(path: Path) -> None:
    async with SqliteStore(path, migrations()[:7]):
        pass
    for id_, said in (("pc-01", '{"sample_interval_s": 1e300}'), ("pc-02", '{"v": 1}')):
        query(
            path,
            "INSERT INTO test_pcs (uuid, id, hello, created_at, updated_at) VALUES (?, ?, ?, 1, 1)",
            str(uuid.uuid4()),
            id_,
            said,
        )
    async with SqliteStore(path):
        pass
    assert query(path, "SELECT id, sample_interval_s FROM test_pcs ORDER BY id") == [
        ("pc-01", 86400.0),
        ("pc-02", 10.0),
    ]
    assert query(path, "SELECT silent_at FROM pc_silence") == [(None,), (None,)]


async def test_drift_is_worked_out_by_the_database(path: Path) -> None:
    records = [
        relay(NOW, Power.OFF, asked=Power.ON),
        relay(NOW + 1, Power.ON, expected="off"),
        relay(NOW + 2, Power.ON, asked=Power.ON, expected="on"),
        relay(NOW + 3, Power.UNKNOWN, asked=Power.ON, expected="on"),
    ]
    async with SqliteStore(path) as store:
        await store.sync_inventory(lab(), NOW)
        await store.commit([received(1, *records)])
    assert query(path, "SELECT drift FROM relay_states ORDER BY timestamp") == [(1,), (1,), (0,), (0,)]


async def test_pruned_space_goes_back_to_the_file_system(path: Path) -> None:
    async with SqliteStore(path) as store:
        await store.sync_inventory(lab(), NOW)
        for seq in range(1, 6):
            await store.commit(
                [received(seq, *[event(NOW - second, text="x" * 300) for second in range(300)])]
            )
        await store._writer.run(lambda db: db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
        big = size(path)
        while await store.prune_audit(NOW + 1, 1000):
            pass
        await store._writer.run(lambda db: db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
        assert size(path) < big / 2


async def test_a_state_that_this_program_cannot_read_is_left_out(path: Path) -> None:
    async with SqliteStore(path) as store:
        await store.sync_inventory(lab(), NOW)
        await store.commit([received(1, board(), relay())])
        query(path, "UPDATE board_current SET record = '{\"from\": \"the future\"}' WHERE verdict = 'alive'")
        snapshot = await store.snapshot()
    assert (snapshot.boards, len(snapshot.ports)) == ((), 1)
