"""What is particular to the store on PostgreSQL: its constraints, views, migrations, lock and connections."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from boardherd_collector.opening import opened as at_the_start
from boardherd_collector.stores.base import NotYet, Outcome, StoreError
from boardherd_collector.stores.migrations import Migration, migrate, migrations
from boardherd_collector.stores.postgres_address import Address
from boardherd_collector.stores.timescale import TimescaleStore
from boardherd_shared.command import State
from boardherd_shared.messages import HostFacts
from boardherd_shared.records import Power
from support.postgres import Postgres, database, execute, query
from support.stores import greet
from support.telemetry import (
    LAB,
    NOW,
    SECOND,
    board,
    event,
    hello,
    host,
    lab,
    loss,
    received,
    relay,
    step,
)

OTHER = "c" * 32


def store_at(url: str, steps: Sequence[Migration] | None = None) -> TimescaleStore:
    return TimescaleStore(Address(url), steps=steps)


async def test_what_was_committed_is_there_after_closing(postgres_dsn: str) -> None:
    async with store_at(postgres_dsn) as store:
        await store.sync_inventory(lab(), NOW)
        await store.commit([received(1, host(), board(), relay(), step(State.SUCCEEDED))])
        before = await store.snapshot()
    async with store_at(postgres_dsn) as store:
        assert await store.snapshot() == before
        assert (await store.commit([received(1, host())])).outcomes == [Outcome.CONFLICT]


async def test_it_is_as_durable_as_it_says(postgres_dsn: str) -> None:
    """DEL-3: the session waits for the disk whatever the database's default is, and says when the server does not."""
    await execute(
        postgres_dsn, f"ALTER DATABASE {postgres_dsn.rpartition('/')[2]} SET synchronous_commit = off"
    )
    async with store_at(postgres_dsn) as store:
        assert await store._writer.run(lambda db: db.fetchval("SHOW synchronous_commit")) == "on"
        assert await store._readers.run(lambda db: db.fetchval("SHOW default_transaction_read_only")) == "on"
        fsync = await store._writer.run(lambda db: db.fetchval("SHOW fsync"))
        assert ("fsync is OFF" in store.name) == (fsync == "off")
        assert "no TimescaleDB" in store.name
        assert "the collector rolls up" in store.upkeep


async def test_a_second_collector_of_the_site_is_refused_or_waits(postgres_dsn: str) -> None:
    heard, told = list[str](), asyncio.Event()
    patient = TimescaleStore(Address(postgres_dsn))

    async def take_over() -> None:
        async with at_the_start(patient, lab(), lambda text: (heard.append(text), told.set())[0]):
            assert (await patient.commit([received(1, host()), received(2, host())])).outcomes == [
                Outcome.DUPLICATE,
                Outcome.COMMITTED,
            ]

    async with store_at(postgres_dsn) as first:
        await first.sync_inventory(lab(), NOW)
        with pytest.raises(NotYet, match=r"is in use by another collector at 127\.0\.0\.1"):
            async with store_at(postgres_dsn):
                pass
        waiting = asyncio.create_task(take_over(), name="second collector")
        await told.wait()
        assert not waiting.done()
        await first.commit([received(1, host())])
    await waiting
    assert len(heard) == 1
    assert "in use by another collector" in heard[0]


async def test_who_lost_the_lock_cannot_commit(postgres_dsn: str) -> None:
    """The lock lives in the session that commits: when another has it, ours is dead."""
    async with store_at(postgres_dsn) as first:
        await first.sync_inventory(lab(), NOW)
        pid = await first._writer.run(lambda db: db.fetchval("SELECT pg_backend_pid()"))
        await query(postgres_dsn, "SELECT pg_terminate_backend($1, 5000)", pid)
        async with store_at(postgres_dsn) as second:
            await second.commit([received(1, host())])
            with pytest.raises(StoreError):
                await first.commit([received(2, host())])
            with pytest.raises(StoreError, match="in use by another collector"):
                await first.reopen()
        await first.reopen()
        assert (await first.commit([received(1, host())])).outcomes == [Outcome.DUPLICATE]
        assert (await first.counts()).rows["pc_stats"] == 1


