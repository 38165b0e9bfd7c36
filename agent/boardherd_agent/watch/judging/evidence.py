"""What has been seen of a board, kept so that the order of arrival does not matter.

Everything carries the time when it was true (microseconds since the PC's boot), and :meth:`Evidence.add`
keeps the newest few of each kind by that time. Adding the same things in any order, or twice, gives the same
evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Literal, TypeVar

from boardherd_agent.watch.booting.boot_patterns import Notice, Stage, interface
from boardherd_agent.watch.booting.restarts import BEGINNINGS, beginnings
from boardherd_shared.records import Power

Answer = Literal["yes", "no", "unavailable"]

CONSOLE = "console"
"""Name of the console among the probes of a board."""

_LOOKS = 8
_READINGS = 8
_SIGNS = 48
_LINKS = 8


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
    loader: str = ""
    """Where it was seen waiting instead of booting, in words: ``in fastboot``; empty if it was not."""
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


@dataclass(frozen=True, order=True)
class RelaySeen:
    """What else there is to say of the relays that power the board, from this moment on."""

    up: int
    text: str = ""
    """Why a port is off though nobody asked for it, or why its state is unknown; empty for nothing odd."""
    at_fault: bool = False
    """The relay let go by itself."""
    partly: bool = False
    """Some feeds are off while others are on."""


@dataclass(frozen=True, order=True)
class WiringSeen:
    """Whether the board hangs on the ports that lab.toml names, from this moment on."""

    up: int
    state: Literal["unproved", "proved", "suspect"] = "unproved"
    text: str = ""


@dataclass(frozen=True, order=True)
class NetworkSeen:
    """What is wrong, from this moment on, with the network that this test PC shares with the board."""

    up: int
    trouble: str = ""
    """In words; empty when nothing is known to be."""


@dataclass(frozen=True, order=True)
class Stalled:
    """The agent itself stood still: whatever it missed then says nothing about the board."""

    up: int
    """When it went on."""
    began: int


@dataclass(frozen=True)
class Heard:
    """Characters on the console, and perhaps a sign among them."""

    up: int
    words: str = ""
    """The last line at that moment."""
    stage: Stage | Notice | None = None


@dataclass(frozen=True, order=True)
class ConsoleState:
    """From this moment on the console is read, or cannot be and why."""

    up: int
    trouble: str = ""

    @property
    def handed_over(self) -> bool:
        """Whether it is left to whoever holds the board."""
        return self.trouble.startswith(_HANDED_OVER)

    @property
    def broken(self) -> bool:
        """Whether it cannot be read for a reason that somebody should mend; that it is left to others is none."""
        return bool(self.trouble) and not self.trouble.startswith(_AT_REST)


_HANDED_OVER = "left to "
_AT_REST = ("busy: ", _HANDED_OVER, "closed ", "not opened yet", "switched off")

Item = Look | PowerSeen | RelaySeen | WiringSeen | NetworkSeen | Stalled | Heard | ConsoleState


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
    signs: tuple[tuple[int, Stage], ...] = ()
    """The newest signs with which a boot can begin, oldest first."""
    links: Mapping[str, tuple[int, bool, str]] = field(default_factory=dict)
    """For each interface of the board when its kernel last spoke of the link, whether it is up, and in which words."""
    halted: tuple[int, str] = (0, "")
    heard: int | None = None
    """When the console last said anything."""
    words: tuple[int, str] = (0, "")
    panic: tuple[int, str] = (0, "")
    console_state: ConsoleState = ConsoleState(0, "not opened yet")
    relay: RelaySeen = RelaySeen(0)
    wiring: WiringSeen = WiringSeen(0)
    network: NetworkSeen = NetworkSeen(0)
    stalled: Stalled = Stalled(0, 0)

    def add(self, item: Item) -> Evidence:
        """Return the evidence with ``item`` in its place."""
        match item:
            case Look():
                return self._with_look(item)
            case PowerSeen():
                return _changed(self, readings=_newest({*self.readings, item}, _READINGS))
            case Heard():
                return self._with_heard(item)
            case _:
                name = _LATEST[type(item)]
                return _changed(self, **{name: max(getattr(self, name), item)})

    def _with_look(self, look: Look) -> Evidence:
        looks = _newest({*self.looks.get(look.probe, ()), look}, _LOOKS)
        answered = dict(self.answered)
        if look.answer == "yes":
            answered[look.probe] = max(look.up, answered.get(look.probe, 0))
        return _changed(self, looks={**self.looks, look.probe: looks}, answered=answered)

    def _with_heard(self, heard: Heard) -> Evidence:
        return _changed(
            self._with_sign(heard),
            heard=max(heard.up, self.heard or 0),
            words=max(self.words, (heard.up, heard.words)) if heard.words else self.words,
        )

    def _with_sign(self, heard: Heard) -> Evidence:
        if isinstance(heard.stage, Stage):
            return self._with_stage(heard.up, heard.stage, heard.words)
        return self._with_notice(heard.up, heard.stage, heard.words) if heard.stage else self

    def _with_stage(self, up: int, stage: Stage, words: str) -> Evidence:
        begins = _newest({*self.signs, (up, stage)}, _SIGNS) if stage in BEGINNINGS else self.signs
        return _changed(
            self,
            stages={**self.stages, stage: max(up, self.stages.get(stage, 0))},
            signs=begins,
            panic=max(self.panic, (up, words)) if stage is Stage.PANIC else self.panic,
        )

    def _with_notice(self, up: int, notice: Notice, words: str) -> Evidence:
        if notice is Notice.HALTED:
            return _changed(self, halted=max(self.halted, (up, words[max(0, words.find("reboot:")) :])))
        name = interface(words)
        said = (up, notice is Notice.LINK_UP, words[words.rfind(name) :] if name else words)
        links = {**self.links, name: max(said, self.links.get(name, said))}
        newest = sorted(links, key=lambda name: (links[name], name))[-_LINKS:]
        return _changed(self, links={name: links[name] for name in newest})

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

    @cached_property
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

    @cached_property
    def restarted(self) -> int | None:
        """When the console last showed the beginning of a boot."""
        return max((self.stages[stage] for stage in BEGINNINGS if stage in self.stages), default=None)

    @cached_property
    def restarts(self) -> list[int]:
        """When boots began after the first that is known of, under the same power; oldest first."""
        since = self.powered_on or 0
        return beginnings([sign for sign in self.signs if sign[0] >= since])[1:]

    @property
    def up_before_restart(self) -> int | None:
        """When the board last gave a sign, under the same power, of having come further than where it is again."""
        if self.restarted is None:
            return None
        stages = list(Stage)
        place = max(stages.index(stage) for stage in BEGINNINGS if self.stages.get(stage) == self.restarted)
        further = [self.stages[stage] for stage in stages[place + 1 :] if stage in self.stages]
        signs = (*self.answered.values(), *further)
        return max((at for at in signs if (self.powered_on or 0) <= at < self.restarted), default=None)

    def power_between(self, begin: int, end: int) -> set[Power]:
        """Return the states of the power that were read from ``begin`` to ``end``."""
        earlier = [reading.power for reading in self.readings if reading.up <= begin]
        meanwhile = [reading.power for reading in self.readings if begin < reading.up <= end]
        return {*(earlier[-1:] or [Power.UNKNOWN]), *meanwhile}

    @cached_property
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


def _changed(evidence: Evidence, **changes: object) -> Evidence:
    """Return a copy with other values; several times cheaper than dataclasses.replace, once for each look."""
    copy = object.__new__(Evidence)
    mine = vars(evidence)  # without what is worked out from the fields and kept beside them
    vars(copy).update({name: mine[name] for name in _FIELDS}, **changes)
    return copy


_FIELDS = tuple(it.name for it in fields(Evidence))

_LATEST: dict[type, str] = {
    ConsoleState: "console_state",
    RelaySeen: "relay",
    WiringSeen: "wiring",
    NetworkSeen: "network",
    Stalled: "stalled",
}
"""Things of which only the newest counts, and where it is kept."""

_T = TypeVar("_T", Look, PowerSeen, tuple[int, Stage])


def _newest(items: set[_T], count: int) -> tuple[_T, ...]:
    return tuple(sorted(items)[-count:])
