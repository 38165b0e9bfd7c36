"""What goes to a lab's own power program, and what it says: argument templates, and states in plain words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from boardherd_agent.devices.codecs.json_replies import bad

PLACEHOLDERS = ("port", "address", "tcp_port")
"""What may stand in braces in an argument."""

OUT_OF_REACH = (69, 75)
"""EX_UNAVAILABLE and EX_TEMPFAIL of sysexits.h: the device cannot be reached, later perhaps."""

_WORD = re.compile(r"\{([a-z_]+)\}")
_STATES = {"on": True, "1": True, "true": True, "off": False, "0": False, "false": False}
_LINE = re.compile(r"\s*(\d{1,3})\s*[:=\s]\s*(\S+)\s*")


def placeholders(template: Iterable[str]) -> set[str]:
    """Return the words in braces in a template of arguments."""
    return {word for argument in template for word in _WORD.findall(argument)}


def fill(template: Iterable[str], values: Mapping[str, str]) -> list[str]:
    """Return the arguments with ``values`` in place of the words in braces; all of them must be known."""
    return [_WORD.sub(lambda match: values[match[1]], argument) for argument in template]


def parse_state(output: bytes) -> bool:
    """Return whether a program says that its port is on: ``on``, ``1`` or ``true``, or the opposite.

    Raises BadReply for anything else.
    """
    word = output.decode("utf-8", "replace").strip().lower()
    if word not in _STATES:
        raise bad(output)
    return _STATES[word]


def parse_states(output: bytes) -> dict[int, bool]:
    """Return the state of each port that a program lists, one on a line: ``3 on``, ``3: on`` or ``3=on``.

    Raises BadReply for anything else, a port that is listed twice included.
    """
    states: dict[int, bool] = {}
    for line in output.decode("utf-8", "replace").splitlines():
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        state = _STATES.get(match[2].lower()) if match else None
        if match is None or state is None or int(match[1]) in states:
            raise bad(output)
        states[int(match[1])] = state
    return states
