"""From evidence to a verdict: pure, and tested as a table.

Good news is believed at once, bad news after ``Rules.misses`` looks in a row: a single lost packet changes
nothing. No verdict is latched; it follows from the evidence and the time alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from boardherd_agent.watch.boot_patterns import Stage
from boardherd_agent.watch.evidence import CONSOLE, Answer, Evidence, Look
from boardherd_agent.watch.texts import brief, listed
from boardherd_shared.clock import seconds
from boardherd_shared.records import Blame, Power, Verdict


@dataclass(frozen=True)
class Rules:
    """How patient the verdict is."""

    boot_time_s: float = 90.0
    """How long a board may boot before its silence counts."""
    misses: int = 2
    """Looks in a row that must go unanswered before a probe counts as unanswered; at most 4."""
    stale_s: float = 180.0
    """A look that is older than this tells nothing any more."""
    settle_s: float = 5.0
    """How long a board may still answer after its power went off: supplies hold up."""


@dataclass(frozen=True)
class Judgement:
    """The verdict, the part to blame, and why. The reason holds no ages, so it changes only with the facts."""

    verdict: Verdict
    blame: Blame
    reason: str


class Standing(Enum):
    """What the looks of one probe come to."""

    ANSWERS = "answers"
    MISSED = "missed"
    PENDING = "pending"
    UNAVAILABLE = "unavailable"


def judge(evidence: Evidence, now: int, rules: Rules) -> Judgement:
    """Return the verdict at ``now``, microseconds since the PC's boot."""
    case = _Case(evidence, now, rules)
    if evidence.switched and evidence.power is Power.OFF:
        return _switched_off(case)
    if not case.usable:
        return _console_alone(case) if case.console_reads else _blind(case)
    if case.dead_of_panic:
        return _verdict(Verdict.SILENT, Blame.BOARD, evidence.panic_words())
    if set(case.usable.values()) == {Standing.ANSWERS}:
        return _all_answer(case)
    if case.booting:
        return _verdict(Verdict.BOOTING, Blame.NOBODY, _boot_progress(case))
    return _not_all_answer(case)


def standing(looks: tuple[Look, ...], life: int | None, now: int, rules: Rules) -> Standing:
    """Return what ``looks`` (oldest first) come to, given when the board's present life began."""
    if not looks:
        return Standing.PENDING
    newest = looks[-1]
    if newest.answer == "unavailable" or seconds(now - newest.up) > rules.stale_s:
        return Standing.UNAVAILABLE
    answers = [look.answer for look in looks if look.up >= (life or 0) and look.answer != "unavailable"]
    if "yes" in answers[-rules.misses :]:
        return Standing.ANSWERS
    return Standing.MISSED if len(answers) >= rules.misses else Standing.PENDING


def console_answer(evidence: Evidence, verdict: Verdict) -> tuple[Answer, str]:
    """Return what the console says about the board, and in which words.

    Listening cannot tell a healthy board from a dead one while nothing is said; then it is "unavailable".
    So it is once the verdict is "silent": a prompt shown before is no sign of life any more.
    """
    if evidence.console_state.trouble:
        return "unavailable", evidence.console_state.trouble
    if panic := evidence.panic_words():
        return "no", panic
    if evidence.switched and evidence.power is Power.OFF:
        return "no", "the power is off"
    if not _spoke(evidence):
        return _quiet(evidence)
    stage, words = evidence.last_stage(), evidence.last_words()
    text = brief(": ".join(part for part in (stage, words) if part))
    if stage is not None and stage not in _UP:
        return "no", text
    return ("unavailable", f"quiet, last line: {words}") if verdict is Verdict.SILENT else ("yes", text)


def _quiet(evidence: Evidence) -> tuple[Answer, str]:
    if evidence.life is None:
        return "unavailable", "quiet since it was opened"
    return "no", "nothing since power-on"


_UP = {Stage.LOGIN, Stage.SHELL}


def _spoke(evidence: Evidence) -> bool:
    return evidence.heard is not None and evidence.heard >= (evidence.life or 0)


