"""The faults of the trial: how each is made, what ``boardherd why`` must say, and how it is mended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from liveness.lab import CONSOLE_ONLY, PINGED, LivenessLab, icmp_can_be_forbidden


@dataclass(frozen=True)
class Situation:
    """One fault in the lab."""

    name: str
    thing: str
    """What is asked about: a board."""
    verdict: str
    blame: str
    says: str
    """A regular expression that the answer matches."""
    make: Callable[[LivenessLab], AbstractAsyncContextManager[None]]
    """Makes the fault, and mends it at the end of the block."""
    possible: Callable[[], bool] = lambda: True
    """Whether this machine can make it."""


def _rack(target: str, fault: str) -> Callable[[LivenessLab], AbstractAsyncContextManager[None]]:
    """Return what lets the rack have a fault that ends by itself when it is healed."""

    @asynccontextmanager
    async def make(lab: LivenessLab) -> AsyncIterator[None]:
        await lab.rack.fault(target, fault)
        try:
            yield
        finally:
            await lab.rack.heal(target)

    return make


@asynccontextmanager
async def _module_dead(lab: LivenessLab) -> AsyncIterator[None]:
    """A relay module that nobody reaches, and behind it a board that hangs: nobody can know why it is silent."""
    await lab.rack.fault("eth-1", "dead")
    await lab.rack.fault("evm-03", "hang")
    try:
        yield
    finally:
        await lab.rack.heal("eth-1")
        await lab.rack.heal("evm-03")


@asynccontextmanager
async def _module_rebooted(lab: LivenessLab) -> AsyncIterator[None]:
    await lab.rack.fault("eth-2", "reboot")
    try:
        yield
    finally:
        for board in ("evm-02", "evm-04", "evm-06"):
            await lab.boardherd("relay", "restore", board, "--reason", "the module rebooted")


@asynccontextmanager
async def _miswired(lab: LivenessLab) -> AsyncIterator[None]:
    """Two cables are swapped; the next ordinary cycle shows it."""
    await lab.rack.miswire("eth-1:1", "eth-2:1")
    await lab.boardherd("power", "cycle", "evm-01", "--off-time", "4s", accept=(0, 1, 5))
    try:
        yield
    finally:
        await lab.rack.heal("wiring")
        for board in ("evm-01", "evm-02"):
            await lab.boardherd("relay", "accept", board, "--reason", "cables put right")


@asynccontextmanager
async def _welded(lab: LivenessLab) -> AsyncIterator[None]:
    """A contact that stays closed; switching off shows it. The wiring of the board was proved before."""
    await lab.boardherd("power", "cycle", "evm-01", "--off-time", "4s", "--wait-alive", "30s")
    await lab.rack.fault("eth-1:1", "weld")
    await lab.boardherd("power", "off", "evm-01", accept=(0, 1))
    try:
        yield
    finally:
        await lab.rack.heal("eth-1:1")
        await lab.boardherd("power", "on", "evm-01", "--wait-alive", "30s")


@asynccontextmanager
async def _frozen(lab: LivenessLab) -> AsyncIterator[None]:
    async with lab.frozen():
        yield


SITUATIONS = (
    Situation(
        "the board hangs",
        "evm-03", "silent", "board", r"no answer", _rack("evm-03", "hang"),
    ),
    Situation(
        "its kernel panics",
        "evm-04", "silent", "board", r"Kernel panic - not syncing: VFS", _rack("evm-04", "panic"),
    ),
    Situation(
        "the relay module is dead, and the board is silent",
        "evm-03", "unknown", "relay", r"eth-1:2.*(UNKNOWN|unknown)", _module_dead,
    ),
    Situation(
        "the relay module has rebooted, its contacts have dropped",
        "evm-02", "powered_off", "relay", r"eth-2.*reboot", _module_rebooted,
    ),
    Situation(
        "two cables are swapped, and a cycle has shown it",
        "evm-01", "degraded|silent|unknown", "wiring", r"evm-02", _miswired,
    ),
    Situation(
        "a contact is welded, and the board was switched off",
        "evm-01", "degraded", "relay", r"weld", _welded,
    ),
    Situation(
        "the network cable is pulled",
        "evm-03", "degraded", "network", r"(?i)link is down", _rack("evm-03", "no_network"),
    ),
    Situation(
        "the test PC stands still",
        "evm-04", "unknown", "agent", r"demo-pc", _frozen,
    ),
    Situation(
        "the serial adapter is pulled, and the console is all there is",
        CONSOLE_ONLY, "unknown", "agent", r"is not there", _rack(CONSOLE_ONLY, "no_console"),
    ),
    Situation(
        "ICMP is forbidden to the agent, and ping is all there is",
        PINGED, "unknown", "agent", r"ICMP is not permitted", LivenessLab.without_icmp, icmp_can_be_forbidden,
    ),
)  # fmt: skip
