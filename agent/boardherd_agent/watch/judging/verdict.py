"""From evidence to a verdict: pure, and tested as a table.

Good news is believed at once, bad news after ``Rules.misses`` looks in a row: a single lost packet changes
nothing. No verdict is latched; it follows from the evidence and the time alone. What stands above a board (its
relay, its wiring, the network and the agent of its PC) is asked before the board is blamed: while that fails, a
silent board is unknown, not dead.
"""

from __future__ import annotations

from boardherd_agent.watch.judging.case import UP, Case
from boardherd_agent.watch.judging.console_answer import console_answer, spoke
from boardherd_agent.watch.judging.evidence import CONSOLE, Evidence
from boardherd_agent.watch.judging.explanations import explain
from boardherd_agent.watch.judging.judgement import (
    Judgement,
    answer_of,
    blind_spots,
    boot_progress,
    judgement,
    looping,
    notes,
    stood_still,
)
from boardherd_agent.watch.judging.standing import Rules, Standing
from boardherd_agent.watch.texts import listed
from boardherd_shared.records import Blame, Power, Verdict

__all__ = ["Judgement", "Rules", "console_answer", "judge"]


def judge(evidence: Evidence, now: int, rules: Rules) -> Judgement:
    """Return the verdict at ``now``, microseconds since the PC's boot."""
    case = Case(evidence, now, rules)
    if evidence.switched and evidence.power is Power.OFF:
        return _switched_off(case)
    found = _powered(case)
    return _doubting_wiring(case, found) if evidence.wiring.state == "suspect" else found


def _powered(case: Case) -> Judgement:
    """Judge a board that has power, as far as anybody knows."""
    if not case.usable:
        alone = case.console_reads and not case.probes(Standing.STALE)
        return _console_alone(case) if alone else _blind(case)
    if case.dead_of_panic and not case.loop:
        return judgement(Verdict.SILENT, Blame.BOARD, case.evidence.panic_words())
    if case.loop:
        return looping(case)
    if set(case.usable.values()) == {Standing.ANSWERS}:
        return _all_answer(case)
    if case.booting:
        return judgement(Verdict.BOOTING, Blame.NOBODY, boot_progress(case))
    return explain(case)


def _switched_off(case: Case) -> Judgement:
    """Power that we cut explains silence; an answer long after means a welded contact, or that we cut the wrong one."""
    relay, wiring = case.evidence.relay, case.evidence.wiring
    off = "one of its feeds is off" if relay.partly else "its relay is off"
    why = f": {relay.text}" if relay.text else ""
    answers = _signs_without_power(case)
    if not answers:
        if wiring.state == "suspect":
            return judgement(Verdict.UNKNOWN, Blame.WIRING, f"{off}{why}, but {_suspicion(case)}")
        return judgement(Verdict.POWERED_OFF, Blame.RELAY if relay.at_fault else Blame.NOBODY, f"{off}{why}")
    if relay.partly:
        blame = Blame.RELAY if relay.at_fault else Blame.NOBODY
        return judgement(Verdict.DEGRADED, blame, f"{off}{why}; {answers} all the same")
    yet = f"{off}, yet {answers}"
    if wiring.state == "suspect":
        return judgement(Verdict.DEGRADED, Blame.WIRING, f"{yet}; {_suspicion(case)}")
    if wiring.state == "proved":
        return judgement(
            Verdict.DEGRADED, Blame.RELAY, f"{yet}; its wiring was proved, so the contact must be welded"
        )
    return judgement(
        Verdict.DEGRADED, Blame.WIRING, f"{yet}: check the wiring, which no power cycle has proved so far"
    )


def _signs_without_power(case: Case) -> str:
    """Return what is alive though the power has long been off, as "ping and ssh answer"; empty for nothing."""
    settled = (case.evidence.off_since or 0) + round(case.rules.settle_s * 1e6)
    looks = case.newest_of(case.evidence.probes)
    probes = [look.probe for look in looks if look.answer == "yes" and look.up > settled]
    signs = [answer_of(probes)] if probes else []
    if any(at > settled for at in case.evidence.stages.values()):
        signs.append(f"its {CONSOLE} talks")
    return " and ".join(signs)


