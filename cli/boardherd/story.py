"""The story that ``boardherd demo --check`` tells: what the product promises, tried on a running demo.

Each step is judged by somebody who does not depend on the product: the rack knows what its contacts really
did, this machine how much memory it has, the agent's spool what was recorded.
"""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from boardherd.client import Client
from boardherd.demo import PC, SITE, Demo
from boardherd.exit_codes import Failure
from boardherd.targets import Target
from boardherd_shared.command import Action, Command, CommandStep, State
from boardherd_shared.ids import new_command_id
from boardherd_shared.messages import Envelope, decode
from boardherd_shared.records import Power, Verdict
from boardherd_shared.views import BoardView, FleetView

CYCLED, TOGGLED = "evm-01", "evm-02"
_POLL_S = 0.1

_TOLD_LIVE = "boardherd_agent_clock_ahead_seconds"
"""The one series that no database knows: it compares an agent's clock of this moment with the server's."""

Figures = dict[str, Any]
Spooled = dict[tuple[str, int], tuple[str, Counter[str]]]
"""By stream and number: the state of an envelope, and its records by kind."""


class StoryFailed(Exception):  # noqa: N818
    """The product did not do what it promises."""


@dataclass
class Step:
    """One step of the story and how it went."""

    name: str
    ok: bool
    seconds: float
    text: str
    figures: Figures = field(default_factory=dict)