async def test_two_sites_share_a_database_in_schemas_of_their_own(postgres_dsn: str) -> None:
    await execute(postgres_dsn, "CREATE SCHEMA site_a", "CREATE SCHEMA site_b")
    urls = [f"{postgres_dsn}?options=-csearch_path%3D{name}" for name in ("site_a", "site_b")]
    with pytest.raises(StoreError, match="schema in its search path does not exist"):
        async with store_at(f"{postgres_dsn}?options=-csearch_path%3Dnowhere"):
            pass
    async with store_at(urls[0]) as first, store_at(urls[1]) as second:
        await first.sync_inventory(lab(), NOW)
        await second.sync_inventory(lab(LAB.replace('"lab"', '"hq"', 1)), NOW)
        await first.commit([received(1, host())])
        assert (await second.counts()).rows["pc_stats"] == 0
        assert "site_a" in first.name


async def test_a_row_that_the_database_refuses_does_not_cost_its_neighbours(postgres_dsn: str) -> None:
    """DEL-1: nothing of it is kept, and the reason is."""
    async with store_at(postgres_dsn) as store:
        await store.sync_inventory(lab(), NOW)
        await execute(
            postgres_dsn,
            "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF NEW.reason = 'poison' THEN RAISE EXCEPTION 'poison'; END IF; RETURN NEW; END $$",
            "CREATE TRIGGER poison BEFORE INSERT ON board_current FOR EACH ROW EXECUTE FUNCTION poison()",
        )
        good = [board(NOW + number, name=f"evm-{number:02}") for number in range(20)]
        bad = board(NOW + 7, name="evm-new", reason="poison")
        commit = await store.commit([received(1, host(), *good[:9], bad, *good[9:], event())])
        await store.commit([received(2, board(NOW + 99, name="evm-new"))])
        (letter,) = await store.dead_letters()
        counts = await store.counts()
    assert (commit.outcomes, commit.dead_letters) == ([Outcome.COMMITTED], 1)
    assert commit.records == {"host": 1, "board": 20, "event": 1}
    assert (letter.position, letter.reason) == (10, "poison")
    assert (counts.rows["pc_stats"], counts.rows["board_liveness"], counts.rows["events"]) == (1, 21, 1)


async def test_a_loss_beside_a_poison_row_is_declared_once(postgres_dsn: str) -> None:
    """DEL-1: what is undone for its neighbour's sake is done again, and no number is entered twice."""
    async with store_at(postgres_dsn) as store:
        await store.sync_inventory(lab(), NOW)
        await execute(postgres_dsn, "ALTER TABLE events ADD CHECK (text <> 'poison')")
        records = [
            loss(1, 3),
            event(text="poison"),
            event(),
            step(State.FAILED, NOW + 1),
            loss(5, 5, at=NOW + 2),
        ]
        commit = await store.commit([received(9, *records)])
        (stream,) = (await store.counts()).streams
        losses = await store.losses()
    assert (stream.watermark, stream.ranges, stream.lost_envelopes) == (3, ((5, 5), (9, 9)), 4)
    assert [(row.first, row.last, row.envelopes) for row in losses] == [(5, 5, 1), (1, 3, 3)]
    assert commit.finished == {("pc-01", "failed"): 1}
    assert commit.records == {"event": 4}


async def test_a_failing_transaction_keeps_nothing(postgres_dsn: str) -> None:
    """DEL-1: ledger and records change together or not at all; the connection lives on."""
    async with store_at(postgres_dsn) as store:
        await store.sync_inventory(lab(), NOW)
        await execute(postgres_dsn, "ALTER TABLE stream_digests RENAME TO gone")
        with pytest.raises(StoreError, match="stream_digests"):
            await store.commit([received(1, host())])
        await execute(postgres_dsn, "ALTER TABLE gone RENAME TO stream_digests")
        counts = await store.counts()
        assert (counts.rows["pc_stats"], counts.streams) == (0, ())
        assert (await store.commit([received(1, host())])).outcomes == [Outcome.COMMITTED]


