"""What a simulated test PC would measure: believable records, and the lab.toml that names its things. Pure.

The life of a PC follows from its number and a seed alone. Boards hang now and then, are power cycled and boot
again, so that there are changes and events among the samples as in a lab.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Literal

from boardherd_shared.records import (
    Blame,
    BoardRecord,
    EventRecord,
    Health,
    HostRecord,
    Power,
    ProbeResult,
    Record,
    RelayRecord,
    Verdict,
)

SECOND = 1_000_000
"""Microseconds of a second: records carry microseconds."""
REFRESH_S = 60.0
"""An agent tells the state of everything again after so long."""
PORTS_PER_RELAY = 8

_MEAN_PEACE_S = 1800.0
"""How long a board lives between two troubles, on average."""
_GB = 10**9
_MEMORY = 32 * _GB
_DISK = 480 * _GB
_PLATFORMS = (("j721e", "HLOS"), ("am62x", "RTOS"), ("j784s4", "HLOS"), ("j721s2", "BAREMETAL"))

Class = Literal["samples", "events"]
Batch = tuple[Class, tuple[Record, ...]]
"""What goes into one envelope."""


@dataclass(frozen=True)
class _Act:
    """A part of the story of a board in trouble."""

    verdict: Verdict
    power: Power
    lasts_s: float
    blame: Blame
    reason: str


_PEACE = _Act(Verdict.ALIVE, Power.ON, 0.0, Blame.NOBODY, "")
_TROUBLE = (
    _Act(Verdict.SILENT, Power.ON, 120.0, Blame.BOARD, "ssh: no answer since it hung"),
    _Act(Verdict.POWERED_OFF, Power.OFF, 10.0, Blame.NOBODY, "power was cut for a cycle"),
    _Act(Verdict.BOOTING, Power.ON, 30.0, Blame.NOBODY, "power came back"),
    _PEACE,
)


@dataclass
class SimulatedBoard:
    """A board, the relay port that feeds it, and how it fares."""

    id: str
    relay: str
    port: int
    act: _Act = _PEACE
    since: int = 0
    power_since: int = 0
    switches: int = 0
    acts: list[_Act] = field(default_factory=list)

    def live(self, at: int, elapsed_s: float, rng: random.Random) -> bool:
        """Go on to ``at``; return whether the verdict changed."""
        if not self.acts:
            if rng.random() < elapsed_s / _MEAN_PEACE_S:
                self.acts = list(_TROUBLE)
            else:
                return False
        elif at - self.since < self.act.lasts_s * SECOND:
            return False
        before, self.act = self.act, self.acts.pop(0)
        self.since = at
        if self.act.power is not before.power:
            self.power_since = at
            self.switches += 1
        return True

    def verdict(self, at: int, up: int, *, change: bool) -> BoardRecord:
        """Return the verdict on it."""
        answers = self.act.verdict is Verdict.ALIVE
        probe = ProbeResult(
            probe="ssh",
            answer="yes" if answers else "no",
            at=at,
            text="SSH-2.0-OpenSSH_9.6" if answers else "connection timed out",
            duration_s=0.012 if answers else None,
        )
        return BoardRecord(
            at=at, up=up, board=self.id, verdict=self.act.verdict, blame=self.act.blame,
            reason=self.act.reason, since=self.since or at, probes=(probe,), change=change,
        )  # fmt: skip

    def state(self, at: int, up: int, *, change: bool) -> RelayRecord:
        """Return the state of the port that feeds it."""
        return RelayRecord(
            at=at, up=up, relay=self.relay, port=self.port, observed=self.act.power, asked=self.act.power,
            expected="on", since=self.power_since or at, board=self.id, switch_count=self.switches,
            switched_at=self.power_since if self.switches else None,
            switched_by="simulation" if self.switches else None, module="ETH008 v1", change=change,
        )  # fmt: skip


class SimulatedPc:
    """A test PC that does not exist, with boards that do not either."""

    def __init__(self, number: int, boards: int, seed: int = 0) -> None:
        """Lay out PC ``number``, counted from 1; nothing has been measured yet."""
        self.id = pc_id(number)
        self.boards = tuple(_board(number, place) for place in range(boards))
        self._rng = random.Random(f"{seed}/{number}")
        self._cpu = self._rng.uniform(5, 60)
        self._disk_used = int(_DISK * self._rng.uniform(0.2, 0.7))
        self._last: int | None = None
        self._refreshed: int | None = None

    @property
    def relays(self) -> tuple[str, ...]:
        """The ids of its relays."""
        return tuple(dict.fromkeys(board.relay for board in self.boards))

    def measure(self, at: int, up: int) -> list[Batch]:
        """Return what the PC has to tell at ``at``, microseconds since 1970 UTC, ``up`` after its boot."""
        elapsed_s = (at - self._last) / SECOND if self._last is not None else 0.0
        self._last = at
        samples: list[Record] = [self._sample(at, up)]
        events: list[Record] = []
        for board in self.boards:
            before = board.act
            if board.live(at, elapsed_s, self._rng):
                samples.extend(_changed(board, before.power, at, up))
                events.append(_transition(board, before.verdict, at, up))
        batches: list[Batch] = [("samples", tuple(samples))]
        if events:
            batches.append(("events", tuple(events)))
        if self.boards and self._is_due(at):
            batches.append(("samples", tuple(self.refresh(at, up))))
        return batches

    def refresh(self, at: int, up: int) -> list[BoardRecord | RelayRecord]:
        """Return the state of all boards and ports again."""
        return [
            record
            for board in self.boards
            for record in (board.verdict(at, up, change=False), board.state(at, up, change=False))
        ]

    def _is_due(self, at: int) -> bool:
        if self._refreshed is not None and at - self._refreshed < REFRESH_S * SECOND:
            return False
        self._refreshed = at
        return True

    def _sample(self, at: int, up: int) -> HostRecord:
        rng, seconds = self._rng, up / SECOND
        self._cpu = min(99.0, max(1.0, self._cpu + rng.gauss(0, 4)))
        self._disk_used = min(_DISK, self._disk_used + rng.randrange(200_000))
        memory = int(_MEMORY * (0.25 + 0.5 * self._cpu / 100))
        load = round(self._cpu / 100 * 8, 2)
        return HostRecord(
            at=at, up=up, status=Health.HEALTHY if self._cpu < 90 else Health.WARNING,
            cpu_percent=round(self._cpu, 1), load_1m=load, load_5m=load, load_15m=load,
            memory_total=_MEMORY, memory_used=memory, memory_free=_MEMORY - memory,
            memory_percent=round(100 * memory / _MEMORY, 1), swap_total=0, swap_used=0,
            disk_total=_DISK, disk_used=self._disk_used, disk_free=_DISK - self._disk_used,
            disk_percent=round(100 * self._disk_used / _DISK, 1),
            disk_read=int(seconds * 90_000), disk_written=int(seconds * 140_000),
            network_received=int(seconds * 60_000), network_sent=int(seconds * 25_000),
            process_count=rng.randrange(3, 12), thread_count=rng.randrange(12, 60),
            uptime_s=round(seconds, 1), temperature_c=round(40 + self._cpu / 3, 1),
            agent_cpu_percent=0.4, agent_memory=42_000_000,
        )  # fmt: skip


def _changed(board: SimulatedBoard, power: Power, at: int, up: int) -> list[Record]:
    records: list[Record] = [board.verdict(at, up, change=True)]
    if board.act.power is not power:
        records.append(board.state(at, up, change=True))
    return records


def _transition(board: SimulatedBoard, before: Verdict, at: int, up: int) -> EventRecord:
    words = f"{board.id} is {board.act.verdict.value} (was {before.value})"
    text = f"{words}: {board.act.reason}" if board.act.reason else words
    return EventRecord(at=at, up=up, event="transition", subject=f"board/{board.id}", text=text)


def pc_id(number: int) -> str:
    """Return the id of PC ``number``, counted from 1."""
    return f"sim-{number:04}"


def _board(number: int, place: int) -> SimulatedBoard:
    relay, port = divmod(place, PORTS_PER_RELAY)
    return SimulatedBoard(f"{pc_id(number)}-b{place + 1}", f"{pc_id(number)}-r{relay + 1}", port + 1)


MARK = "# A simulated fleet: made by boardherd simulate, for trials only.\n"
"""The first line of the file, by which it is known that it may be written again."""


def lab_text(site: str, agents: int, boards: int) -> str:
    """Return a lab.toml that names ``agents`` simulated PCs with ``boards`` boards each.

    The addresses of the relays are from the network that RFC 2544 sets aside for benchmarks.
    """
    lines = [MARK, f"site = {json.dumps(site)}\n", 'defaults.relay = { model_type = "ETH_008_B" }\n']
    lines.append('defaults.board = { normally = "on" }\n')
    endpoint = 0
    for number in range(1, agents + 1):
        pc = SimulatedPc(number, boards)
        lines.append(f'\n[pc.{pc.id}]\nrack = "sim-{(number - 1) // 20 + 1}"\n')
        for relay in pc.relays:
            endpoint += 1
            address = f"198.{18 + (endpoint >> 16)}.{endpoint >> 8 & 255}.{endpoint & 255}"
            lines.append(f'[relay.{relay}]\naddress = "{address}"\n')
        for place, board in enumerate(pc.boards):
            platform, farm = _PLATFORMS[place % len(_PLATFORMS)]
            lines.append(
                f'[board.{board.id}]\npc = "{pc.id}"\nplatform = "{platform}"\ntest_farm = "{farm}"\n'
                f'capabilities = ["CMD"]\npower = ["{board.relay}:{board.port}"]\n'
            )
    return "".join(lines)
