"""What the console says for itself about a board, as one of its probes. Pure."""

from __future__ import annotations

from boardherd_agent.watch.judging.case import UP
from boardherd_agent.watch.judging.evidence import Answer, Evidence
from boardherd_agent.watch.texts import brief
from boardherd_shared.records import Power, Verdict


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
    if not spoke(evidence):
        return _quiet(evidence)
    stage, words = evidence.last_stage(), evidence.last_words()
    text = brief(": ".join(part for part in (stage, words) if part))
    if stage is not None and stage not in UP:
        return "no", text
    return ("unavailable", f"quiet, last line: {words}") if verdict is Verdict.SILENT else ("yes", text)


def spoke(evidence: Evidence) -> bool:
    """Tell whether the console has said anything in the board's present life."""
    return evidence.heard is not None and evidence.heard >= (evidence.life or 0)


def _quiet(evidence: Evidence) -> tuple[Answer, str]:
    if evidence.life is None:
        return "unavailable", "quiet since it was opened"
    return "no", "nothing since power-on"