async def test_a_task_that_is_cancelled_leaves_a_whole_transaction(postgres_dsn: str) -> None:
    """DEL-1: whether it took place or not, sending again makes it so, once."""
    async with store_at(postgres_dsn) as store:
        await store.sync_inventory(lab(), NOW)
        for turns in range(0, 60, 3):
            task = asyncio.create_task(store.commit([received(1 + turns, host(), event())]), name="commit")
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await _back(store)
            await store.commit([received(1 + turns, host(), event())])
        counts = await store.counts()
    assert (counts.rows["pc_stats"], counts.rows["events"], counts.streams[0].envelopes) == (20, 20, 20)


async def _back(store: TimescaleStore) -> None:
    """Open the store again, as soon as the server has noticed that the connection before is gone."""
    deadline = time.monotonic() + 10
    while True:
        try:
            await store.reopen()
        except StoreError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        else:
            return


async def test_a_hello_with_odd_names_in_it_is_kept(postgres_dsn: str) -> None:
    """SEC-2: JSON in a database takes no NUL, and an agent's hello must not stop the collector."""
    async with store_at(postgres_dsn) as store:
        await store.sync_inventory(lab(), NOW)
        await greet(store, "pc-01", hello(versions={"a\0b": "1"}), NOW)
        kept = (await store.snapshot()).pcs[0].hello
    assert kept is not None
    assert kept.versions == {"a?b": "1"}


async def test_a_dead_letter_is_kept_whatever_is_in_it(postgres_dsn: str) -> None:
    """SEC-2."""
    bad = {"kind": "event", "at": NOW, "up": 1, "text": "a\0b\ud800", "event": "boot"}
    odd = step(State.RUNNING, times={"a\0b": 1.0})
    async with store_at(postgres_dsn) as store:
        await store.sync_inventory(lab(), NOW)
        fine = received(1, host(), odd)
        await store.commit([fine, received(2, {**bad, "text": "a\0b"}), received(3, host())])
        letters = await store.dead_letters()
        assert (await store.counts()).rows["pc_stats"] == 2
    assert {(letter.seq, letter.position) for letter in letters} == {(1, 1), (2, 0)}


async def test_the_inventory_becomes_rows_and_what_left_it_is_retired(postgres_dsn: str) -> None:
    async with store_at(postgres_dsn) as store:
        await store.sync_inventory(lab(), NOW)
        keys = await query(postgres_dsn, "SELECT id, uuid FROM boards ORDER BY id")
        smaller = LAB[: LAB.index("[board.evm-08]")]
        await store.sync_inventory(lab(smaller), NOW + 1)
        assert await query(postgres_dsn, "SELECT id FROM boards WHERE retired_at IS NOT NULL") == [
            ("evm-08",)
        ]
        await store.sync_inventory(lab(), NOW + 2)
    assert (
        await query(postgres_dsn, "SELECT id, uuid FROM boards WHERE retired_at IS NULL ORDER BY id") == keys
    )
    feeds = await query(
        postgres_dsn,
        "SELECT b.id, r.id, relay_number FROM board_feeds f JOIN boards b ON b.uuid = f.board"
        " JOIN relays r ON r.uuid = f.relay ORDER BY 1",
    )
    assert feeds == [("evm-07", "eth-1", 3), ("evm-08", "eth-1", 4)]
    names = await query(
        postgres_dsn, "SELECT name FROM board_capabilities JOIN capabilities ON uuid = capability ORDER BY 1"
    )
    assert names == [("CAMERA",), ("CMD",)]


async def test_two_relays_may_swap_their_addresses_and_names(postgres_dsn: str) -> None:
    text = """
    site = "lab"
    relay.a = { name = "upper", address = "10.0.0.1", mac = "00:00:00:00:00:01", kind = "x" }
    relay.b = { name = "lower", address = "10.0.0.2", mac = "00:00:00:00:00:02", kind = "x" }
    """
    swapped = text.replace("relay.a", "relay.c").replace("relay.b", "relay.a").replace("relay.c", "relay.b")
    async with store_at(postgres_dsn) as store:
        await store.sync_inventory(lab(text), NOW)
        await store.sync_inventory(lab(swapped), NOW)
    assert await query(postgres_dsn, "SELECT id, relay_name, ip_address FROM relays ORDER BY id") == [
        ("a", "lower", "10.0.0.2"),
        ("b", "upper", "10.0.0.1"),
    ]


