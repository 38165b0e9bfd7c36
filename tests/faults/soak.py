"""A day of work: ``python -m faults.soak --hours 24 [--json FILE]``.

Nothing dies here. The processes that begin are those that end, and are hurt every hour by what leaves them alive:
bad lines, locks, and standing still. What they use must not grow (OPS-3).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from faults.inflict import DEEDS
from faults.laboratory import Laboratory
from faults.progress import Progress
from faults.schedule import KINDS, Fault
from faults.systems import Boardherd

HOUR_S = 3600.0
MAX_SLOPE = 1024**2
"""Bytes an hour by which a process may seem to grow: a straight line through hours of noise has some slope."""
_MIN_LOOKS = 12
"""However long the first faults take."""
_DEADLY = ("killed", "stopped", "cut", "restored", "full")


@dataclass
class Options:
    """How long, how much, and how often."""

    hours: float = 24.0
    rate: float = 10.0
    """Records a second of each agent; an agent of a test PC makes about one."""
    agents: int = 3
    storm_every_s: float = HOUR_S
    faults: int = 10
    """In each storm, one after another."""
    harshness: float = 1.0
    """How long each lasts, as a share of what is usual."""
    look_every_s: float = 60.0
    warm_up_s: float = HOUR_S / 2
    seed: str = "1"


@dataclass
class Series:
    """What one process used, look by look, in quiet moments."""

    at: list[float] = field(default_factory=list)
    """Seconds since the beginning."""
    rss: list[int] = field(default_factory=list)
    fds: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def add(self, at: float, figures: dict[str, int]) -> None:
        """Enter a look; a process that is not there has no figures."""
        if figures:
            self.at.append(at)
            for name, value in figures.items():
                getattr(self, name).append(value)

    def after(self, warm_up_s: float) -> Series:
        """Return what was seen later than that."""
        first = next((place for place, at in enumerate(self.at) if at >= warm_up_s), len(self.at))
        return Series(self.at[first:], self.rss[first:], self.fds[first:], self.threads[first:])

    @property
    def slope(self) -> float:
        """Bytes an hour by which memory grows, by the straight line that fits best."""
        return statistics.linear_regression(self.at, self.rss).slope * HOUR_S


def complaints(name: str, series: Series, max_slope: float = MAX_SLOPE) -> list[str]:
    """Return what grew in a process, in words; ``series`` begins after the warm-up."""
    if len(series.at) < 3:
        return [f"{name}: too few looks to tell"]
    found = []
    if series.slope > max_slope:
        found.append(f"{name}: memory grows by {series.slope / 1024**2:.1f} MiB an hour")
    for what in ("fds", "threads"):
        values = getattr(series, what)
        third = max(1, len(values) // 3)
        # What comes and goes, as a reader's connection does, is in the first third as well as in the last.
        if max(values[-third:]) > max(values[:third]):
            found.append(f"{name}: {what} grew from {max(values[:third])} to {max(values[-third:])}")
    return found


class Soak:
    """One long run."""

    def __init__(self, options: Options, place: Path, say: Callable[[str], None] = print) -> None:
        self._options = options
        self._place = place
        self._say = say
        self._rng = random.Random(options.seed)
        self.series: dict[str, Series] = {}
        self.faults = 0

    async def run(self) -> list[str]:
        """Run it; return everything that is not as it should be."""
        o = self._options
        async with Laboratory(Boardherd(), self._place, agents=o.agents, rate=o.rate, seed=o.seed) as lab:
            await lab.fresh()
            began = storm_at = time.monotonic()
            looks = 0
            while (now := time.monotonic()) < began + o.hours * HOUR_S or looks < _MIN_LOOKS:
                looks += 1
                if now >= storm_at:
                    await self._storm(lab)
                    storm_at += o.storm_every_s
                for child in lab.children:
                    self.series.setdefault(child.log.stem + str(child.pid), Series()).add(
                        time.monotonic() - began, child.figures()
                    )
                await asyncio.sleep(o.look_every_s)
            return [*await self._balance(lab), *self.growth()]

    def growth(self) -> list[str]:
        """Return which processes grew."""
        slope = MAX_SLOPE / min(1.0, self._options.hours)
        late = {name: series.after(self._options.warm_up_s) for name, series in self.series.items()}
        return [complaint for name, series in late.items() for complaint in complaints(name, series, slope)]

    async def _storm(self, lab: Laboratory) -> None:
        kinds = [kind for kind in KINDS if not any(word in kind.name for word in _DEADLY)]
        kinds = [kind for kind in kinds if kind.part != "database" or kind.name in lab.database.kinds]
        for _ in range(self._options.faults):
            kind = self._rng.choice(kinds)
            target = f"{kind.part} 0" if kind.part in {"agent", "line"} else kind.part
            lasts = self._rng.uniform(kind.shortest, kind.longest) * self._options.harshness
            await DEEDS[kind.name](lab, Fault(0, kind.name, target, lasts, self._rng.random()))
            self.faults += 1
        await lab.heal()
        self._say(f"{self.faults} faults so far; fresh after {await lab.fresh():.1f} s")

    async def _balance(self, lab: Laboratory) -> list[str]:
        verdict = await lab.settle(120)
        ended = [f"{child.log.stem} ended: {child.deaths}" for child in lab.children if child.deaths]
        return [*([] if verdict.settled else [str(verdict)]), *ended, *lab.tracebacks()]


def main() -> int:
    """Run what the command line asks for; 1 when something grew, was lost or ended."""
    defaults = Options()
    parser = argparse.ArgumentParser(prog="faults.soak", description=__doc__)
    parser.add_argument("--hours", type=float, default=defaults.hours)
    parser.add_argument("--rate", type=float, default=defaults.rate, help="records a second of each agent")
    parser.add_argument("--agents", type=int, default=defaults.agents)
    parser.add_argument("--seed", default=defaults.seed)
    parser.add_argument("--json", type=Path, help="where to write what was seen")
    arguments = parser.parse_args()
    options = Options(arguments.hours, arguments.rate, arguments.agents, seed=arguments.seed)
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as place,
        Progress("soak", options.hours * 60) as progress,
    ):
        soak = Soak(options, Path(place), progress.say)
        progress.watch(lambda: soak.faults)
        found: Sequence[str] = asyncio.run(soak.run())
    if arguments.json:
        seen = {name: asdict(series) for name, series in soak.series.items()}
        arguments.json.write_text(
            json.dumps({"options": asdict(options), "seen": seen, "found": found}) + "\n"
        )
    for complaint in found:
        print(f"BROKEN: {complaint}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
