"""A lab made by hand: one PC that is well, one that is gone, boards and ports in every interesting state."""

from __future__ import annotations

from typing import Any

from boardherd_shared.model import BoardStatus, PcStatus, RelayStatus
from boardherd_shared.records import Blame, BoardRecord, Health, HostRecord, Power, RelayRecord, Verdict
from boardherd_shared.views import BoardView, FleetView, PcView, PortView, RelayView

NOW = 1_795_000_000.0
MICROS = int(NOW * 1e6)


def micros_ago(seconds: float) -> int:
    return MICROS - int(seconds * 1e6)


def host(**more: Any) -> HostRecord:
    return HostRecord(
        at=micros_ago(2),
        up=1,
        **{
            "status": Health.HEALTHY,
            "cpu_percent": 12.4,
            "memory_percent": 43.0,
            "disk_percent": 61.2,
            "load_1m": 0.42,
            "process_count": 7,
            **more,
        },
    )


def board(id_: str, verdict: Verdict, since: float, *, pc: str = "pc-01", **more: Any) -> BoardView:
    record = BoardRecord(
        at=micros_ago(3),
        up=1,
        board=id_,
        verdict=verdict,
        since=micros_ago(since),
        blame=more.pop("blame", Blame.NOBODY),
        reason=more.pop("reason", ""),
    )
    alive = verdict is Verdict.ALIVE
    return BoardView(
        id=id_,
        pc=pc,
        status=BoardStatus.IDLE if alive else BoardStatus.OFFLINE,
        verdict=verdict,
        is_alive=alive,
        **{"state": record, **more},
    )


def port(number: int, observed: Power, *, pc: str = "pc-01", **more: Any) -> PortView:
    record = RelayRecord(
        at=micros_ago(3), up=1, relay="eth-1", port=number, observed=observed, since=micros_ago(7200), **more
    )
    return PortView(relay="eth-1", port=number, pc=pc, board=more.get("board"), state=record)


def fleet(**more: Any) -> FleetView:
    return FleetView(
        **{
            "site": "lab",
            "at": NOW,
            "pcs": (
                PcView(
                    id="pc-01",
                    status=PcStatus.ONLINE,
                    last_seen_s=2.0,
                    sample=host(),
                    os_version="ubuntu_24_04",
                    versions={"boardherd": "0.1.0"},
                    rack="r1",
                ),
                PcView(id="pc-02", status=PcStatus.OFFLINE, last_seen_s=190.0, text="silent for 3 min"),
            ),
            "boards": (
                board(
                    "evm-01",
                    Verdict.ALIVE,
                    840,
                    name="J721E_EVM #1",
                    platform="j721e",
                    capabilities=("CMD", "CAMERA"),
                    power=("eth-1:1",),
                ),
                board(
                    "evm-02",
                    Verdict.SILENT,
                    5000,
                    name="AM62x EVM",
                    platform="am62x",
                    power=("eth-1:2",),
                    blame=Blame.BOARD,
                    reason="ssh closed, last words: Kernel panic",
                ),
                board("evm-03", Verdict.POWERED_OFF, 60, platform="am62x", power=("eth-1:3",)),
                board(
                    "evm-04",
                    Verdict.UNKNOWN,
                    190,
                    pc="pc-02",
                    power=("eth-1:4",),
                    state=None,
                    text="agent pc-02 silent for 3 min",
                ),
            ),
            "relays": (
                RelayView(
                    id="eth-1",
                    status=RelayStatus.ACTIVE,
                    module="ETH008 hardware 2 firmware 28",
                    address="10.0.5.21",
                    ports=(
                        port(1, Power.ON, board="evm-01"),
                        port(
                            2, Power.ON, board="evm-02", asked=Power.ON, switch_count=12, switched_by="ops1"
                        ),
                        port(3, Power.OFF, board="evm-03", asked=Power.ON),
                        port(4, Power.OFF, board="evm-04", pc="pc-02"),
                        port(5, Power.UNKNOWN, reason="the module does not answer"),
                    ),
                ),
            ),
            **more,
        }
    )
