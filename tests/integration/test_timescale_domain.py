"""The domain in PostgreSQL: what the inventory becomes, the rules that the database keeps, and the views."""

from __future__ import annotations

import time

import asyncpg
import pytest

from boardherd_collector.stores.migrations import migrations
from boardherd_shared.messages import HostFacts
from boardherd_shared.records import Power
from support.postgres import execute, query
from support.stores import greet, timescale_at
from support.telemetry import (
    LAB,
    NOW,
    SECOND,
    board,
    hello,
    host,
    lab,
    received,
    relay,
)

OTHER = "c" * 32


async def test_the_inventory_becomes_rows_and_what_left_it_is_retired(postgres_dsn: str) -> None:
    async with timescale_at(postgres_dsn) as store:
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
    async with timescale_at(postgres_dsn) as store:
        await store.sync_inventory(lab(text), NOW)
        await store.sync_inventory(lab(swapped), NOW)
    assert await query(postgres_dsn, "SELECT id, relay_name, ip_address FROM relays ORDER BY id") == [
        ("a", "lower", "10.0.0.2"),
        ("b", "upper", "10.0.0.1"),
    ]


async def test_an_observed_address_moves_and_says_so(postgres_dsn: str) -> None:
    facts = HostFacts(hostname="twin", ip_address="10.1.1.1")
    async with timescale_at(postgres_dsn) as store:
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
    async with timescale_at(postgres_dsn) as store:
        await store.sync_inventory(lab(), NOW)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await execute(postgres_dsn, sql)


async def test_a_deleted_relay_or_pc_empties_what_named_it(postgres_dsn: str) -> None:
    async with timescale_at(postgres_dsn) as store:
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
    async with timescale_at(postgres_dsn) as store:
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
    async with timescale_at(postgres_dsn) as store:
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
    async with timescale_at(postgres_dsn, migrations("timescale")[:7]):
        pass
    await execute(
        postgres_dsn,
        """INSERT INTO test_pcs (id, hello, created_at, updated_at)
           VALUES ('pc-01', '{"sample_interval_s": 1e300}', now(), now()), ('pc-02', '{"v": 1}', now(), now())""",
        "CREATE VIEW of_the_lab AS SELECT id FROM board_overview WHERE can_execute_test",
    )
    async with timescale_at(postgres_dsn):
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
    async with timescale_at(postgres_dsn) as store:
        await store.sync_inventory(lab(), NOW)
        await store.commit([received(1, *records)])
    rows = await query(postgres_dsn, "SELECT drift FROM relay_states ORDER BY timestamp")
    assert rows == [(True,), (True,), (False,), (False,)]


async def test_since_when_a_port_drifts_does_not_hang_on_how_records_are_grouped(postgres_dsn: str) -> None:
    drifting = [
        relay(NOW + second * SECOND, Power.OFF, asked=Power.ON, change=second == 5) for second in range(5, 9)
    ]
    async with timescale_at(postgres_dsn) as store:
        await store.sync_inventory(lab(), NOW)
        await store.commit([received(1, relay(NOW, asked=Power.ON), *drifting)])
        since = "SELECT drift, extract(epoch FROM drift_since)::bigint FROM relay_port_current"
        assert await query(postgres_dsn, since) == [(True, NOW // SECOND + 5)]
        await store.commit([received(2, relay(NOW + 60 * SECOND, asked=Power.ON))])
        assert await query(postgres_dsn, since) == [(False, None)]