async def test_an_observed_address_moves_and_says_so(postgres_dsn: str) -> None:
    facts = HostFacts(hostname="twin", ip_address="10.1.1.1")
    async with store_at(postgres_dsn) as store:
        await store.sync_inventory(lab(), NOW)
        await greet(store, "pc-01", hello("pc-01", host=facts), NOW)
        await greet(store, "pc-02", hello("pc-02", host=facts), NOW)
        assert [row.text for row in await store.events("pc/pc-02")] == [
            "address 10.1.1.1 moved here from pc-01"
        ]
    rows = await query(
        postgres_dsn, "SELECT id, observed_ip_address, hostname, hostname_clash FROM test_pcs ORDER BY id"
    )
    assert rows == [("pc-01", None, "twin", False), ("pc-02", "10.1.1.1", "twin", True)]


@pytest.mark.parametrize(
    "sql",
    [
        (
            "INSERT INTO pc_stats (test_pc, timestamp, received_at, time_quality, status, cpu_percent)"
            " VALUES (1, now(), now(), 'agent', 'HEALTHY', 101)"
        ),
        "UPDATE boards SET device_type = 'TOASTER'",
        "UPDATE boards SET use_status = 'BUSY'",
        "UPDATE boards SET test_pc = '00000000-0000-0000-0000-000000000000'",
        "UPDATE boards SET deactivated_at = now()",
        "UPDATE relays SET port_count = 101",
        "UPDATE relays SET mac_address = '00:04:a3:12:34:56'",
        "UPDATE test_pcs SET ip_address = '10.0.0.1'",
        "UPDATE test_pcs SET ip_address = ''",
        "UPDATE board_feeds SET relay_number = 3",
        "UPDATE test_pcs SET maintenance_since = now()",
        (
            "INSERT INTO board_lines (board, name, relay, relay_number, kind, created_at, updated_at)"
            " SELECT board, 'reset', relay, relay_number, 'level', now(), now() FROM board_feeds"
        ),
    ],
)
async def test_the_database_itself_keeps_the_rules_of_the_domain(postgres_dsn: str, sql: str) -> None:
    async with store_at(postgres_dsn) as store:
        await store.sync_inventory(lab(), NOW)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await execute(postgres_dsn, sql)


async def test_a_deleted_relay_or_pc_empties_what_named_it(postgres_dsn: str) -> None:
    async with store_at(postgres_dsn) as store:
        await store.sync_inventory(lab(), NOW)
        await store.commit([received(1, host(), relay(), board())])
        await execute(postgres_dsn, "DELETE FROM relays", "DELETE FROM test_pcs WHERE id = 'pc-01'")
        rows = await query(
            postgres_dsn, "SELECT id, test_pc, relay, relay_number FROM board_overview ORDER BY id"
        )
        assert rows == [("evm-07", None, None, None), ("evm-08", "pc-02", None, None)]
        assert (await store.counts()).streams == ()
        gone = 0
        while found := await store.forget_deleted(1):
            gone += found
        assert gone == 2
        assert (await store.counts()).rows["relay_states"] == 0


async def test_views_tell_what_is_so_now_and_not_what_was(postgres_dsn: str) -> None:
    """States age in the views: what nobody confirms any more is unknown, never off."""
    now = round(time.time() * SECOND)
    old = now - 600 * SECOND
    async with store_at(postgres_dsn) as store:
        await store.sync_inventory(lab(), now)
        await store.commit([received(1, host(now), board(now), relay(now), received_at=now)])
        stale = host(old), board(old, name="evm-08"), relay(old, Power.OFF, port=4)
        await store.commit([received(1, *stale, agent="pc-02", stream=OTHER, received_at=old)])
    assert await query(postgres_dsn, "SELECT id, status FROM pc_overview ORDER BY id") == [
        ("pc-01", "ONLINE"),
        ("pc-02", "OFFLINE"),
    ]
    boards = await query(
        postgres_dsn, "SELECT id, status, verdict, is_alive, can_execute_test FROM board_overview ORDER BY id"
    )
    assert boards == [
        ("evm-07", "IDLE", "alive", True, True),
        ("evm-08", "OFFLINE", "unknown", False, False),
    ]
    assert await query(
        postgres_dsn, "SELECT port, board, observed FROM relay_port_overview ORDER BY port"
    ) == [
        (3, "evm-07", "on"),
        (4, "evm-08", "unknown"),
    ]
    assert await query(postgres_dsn, "SELECT id, status FROM relay_overview") == [("eth-1", "ACTIVE")]
    assert await query(
        postgres_dsn, "SELECT test_farm, boards, alive, available FROM board_summary_by_test_farm ORDER BY 1"
    ) == [("HLOS", 1, 1, 1), ("RTOS", 1, 0, 0)]
    assert await query(postgres_dsn, "SELECT platform, boards FROM board_summary_by_platform ORDER BY 1") == [
        ("am62x", 1),
        ("j721e", 1),
    ]