class _Case:
    """What the rules ask of the evidence."""

    def __init__(self, evidence: Evidence, now: int, rules: Rules) -> None:
        self.evidence = evidence
        self.now = now
        self.rules = rules
        self.life = evidence.life

    @cached_property
    def standings(self) -> dict[str, Standing]:
        return {
            probe: standing(self.evidence.looks.get(probe, ()), self.life, self.now, self.rules)
            for probe in self.evidence.probes
        }

    @cached_property
    def usable(self) -> dict[str, Standing]:
        return {probe: how for probe, how in self.standings.items() if how is not Standing.UNAVAILABLE}

    def probes(self, how: Standing) -> list[str]:
        return [probe for probe, is_ in self.standings.items() if is_ is how]

    def newest(self, probe: str) -> Look | None:
        looks = self.evidence.looks.get(probe)
        return looks[-1] if looks else None

    @property
    def relay_unknown(self) -> bool:
        return self.evidence.switched and self.evidence.power is Power.UNKNOWN

    @property
    def console_reads(self) -> bool:
        return self.evidence.console and not self.evidence.console_state.trouble

    @property
    def in_boot_window(self) -> bool:
        return self.life is not None and seconds(self.now - self.life) < self.rules.boot_time_s

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

    @property
    def booting(self) -> bool:
        """Within the boot time, and some probe has not answered once in this life."""
        life = self.life or 0
        return self.in_boot_window and any(
            self.evidence.answered.get(probe, -1) < life for probe in self.usable
        )

    @property
    def dead_of_panic(self) -> bool:
        """The kernel panicked in this life, and no probe has been answered since."""
        if not self.evidence.panic_words():
            return False
        at = self.evidence.panic[0]
        return all(self.evidence.answered.get(probe, -1) < at for probe in self.usable)

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
    def console_talks(self) -> bool:
        """The console has spoken after every probe's newest miss: the board runs, the network does not."""
        looks = [look for probe in self.usable if (look := self.newest(probe))]
        heard = self.evidence.heard
        return self.console_reads and heard is not None and all(heard > look.ended for look in looks)


def _verdict(verdict: Verdict, blame: Blame, reason: str) -> Judgement:
    return Judgement(verdict, blame, brief(reason, 400))


def _switched_off(case: _Case) -> Judgement:
    """Power that we cut explains silence; an answer long after means that we cut the wrong one."""
    since = case.evidence.off_since or 0
    settled = since + round(case.rules.settle_s * 1e6)
    signs = [
        probe
        for probe in case.evidence.probes
        if (look := case.newest(probe)) and look.answer == "yes" and look.up > settled
    ]
    if any(at > settled for at in case.evidence.stages.values()):
        signs.append(CONSOLE)
    if signs:
        answers = "answers" if len(signs) == 1 else "answer"
        return _verdict(
            Verdict.DEGRADED,
            Blame.WIRING,
            f"its relay is off, yet {listed(signs)} {answers}: check the wiring",
        )
    return _verdict(Verdict.POWERED_OFF, Blame.NOBODY, "its relay is off")


def _blind(case: _Case) -> Judgement:
    """Nothing can look at the board."""
    troubles = [
        f"{probe}: {look.text if look.answer == 'unavailable' else 'no recent look'}"
        for probe in case.evidence.probes
        if (look := case.newest(probe))
    ]
    if case.evidence.console:
        troubles.append(f"{CONSOLE}: {case.evidence.console_state.trouble}")
    if not troubles:
        return _verdict(Verdict.UNKNOWN, Blame.NOBODY, "no probe is configured for it")
    return _verdict(Verdict.UNKNOWN, Blame.AGENT, f"no probe can look ({'; '.join(troubles)})")


def _console_alone(case: _Case) -> Judgement:
    """Only the console tells anything, because no other probe is configured or can look."""
    evidence, stage = case.evidence, case.evidence.last_stage()
    if panic := evidence.panic_words():
        return _verdict(Verdict.SILENT, Blame.BOARD, panic)
    if stage in _UP:
        return _verdict(Verdict.ALIVE, Blame.NOBODY, f"{stage} on the console{_relay_note(case)}")
    if case.in_boot_window:
        return _verdict(Verdict.BOOTING, Blame.NOBODY, _boot_progress(case))
    if stage is not None:
        return _verdict(Verdict.DEGRADED, Blame.BOARD, f"got no further than {stage} on the console")
    if _spoke(evidence):
        return _verdict(Verdict.ALIVE, Blame.NOBODY, f"talks on the console{_relay_note(case)}")
    return _console_quiet(case)


