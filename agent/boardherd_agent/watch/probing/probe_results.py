"""What each probe of a board saw last, as it stands in the board's record."""

from __future__ import annotations

from boardherd_agent.watch.judging.console_answer import console_answer
from boardherd_agent.watch.judging.evidence import CONSOLE, Evidence
from boardherd_agent.watch.texts import brief
from boardherd_shared.clock import Clock
from boardherd_shared.records import ProbeResult, Verdict


def probe_results(evidence: Evidence, verdict: Verdict, clock: Clock) -> tuple[ProbeResult, ...]:
    """Return the last look of each probe, and of the console if it is watched."""
    results = [
        ProbeResult(
            probe=probe,
            answer=look.answer,
            at=look.wall,
            text=look.text,
            duration_s=None if look.duration_s is None else round(look.duration_s, 6),
        )
        for probe in evidence.probes
        if (look := (evidence.looks.get(probe) or (None,))[-1])
    ]
    if evidence.console:
        answer, text = console_answer(evidence, verdict)
        at = clock.wall() - clock.up() + (evidence.heard or clock.up())
        results.append(ProbeResult(probe=CONSOLE, answer=answer, at=max(0, at), text=brief(text)))
    return tuple(results)
