"""What is particular to the store on PostgreSQL: transactions, the lock, connections and indexes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from boardherd_collector.opening import opened as at_the_start
from boardherd_collector.stores.base import NotYet, Outcome, StoreError
from boardherd_collector.stores.postgres_address import Address
from boardherd_collector.stores.timescale import TimescaleStore
from boardherd_shared.command import State
from support.postgres import Postgres, database, execute, query
from support.stores import greet, opened_at, timescale_at
from support.telemetry import (
    LAB,
    NOW,
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


async def test_what_was_committed_is_there_after_closing(postgres_dsn: str) -> None:
    async with timescale_at(postgres_dsn) as store:
        await store.sync_inventory(lab(), NOW)
        await store.commit([received(1, host(), board(), relay(), step(State.SUCCEEDED))])
        before = await store.snapshot()
    async with timescale_at(postgres_dsn) as store:
        assert await store.snapshot() == before
        assert (await store.commit([received(1, host())])).outcomes == [Outcome.CONFLICT]


async def test_it_is_as_durable_as_it_says(postgres_dsn: str) -> None:
    """DEL-3: the session waits for the disk whatever the database's default is, and says when the server does not."""
    await execute(
        postgres_dsn, f"ALTER DATABASE {postgres_dsn.rpartition('/')[2]} SET synchronous_commit = off"
    )
    async with timescale_at(postgres_dsn) as store:
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

    async with timescale_at(postgres_dsn) as first:
        await first.sync_inventory(lab(), NOW)
        with pytest.raises(NotYet, match=r"is in use by another collector at 127\.0\.0\.1"):
            async with timescale_at(postgres_dsn):
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
    async with timescale_at(postgres_dsn) as first:
        await first.sync_inventory(lab(), NOW)
        pid = await first._writer.run(lambda db: db.fetchval("SELECT pg_backend_pid()"))
        await query(postgres_dsn, "SELECT pg_terminate_backend($1, 5000)", pid)
        async with timescale_at(postgres_dsn) as second:
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
        async with timescale_at(f"{postgres_dsn}?options=-csearch_path%3Dnowhere"):
            pass
    async with timescale_at(urls[0]) as first, timescale_at(urls[1]) as second:
        await first.sync_inventory(lab(), NOW)
        await second.sync_inventory(lab(LAB.replace('"lab"', '"hq"', 1)), NOW)
        await first.commit([received(1, host())])
        assert (await second.counts()).rows["pc_stats"] == 0
        assert "site_a" in first.name


async def test_a_row_that_the_database_refuses_does_not_cost_its_neighbours(postgres_dsn: str) -> None:
    """DEL-1: nothing of it is kept, and the reason is."""
    async with timescale_at(postgres_dsn) as store:
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
    async with timescale_at(postgres_dsn) as store:
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
    async with timescale_at(postgres_dsn) as store:
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
    async with timescale_at(postgres_dsn) as store:
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
    async with timescale_at(postgres_dsn) as store:
        await store.sync_inventory(lab(), NOW)
        await greet(store, "pc-01", hello(versions={"a\0b": "1"}), NOW)
        kept = (await store.snapshot()).pcs[0].hello
    assert kept is not None
    assert kept.versions == {"a?b": "1"}


async def test_a_dead_letter_is_kept_whatever_is_in_it(postgres_dsn: str) -> None:
    """SEC-2."""
    bad = {"kind": "event", "at": NOW, "up": 1, "text": "a\0b\ud800", "event": "boot"}
    odd = step(State.RUNNING, times={"a\0b": 1.0})
    async with timescale_at(postgres_dsn) as store:
        await store.sync_inventory(lab(), NOW)
        fine = received(1, host(), odd)
        await store.commit([fine, received(2, {**bad, "text": "a\0b"}), received(3, host())])
        letters = await store.dead_letters()
        assert (await store.counts()).rows["pc_stats"] == 2
    assert {(letter.seq, letter.position) for letter in letters} == {(1, 1), (2, 0)}


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
        await opened_at(url.replace("keeper@", "keeper:wr0ng@"))
    assert "wr0ng" not in str(refused.value)
    with pytest.raises(StoreError, match="nothing cannot be read: No such file"):
        async with TimescaleStore(Address(url, tmp_path / "nothing")):
            pass


async def test_a_server_that_is_not_there_is_waited_for_when_that_may_be(own_postgres: Postgres) -> None:
    own_postgres.stop()
    with pytest.raises(NotYet, match=f"127.0.0.1:{own_postgres.port}/postgres: "):
        await opened_at(own_postgres.url)
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
    async with timescale_at(postgres_dsn):
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
        async with timescale_at(url) as store:
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
