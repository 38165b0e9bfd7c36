"""The long campaign: ``python -m faults.campaign --minutes 60 --seed N [--json FILE]``.

Rounds of storm and calm. In a storm one fault follows another, several at once; in the calm everything is
mended, and the balance has to come out even before the next round begins. The same seed gives the same faults.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import platform
import signal
import sqlite3
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from faults.inflict import DEEDS
from faults.laboratory import Laboratory, System
from faults.oracle import Verdict
from faults.ordinary import SYSTEMS as ORDINARY
from faults.progress import Progress
from faults.report import summary
from faults.schedule import KINDS, Fault, Kind, parts, plan
from faults.systems import Boardherd, BoardherdOnPostgres

SYSTEMS: dict[str, System] = {
    "boardherd": Boardherd(),
    "boardherd-postgres": BoardherdOnPostgres(),
    **ORDINARY,
}
WITHIN_S = 35.0
"""DEL-5: back within 30 s of the end of an outage, and fresh data within 5 s of that."""
_SETTLE_S = 120.0
_DISK_MB = 96
_OURS_ONLY = {
    "agent's disk full",
    "spool cut",
    "acks dropped",
    "acks doubled",
    "acks delayed",
    "telemetry doubled",
}
"""Kinds that make no sense for a system without a spool of ours and acknowledgements of its own."""


@dataclass
class Options:
    """How a campaign is run."""

    minutes: float = 60.0
    seed: str = "1"
    agents: int = 3
    rate: float = 100.0
    per_minute: float = 80.0
    round_s: float = 150.0


@dataclass
class Result:
    """What came of a campaign."""

    system: str
    options: dict[str, object]
    versions: dict[str, str]
    began: str
    seconds: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)
    accepted: int = 0
    stored: int = 0
    declared: int = 0
    undeclared: int = 0
    doubled: int = 0
    invented: int = 0
    volatile: int = 0
    volatile_lost: int = 0
    fresh_s: list[float] = field(default_factory=list)
    """Seconds from the end of each storm to fresh data of every agent in the database."""
    drained: list[float] = field(default_factory=list)
    """Records a second, each time that a backlog of more than a few seconds drained."""
    figures: dict[str, int] = field(default_factory=dict)
    """The most memory, files and threads that a process was seen to have."""
    deaths: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many faults there were."""
        return sum(self.faults.values())

    def complaints(self, strict: bool) -> list[str]:
        """Return what was not as promised; ``strict`` also looks at what only boardherd promises."""
        found = {
            "records lost without a word": self.undeclared,
            "records doubled": self.doubled,
            "records invented": self.invented,
        }
        if strict:
            found |= {
                "processes ended by themselves": len(self.deaths),
                "tracebacks": len(self.tracebacks),
                f"returns that took longer than {WITHIN_S:g} s": sum(s > WITHIN_S for s in self.fresh_s),
            }
        return [f"{count} {what}" for what, count in found.items() if count]