def _console_quiet(case: _Case) -> Judgement:
    if case.life is not None:
        return _verdict(Verdict.SILENT, Blame.BOARD, "nothing on the console since power-on")
    blame = Blame.RELAY if case.relay_unknown else Blame.NOBODY
    return _verdict(
        Verdict.UNKNOWN, blame, f"the console is quiet, and listening alone cannot tell{_relay_note(case)}"
    )


def _all_answer(case: _Case) -> Judgement:
    names = listed(list(case.usable))
    answer = f"{names} {'answers' if len(case.usable) == 1 else 'answer'}"
    if panic := case.evidence.panic_words():
        return _verdict(Verdict.DEGRADED, Blame.BOARD, f"{answer}, yet the console shows: {panic}")
    blind = case.probes(Standing.UNAVAILABLE)
    unseen = f"; {listed(blind)} unavailable" if blind else ""
    return _verdict(Verdict.ALIVE, Blame.NOBODY, f"{answer}{unseen}{_relay_note(case)}")


def _boot_progress(case: _Case) -> str:
    """Return how far a boot has come."""
    stage = case.evidence.last_stage()
    seen = f"{stage} seen on the console" if stage else "powered on"
    waits = [probe for probe, how in case.usable.items() if how is not Standing.ANSWERS]
    return f"{case.restart}{seen}, waiting for {listed(waits) or 'a prompt there'}"


def _not_all_answer(case: _Case) -> Judgement:
    answering, missed = case.probes(Standing.ANSWERS), case.probes(Standing.MISSED)
    if case.probes(Standing.PENDING):
        return _verdict(Verdict.UNKNOWN, Blame.NOBODY, f"still looking{_relay_note(case)}")
    if case.going:
        return _verdict(Verdict.ALIVE, Blame.NOBODY, f"answered before, looking again{_relay_note(case)}")
    complaints = "; ".join(f"{probe}: {look.text}" for probe in missed if (look := case.newest(probe)))
    if answering:
        return _verdict(
            Verdict.DEGRADED, Blame.BOARD, f"{_answers(case, answering)}, but {complaints}{_relay_note(case)}"
        )
    if any(look.stack_up for probe in missed if (look := case.newest(probe))):
        return _verdict(Verdict.DEGRADED, Blame.BOARD, f"{complaints}{_relay_note(case)}")
    if case.console_talks:
        return _verdict(
            Verdict.DEGRADED, Blame.NETWORK, f"the console talks, but {complaints}{_relay_note(case)}"
        )
    return _silence(case, missed)


def _answers(case: _Case, probes: list[str]) -> str:
    """Return which probes answer, those apart whose last look was missed but not confirmed yet."""
    sure = [probe for probe in probes if (look := case.newest(probe)) and look.answer == "yes"]
    wavering = [probe for probe in probes if probe not in sure]
    parts = [f"{listed(sure)} {'answers' if len(sure) == 1 else 'answer'}"] if sure else []
    parts += [f"{listed(wavering)} answered before"] if wavering else []
    return ", ".join(parts)


def _silence(case: _Case, missed: list[str]) -> Judgement:
    silent = f"{listed(missed)} unanswered"
    if case.relay_unknown:
        return _verdict(Verdict.UNKNOWN, Blame.RELAY, f"{silent}, and the relay state is unknown")
    power = "its relay is on" if case.evidence.switched else "its power is not switched from here"
    stage, words = case.evidence.last_stage(), case.evidence.last_words()
    stopped = f", stopped at {stage}" if stage in {Stage.SPL, Stage.UBOOT, Stage.UBOOT_PROMPT} else ""
    last = f', last words "{words}"' if words else ""
    return _verdict(Verdict.SILENT, Blame.BOARD, f"{silent}, {power}{stopped}{last}")


def _relay_note(case: _Case) -> str:
    return "; relay state unknown" if case.relay_unknown else ""
