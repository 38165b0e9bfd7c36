"""The third line of ``why``: what was seen of a board, and how long ago. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from boardherd_shared.records import ProbeResult, Verdict
from boardherd_shared.spans import fine
from boardherd_shared.why.case import CONSOLE, Case

_WORDS = 60
"""So much of a console line, or of what a probe said, is shown."""
_TOGETHER_US = 10_000_000
"""Looks of one round: what they saw is of one time."""
_QUIET = "quiet, last line: "
"""How an agent begins when the console was silent since the line that follows."""
_NOTHING_SAID = ("nothing since power-on", "the power is off", "quiet since it was opened")
_BAD = {Verdict.SILENT, Verdict.DEGRADED}


def evidence(case: Case) -> str:
    """Return every probe with its answer and age, the console's last words, and a boot that was slow."""
    if case.doubt:
        return _doubted(case)
    return ", ".join(_seen(case)) or "nothing: no probe has looked yet"


def _doubted(case: Case) -> str:
    """Return why nobody knows, in the words of the fleet, and what was known before."""
    pc, state = case.pc, case.state
    words = f"{pc.id}: {pc.text}" if pc and pc.text and not pc.online else case.board.text
    heard = pc.last_seen_s if pc else None
    if pc and not pc.online and heard is not None and " for " not in pc.text:
        words += f", last heard {fine(heard)} ago"
    if state is None:
        return words
    before = ", ".join(_seen(case))
    known = f"before that {state.verdict.replace('_', ' ')}" + (f": {before}" if before else "")
    return f"{words}; {known}"


def _seen(case: Case) -> Iterator[str]:
    probes = case.state.probes if case.state else ()
    yield from _network([probe for probe in probes if probe.probe != CONSOLE], case.now)
    console = next((probe for probe in probes if probe.probe == CONSOLE), None)
    if words := _console(console, case):
        yield words
    if case.slow:
        yield f"slow boot: {case.slow}"


def _network(probes: list[ProbeResult], now: float) -> Iterator[str]:
    """Yield what probes said, those together that said the same at about the same time; the oldest tells the age."""
    groups: list[list[ProbeResult]] = []
    for probe in probes:
        like = (group for group in groups if _alike(group[0], probe))
        group = next(like, None)
        if group is None:
            groups.append([probe])
        else:
            group.append(probe)
    ages = [fine(now - min(probe.at for probe in group) / 1e6) for group in groups]
    for place, (group, age) in enumerate(zip(groups, ages, strict=True)):
        told = place + 1 < len(ages) and ages[place + 1] == age
        names = " and ".join(probe.probe for probe in group)
        yield f"{names} {_said(group)}" + ("" if told else f" ({age} ago)")


def _alike(one: ProbeResult, other: ProbeResult) -> bool:
    return _said([one]) == _said([other]) and abs(one.at - other.at) <= _TOGETHER_US


def _said(group: list[ProbeResult]) -> str:
    """Return an answer in a few words: without the explanation behind what went wrong."""
    probe = group[0]
    if probe.answer == "yes":
        return "answers" if len(group) == 1 else "answer"
    short = probe.text.split(" within ")[0]
    if probe.answer == "unavailable":
        return f"cannot look: {_clip(short)}" if short else "cannot look"
    return _clip(short.split(": ")[0]) or "no answer"


def _console(console: ProbeResult | None, case: Case) -> str:
    """Return what the console says; once the board is in trouble, its last words whoever still has them."""
    if console is None:
        return _last_words(case, None)
    age = fine(case.now - console.at / 1e6)
    text = console.text
    if text.startswith(_QUIET):
        return f'console: last words "{_clip(text.removeprefix(_QUIET))}" {age} ago'
    if console.answer == "unavailable" or text in _NOTHING_SAID:
        said = f"console: {_clip(text) or 'cannot be read'}"
        return _last_words(case, said) if case.board.verdict in _BAD else said
    if console.answer == "no" and case.board.verdict in _BAD:
        return f'console: last words "{_clip(text)}" {age} ago'
    return f'console shows "{_clip(text)}" {age} ago' if text else "console talks"


def _last_words(case: Case, otherwise: str | None) -> str:
    """Return the last line that an event of the present trouble holds, else ``otherwise``."""
    since = (case.since or 0.0) - 1.0
    told = [it for it in case.events if it.words and it.at >= since]
    if not told or case.board.verdict not in _BAD:
        return otherwise or ""
    newest = max(told, key=lambda event: event.at)
    return f'console: last words "{_clip(newest.words[-1])}" {fine(case.now - newest.at)} ago'


def _clip(text: str) -> str:
    return text if len(text) <= _WORDS else text[: _WORDS - 1] + "…"
