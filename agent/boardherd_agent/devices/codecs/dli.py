"""The REST interface of Digital Loggers power switches.

Facts: the maker's examples and clients of other tools. Outlets count from 0 in paths and from 1 here. Of the three
states of an outlet, ``state`` is what is set and survives a restart, and ``physical_state`` is what the relay does.
"""

from __future__ import annotations

from boardherd_agent.devices.codecs.json_replies import bad, parse_json

CHANGE = {"X-CSRF": "x"}
"""A header without which the device refuses every change; its value does not matter."""

STATES = "/restapi/relay/outlets/all;/physical_state/"
"""Answered by a list, one element for each outlet that the user may see, with status 207."""


def outlet_path(port: int) -> str:
    """Return the path of the state to set."""
    return f"/restapi/relay/outlets/{port - 1}/state/"


def value(*, energised: bool) -> dict[str, str]:
    """Return the form that sets a state; the words are those of JSON."""
    return {"value": "true" if energised else "false"}


def parse_states(body: bytes) -> dict[int, bool]:
    """Return for each outlet whether it is energised; raises BadReply."""
    states = parse_json(body)
    if not isinstance(states, list) or not states or not all(isinstance(state, bool) for state in states):
        raise bad(body)
    return dict(enumerate(states, 1))