class Story:
    """Plays the story on a demo."""

    def __init__(self, demo: Demo, tell: Callable[[Step], None]) -> None:
        """Prepare the story; ``tell`` hears of each step as it ends."""
        self._demo = demo
        self._client = Client(demo.settings)
        self._tell = tell
        self._http = httpx.AsyncClient(base_url=demo.api, trust_env=False, timeout=5)

    async def play(self) -> list[Step]:
        """Play every step, up to the first that fails, and return them."""
        chapters: list[Callable[[], Awaitable[tuple[str, Figures]]]] = [
            self.host_samples,
            self.boards_alive,
            self.power_cycle,
            self.refusal,
            self.same_id_twice,
            self.collector_killed,
            self.nothing_lost_nothing_doubled,
        ]
        steps: list[Step] = []
        async with self._http:
            for chapter in chapters:
                began = time.monotonic()
                name = chapter.__name__
                try:
                    text, figures = await chapter()
                    step = Step(name, ok=True, seconds=_since(began), text=text, figures=figures)
                except (StoryFailed, Failure, httpx.HTTPError, TimeoutError) as error:
                    step = Step(
                        name, ok=False, seconds=_since(began), text=str(error) or type(error).__name__
                    )
                steps.append(step)
                self._tell(step)
                if not step.ok:
                    break
        return steps

    async def host_samples(self) -> tuple[str, Figures]:
        """This machine's own statistics are sampled, sent and stored."""
        rows = await self._until(
            self._rows_of("pc_stats", at_least=3), 15, "no samples of this machine were stored"
        )
        sample = (await self._client.fleet()).pcs[0].sample
        if sample is None or sample.memory_total is None:
            raise StoryFailed("the newest sample says nothing about memory")
        figures: Figures = {
            "samples": rows,
            "cpu_percent": sample.cpu_percent,
            "memory_total": sample.memory_total,
        }
        if hasattr(os, "sysconf"):
            figures["memory_by_system"] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
            if figures["memory_by_system"] != sample.memory_total:
                raise StoryFailed(f"the sample claims {sample.memory_total} bytes of memory")
        return f"{rows} samples of this machine stored, {sample.memory_total / 1e9:.1f} GB memory", figures

    async def boards_alive(self) -> tuple[str, Figures]:
        """Every board of the rack is seen alive."""

        async def all_alive() -> FleetView | None:
            fleet = await self._client.fleet()
            return fleet if fleet.boards and all(board.is_alive for board in fleet.boards) else None

        try:
            fleet = await self._until(all_alive, 25, "")
        except StoryFailed:
            dead = [
                f"{board.id}: {board.text}"
                for board in (await self._client.fleet()).boards
                if not board.is_alive
            ]
            raise StoryFailed(f"not every board came alive: {'; '.join(dead)}") from None
        return f"{len(fleet.boards)} boards alive", {"boards": len(fleet.boards)}

    async def power_cycle(self) -> tuple[str, Figures]:
        """One board is cycled over MQTT and seen dark, booting, alive."""
        before = len(await self._moves(CYCLED))
        seen: list[Verdict] = []
        watching = asyncio.create_task(self._watch(CYCLED, seen), name="watch the cycle")
        try:
            step = await self._command(Command(action=Action.CYCLE, off_time=2.0, wait_alive=30.0), CYCLED)
            _require(step.state is State.SUCCEEDED, f"the cycle {step.state}: {step.text}")
            await self._until(lambda: _seen(seen, Verdict.ALIVE), 10, "the board was not seen alive again")
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        order = [Verdict.POWERED_OFF, Verdict.BOOTING, Verdict.ALIVE]
        _require(_in_order(order, seen), f"the verdicts were {', '.join(seen)}")
        moves = (await self._moves(CYCLED))[before:]
        _require(moves == [False, True], f"the contact moved {len(moves)} times instead of off and on")
        _require({"console_s", "ssh_s"} <= step.times.keys(), f"the boot times are incomplete: {step.times}")
        return step.text, {"times": step.times, "verdicts": [str(verdict) for verdict in seen]}

    async def refusal(self) -> tuple[str, Figures]:
        """A command that may not run is refused in words and moves nothing."""
        before = len((await self._demo.rack.truth()).transitions)
        step = await self._command(Command(action=Action.OFF, expect="off"), TOGGLED)
        _require(step.state is State.REFUSED and bool(step.text), f"it {step.state}: {step.text}")
        _require(len((await self._demo.rack.truth()).transitions) == before, "a contact moved all the same")
        return step.text, {"code": step.code}

    async def same_id_twice(self) -> tuple[str, Figures]:
        """The same command id sent twice switches once."""
        before = len(await self._moves(TOGGLED))
        command = Command(action=Action.TOGGLE, id=new_command_id())
        first, again = [await self._command(command, TOGGLED) for _ in range(2)]
        moves = (await self._moves(TOGGLED))[before:]
        _require(first.state is State.SUCCEEDED, f"the command {first.state}: {first.text}")
        _require(again == first, f"the second answer differs: {again.text}")
        _require(moves == [False], f"the contact moved {len(moves)} times")
        back = await self._command(Command(action=Action.ON), TOGGLED)
        _require(back.observed == Power.ON, back.text)
        return f"sent twice, switched once: {first.text}", {"moves": len(moves)}

    async def collector_killed(self) -> tuple[str, Figures]:
        """The collector is killed in mid-work; after its restart the metrics are complete at once."""
        collector = self._demo.collector
        await self.boards_alive()  # a board that still boots would gain and lose series by itself
        before = _series(await self._metrics())
        starts = collector.starts
        collector.kill()
        killed = time.monotonic()
        await self._until(lambda: _is(collector.starts > starts), 10, "the collector was not started again")
        await self._demo.until_ready(collector, "/readyz")
        back = _since(killed)
        after = _series(await self._metrics())
        missing = sorted(series for series in before - after if not series.startswith(_TOLD_LIVE))
        _require(not missing, f"after the restart these metrics are missing: {missing[:5]}")
        seen = time.time()
        await self._until(self._fresh_since(seen), 20, "no fresh sample came after the restart")
        figures = {"back_after_s": back, "fresh_after_s": _since(killed), "series": len(after)}
        return f"killed with SIGKILL, back after {back:.1f} s with all {len(before)} series", figures

    async def nothing_lost_nothing_doubled(self) -> tuple[str, Figures]:
        """What the database holds is what the agent's spool recorded, envelope by envelope."""
        await self._until(self._drained, 20, "the agent's backlog did not drain")
        async with self._demo.agent.paused():
            counts = await self._json("/api/v1/counts")
            recorded = _read_spool(self._demo)
        told = [f"{len(recorded)} envelopes"]
        records: Counter[str] = Counter()
        for stream in counts["streams"]:
            stored = _stored(stream)
            mine = {seq: kinds for (name, seq), (_, kinds) in recorded.items() if name == stream["stream"]}
            missing = [
                s for (n, s), (state, _) in recorded.items() if n == stream["stream"] and state != "pending"
            ]
            _require(
                set(missing) <= stored, f"acknowledged but not stored: {sorted(set(missing) - stored)[:5]}"
            )
            _require(
                stream["envelopes"] == len(stored),
                f"{stream['envelopes']} envelopes under {len(stored)} numbers",
            )
            expected: Counter[str] = sum((mine[seq] for seq in stored if seq in mine), Counter())
            _require(
                dict(expected) == stream["records"],
                f"stored {stream['records']} but recorded {dict(expected)}",
            )
            records += expected
        for table, kind in (("pc_stats", "host"), ("events", "event")):
            rows = counts["rows"][table]
            _require(rows == records[kind], f"{rows} rows in {table}, {records[kind]} recorded")
        told += [f"{count} {kind} records" for kind, count in sorted(records.items())]
        text = f"the agent's spool and the database agree: {', '.join(told)}"
        return text, {"envelopes": len(recorded), "records": dict(records), "rows": counts["rows"]}

    async def _command(self, command: Command, board: str) -> CommandStep:
        """Send a command to a board and return its final step."""
        final: CommandStep | None = None
        async for step in self._client.send(command, Target(SITE, PC, board=board)):
            final = step
        if final is None:
            raise StoryFailed("nobody answered the command")
        return final

    async def _watch(self, board: str, seen: list[Verdict]) -> None:
        """Note each change of a board's verdict as everybody sees it."""
        while True:
            verdict = _find(await self._client.fleet(), board).verdict
            if not seen or seen[-1] is not verdict:
                seen.append(verdict)
            await asyncio.sleep(_POLL_S)

    async def _moves(self, board: str) -> list[bool]:
        """Return what the contact of a board's feed became, move by move, as the rack knows it."""
        truth = await self._demo.rack.truth()
        (port, *_) = truth.boards[board].feeds
        return [move.energised for move in truth.transitions if move.port == port]

    async def _metrics(self) -> str:
        return (await self._http.get("/metrics")).raise_for_status().text

    async def _json(self, path: str) -> Any:
        return (await self._http.get(path)).raise_for_status().json()

    def _rows_of(self, table: str, at_least: int) -> Callable[[], Awaitable[int | None]]:
        async def rows() -> int | None:
            count: int = (await self._json("/api/v1/counts"))["rows"][table]
            return count if count >= at_least else None

        return rows

    def _fresh_since(self, moment: float) -> Callable[[], Awaitable[bool | None]]:
        async def fresh() -> bool | None:
            sample = (await self._client.fleet()).pcs[0].sample
            return (sample is not None and sample.at / 1e6 > moment) or None

        return fresh

    async def _drained(self) -> bool | None:
        sample = (await self._client.fleet()).pcs[0].sample
        return (sample is not None and sample.spool_pending is not None and sample.spool_pending <= 2) or None

    async def _until(self, ask: Callable[[], Awaitable[Any]], seconds: float, otherwise: str) -> Any:
        """Ask until the answer is not None; raises StoryFailed with ``otherwise`` when time is up."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(httpx.HTTPError, Failure):
                if (answer := await ask()) is not None:
                    return answer
            await asyncio.sleep(_POLL_S)
        raise StoryFailed(otherwise)


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise StoryFailed(otherwise)


async def _is(condition: bool) -> bool | None:
    return condition or None


async def _seen(seen: list[Verdict], verdict: Verdict) -> bool | None:
    return (bool(seen) and seen[-1] is verdict) or None


def _since(moment: float) -> float:
    return round(time.monotonic() - moment, 2)


def _find(fleet: FleetView, board: str) -> BoardView:
    return next(view for view in fleet.boards if view.id == board)


def _in_order(wanted: list[Verdict], seen: list[Verdict]) -> bool:
    """Tell whether ``wanted`` were seen in this order, whatever was between them."""
    rest = iter(seen)
    return all(verdict in rest for verdict in wanted)


def _series(metrics: str) -> set[str]:
    """Return the series about PCs, boards and relays in an exposition, without their values."""
    return set(re.findall(r"^(boardherd_(?:agent|host|board|relay)_\S+?(?:\{.*\})?) ", metrics, re.MULTILINE))


def _stored(stream: dict[str, Any]) -> set[int]:
    """Return the numbers that the ledger calls stored."""
    numbers = set(range(1, stream["watermark"] + 1))
    for first, last in stream["ranges"]:
        numbers |= set(range(first, last + 1))
    return numbers


def _read_spool(demo: Demo) -> Spooled:
    """Return every envelope that the stopped agent's spool holds: its state, and its records by kind."""
    spool = sqlite3.connect(f"file:{demo.spool}?mode=ro", uri=True)
    try:
        rows = spool.execute("SELECT state, payload FROM envelopes").fetchall()
    finally:
        spool.close()
    found: Spooled = {}
    for state, payload in rows:
        envelope = decode(Envelope, payload)
        found[envelope.stream, envelope.seq] = (
            state,
            Counter(str(record.kind) for record in envelope.records),
        )
    return found
