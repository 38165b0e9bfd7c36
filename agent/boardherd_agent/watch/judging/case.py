"""What the rules of the verdict ask of the evidence: pure questions with one answer each."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from functools import cached_property

from boardherd_agent.watch.booting.boot_patterns import Stage
from boardherd_agent.watch.judging.evidence import Evidence, Look
from boardherd_agent.watch.judging.standing import (
    Rules,
    Standing,
    answers_of,
    blindness,
    on_network,
    standing_of,
)
from boardherd_shared.clock import seconds
from boardherd_shared.records import Power

UP = {Stage.LOGIN, Stage.SHELL}
"""Signs of a board that has booted."""

_LONGEST_LOOK_US = 10_000_000
"""A look may have been under way for so long."""


def interrupted_boot(evidence: Evidence, rules: Rules) -> bool:
    """Tell whether the agent stood still while the board was given time to boot."""
    life, stalled = evidence.life, evidence.stalled
    return life is not None and life < stalled.up and seconds(stalled.began - life) < rules.boot_time_s


def boot_deadline(evidence: Evidence, rules: Rules) -> int | None:
    """Return until when silence is explained by a boot; time in which nobody could look is given back."""
    if evidence.life is None:
        return None
    deadline = evidence.life + round(rules.boot_time_s * 1e6)
    if interrupted_boot(evidence, rules):
        deadline += evidence.stalled.up - max(evidence.stalled.began, evidence.life)
    return deadline


def next_change(evidence: Evidence, now: int, rules: Rules) -> int | None:
    """Return when the passing of time alone may change the verdict next; None for never."""
    old = round(rules.stale_s * 1e6) + 1
    # As a rule only the newest look of each probe matters; which one does after a disturbance is not looked up here.
    disturbed = max(evidence.stalled.up, evidence.network.up) + old > now and bool(
        evidence.stalled.up or evidence.network.up
    )
    kept = 0 if disturbed else -1
    moments = [look.up + old for looks in evidence.looks.values() for look in looks[kept:]]
    deadline = boot_deadline(evidence, rules)
    if deadline is not None:
        moments.append(deadline)
    return min((moment for moment in moments if moment > now), default=None)


class Case:
    """One board at one moment."""

    def __init__(self, evidence: Evidence, now: int, rules: Rules) -> None:
        self.evidence = evidence
        self.now = now
        self.rules = rules
        self.life = evidence.life

    @cached_property
    def standings(self) -> dict[str, Standing]:
        """What the looks of each probe come to."""
        standings = {}
        for probe in self.evidence.probes:
            looks = self.evidence.looks.get(probe, ())
            blind = blindness(looks, self.now, self.rules)
            standings[probe] = blind or standing_of(answers_of(self._fresh(looks), self.life), self.rules)
        return standings

    @cached_property
    def usable(self) -> dict[str, Standing]:
        """The same for the probes that can look."""
        blind = {Standing.UNAVAILABLE, Standing.STALE}
        return {probe: how for probe, how in self.standings.items() if how not in blind}

    def probes(self, how: Standing) -> list[str]:
        """Return the probes whose looks come to ``how``."""
        return [probe for probe, is_ in self.standings.items() if is_ is how]

    def newest(self, probe: str) -> Look | None:
        """Return the last look of a probe."""
        looks = self.evidence.looks.get(probe)
        return looks[-1] if looks else None

    def newest_of(self, probes: Iterable[str]) -> list[Look]:
        """Return the last look of each of ``probes``, as far as there is one."""
        return [look for probe in probes if (look := self.newest(probe))]

    def _fresh(self, looks: tuple[Look, ...]) -> Sequence[Look]:
        """Return what is fair and still tells something; the newest look does so in any case."""
        fair = self._fair(looks)
        return fair if fair and seconds(self.now - fair[-1].up) <= self.rules.stale_s else ()

    def _fair(self, looks: tuple[Look, ...]) -> Sequence[Look]:
        """Leave out the looks that were missed for a reason that is not the board's."""
        evidence = self.evidence
        if evidence.network.up and not evidence.network.trouble:
            # After trouble in the network everything is asked anew, except of those whose answer has ended it.
            missed = max(
                (it.up for it in looks if it.answer == "no" and it.up < evidence.network.up), default=-1
            )
            looks = tuple(look for look in looks if look.up > missed)
        if not evidence.stalled.up:
            return looks
        begin = 0 if interrupted_boot(evidence, self.rules) else evidence.stalled.began - _LONGEST_LOOK_US
        return [look for look in looks if look.answer != "no" or not begin <= look.up < evidence.stalled.up]

    @property
    def relay_unknown(self) -> bool:
        """Whether relays power the board and nobody knows how they stand."""
        return self.evidence.switched and self.evidence.power is Power.UNKNOWN

    @property
    def console_reads(self) -> bool:
        """Whether the console can be listened to."""
        return self.evidence.console and not self.evidence.console_state.trouble

    @property
    def in_boot_window(self) -> bool:
        """Whether the board may still be booting."""
        deadline = boot_deadline(self.evidence, self.rules)
        return deadline is not None and self.now < deadline

    @property
    def restart(self) -> str:
        """How to say that the present boot is not the first since the power-on; nothing if that is not known.

        A boot that is merely heard long after the power-on, or by an agent that has just begun to listen, may
        well be the first: before it the board must have answered, or have come further.
        """
        began, before = self.evidence.restarted, self.evidence.up_before_restart
        if began is None or before is None:
            return ""
        steady = self.evidence.switched and self.evidence.power_between(before, began) == {Power.ON}
        return "restarted without a power cycle, " if steady else "restarted, "

    @cached_property
    def loop(self) -> list[int]:
        """When the board restarted, if it does so again and again and has not stayed up since; else nothing.

        It has stayed up when it was seen for twice as long as it took from one restart to the next.
        """
        if len(self.evidence.signs) <= self.rules.loop:
            return []
        longest = round(2 * self.rules.boot_time_s * 1e6)
        run: list[int] = []
        for at in self.evidence.restarts:
            run = [*run, at] if run and at - run[-1] <= longest else [at]
        if len(run) < self.rules.loop:
            return []
        looked = [looks[-1].up for looks in self.evidence.looks.values() if looks]
        seen = max([self.evidence.heard or 0, *looked])
        widest = max(later - earlier for earlier, later in itertools.pairwise(run))
        return run if seen - run[-1] <= 2 * widest else []

    @property
    def booting(self) -> bool:
        """Within the boot time, and some probe has not answered once in this life."""
        return self.in_boot_window and any(not self.answered_since(probe, self.life) for probe in self.usable)

    @property
    def asks_network(self) -> bool:
        """Whether any probe asks the board over the network."""
        return any(on_network(probe) for probe in self.usable)

    @property
    def network_answers(self) -> bool:
        """Whether any probe that asks over the network is answered."""
        return any(on_network(probe) for probe in self.probes(Standing.ANSWERS))

    @property
    def loader(self) -> str:
        """Where the board waits instead of booting, as a probe sees it now: ``in fastboot``; empty if it does not."""
        looks = self.newest_of(self.usable)
        return next((look.loader for look in looks if look.loader and look.up >= (self.life or 0)), "")

    @property
    def dead_of_panic(self) -> bool:
        """The kernel panicked in this life, and no probe has been answered since."""
        if not self.evidence.panic_words():
            return False
        # A USB port may stay there long after the kernel has died behind it.
        asked = [probe for probe in self.usable if on_network(probe)] or list(self.usable)
        return not any(self.answered_since(probe, self.evidence.panic[0]) for probe in asked)

    def answered_since(self, probe: str, up: int | None) -> bool:
        """Tell whether a look that began at ``up`` or later was answered."""
        return self.evidence.answered.get(probe, -1) >= (up or 0)

    @property
    def came_up(self) -> bool:
        """Whether the board gave a sign in this life of having booted."""
        answered = any(self.answered_since(probe, self.life) for probe in self.usable)
        return answered or any(self.evidence.stages.get(stage, -1) >= (self.life or 0) for stage in UP)

    @property
    def going(self) -> bool:
        """Every answer is of a moment ago and waits to be confirmed: the board may just have died.

        Without this, a board whose probes fall silent one after the other would be "degraded" in between.
        """
        looks = self.evidence.looks
        newest = [looks[probe][-1].answer for probe in self.probes(Standing.ANSWERS)]
        missed = [
            any(look.answer == "yes" and look.up >= (self.life or 0) for look in looks[probe])
            for probe in self.probes(Standing.MISSED)
        ]
        return bool(newest) and "yes" not in newest and all(missed)

    @property
    def coming_and_going(self) -> list[str]:
        """The probes that are answered and missed by turns."""
        return [probe for probe in self.probes(Standing.ANSWERS) if self._falls(probe) >= self.rules.falls]

    def _falls(self, probe: str) -> int:
        answers = answers_of(self._fair(self.evidence.looks[probe]), self.life)
        return sum(pair == ("yes", "no") for pair in itertools.pairwise(answers))

    @property
    def console_talks(self) -> bool:
        """The console has spoken after every probe's newest miss: the board runs, the network does not."""
        heard = self.evidence.heard
        asked = [probe for probe in self.usable if on_network(probe)] or list(self.usable)
        return (
            self.console_reads
            and heard is not None
            and all(heard > look.ended for look in self.newest_of(asked))
        )

    @property
    def link_down(self) -> str:
        """What the board's kernel said of a link that it has lost; nothing while it has another."""
        said = {
            up: (at, words)
            for at, up, words in sorted(self.evidence.links.values())
            if at >= (self.life or 0)
        }
        if True in said or False not in said:
            return ""
        at, words = said[False]
        answered = [self.evidence.answered.get(probe, -1) for probe in self.usable if on_network(probe)]
        return words if at >= max(answered, default=-1) else ""

    @property
    def halted(self) -> str:
        """What the board's kernel said as its last words when it was shut down by somebody."""
        at, words = self.evidence.halted
        later = [up for up in self.evidence.stages.values() if up > at]
        later += [up for up in self.evidence.answered.values() if up > at]
        return words if words and at >= (self.life or 0) and not later else ""
