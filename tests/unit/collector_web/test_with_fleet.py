"""The exposition and the page over the collector's own fleet: what ages, ages when it is read."""

from __future__ import annotations

import pytest

from boardherd_collector.counters import Counters
from boardherd_collector.exposition import Exposition, Snapshot
from boardherd_collector.fleet import Fleet
from boardherd_collector.web.page import render_sections
from boardherd_shared.inventory import Inventory
from boardherd_shared.messages import Hello, HostFacts, Status
from boardherd_shared.records import BoardRecord, Power, RelayRecord, Verdict
from support import shown

LAB = """
site = "lab"
pc.pc-01 = {}
relay.eth-1 = { model_type = "ETH_008_B", address = "127.0.0.1" }
[board.evm-01]
pc = "pc-01"
name = "J721E_EVM #1"
platform = "j721e"
power = ["eth-1:3"]
"""
SESSION = "ab" * 8
AT = int(shown.NOW * 1e6)


@pytest.fixture
def fleet() -> Fleet:
    """A fleet whose only PC samples every 4 s and said everything at NOW."""
    inventory = Inventory.parse(LAB)
    fleet = Fleet(inventory)
    fleet.status("pc-01", Status(state="online", session=SESSION, at=shown.NOW), shown.NOW)
    hello = Hello(
        session=SESSION,
        boot="b",
        wall=AT,
        up=5_000_000,
        versions={"boardherd": "0.1.0"},
        inventory=inventory.hash,
        host=HostFacts(hostname="pc-01", os_version="debian_12"),
        sample_interval_s=4.0,
    )
    fleet.hello("pc-01", hello, shown.NOW, live=True)
    board = BoardRecord(at=AT, up=5, board="evm-01", verdict=Verdict.ALIVE, since=AT, reason="ssh answers")
    port = RelayRecord(at=AT, up=5, relay="eth-1", port=3, observed=Power.ON, since=AT, board="evm-01")
    fleet.telemetry("pc-01", "b", (shown.sample(at=AT), board, port), shown.NOW)
    return fleet


def metrics(fleet: Fleet, later_s: float) -> str:
    snapshot = Snapshot.take(fleet.view(shown.NOW + later_s), Counters(), shown.healthy(), "0.1.0")
    return Exposition().render(snapshot).decode()


def test_everything_shows_while_it_is_fresh(fleet: Fleet) -> None:
    text = metrics(fleet, 11.9)
    assert 'boardherd_agent_info{os="debian_12",pc="pc-01",version="0.1.0"} 1.0' in text
    assert 'boardherd_host_load1{pc="pc-01"} 1.25' in text
    assert 'boardherd_board_alive{board="evm-01",pc="pc-01"} 1.0' in text
    assert 'boardherd_relay_port_on{board="evm-01",pc="pc-01",port="3",relay="eth-1"} 1.0' in text


def test_measurements_are_gone_three_intervals_later(fleet: Fleet) -> None:
    """OPS-1: the interval is the PC's own, and nothing needs to arrive for its silence to show."""
    text = metrics(fleet, 60)
    assert "boardherd_host_" not in text.replace("# HELP", "")
    assert "boardherd_board_alive" not in text
    assert "boardherd_relay_port_on" not in text
    assert 'boardherd_agent_up{pc="pc-01"} 0.0' in text
    assert 'boardherd_board_verdict{board="evm-01",pc="pc-01",verdict="unknown"} 1.0' in text
    assert 'boardherd_agent_last_seen_timestamp_seconds{pc="pc-01"} 1.79e+09' in text


def test_the_page_tells_a_silent_pc_from_a_dead_board(fleet: Fleet) -> None:
    fresh = render_sections(fleet.view(shown.NOW + 5), {}, None)
    assert "ssh answers" in fresh
    assert '<span class="power on">ON</span>' in fresh
    silent = render_sections(fleet.view(shown.NOW + 120), {}, None)
    assert '<span class="pill unknown">' in silent
    assert '<span class="power unknown">UNKNOWN</span>' in silent
    assert "ssh answers" not in silent
    assert ">OFF<" not in silent
