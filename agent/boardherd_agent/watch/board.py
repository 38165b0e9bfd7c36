"""Watches one board: joins its power, its probes and its console into a verdict."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from boardherd_agent.watch.booting.boot_history import BootHistory
from boardherd_agent.watch.booting.boot_patterns import Notice
from boardherd_agent.watch.booting.boots import Boots, OnBoot
from boardherd_agent.watch.consoles.console import Console
from boardherd_agent.watch.judging.case import next_change
from boardherd_agent.watch.judging.evidence import (
    CONSOLE,
    ConsoleState,
    Evidence,
    Heard,
    Item,
    Look,
    NetworkSeen,
    PowerSeen,
    RelaySeen,
    WiringSeen,
)
from boardherd_agent.watch.judging.pulse import Pulse
from boardherd_agent.watch.judging.surroundings import Sighting, sighting
from boardherd_agent.watch.judging.verdict import Judgement, Rules, console_answer, judge
from boardherd_agent.watch.probes import Probe, build_probes
from boardherd_agent.watch.probing.gate import Gate
from boardherd_agent.watch.probing.means import Means
from boardherd_agent.watch.probing.probe_results import probe_results
from boardherd_agent.watch.probing.prober import Pace, Prober, interval
from boardherd_shared.clock import Clock, seconds
from boardherd_shared.inventory import BoardConfig
from boardherd_shared.records import Blame, BoardRecord, BootTimes, Power, Verdict, Wiring

_MOST_TICKS_AT_REST = 10
"""A watch on which time has no effect looks at the clock every so many ticks all the same."""


class BoardWatch:
    """What is true of one board, from when :meth:`run` begins.

    All methods belong to the event loop's thread. Callbacks are called from within, must not block and must
    not raise.
    """

    def __init__(
        self,
        board: str,
        config: BoardConfig,
        clock: Clock,
        *,
        on_verdict: Callable[[BoardRecord], None],
        on_boot: OnBoot,
        pace: Pace | None = None,
        probes: Sequence[Probe] | None = None,
        means: Means | None = None,
        pulse: Pulse | None = None,
        history: BootHistory | None = None,
    ) -> None:
        """Prepare; nothing is opened or sent yet. Raises ValueError in words for a probe that is not known.

        Args:
            board: the board's id.
            config: what lab.toml says of it.
            clock: tells all times.
            on_verdict: gets a record with ``change`` true when verdict or blame change, and one with
                ``change`` false when only the reason or the probes' answers do.
            on_boot: gets board, boot times and how it went, once for each boot: when the board is alive, or
                with what was seen when its boot time is over.
            pace: how often to look; the defaults if not given.
            probes: other probes than those of ``config``.
            means: what the probes of all boards of this PC share; the board's own if not given.
            pulse: notices when the agent stood still; not given, nobody does.
            history: the boots of this PC's boards so far; none if not given.
        """
        self.board = board
        self._clock = clock
        self._on_verdict = on_verdict
        self._pace = pace or Pace()
        self._rules = Rules(
            boot_time_s=config.boot_time, stale_s=self._pace.stale, settle_s=self._pace.settle
        )
        means = means or Means(Gate(self._pace.at_once))
        chosen = build_probes(board, config, means) if probes is None else probes
        self._probers = [
            Prober(
                probe,
                self._pace,
                clock,
                verdict=lambda: self.verdict,
                on_look=self._looked,
                gate=means.gate,
            )
            for probe in chosen
        ]
        self._console = self._make_console(config)
        watched = self._console is not None or CONSOLE in config.probes
        self._evidence = Evidence(
            probes=tuple(probe.name for probe in chosen),
            switched=bool(config.power),
            console=watched,
            console_state=ConsoleState(0, "not opened yet" if self._console else "switched off in lab.toml"),
        )
        self._judgement = Judgement(Verdict.UNKNOWN, Blame.NOBODY, "not looked at yet")
        self._since = clock.wall()
        self._said: tuple[object, ...] | None = None
        self._pulse = pulse
        self._boots = Boots(board, self._rules, history or BootHistory(), on_boot)
        self._outdated = True
        self._stirred = asyncio.Event()
        self._next_change: int | None = None
        self._sighted: tuple[Evidence, Sighting | None] | None = None
        self._alive_since: int | None = None
        self._alive = asyncio.Event()

    @property
    def verdict(self) -> Verdict:
        """What is thought of the board now."""
        return self._judgement.verdict

    @property
    def evidence(self) -> Evidence:
        """Everything that has been seen of the board."""
        return self._evidence

    async def run(self) -> None:
        """Look and listen until cancelled."""
        self._conclude()
        async with asyncio.TaskGroup() as group:
            for prober in self._probers:
                group.create_task(prober.run(), name=f"probe {self.board} {prober.name}")
            if self._console:
                group.create_task(self._console.run(), name=f"console {self.board}")
            group.create_task(self._tick(), name=f"verdict {self.board}")

    def power_changed(self, power: Power, at_up: int, *, by_us: bool, relay: RelaySeen | None = None) -> None:
        """Take note of the board's power: on if all its feeds are, off if any is.

        Args:
            power: the state from now on; the same as before changes nothing.
            at_up: when it was read, microseconds since boot.
            by_us: the agent itself switched it, so ``at_up`` is exact and the boot is timed from it.
            relay: what else there is to say of the relays; nothing odd if not given.
        """
        relay = relay or RelaySeen(at_up)
        odd = replace(relay, up=0) != replace(self._evidence.relay, up=0)
        changed = not self._evidence.readings or power is not self._evidence.power
        if odd:
            self._note(relay)
        if changed:
            before = self._evidence
            self._note(PowerSeen(at_up, power, by_us))
            self._boots.power_changed(before, self._evidence, by_us=by_us)
            if self._evidence.powered_on not in {None, before.powered_on}:
                self._restart_probers()
        if odd or changed:
            self._conclude()

    def wiring_changed(self, wiring: Wiring) -> None:
        """Take note of what power cycles have shown of the board's wiring."""
        self._note(WiringSeen(self._clock.up(), wiring.state, wiring.text))
        self._conclude()

    def network_changed(self, trouble: str) -> None:
        """Take note of what is wrong with the network between this PC and the board; empty when nothing is."""
        self._note(NetworkSeen(self._clock.up(), trouble))
        self._conclude()
        if not trouble:
            self._restart_probers()

    def sighting(self) -> Sighting | None:
        """Return how the board was last seen over the network; None where that tells nothing."""
        if self._sighted is None or self._sighted[0] is not self._evidence:
            seen = sighting(self.board, self._evidence, self._rules.misses, self._between_looks)
            self._sighted = (self._evidence, seen)
        return self._sighted[1]

    async def wait_alive(self, timeout: float) -> BootTimes | None:
        """Wait until the board is alive, at most ``timeout`` seconds from the last power-on.

        Returns what was measured of the boot (nothing if no power-on was seen), or None if the board did not
        come alive in time. Without a power-on the time counts from the call.
        """
        on = self._evidence.powered_on
        passed = 0.0 if on is None else seconds(self._clock.up() - on)
        try:
            async with asyncio.timeout(max(0.0, timeout - passed)):
                await self._alive.wait()
        except TimeoutError:
            return None
        return self._boots.times()

    async def look(self) -> None:
        """Look with every probe now, and return when all have looked."""
        async with asyncio.TaskGroup() as looks:
            for prober in self._probers:
                looks.create_task(prober.look(), name=f"look {self.board} {prober.name}")

    @property
    def console(self) -> Console | None:
        """The board's console; None where lab.toml names none or wants it left alone."""
        return self._console

    @property
    def console_taken(self) -> str:
        """Who else holds the board's console, in words; empty when nobody does or nobody knows."""
        trouble = self._evidence.console_state.trouble
        return f"its console is {trouble}" if trouble.startswith("busy: ") else ""

    def record(self, *, change: bool) -> BoardRecord:
        """Return the verdict of this moment with its evidence."""
        judgement = self._judgement
        return BoardRecord(
            at=self._clock.wall(),
            up=self._clock.up(),
            board=self.board,
            verdict=judgement.verdict,
            blame=judgement.blame,
            reason=judgement.reason,
            since=self._since,
            probes=probe_results(self._evidence, self.verdict, self._clock),
            slow=self._boots.slow,
            change=change,
        )

    def _make_console(self, config: BoardConfig) -> Console | None:
        if config.console == "off" or not config.serial_port:
            return None
        return Console(
            self.board,
            config.serial_port,
            config.serial_baud,
            self._clock,
            on_heard=self._heard,
            on_state=self._console_changed,
            tap=config.console == "tap",
        )

    @property
    def _between_looks(self) -> int:
        """The time between two looks at the board while it answers, in microseconds."""
        cheap = [interval(self._pace, it.name, Verdict.ALIVE, "yes", 0) for it in self._probers]
        return round((min(cheap, default=self._pace.steady) + self._pace.timeout) * 1e6)

    def _note(self, item: Item) -> None:
        self._evidence = self._evidence.add(item)
        self._outdated = True

    def _looked(self, look: Look) -> None:
        before = self._evidence.looks.get(look.probe)
        self._note(look)
        self._boots.looked(look)
        self._conclude()
        if before and {before[-1].answer, look.answer} == {"yes", "no"}:
            # What one probe misses, or sees again, the others shall confirm or refute now.
            for prober in self._probers:
                if prober.name != look.probe:
                    prober.hurry()

    def _heard(self, heard: Heard) -> None:
        stages = self._evidence.stages
        self._note(heard)
        self._boots.heard(heard, self._evidence)
        if heard.stage is None:  # mere characters; the tick is soon enough to judge anew
            self._stirred.set()
            return
        self._conclude()
        # A link that came or went, or a boot that has come a step further.
        if isinstance(heard.stage, Notice) or stages.get(heard.stage, -1) < (self._evidence.life or 0):
            self._restart_probers()

    def _console_changed(self, state: ConsoleState) -> None:
        self._note(state)
        self._conclude()

    def _restart_probers(self) -> None:
        for prober in self._probers:
            prober.restart()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._pace.tick)
            due = self._next_change is not None and self._clock.up() >= self._next_change
            if self._outdated or due or self._boots.under_way:
                self._conclude()
            else:
                await self._rest()

    async def _rest(self) -> None:
        """Wait while time alone changes nothing: a rack of boards that all wake every second is a load."""
        self._stirred.clear()
        ticks_s = _MOST_TICKS_AT_REST * self._pace.tick
        if self._next_change is not None:
            ticks_s = min(ticks_s, seconds(self._next_change - self._clock.up()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ticks_s):
                await self._stirred.wait()

    def _conclude(self) -> None:
        """Judge anew, and tell what changed."""
        now = self._clock.up()
        if self._pulse and (stalled := self._pulse.beat(now)) != self._evidence.stalled:
            self._note(stalled)
        self._outdated = False
        judgement, before = judge(self._evidence, now, self._rules), self._judgement
        due_before, self._next_change = self._next_change, next_change(self._evidence, now, self._rules)
        self._judgement = judgement
        if judgement.verdict is not before.verdict:
            self._since = self._clock.wall()
        self._note_alive(now)
        self._tell(changed=(judgement.verdict, judgement.blame) != (before.verdict, before.blame))
        self._boots.conclude(now, self._evidence, self._alive_since)
        sooner = self._next_change is not None and (due_before is None or self._next_change < due_before)
        if sooner or self._boots.under_way:
            self._stirred.set()

    def _note_alive(self, now: int) -> None:
        if self.verdict is not Verdict.ALIVE:
            self._alive.clear()
            self._alive_since = None
        elif not self._alive.is_set():
            self._alive.set()
            self._alive_since = now

    def _tell(self, *, changed: bool) -> None:
        """Call ``on_verdict`` if there is anything that was not said before."""
        looks = tuple((probe, looks[-1].answer) for probe, looks in self._evidence.looks.items())
        words = (self._judgement, looks, console_answer(self._evidence, self.verdict)[0])
        if words == self._said:
            return
        first, self._said = self._said is None, words
        self._on_verdict(self.record(change=changed or first))