def _doubting_wiring(case: Case, found: Judgement) -> Judgement:
    """Judge a board that may hang on other ports than those that are read."""
    verdict, blame, reason = found.verdict, found.blame, found.reason
    if verdict is Verdict.ALIVE:
        verdict, blame = Verdict.DEGRADED, Blame.WIRING
    elif verdict is Verdict.SILENT and not case.dead_of_panic:
        verdict, blame = Verdict.UNKNOWN, Blame.WIRING
    elif verdict is Verdict.UNKNOWN and blame in {Blame.NOBODY, Blame.RELAY}:
        blame = Blame.WIRING
    return judgement(verdict, blame, f"{reason}; {_suspicion(case)}")


def _suspicion(case: Case) -> str:
    text = case.evidence.wiring.text
    return f"its wiring is suspect: {text}" if text else "its wiring is suspect"


def _blind(case: Case) -> Judgement:
    """Nothing can look at the board."""
    troubles = blind_spots(case)
    if case.evidence.console:
        troubles.append(f"{CONSOLE}: {case.evidence.console_state.trouble or 'quiet, which tells nothing'}")
    if not troubles:
        return judgement(Verdict.UNKNOWN, Blame.NOBODY, "no probe is configured for it")
    why = f"no probe can look ({'; '.join(troubles)})"
    if stood := stood_still(case):
        return judgement(Verdict.UNKNOWN, Blame.AGENT, f"{stood}; {why}")
    if trouble := case.evidence.network.trouble:
        return judgement(Verdict.UNKNOWN, Blame.NETWORK, f"{trouble}; {why}")
    blame = Blame.NOBODY if case.evidence.console_state.handed_over and len(troubles) == 1 else Blame.AGENT
    return judgement(Verdict.UNKNOWN, blame, why)


def _console_alone(case: Case) -> Judgement:
    """Only the console tells anything, because no other probe is configured or can look."""
    if case.loop and case.evidence.last_stage() not in UP:
        return looping(case)
    if panic := case.evidence.panic_words():
        return judgement(Verdict.SILENT, Blame.BOARD, panic)
    if halted := case.halted:
        return judgement(Verdict.SILENT, Blame.BOARD, f'somebody shut it down, last words "{halted}"')
    return _as_far_as_heard(case)


def _as_far_as_heard(case: Case) -> Judgement:
    stage = case.evidence.last_stage()
    if stage in UP or (stage is None and spoke(case.evidence) and not case.in_boot_window):
        heard = f"{stage} on the console" if stage else "talks on the console"
        return judgement(Verdict.ALIVE, Blame.NOBODY, f"{heard}{notes(case)}")
    if case.in_boot_window:
        return judgement(Verdict.BOOTING, Blame.NOBODY, boot_progress(case))
    if stage is not None:
        return judgement(Verdict.DEGRADED, Blame.BOARD, f"got no further than {stage} on the console")
    if case.life is not None:
        return judgement(Verdict.SILENT, Blame.BOARD, "nothing on the console since power-on")
    if case.evidence.probes:
        return _blind(case)
    blame = Blame.RELAY if case.relay_unknown else Blame.NOBODY
    quiet = "the console is quiet, and listening alone cannot tell"
    return judgement(Verdict.UNKNOWN, blame, f"{quiet}{notes(case)}")


def _all_answer(case: Case) -> Judgement:
    answer = answer_of(list(case.usable))
    if panic := case.evidence.panic_words():
        return judgement(Verdict.DEGRADED, Blame.BOARD, f"{answer}, yet the console shows: {panic}")
    if case.probes(Standing.STALE):
        return judgement(Verdict.UNKNOWN, Blame.AGENT, f"{answer}; {'; '.join(blind_spots(case))}")
    if flapping := case.coming_and_going:
        # What reaches the board at all comes and goes with the network; one service among several with the board.
        blame = Blame.NETWORK if "ping" in flapping or flapping == list(case.usable) else Blame.BOARD
        verb = "comes and goes" if len(flapping) == 1 else "come and go"
        return judgement(Verdict.DEGRADED, blame, f"{listed(flapping)} {verb}{notes(case)}")
    return judgement(Verdict.ALIVE, Blame.NOBODY, f"{answer}{notes(case)}")
