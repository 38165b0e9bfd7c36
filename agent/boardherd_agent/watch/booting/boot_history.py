"""A board's boots so far, and whether the newest was slower than they were.

The judgement is pure; :class:`BootHistory` keeps the past in a small file that is harmless to lose: a board then
takes a few boots until it can be compared with itself again.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from boardherd_shared.records import BootTimes

KEPT = 20
"""So many boots of each board are remembered."""

ENOUGH = 5
"""From so many boots on there is something that can be called usual."""

_TIMES = 1.5
_DEVIATIONS = 3.0
_LEAST_S = 1.0
_MAD_TO_SIGMA = 1.4826
"""The median absolute deviation of a normal distribution times this is its standard deviation."""

_WRITE_S = 1.0
"""Boots that end within this time are written together."""

STAGES = {
    "console_s": "console",
    "spl_s": "SPL",
    "uboot_s": "U-Boot",
    "kernel_s": "kernel",
    "login_s": "login",
    "ping_s": "ping",
    "tcp_s": "tcp",
    "ssh_s": "ssh",
}
"""The signs of a boot by their field in :class:`BootTimes`, and how people call them."""

log = structlog.get_logger()


def stages_of(times: BootTimes) -> dict[str, float]:
    """Return what was measured of a boot, in seconds by the names that people use."""
    measured = times.model_dump(exclude_none=True)
    return {name: measured[field] for field, name in STAGES.items() if field in measured}


def slow_note(times: BootTimes, past: Sequence[BootTimes]) -> str | None:
    """Return how a boot was slower than ``past`` ones of the same board, in words; None when it was not.

    A sign came late when it took more than half as long again as the median of the past, at least a second
    more, and more than three standard deviations (as estimated from the median absolute deviation, which one odd
    boot in the past does not move). The note names the last such sign, and between which two signs the time went.
    """
    seen, usual, late = stages_of(times), {}, {}
    for name, value in seen.items():
        values = [before[name] for before in map(stages_of, past) if name in before]
        if len(values) < ENOUGH:
            continue
        usual[name] = median(values)
        if _is_late(value, usual[name], values):
            late[name] = value
    if not late:
        return None
    last = max(late, key=lambda name: (late[name], name))
    note = f"{last} after {seen[last]:.1f} s, usually {usual[last]:.1f} s"
    return f"{note}; the delay is {_between(seen, usual)}"


def _is_late(value: float, middle: float, values: Iterable[float]) -> bool:
    spread = _MAD_TO_SIGMA * median(abs(each - middle) for each in values)
    more = value - middle
    return value > _TIMES * middle and more > _DEVIATIONS * spread and more > _LEAST_S


def _between(seen: Mapping[str, float], usual: Mapping[str, float]) -> str:
    """Return between which two signs of a boot most of the additional time went, in words."""
    order = sorted(usual, key=lambda name: (usual[name], name))
    steps = [("power-on", order[0], seen[order[0]] - usual[order[0]])]
    steps += [
        (before, after, seen[after] - seen[before] - usual[after] + usual[before])
        for before, after in itertools.pairwise(order)
    ]
    before, after, _ = max(steps, key=lambda step: step[2])
    return f"between {before} and {after}"


class _Past(BaseModel):
    model_config = ConfigDict(extra="ignore")

    boots: list[BootTimes] = Field(default_factory=list)
    slow: str | None = None


class BootHistory:
    """The last boots of each board of this PC. All methods but :meth:`run` take no time."""

    def __init__(self, path: Path | None = None, boards: Collection[str] = ()) -> None:
        """Read the file at ``path``, if there is one and it can be read; without one nothing outlives the process.

        Of boards that are not among ``boards`` the past is forgotten.
        """
        self._path = path
        self._past = {id_: past for id_, past in _read(path).items() if id_ in boards} if path else {}
        self._news = asyncio.Event()

    def slow(self, board: str) -> str | None:
        """Return how the last boot of ``board`` was slower than those before; None when it was not."""
        past = self._past.get(board)
        return past.slow if past else None

    def compare(self, board: str, times: BootTimes) -> BootTimes:
        """Return the times of a boot with what was slow in it, by the past of ``board``."""
        past = self._past.get(board)
        return times.model_copy(update={"slow": slow_note(times, past.boots)}) if past else times

    def remember(self, board: str, times: BootTimes) -> None:
        """Take a boot with which ``board`` came up into its past."""
        past = self._past.setdefault(board, _Past())
        past.slow = times.slow
        past.boots = [*past.boots, times.model_copy(update={"slow": None})][-KEPT:]
        self._news.set()

    async def run(self) -> None:
        """Write down what is new, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            await asyncio.to_thread(self._write, self._text())
            await asyncio.sleep(_WRITE_S)

    def _text(self) -> str:
        boards = {id_: past.model_dump(exclude_none=True) for id_, past in self._past.items()}
        return json.dumps({"v": 1, "boards": boards})

    def _write(self, text: str) -> None:
        if self._path is None:
            return
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            fresh.write_text(text)
            fresh.replace(self._path)
        except OSError as error:
            log.warning("the boots of the boards are not written down", path=str(self._path), why=str(error))
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, _Past]:
    try:
        document = json.loads(path.read_text())
        return {id_: _Past.model_validate(past) for id_, past in document["boards"].items()}
    except FileNotFoundError:
        return {}
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        ValidationError,
    ) as error:
        log.warning("what is known of earlier boots cannot be read", path=str(path), why=str(error)[:200])
        return {}
