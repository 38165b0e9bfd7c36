"""How each kind of fault is done, and undone."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from faults.disks import PAGE, cut
from faults.laboratory import Laboratory, Pc
from faults.processes import Child
from faults.proxy import Conditions, FaultProxy
from faults.schedule import Fault

Deed = Callable[[Laboratory, Fault], Awaitable[None]]


def _pc(lab: Laboratory, fault: Fault) -> Pc:
    return lab.pcs[int(fault.target.rpartition(" ")[2])]


def _child(lab: Laboratory, fault: Fault) -> Child:
    match fault.target.split()[0]:
        case "broker":
            return lab.broker
        case "collector" | "database":
            return lab.collector
        case _:
            return _pc(lab, fault).child


def _proxy(lab: Laboratory, fault: Fault) -> FaultProxy:
    return lab.trunk if fault.target == "trunk" else _pc(lab, fault).line


async def _killed(lab: Laboratory, fault: Fault) -> None:
    await _down([_child(lab, fault)], fault.lasts, signal.SIGKILL)


async def _stopped(lab: Laboratory, fault: Fault) -> None:
    child = _child(lab, fault)
    code = await child.end(signal.SIGTERM)
    if code not in {0, -signal.SIGTERM}:  # the latter before the program has come to listen to signals
        child.deaths.append(code)
    await asyncio.sleep(fault.lasts)
    child.start()


async def _frozen(lab: Laboratory, fault: Fault) -> None:
    await _child(lab, fault).freeze(fault.lasts)


async def _everything(lab: Laboratory, fault: Fault) -> None:
    await _down(lab.children, fault.lasts, signal.SIGKILL)


async def _down(children: list[Child], seconds: float, how: signal.Signals) -> None:
    for child in children:
        child.send(how)
    for child in children:
        await child.end(how)
    await asyncio.sleep(seconds)
    for child in children:
        child.start()


async def _disk_full(lab: Laboratory, fault: Fault) -> None:
    disk = _pc(lab, fault).disk
    if disk is None:
        return
    await asyncio.to_thread(disk.fill)
    await asyncio.sleep(fault.lasts)
    disk.relieve()


async def _spool_cut(lab: Laboratory, fault: Fault) -> None:
    pc = _pc(lab, fault)
    await pc.child.end(signal.SIGKILL)
    spool = pc.state / "spool.db"
    # The first page stays: without it nothing tells whose spool that was (see test_spool_files for that case).
    cut(spool, max(PAGE, int(fault.chance * spool.stat().st_size) // PAGE * PAGE))
    await asyncio.sleep(fault.lasts)
    pc.child.start()


async def _database(lab: Laboratory, fault: Fault) -> None:
    await lab.database.inflict(fault.kind, fault.lasts)


async def _database_restored(lab: Laboratory, fault: Fault) -> None:
    await lab.collector.end(signal.SIGKILL)
    await asyncio.to_thread(lab.database.restore)
    await asyncio.sleep(fault.lasts)
    lab.collector.start()


async def _reset(lab: Laboratory, fault: Fault) -> None:
    _proxy(lab, fault).reset()
    await asyncio.sleep(fault.lasts)


async def _refused(lab: Laboratory, fault: Fault) -> None:
    _proxy(lab, fault).reset()
    await _weather(lab, fault, refuse=True)


def _network(make: Callable[[float], Mapping[str, Any]]) -> Deed:
    """Return what changes the conditions of a line to those that ``make`` gives for a chance."""

    async def deed(lab: Laboratory, fault: Fault) -> None:
        await _weather(lab, fault, **make(fault.chance))

    return deed


async def _weather(lab: Laboratory, fault: Fault, **changes: Any) -> None:
    proxy = _proxy(lab, fault)
    proxy.conditions = Conditions(**changes)
    try:
        await asyncio.sleep(fault.lasts)
    finally:
        proxy.conditions = Conditions()


_both = frozenset({"up", "down"})
DEEDS: dict[str, Deed] = {
    "agent killed": _killed,
    "agent stopped": _stopped,
    "agent frozen": _frozen,
    "agent's disk full": _disk_full,
    "spool cut": _spool_cut,
    "collector killed": _killed,
    "collector stopped": _stopped,
    "collector frozen": _frozen,
    "broker killed": _killed,
    "broker frozen": _frozen,
    **dict.fromkeys(
        ("database locked", "database stopped", "database killed", "database frozen", "backend killed"),
        _database,
    ),
    "database restored": _database_restored,
    "connections reset": _reset,
    "reset in mid-packet": _network(lambda chance: {"cut_after": 1 + int(chance * 20_000)}),
    "refused": _refused,
    "stalled": _network(lambda _: {"stalled": _both}),
    "stalled upwards": _network(lambda _: {"stalled": frozenset({"up"})}),
    "stalled downwards": _network(lambda _: {"stalled": frozenset({"down"})}),
    "slow": _network(lambda chance: {"latency_s": chance, "jitter_s": 0.3}),
    "narrow": _network(lambda chance: {"bytes_per_s": 5_000 + chance * 45_000}),
    "acks dropped": _network(lambda chance: {"drop_acks": 0.2 + 0.8 * chance}),
    "acks doubled": _network(lambda chance: {"double_acks": 0.2 + 0.8 * chance}),
    "acks delayed": _network(lambda chance: {"delay_acks_s": 0.5 + 8 * chance}),
    "telemetry doubled": _network(lambda chance: {"double_telemetry": 0.2 + 0.8 * chance}),
    "collector cut off": _refused,
    "collector reset in mid-packet": _network(lambda chance: {"cut_after": 1 + int(chance * 60_000)}),
    "collector's line stalled": _network(lambda _: {"stalled": _both}),
    "everything killed": _everything,
}