class Campaign:
    """One system under one plan."""

    def __init__(self, system: System, options: Options, place: Path, say: Callable[[str], None]) -> None:
        self._system = system
        self._options = options
        self._place = place
        self._say = say
        self._strict = isinstance(system, Boardherd)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._kinds = [kind for kind in KINDS if self._strict or kind.name not in _OURS_ONLY]
        self.result = Result(system.name, asdict(options), _versions(), time.strftime("%Y-%m-%d %H:%M"))

    async def run(self) -> Result:
        """Run it, and return what came of it."""
        o = self._options
        began = time.monotonic()
        async with Laboratory(
            self._system, self._place, agents=o.agents, rate=o.rate, seed=o.seed,
            disk_mb=_DISK_MB if self._strict else 0,
        ) as lab:  # fmt: skip
            kinds = self._possible(lab)
            await lab.fresh()
            number = 0
            while (left := o.minutes * 60 - (time.monotonic() - began)) > 0 and number < 10_000:
                number += 1
                faults = plan(f"{o.seed}/{number}", min(o.round_s, left), o.agents, o.per_minute, kinds)
                self._say(f"round {number}: {len(faults)} faults, seed {o.seed}/{number}")
                await self._storm(lab, faults)
                await self._calm(lab)
                self.result.seconds = time.monotonic() - began
                if self._strict and self.result.complaints(strict=False):
                    break  # what was lost stays lost: the files are worth more than another round
            await lab.quiet()
            self._close(lab)
        return self.result

    def _possible(self, lab: Laboratory) -> Sequence[Kind]:
        """Return the kinds of faults that this system and this machine allow."""
        disks = all(pc.disk for pc in lab.pcs)
        return [
            kind
            for kind in self._kinds
            if (kind.name in lab.database.kinds if kind.part == "database" else True)
            and (disks or kind.name != "agent's disk full")
        ]

    async def _storm(self, lab: Laboratory, faults: Sequence[Fault]) -> None:
        if self._strict:
            await asyncio.to_thread(lab.database.back_up)
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(max(0.0, began + fault.at - time.monotonic()))
                group.create_task(self._inflict(lab, fault), name=str(fault))

    async def _inflict(self, lab: Laboratory, fault: Fault) -> None:
        with (self._place / "faults.log").open("a") as log:
            log.write(f"{time.strftime('%H:%M:%S')} {fault}\n")
        self.result.faults[fault.kind] = self.result.faults.get(fault.kind, 0) + 1
        async with contextlib.AsyncExitStack() as stack:
            # A process may take longer to stop than the plan allows for; in order, so that nobody waits in a circle.
            for part in sorted(parts(fault.target, self._options.agents)):
                await stack.enter_async_context(self._locks[part])
            await DEEDS[fault.kind](lab, fault)

    async def _calm(self, lab: Laboratory) -> None:
        """Mend everything, and see that all comes out even."""
        await lab.heal()
        result = self.result
        before = await asyncio.to_thread(lab.database.count)
        with contextlib.suppress(AssertionError):
            result.fresh_s.append(round(await lab.fresh(_SETTLE_S), 2))
        began = time.monotonic()
        verdict = await lab.settle(_SETTLE_S if self._strict else 10.0, forgive=result.volatile_lost)
        seconds = time.monotonic() - began
        after = await asyncio.to_thread(lab.database.count)
        if after - before > 5 * self._options.rate * self._options.agents and seconds > 0.5:
            result.drained.append(round((after - before) / seconds))
        self._note(verdict)
        for child in lab.children:
            for name, value in child.figures().items():
                key = f"{child.log.stem} {name}"
                result.figures[key] = max(result.figures.get(key, 0), value)
        self._say(f"{result.total} faults so far; {verdict}")

    def _note(self, verdict: Verdict) -> None:
        result = self.result
        result.accepted, result.stored, result.declared = verdict.accepted, verdict.stored, verdict.declared
        result.undeclared, result.doubled = len(verdict.missing), len(verdict.doubled)
        result.invented = len(verdict.invented)
        result.volatile, result.volatile_lost = verdict.volatile, verdict.volatile_missing

    def _close(self, lab: Laboratory) -> None:
        if self._strict:
            self.result.tracebacks = lab.tracebacks()
            self.result.deaths = [
                f"{child.log.name}: {code}" for child in lab.children for code in child.deaths
            ]


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": platform.platform(),
    }


def _parser() -> argparse.ArgumentParser:
    defaults = Options()
    parser = argparse.ArgumentParser(prog="faults.campaign", description=__doc__)
    parser.add_argument("--minutes", type=float, default=defaults.minutes, help="of each system")
    parser.add_argument("--seed", default=defaults.seed)
    parser.add_argument("--agents", type=int, default=defaults.agents)
    parser.add_argument("--rate", type=float, default=defaults.rate, help="records a second of each agent")
    parser.add_argument("--per-minute", type=float, default=defaults.per_minute, help="faults in a storm")
    parser.add_argument(
        "--round", type=float, default=defaults.round_s, dest="round_s", help="seconds of a storm"
    )
    parser.add_argument("--system", action="append", choices=list(SYSTEMS), help="may be given several times")
    parser.add_argument("--json", type=Path, help="where to write the results")
    parser.add_argument(
        "--keep", type=Path, help="directory for files and logs; a temporary one unless given"
    )
    return parser


def _run(name: str, arguments: argparse.Namespace, place: Path) -> Result:
    options = Options(**{key: getattr(arguments, key) for key in Options.__dataclass_fields__})
    place.mkdir(parents=True, exist_ok=True)
    with Progress(name, options.minutes) as progress:
        campaign = Campaign(SYSTEMS[name], options, place, progress.say)
        progress.watch(lambda: campaign.result.total)
        return asyncio.run(_until_stopped(campaign))


async def _until_stopped(campaign: Campaign) -> Result:
    """Run ``campaign``; a signal ends it together with every process that it started."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await campaign.run()


def main() -> int:
    """Run the campaigns that the command line asks for; 1 when a promise was broken."""
    arguments = _parser().parse_args()
    results: list[Result] = []
    broken: list[str] = []
    with contextlib.ExitStack() as stack:
        place = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        for name in arguments.system or ["boardherd"]:
            try:
                result = _run(name, arguments, place / name)
            except asyncio.CancelledError:
                return 130
            results.append(result)
            if isinstance(SYSTEMS[name], Boardherd):
                broken += result.complaints(strict=True)
            if arguments.json:
                arguments.json.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
    raw = [asdict(result) for result in results]
    print(summary(raw))
    for complaint in broken:
        print(f"BROKEN: {complaint}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
