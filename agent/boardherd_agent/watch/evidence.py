"""What has been seen of a board, kept so that the order of arrival does not matter.

Everything carries the time when it was true (microseconds since the PC's boot), and :meth:`Evidence.add`
keeps the newest few of each kind by that time. Adding the same things in any order, or twice, gives the same
evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from boardherd_agent.watch.boot_patterns import Stage
from boardherd_shared.records import Power

Answer = Literal["yes", "no", "unavailable"]

CONSOLE = "console"
"""Name of the console among the probes of a board."""

_LOOKS = 4
_READINGS = 8


@dataclass(frozen=True, order=True)
class Look:
    """One look of a probe at the board."""

    up: int
    """When the probe began to look."""
    probe: str
    answer: Answer
    text: str = ""
    stack_up: bool = False
    """The board's IP stack answered, if only to say no."""
    wall: int = field(default=0, compare=False)
    duration_s: float | None = field(default=None, compare=False)

    @property
    def ended(self) -> int:
        """When the probe had its answer."""
        return self.up + round((self.duration_s or 0.0) * 1e6)


@dataclass(frozen=True, order=True)
class PowerSeen:
    """What the relay said about the board's power from this moment on."""

    up: int
    power: Power
    by_us: bool = False


@dataclass(frozen=True)
class Heard:
    """Characters on the console, and perhaps a sign among them."""

    up: int
    words: str = ""
    """The last line at that moment."""
    stage: Stage | None = None


@dataclass(frozen=True, order=True)
class ConsoleState:
    """From this moment on the console is read, or cannot be and why."""

    up: int
    trouble: str = ""


@dataclass(frozen=True)
class Evidence:
    """All that the verdict rests on."""

    probes: tuple[str, ...] = ()
    """Names of the probes that ask the board something; the console, which only listens, is not among them."""
    switched: bool = True
    """Whether relays of ours power the board."""
    console: bool = False
    """Whether the inventory wants the console watched."""
    looks: Mapping[str, tuple[Look, ...]] = field(default_factory=dict)
    answered: Mapping[str, int] = field(default_factory=dict)
    """When each probe last began a look that was answered yes."""
    readings: tuple[PowerSeen, ...] = ()
    stages: Mapping[Stage, int] = field(default_factory=dict)
    """When each sign was last seen on the console."""
    heard: int | None = None
    """When the console last said anything."""
    words: tuple[int, str] = (0, "")
    panic: tuple[int, str] = (0, "")
    console_state: ConsoleState = ConsoleState(0, "not opened yet")

    def add(self, item: Look | PowerSeen | Heard | ConsoleState) -> Evidence:
        """Return the evidence with ``item`` in its place."""
        match item:
            case Look():
                return self._with_look(item)
            case PowerSeen():
                return replace(self, readings=_newest({*self.readings, item}, _READINGS))
            case Heard():
                return self._with_heard(item)
            case ConsoleState():
                return replace(self, console_state=max(self.console_state, item))

    def _with_look(self, look: Look) -> Evidence:
        looks = _newest({*self.looks.get(look.probe, ()), look}, _LOOKS)
        answered = dict(self.answered)
        if look.answer == "yes":
            answered[look.probe] = max(look.up, answered.get(look.probe, 0))
        return replace(self, looks={**self.looks, look.probe: looks}, answered=answered)

    def _with_heard(self, heard: Heard) -> Evidence:
        stages = dict(self.stages)
        if heard.stage is not None:
            stages[heard.stage] = max(heard.up, stages.get(heard.stage, 0))
        line = (heard.up, heard.words)
        return replace(
            self,
            stages=stages,
            heard=max(heard.up, self.heard or 0),
            words=max(self.words, line) if heard.words else self.words,
            panic=max(self.panic, line) if heard.stage is Stage.PANIC else self.panic,
        )

    @property
    def power(self) -> Power:
        """The newest known state of the board's power."""
        return self.readings[-1].power if self.readings else Power.UNKNOWN

    @property
    def off_since(self) -> int | None:
        """When the power went off, if it is off."""
        since = None
        for reading in self.readings:
            if reading.power is not Power.OFF:
                since = None
            elif since is None:
                since = reading.up
        return since

    @property
    def powered_on(self) -> int | None:
        """When the power was last seen to go on, if it is on and that was seen.

        Power that is on when the agent first looks has been on for nobody knows how long.
        """
        since, known = None, Power.UNKNOWN
        for reading in self.readings:
            if reading.power is Power.ON and (
                known is Power.OFF or (reading.by_us and known is Power.UNKNOWN)
            ):
                since = reading.up
            elif reading.power is Power.OFF:
                since = None
            known = known if reading.power is Power.UNKNOWN else reading.power
        return since

    @property
    def restarted(self) -> int | None:
        """When the console last showed the beginning of a boot."""
        return max((self.stages[stage] for stage in _BEGINNINGS if stage in self.stages), default=None)

    @property
    def up_before_restart(self) -> int | None:
        """When the board last gave a sign, under the same power, of having come further than where it is again."""
        if self.restarted is None:
            return None
        stages = list(Stage)
        place = max(stages.index(stage) for stage in _BEGINNINGS if self.stages.get(stage) == self.restarted)
        further = [self.stages[stage] for stage in stages[place + 1 :] if stage in self.stages]
        signs = (*self.answered.values(), *further)
        return max((at for at in signs if (self.powered_on or 0) <= at < self.restarted), default=None)

    def power_between(self, begin: int, end: int) -> set[Power]:
        """Return the states of the power that were read from ``begin`` to ``end``."""
        earlier = [reading.power for reading in self.readings if reading.up <= begin]
        meanwhile = [reading.power for reading in self.readings if begin < reading.up <= end]
        return {*(earlier[-1:] or [Power.UNKNOWN]), *meanwhile}

    @property
    def life(self) -> int | None:
        """When the board's present life began: power-on or the newest boot on the console. None: unknown.

        Whatever was seen before tells nothing about the board as it is now.
        """
        return max((at for at in (self.powered_on, self.restarted) if at is not None), default=None)

    def last_stage(self) -> Stage | None:
        """Return the newest sign on the console in the present life."""
        life = self.life or 0
        present = [(at, stage) for stage, at in self.stages.items() if at >= life]
        return max(present)[1] if present else None

    def last_words(self) -> str:
        """Return the last line on the console in the present life."""
        return self.words[1] if self.words[0] >= (self.life or 0) else ""

    def panic_words(self) -> str:
        """Return the line of a kernel panic in the present life, from "Kernel panic" on."""
        at, line = self.panic
        return line[max(0, line.find("Kernel panic")) :] if line and at >= (self.life or 0) else ""


_BEGINNINGS = (Stage.SPL, Stage.UBOOT, Stage.KERNEL)


_T = TypeVar("_T", Look, PowerSeen)


def _newest(items: set[_T], count: int) -> tuple[_T, ...]:
    return tuple(sorted(items)[-count:])
