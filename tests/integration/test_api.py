"""The API, the metrics and the page over the collector's own fleet and a real SQLite store."""

from __future__ import annotations

import time
from pathlib import Path

import httpx

from boardherd_collector.fleet import Fleet
from boardherd_collector.stores.base import Received
from boardherd_collector.stores.sqlite import SqliteStore
from boardherd_shared.command import CommandStep, State
from boardherd_shared.inventory import Inventory
from boardherd_shared.messages import Hello, HostFacts
from boardherd_shared.records import BoardRecord, EventRecord, Health, HostRecord, Power, RelayRecord, Verdict
from support import shown
from support.stores import greet

LAB = """
site = "lab"
pc.pc-01 = {}
relay.eth-1 = { model_type = "ETH_008_B", address = "127.0.0.1" }
[board.evm-07]
pc = "pc-01"
name = "J721E_EVM #7"
platform = "j721e"
power = ["eth-1:3"]
"""
STREAM = "cd" * 16


def envelope(now: int) -> Received:
    """Return an envelope with one record of each kind, reported at ``now`` (microseconds)."""
    step = CommandStep(
        id="4c1e",
        state=State.SUCCEEDED,
        action="cycle",
        target="board/evm-07",
        agent="pc-01",
        operator="ops1",
        at=now / 1e6,
        text="evm-07 was off for 5.0 s",
        before="on",
        asked="on",
        observed="on",
    )
    board = BoardRecord(at=now, up=9, board="evm-07", verdict=Verdict.ALIVE, since=now, reason="ssh answers")
    records = (
        HostRecord(at=now, up=9, status=Health.HEALTHY, cpu_percent=12.5, memory_total=8_000_000_000),
        board,
        RelayRecord(at=now, up=9, relay="eth-1", port=3, observed=Power.ON, since=now, board="evm-07"),
        EventRecord(
            at=now, up=9, event="command", subject="board/evm-07", text="evm-07 was cycled", command=step
        ),
    )
    return Received(
        agent="pc-01",
        stream=STREAM,
        seq=1,
        class_="samples",
        boot="b",
        digest="ef" * 32,
        received_at=now,
        records=tuple(enumerate(records)),
    )


async def test_what_was_stored_is_told_again_after_a_restart(tmp_path: Path) -> None:
    """The metrics are complete right after a restart: current state comes back from the database."""
    inventory, now = Inventory.parse(LAB), round(time.time() * 1e6)
    hello = Hello(
        session="ab" * 8,
        boot="b",
        wall=now,
        up=9,
        versions={"boardherd": "0.1.0"},
        inventory=inventory.hash,
        host=HostFacts(hostname="pc-01"),
    )
    async with SqliteStore(tmp_path / "boardherd.db") as store:
        await store.sync_inventory(inventory, now)
        await greet(store, "pc-01", hello, now)
        await store.commit([envelope(now)])

    async with SqliteStore(tmp_path / "boardherd.db") as store:
        site = shown.Site(fleet=Fleet(inventory), store=store)
        site.fleet.restore(await store.snapshot())
        async with site, httpx.AsyncClient(trust_env=False, base_url=site.url) as http:
            metrics = (await http.get("/metrics")).text
            assert 'boardherd_host_cpu_usage_ratio{pc="pc-01"} 0.125' in metrics
            assert 'boardherd_board_alive{board="evm-07",pc="pc-01"} 1.0' in metrics
            assert 'boardherd_relay_port_on{board="evm-07",pc="pc-01",port="3",relay="eth-1"} 1.0' in metrics

            counts = (await http.get("/api/v1/counts")).json()
            assert counts["streams"][0]["pc"] == "pc-01"
            assert counts["streams"][0]["watermark"] == 1
            assert counts["rows"]["pc_stats"] == 1

            board = (await http.get("/api/v1/boards/evm-07")).json()
            assert board["commands"][0]["operator"] == "ops1"
            assert board["events"][0]["text"] == "evm-07 was cycled"
            (sample,) = (await http.get("/api/v1/pcs/pc-01/stats?hours=1")).json()
            assert sample["cpu_percent"] == 12.5
            assert sample["memory_total_gb"] == 8.0
            for path in ("pcs/pc-01", "relays/eth-1", "events?subject=pc/pc-01", "commands?board=evm-07"):
                assert (await http.get(f"/api/v1/{path}")).status_code == 200, path
            for path in ("boots", "losses", "dead-letters"):
                assert (await http.get(f"/api/v1/{path}")).json() == [], path

            page = (await http.get("/")).text
            assert "J721E_EVM #7" in page
            assert "evm-07 was cycled" in page
