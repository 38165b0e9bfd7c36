"""The second line of ``why``: the power of a board. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from boardherd_shared.drift import should_be
from boardherd_shared.records import Power, RelayRecord
from boardherd_shared.spans import coarse, fine, moment
from boardherd_shared.why.case import ROOM, Case, Feed

_LATER_S = 60.0
"""A switch so much later than the command was begun is not that command's."""


def power(case: Case) -> str:
    """Return what its ports measure and should be, who switched them last, and whether they are the right ones.

    What is wrong comes first; when the line is full, what does not fit is left out as a whole.
    """
    if not case.feeds:
        return "not switched from here: no relay port is named for it"
    wiring = _wiring(case)
    wrong, right = ([wiring], []) if case.wiring.state == "suspect" else ([], [wiring])
    line = _measured(case)
    for part in (*wrong, *_maintenance(case), *_asked(case), *right):
        longer = f"{line}, {part}"
        line = longer if len(longer) <= ROOM or part in wrong else line
    return line


def _measured(case: Case) -> str:
    """Return the state of each port; ports of one state are told together."""
    groups: dict[str, list[str]] = {}
    for feed in case.feeds:
        groups.setdefault(_state_of(feed, case.now), []).append(feed.name)
    return ", ".join(f"{' and '.join(names)} {state}" for state, names in groups.items())


def _state_of(feed: Feed, now: float) -> str:
    port, state = feed.port, feed.port.state if feed.port else None
    if port is None or state is None:
        return "has not been read"
    if state.observed is Power.UNKNOWN:
        return f"UNKNOWN: {state.reason}" if state.reason else "UNKNOWN"
    watts = f" ({state.watts:.1f} W)" if state.watts is not None else ""
    if not state.measurable:
        return f"{state.observed.upper()} as far as asked{watts}, the module cannot be read"
    ago = "" if port.age_s is None else f" {fine(port.age_s)} ago"
    return f"measured {state.observed.upper()}{ago}{watts}{_drift(state, now)}"


def _drift(state: RelayRecord, now: float) -> str:
    wanted = should_be(state)
    if wanted is None:
        return ""
    since = state.drift_since
    lasted = f" for {coarse(now - since / 1e6)}" if since is not None else ""
    return f", should be {wanted.upper()}{lasted}" + (f"; {state.reason}" if state.reason else "")


def _asked(case: Case) -> Iterator[str]:
    """Yield who asked for what, when, and how that ended."""
    states = [feed.port.state for feed in case.feeds if feed.port and feed.port.state]
    asked = next((state.asked for state in states if state.asked is not Power.UNKNOWN), None)
    newest = max(states, key=lambda state: state.switched_at or 0, default=None)
    at = newest.switched_at / 1e6 if newest and newest.switched_at else None
    what = f"asked {asked.upper()}" if asked else "switched"
    command = case.switch
    if command and (at is None or at < command.began_at + _LATER_S or command.state == "running"):
        for_whom = f" for {command.on_behalf_of}" if command.on_behalf_of else ""
        when = moment(command.began_at, case.now)
        yield f"{what} by {command.operator}{for_whom} {when} ({command.action}, {command.state})"
    elif newest and at is not None:
        by = f" by {newest.switched_by}" if newest.switched_by else ""
        yield f"{what}{by} {moment(at, case.now)}"
    elif asked:
        yield what


def _maintenance(case: Case) -> Iterator[str]:
    if relay := case.resting:
        yield f"{relay.id} is in maintenance" + (f" by {relay.maintenance}" if relay.maintenance else "")


def _wiring(case: Case) -> str:
    wiring = case.wiring
    at = None if wiring.at is None else wiring.at / 1e6
    if wiring.state == "suspect":
        since = f" since {moment(at, case.now)}" if at is not None else ""
        return f"wiring SUSPECT{since}" + (f": {wiring.text}" if wiring.text else "")
    if wiring.state == "proved":
        return "wiring proved" + (f" {coarse(case.now - at)} ago" if at is not None else "")
    return "wiring unproved"
