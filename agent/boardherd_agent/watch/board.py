"""Watches one board: joins its power, its probes and its console into a verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from boardherd_agent.watch.boot_timer import BootTimer
from boardherd_agent.watch.console import Console
from boardherd_agent.watch.evidence import CONSOLE, ConsoleState, Evidence, Heard, Look, PowerSeen
from boardherd_agent.watch.probes import Probe, build_probes
from boardherd_agent.watch.probing import Pace, Prober
from boardherd_agent.watch.texts import brief
from boardherd_agent.watch.verdict import Judgement, Rules, console_answer, judge
from boardherd_shared.clock import Clock, seconds
from boardherd_shared.inventory import BoardConfig
from boardherd_shared.records import Blame, BoardRecord, BootTimes, Power, ProbeResult, Verdict

_LOGIN_GRACE_S = 5.0
"""How long the boot times of a board that answers wait for its login prompt, if the console is watched."""


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
        on_boot: Callable[[str, BootTimes], None],
        pace: Pace | None = None,
        probes: Sequence[Probe] | None = None,
    ) -> None:
        """Prepare; nothing is opened or sent yet. Raises ValueError in words for a probe that is not known.

        Args:
            board: the board's id.
            config: what lab.toml says of it.
            clock: tells all times.
            on_verdict: gets a record with ``change`` true when verdict or blame change, and one with
                ``change`` false when only the reason or the probes' answers do.
            on_boot: gets board and boot times once for each power-on of our own: when the board is alive, or
                with what was seen when its boot time is over.
            pace: how often to look; the defaults if not given.
            probes: other probes than those of ``config``.
        """
        self.board = board
        self._clock = clock
        self._on_verdict = on_verdict
        self._on_boot = on_boot
        self._pace = pace or Pace()
        self._rules = Rules(
            boot_time_s=config.boot_time, stale_s=self._pace.stale, settle_s=self._pace.settle
        )
        chosen = build_probes(config.probes, config.board_ip) if probes is None else probes
        self._probers = [
            Prober(probe, self._pace, clock, verdict=lambda: self.verdict, on_look=self._looked)
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
        self._boot = BootTimer()
        self._boot_reported = True
        self._alive_since: int | None = None
        self._alive = asyncio.Event()

    @property
    def verdict(self) -> Verdict:
        """What is thought of the board now."""
        return self._judgement.verdict

    async def run(self) -> None:
        """Look and listen until cancelled."""
        self._conclude()
        async with asyncio.TaskGroup() as group:
            for prober in self._probers:
                group.create_task(prober.run(), name=f"probe {self.board} {prober.name}")
            if self._console:
                group.create_task(self._console.run(), name=f"console {self.board}")
            group.create_task(self._tick(), name=f"verdict {self.board}")

    def power_changed(self, power: Power, at_up: int, *, by_us: bool) -> None:
        """Take note of the board's power: on if all its feeds are, off if any is.

        Args:
            power: the state from now on; the same as before changes nothing.
            at_up: when it was read, microseconds since boot.
            by_us: the agent itself switched it, so ``at_up`` is exact and the boot is timed.
        """
        if self._evidence.readings and power is self._evidence.power:
            return
        before = self._evidence.powered_on
        self._evidence = self._evidence.add(PowerSeen(at_up, power, by_us))
        on = self._evidence.powered_on
        if power is Power.OFF:
            self._boot.cancel()
        elif on is not None and on != before:
            self._powered_on(on, by_us=by_us)
        self._conclude()

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
        return self._boot.times()

    async def look(self) -> None:
        """Look with every probe now, and return when all have looked."""
        async with asyncio.TaskGroup() as looks:
            for prober in self._probers:
                looks.create_task(prober.look(), name=f"look {self.board} {prober.name}")

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
            probes=tuple(self._results()),
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
        )

    def _results(self) -> list[ProbeResult]:
        """Return what each probe saw last."""
        results = [
            ProbeResult(
                probe=probe,
                answer=look.answer,
                at=look.wall,
                text=look.text,
                duration_s=None if look.duration_s is None else round(look.duration_s, 6),
            )
            for probe in self._evidence.probes
            if (look := (self._evidence.looks.get(probe) or (None,))[-1])
        ]
        if self._evidence.console:
            answer, text = console_answer(self._evidence, self.verdict)
            at = self._clock.wall() - self._clock.up() + (self._evidence.heard or self._clock.up())
            results.append(ProbeResult(probe=CONSOLE, answer=answer, at=max(0, at), text=brief(text)))
        return results

    def _looked(self, look: Look) -> None:
        before = self._evidence.looks.get(look.probe)
        self._evidence = self._evidence.add(look)
        self._boot.looked(look)
        self._conclude()
        if look.answer == "no" and before and before[-1].answer == "yes":
            # What one probe misses the others shall confirm or refute now, not at the end of their pace.
            for prober in self._probers:
                if prober.name != look.probe:
                    prober.hurry()

    def _heard(self, heard: Heard) -> None:
        self._boot.heard(heard)
        if heard.stage is None:  # mere characters; the tick is soon enough to judge anew
            self._evidence = self._evidence.add(heard)
            return
        seen_before = self._evidence.stages.get(heard.stage, -1)
        self._evidence = self._evidence.add(heard)
        self._conclude()
        if seen_before < (self._evidence.life or 0):  # the boot has come a step further
            self._restart_probers()

    def _console_changed(self, state: ConsoleState) -> None:
        self._evidence = self._evidence.add(state)
        self._conclude()

    def _powered_on(self, up: int, *, by_us: bool) -> None:
        self._boot.start(up)
        self._boot_reported = not by_us
        self._restart_probers()

    def _restart_probers(self) -> None:
        for prober in self._probers:
            prober.restart()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._pace.tick)
            self._conclude()

    def _conclude(self) -> None:
        """Judge anew, and tell what changed."""
        now = self._clock.up()
        judgement, before = judge(self._evidence, now, self._rules), self._judgement
        self._judgement = judgement
        if judgement.verdict is not before.verdict:
            self._since = self._clock.wall()
        self._note_alive(now)
        self._tell(changed=(judgement.verdict, judgement.blame) != (before.verdict, before.blame))
        self._report_boot(now)

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

    def _report_boot(self, now: int) -> None:
        """Report the boot times once: alive and the login prompt seen or not to come, or out of time."""
        if self._boot_reported or self._boot.began is None:
            return
        up_for = None if self._alive_since is None else seconds(now - self._alive_since)
        complete = up_for is not None and (
            self._console is None
            or bool(self._evidence.console_state.trouble)
            or self._boot.login_seen
            or up_for >= _LOGIN_GRACE_S
        )
        if complete or self._boot.elapsed(now) >= self._rules.boot_time_s:
            self._boot_reported = True
            self._on_boot(self.board, self._boot.times())
