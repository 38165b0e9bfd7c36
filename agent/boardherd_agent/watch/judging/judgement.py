"""The words of a verdict: what the rules say of a board, each in one place. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from boardherd_agent.watch.judging.case import Case
from boardherd_agent.watch.judging.evidence import CONSOLE
from boardherd_agent.watch.judging.standing import Standing
from boardherd_agent.watch.texts import brief, listed
from boardherd_shared.clock import seconds
from boardherd_shared.records import Blame, Verdict


@dataclass(frozen=True)
class Judgement:
    """The verdict, the part to blame, and why. The reason holds no ages, so it changes only with the facts."""

    verdict: Verdict
    blame: Blame
    reason: str


def judgement(verdict: Verdict, blame: Blame, reason: str) -> Judgement:
    """Return a judgement whose reason is one line of a length that fits everywhere."""
    return Judgement(verdict, blame, brief(reason, 400))


def looping(case: Case) -> Judgement:
    """It restarts again and again without our doing."""
    begin, *_, last = case.loop
    minutes = max(1, round(seconds(last - begin) / 60))
    at, panic = case.evidence.panic
    because = f', "{panic}" before one of them' if panic and at >= begin else ""
    return judgement(
        Verdict.DEGRADED, Blame.BOARD, f"restarted {len(case.loop)} times in {minutes} min{because}"
    )


def boot_progress(case: Case) -> str:
    """Return how far a boot has come."""
    stage = case.evidence.last_stage()
    seen = f"{stage} seen on the console" if stage else "powered on"
    waits = [probe for probe, how in case.usable.items() if how is not Standing.ANSWERS]
    loader = f"{case.loader}, " if case.loader else ""
    return f"{case.restart}{loader}{seen}, waiting for {listed(waits) or 'a prompt there'}"


def blind_spots(case: Case) -> list[str]:
    """Return which probes cannot look, and why."""
    texts = [f"{look.probe}: {look.text}" for look in case.newest_of(case.probes(Standing.UNAVAILABLE))]
    return texts + [f"{probe}: no recent look" for probe in case.probes(Standing.STALE)]


def stood_still(case: Case) -> str:
    """Return that nobody has looked since the agent itself stood still; empty when somebody has, or it did not."""
    stalled = case.evidence.stalled
    if not case.evidence.probes or stalled.up <= max(
        (look.up for look in case.newest_of(case.evidence.probes)), default=0
    ):
        return ""
    return f"the agent itself stood still for {seconds(stalled.up - stalled.began):.0f} s"


def answer_of(names: list[str]) -> str:
    """Return "ping answers", "ping and ssh answer"."""
    return f"{listed(names)} {'answers' if len(names) == 1 else 'answer'}"


def who_answers(case: Case, probes: list[str]) -> str:
    """Return which probes answer, those apart whose last look was missed but not confirmed yet."""
    sure = [look.probe for look in case.newest_of(probes) if look.answer == "yes"]
    wavering = [probe for probe in probes if probe not in sure]
    parts = [answer_of(sure)] if sure else []
    parts += [f"{listed(wavering)} answered before"] if wavering else []
    return ", ".join(parts)


def unanswered(case: Case) -> str:
    """Return which probes are not answered."""
    return f"{listed(case.probes(Standing.MISSED))} unanswered"


def complaints(case: Case) -> str:
    """Return what each probe that is not answered saw instead."""
    return "; ".join(f"{look.probe}: {look.text}" for look in case.newest_of(case.probes(Standing.MISSED)))


def panic_note(case: Case) -> str:
    """Return the words of a panic in this life, to be added to others."""
    panic = case.evidence.panic_words()
    return f"; the console shows: {panic}" if panic else ""


def notes(case: Case) -> str:
    """Return what is amiss besides, and should be mended though the verdict does not hang on it."""
    notes = [
        f"{look.probe} unavailable: {look.text}" for look in case.newest_of(case.probes(Standing.UNAVAILABLE))
    ]
    if case.evidence.console and case.evidence.console_state.broken:
        notes.append(f"{CONSOLE} unavailable: {case.evidence.console_state.trouble}")
    if case.relay_unknown:
        why = f" ({case.evidence.relay.text})" if case.evidence.relay.text else ""
        notes.append(f"relay state unknown{why}")
    return "".join(f"; {note}" for note in notes)
