"""Why a board that has power does not answer as it should: the explanations, the likeliest first. Pure."""

from __future__ import annotations

from boardherd_agent.watch.booting.boot_patterns import Stage
from boardherd_agent.watch.judging.case import UP, Case
from boardherd_agent.watch.judging.judgement import (
    Judgement,
    blind_spots,
    complaints,
    judgement,
    notes,
    panic_note,
    stood_still,
    unanswered,
    who_answers,
)
from boardherd_agent.watch.judging.standing import Standing
from boardherd_shared.records import Blame, Verdict


def explain(case: Case) -> Judgement:
    """Return why not every probe of a board is answered."""
    return next(found for explanation in _EXPLANATIONS if (found := explanation(case)))


def _still_looking(case: Case) -> Judgement | None:
    if not case.probes(Standing.PENDING):
        return None
    evidence = case.evidence
    if evidence.network.trouble and not case.network_answers:
        return judgement(Verdict.UNKNOWN, Blame.NETWORK, f"{evidence.network.trouble}; still looking")
    if stood := stood_still(case):
        return judgement(Verdict.UNKNOWN, Blame.AGENT, f"{stood}, looking again")
    return judgement(Verdict.UNKNOWN, Blame.NOBODY, f"still looking{notes(case)}")


def _about_to_fall_silent(case: Case) -> Judgement | None:
    if not case.going:
        return None
    if case.probes(Standing.STALE):
        return judgement(Verdict.UNKNOWN, Blame.AGENT, "; ".join(blind_spots(case)))
    return judgement(Verdict.ALIVE, Blame.NOBODY, f"answered before, looking again{notes(case)}")


def _in_a_loader(case: Case) -> Judgement | None:
    if not case.loader:
        return None
    return judgement(Verdict.DEGRADED, Blame.BOARD, f"it waits {case.loader} instead of booting{notes(case)}")


def _unplugged(case: Case) -> Judgement | None:
    """The board says itself that it has lost its link."""
    words = case.link_down
    if not words or case.halted or case.network_answers:
        return None
    return judgement(Verdict.DEGRADED, Blame.NETWORK, f'{unanswered(case)}, its kernel says "{words}"')


def _partly_answering(case: Case) -> Judgement | None:
    answering = case.probes(Standing.ANSWERS)
    if not answering:
        return None
    reason = f"{who_answers(case, answering)}, but {complaints(case)}{panic_note(case)}{notes(case)}"
    return judgement(Verdict.DEGRADED, Blame.BOARD, reason)


def _stack_up(case: Case) -> Judgement | None:
    if not any(look.stack_up for look in case.newest_of(case.probes(Standing.MISSED))):
        return None
    return judgement(Verdict.DEGRADED, Blame.BOARD, f"{complaints(case)}{notes(case)}")


def _still_booting(case: Case) -> Judgement | None:
    """The console goes on talking of a boot that should be over."""
    stage = case.evidence.last_stage()
    if not case.console_talks or stage is None or case.came_up:
        return None
    reason = (
        f"{unanswered(case)}; still talks, but got no further than {stage} in {case.rules.boot_time_s:g} s"
    )
    return judgement(Verdict.DEGRADED, Blame.BOARD, reason)


def _talks_without_network(case: Case) -> Judgement | None:
    if not case.console_talks:
        return None
    return judgement(
        Verdict.DEGRADED, Blame.NETWORK, f"the console talks, but {complaints(case)}{notes(case)}"
    )


def _up_without_network(case: Case) -> Judgement | None:
    """It booted to its prompt, and its network never came."""
    stage = case.evidence.last_stage()
    answered = any(case.answered_since(probe, case.life) for probe in case.usable)
    if stage not in UP or case.life is None or answered or case.halted or not case.asks_network:
        return None
    return judgement(
        Verdict.DEGRADED, Blame.NETWORK, f"{stage} on the console, but {unanswered(case)} since it booted"
    )


def _network_down(case: Case) -> Judgement | None:
    """The network that the board shares with others, or the PC's own, has failed."""
    trouble = case.evidence.network.trouble
    if not trouble or not case.asks_network:
        return None
    return judgement(Verdict.UNKNOWN, Blame.NETWORK, f"{unanswered(case)}; {trouble}{notes(case)}")


def _relay_gone(case: Case) -> Judgement | None:
    if not case.relay_unknown:
        return None
    why = f": {case.evidence.relay.text}" if case.evidence.relay.text else ""
    return judgement(Verdict.UNKNOWN, Blame.RELAY, f"{unanswered(case)}, and the relay state is unknown{why}")


def _silence(case: Case) -> Judgement:
    power = "its relay is on" if case.evidence.switched else "its power is not switched from here"
    if halted := case.halted:
        reason = f'somebody shut it down, last words "{halted}"; {power}'
        return judgement(Verdict.SILENT, Blame.BOARD, reason)
    stage, words = case.evidence.last_stage(), case.evidence.last_words()
    stopped = f", stopped at {stage}" if stage in {Stage.SPL, Stage.UBOOT, Stage.UBOOT_PROMPT} else ""
    last = f', last words "{words}"' if words else ""
    return judgement(Verdict.SILENT, Blame.BOARD, f"{unanswered(case)}, {power}{stopped}{last}")


_EXPLANATIONS = (
    _still_looking,
    _about_to_fall_silent,
    _in_a_loader,
    _unplugged,
    _partly_answering,
    _stack_up,
    _still_booting,
    _talks_without_network,
    _up_without_network,
    _network_down,
    _relay_gone,
    _silence,
)
"""Why a board does not answer as it should; the first that fits holds, and the last one always does."""