async def test_a_relay_is_at_fault_only_by_the_word_of_an_agent_that_is_there(postgres_dsn: str) -> None:
    """What a silent agent said last of a module says nothing about it, and about its ports neither."""
    now = round(time.time() * SECOND)
    statuses = "SELECT relay.status, port.observed, port.is_confirmed FROM relay_overview AS relay"
    statuses += " JOIN relay_port_overview AS port ON port.relay = relay.id"
    silent = "UPDATE test_pcs SET last_heartbeat_at = now() - interval '31 s' WHERE id = 'pc-01'"
    async with store_at(postgres_dsn) as store:
        await store.sync_inventory(lab(), now)
        await store.commit([received(1, relay(now - 2 * SECOND), received_at=now - 2 * SECOND)])
        assert await query(postgres_dsn, statuses) == [("ACTIVE", "on", True)]
        await store.commit([received(2, relay(now, Power.UNKNOWN), received_at=now)])
        assert await query(postgres_dsn, statuses) == [("FAULT", "unknown", True)]
        await execute(postgres_dsn, silent)
        assert await query(postgres_dsn, statuses) == [("INACTIVE", "unknown", False)]
        await execute(postgres_dsn, "UPDATE test_pcs SET sample_interval_s = 60 WHERE id = 'pc-01'")
        assert await query(postgres_dsn, statuses) == [("FAULT", "unknown", True)]


async def test_an_older_database_knows_the_interval_from_the_hello_that_it_holds(postgres_dsn: str) -> None:
    async with store_at(postgres_dsn, migrations("timescale")[:7]):
        pass
    await execute(
        postgres_dsn,
        """INSERT INTO test_pcs (id, hello, created_at, updated_at)
           VALUES ('pc-01', '{"sample_interval_s": 1e300}', now(), now()), ('pc-02', '{"v": 1}', now(), now())""",
        "CREATE VIEW of_the_lab AS SELECT id FROM board_overview WHERE can_execute_test",
    )
    async with store_at(postgres_dsn):
        pass  # a view that a person made on ours is not in the way
    assert await query(postgres_dsn, "SELECT id, sample_interval_s FROM test_pcs ORDER BY id") == [
        ("pc-01", 86400.0),
        ("pc-02", 10.0),
    ]
    assert await query(postgres_dsn, "SELECT silent_at FROM pc_silence") == [(None,), (None,)]
    assert await query(postgres_dsn, "SELECT * FROM of_the_lab") == []


async def test_drift_is_worked_out_by_the_database(postgres_dsn: str) -> None:
    records = [
        relay(NOW, Power.OFF, asked=Power.ON),
        relay(NOW + 1, Power.ON, expected="off"),
        relay(NOW + 2, Power.ON, asked=Power.ON, expected="on"),
        relay(NOW + 3, Power.UNKNOWN, asked=Power.ON, expected="on"),
    ]
    async with store_at(postgres_dsn) as store:
        await store.sync_inventory(lab(), NOW)
        await store.commit([received(1, *records)])
    rows = await query(postgres_dsn, "SELECT drift FROM relay_states ORDER BY timestamp")
    assert rows == [(True,), (True,), (False,), (False,)]


async def test_since_when_a_port_drifts_does_not_hang_on_how_records_are_grouped(postgres_dsn: str) -> None:
    drifting = [
        relay(NOW + second * SECOND, Power.OFF, asked=Power.ON, change=second == 5) for second in range(5, 9)
    ]
    async with store_at(postgres_dsn) as store:
        await store.sync_inventory(lab(), NOW)
        await store.commit([received(1, relay(NOW, asked=Power.ON), *drifting)])
        since = "SELECT drift, extract(epoch FROM drift_since)::bigint FROM relay_port_current"
        assert await query(postgres_dsn, since) == [(True, NOW // SECOND + 5)]
        await store.commit([received(2, relay(NOW + 60 * SECOND, asked=Power.ON))])
        assert await query(postgres_dsn, since) == [(False, None)]


ONE = Migration(1, "0001_one.sql", "CREATE TABLE one (a integer);")
TWO = Migration(2, "0002_two.sql", "CREATE TABLE two (a integer); INSERT INTO one VALUES (2);")
_SCHEMA = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"


async def opened(url: str, *steps: Migration) -> None:
    async with store_at(url, steps):
        pass


async def test_each_migration_is_applied_once_in_order(postgres_dsn: str) -> None:
    await opened(postgres_dsn, ONE)
    await opened(postgres_dsn, ONE, TWO)
    await opened(postgres_dsn, ONE, TWO)
    assert await query(postgres_dsn, "SELECT a FROM one") == [(2,)]
    assert await query(postgres_dsn, "SELECT number, name FROM schema_migrations") == [
        (1, "0001_one.sql"),
        (2, "0002_two.sql"),
    ]


async def test_a_failing_migration_leaves_nothing_behind(postgres_dsn: str) -> None:
    await opened(postgres_dsn, ONE)
    before = await query(postgres_dsn, _SCHEMA)
    bad = Migration(2, "0002_bad.sql", "CREATE TABLE two (a integer); INSERT INTO nowhere VALUES (1);")
    with pytest.raises(StoreError, match=r'0002_bad\.sql failed, nothing of it was kept: relation "nowhere"'):
        await opened(postgres_dsn, ONE, bad)
    assert await query(postgres_dsn, _SCHEMA) == before
    await opened(postgres_dsn, ONE, TWO)


async def test_a_database_that_is_not_ours_to_change_is_refused_unchanged(postgres_dsn: str) -> None:
    await opened(postgres_dsn, ONE, TWO)
    before = await query(postgres_dsn, _SCHEMA)
    with pytest.raises(StoreError, match=r"newer boardherd: it has 0002_two\.sql, this one knows 1 "):
        await opened(postgres_dsn, ONE)
    with pytest.raises(StoreError, match=r"made with another 0001_one\.sql"):
        await opened(postgres_dsn, Migration(1, ONE.name, ONE.sql + " -- better"), TWO)
    assert await query(postgres_dsn, _SCHEMA) == before
    await execute(postgres_dsn, "DROP TABLE one, two, schema_migrations", "CREATE TABLE recipes (name text)")
    with pytest.raises(StoreError, match="belongs to another program"):
        await opened(postgres_dsn, ONE)
    assert await query(postgres_dsn, _SCHEMA) == [("recipes",)]


def test_both_dialects_have_the_same_migrations() -> None:
    assert [step.name for step in migrations("timescale")] == [step.name for step in migrations("sqlite")]


async def test_both_dialects_have_the_same_tables_views_and_columns(postgres_dsn: str) -> None:
    """Names are the same everywhere, and in the same places; what PostgreSQL keeps beside is named ``_own``."""
    async with store_at(postgres_dsn):
        pass
    there = await query(
        postgres_dsn,
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        " AND table_name NOT LIKE '%\\_own'",
    )
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        migrate(db, migrations(), NOW)
        here = db.execute(
            "SELECT thing.name, col.name FROM sqlite_master AS thing, pragma_table_xinfo(thing.name) AS col"
            " WHERE thing.type IN ('table', 'view') AND thing.name NOT LIKE 'sqlite_%'"
        ).fetchall()
    assert sorted(there) == sorted(here)


async def test_the_password_comes_from_a_file_and_is_told_to_nobody(
    own_postgres: Postgres, tmp_path: Path
) -> None:
    await execute(
        own_postgres.url,
        "CREATE ROLE keeper LOGIN PASSWORD 'tr0ub4dor'",
        "CREATE DATABASE herd OWNER keeper",
    )
    own_postgres.demand_passwords()
    url = f"postgresql://keeper@127.0.0.1:{own_postgres.port}/herd"
    file = tmp_path / "password"
    file.write_text("tr0ub4dor\n")
    address = Address(url, file)
    async with TimescaleStore(address) as store:
        await store.sync_inventory(lab(), NOW)
        assert "tr0ub4dor" not in store.name
    assert "tr0ub4dor" not in repr(address) + address.url
    assert address.environment() == {"PGPASSWORD": "tr0ub4dor"}
    with pytest.raises(StoreError, match=r"password authentication failed") as refused:
        await opened(url.replace("keeper@", "keeper:wr0ng@"))
    assert "wr0ng" not in str(refused.value)
    with pytest.raises(StoreError, match="nothing cannot be read: No such file"):
        async with TimescaleStore(Address(url, tmp_path / "nothing")):
            pass


async def test_a_server_that_is_not_there_is_waited_for_when_that_may_be(own_postgres: Postgres) -> None:
    own_postgres.stop()
    with pytest.raises(NotYet, match=f"127.0.0.1:{own_postgres.port}/postgres: "):
        await opened(own_postgres.url)
    heard, told = list[str](), asyncio.Event()
    store = TimescaleStore(Address(own_postgres.url))

    async def open_and_close() -> None:
        async with at_the_start(store, lab(), lambda text: (heard.append(text), told.set())[0]) as snapshot:
            assert [pc.agent for pc in snapshot.pcs] == ["pc-01", "pc-02"]

    task = asyncio.create_task(open_and_close(), name="opening")
    await told.wait()
    await asyncio.to_thread(own_postgres.start)
    await task
    assert f"127.0.0.1:{own_postgres.port}/postgres: " in heard[0]


async def test_a_server_that_hangs_up_in_mid_start_is_tried_again(postgres_dsn: str) -> None:
    """Nothing of the transaction was kept, and the next one is whole."""
    async with store_at(postgres_dsn):
        pass
    await execute(
        postgres_dsn,
        "CREATE SEQUENCE tries",
        "CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF nextval('tries') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;"
        " RETURN NULL; END $$",
        "CREATE TRIGGER hang_up AFTER INSERT ON boards FOR EACH STATEMENT EXECUTE FUNCTION hang_up()",
    )
    heard = list[str]()
    async with at_the_start(TimescaleStore(Address(postgres_dsn)), lab(), heard.append, retry_s=0.01):
        pass
    assert len(heard) == 1
    assert await query(postgres_dsn, "SELECT count(*) FROM boards") == [(2,)]


async def test_the_hot_questions_use_an_index(postgres_server: str) -> None:
    """History is found by index whatever has been stored before."""
    async with database(postgres_server) as url:
        async with store_at(url) as store:
            await store.sync_inventory(lab(), NOW)
            await execute(
                url,
                "INSERT INTO pc_stats (test_pc, timestamp, received_at, time_quality, status)"
                " SELECT n % 50, now() - n * interval '1 s', now(), 'agent', 'HEALTHY'"
                " FROM generate_series(1, 20000) AS n",
                "INSERT INTO events (test_pc, timestamp, received_at, time_quality, event, subject, text)"
                " SELECT n % 50, now() - n * interval '1 s', now(), 'agent', 'fault', 'board/evm-' || n % 500, 'x'"
                " FROM generate_series(1, 20000) AS n",
                "ANALYZE",
            )
        for sql in (
            "SELECT * FROM pc_stats WHERE test_pc = 7 AND timestamp >= now() - interval '1 hour'",
            "SELECT * FROM events WHERE subject = 'board/x' OR (subject > 'board/x/' AND subject < 'board/x0')",
            "SELECT * FROM events ORDER BY timestamp DESC LIMIT 10",
        ):
            plan = "\n".join(line for (line,) in await query(url, f"EXPLAIN {sql}"))
            assert "Index" in plan, plan
            assert "Seq Scan" not in plan, plan
