"""Every MQTT topic, built and parsed in one place.

The table :data:`TEMPLATES` is the whole of it; the contract in ``docs/mqtt.md`` and the AsyncAPI document
are made from the same table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from boardherd_shared.ids import OPERATOR_PATTERN, SLUG_PATTERN

ROOT = "boardherd/v1"


class Kind(StrEnum):
    """What a topic carries."""

    STATUS = "status"
    HELLO = "hello"
    TELEMETRY = "telemetry"
    RELAY_STATE = "relay_state"
    BOARD_STATE = "board_state"
    COMMAND = "command"
    RESULT = "result"
    ACK = "ack"
    RESUME = "resume"
    BOARD_COMMAND = "board_command"
    REPLY = "reply"
    COLLECTOR_STATUS = "collector_status"
    COLLECTOR_COMMAND = "collector_command"


# The reserved ids come first: "collector/status" would otherwise read as the status of a PC of that name.
TEMPLATES: dict[Kind, str] = {
    Kind.BOARD_COMMAND: "boards/{board}/cmd/{operator}",
    Kind.REPLY: "reply/{operator}",
    Kind.COLLECTOR_STATUS: "collector/status",
    Kind.COLLECTOR_COMMAND: "collector/cmd/{operator}",
    Kind.STATUS: "{agent}/status",
    Kind.HELLO: "{agent}/hello",
    Kind.TELEMETRY: "{agent}/telemetry",
    Kind.RELAY_STATE: "{agent}/state/relay/{relay}/{port}",
    Kind.BOARD_STATE: "{agent}/state/board/{board}",
    Kind.COMMAND: "{agent}/cmd/{operator}",
    Kind.RESULT: "{agent}/result/{id}",
    Kind.ACK: "{agent}/ack",
    Kind.RESUME: "{agent}/resume",
}
"""Topic templates below ``boardherd/v1/<site>/``."""

RETAINED = frozenset({Kind.STATUS, Kind.HELLO, Kind.RELAY_STATE, Kind.BOARD_STATE, Kind.COLLECTOR_STATUS})
"""The kinds whose last message the broker keeps. Commands are never among them."""

_LEVELS = {
    "site": SLUG_PATTERN,
    "agent": SLUG_PATTERN,
    "board": SLUG_PATTERN,
    "relay": SLUG_PATTERN,
    "port": r"[1-9][0-9]{0,2}",
    "operator": OPERATOR_PATTERN,
    "id": r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
}


@dataclass(frozen=True)
class Address:
    """A parsed topic: its kind, and the names that stand in it."""

    kind: Kind
    site: str
    agent: str = ""
    board: str = ""
    relay: str = ""
    port: int = 0
    operator: str = ""
    id: str = ""


def _pattern(template: str) -> re.Pattern[str]:
    path = re.escape(f"{ROOT}/{{site}}/{template}").replace(r"\{", "{").replace(r"\}", "}")
    return re.compile(re.sub(r"{(\w+)}", lambda level: f"(?P<{level[1]}>{_LEVELS[level[1]]})", path))


_PATTERNS = {kind: _pattern(template) for kind, template in TEMPLATES.items()}


def parse(topic: str) -> Address | None:
    """Return what ``topic`` addresses, or None if it is none of ours."""
    for kind, pattern in _PATTERNS.items():
        if match := pattern.fullmatch(topic):
            names = match.groupdict()
            port = int(names.pop("port", None) or 0)
            return Address(kind, port=port, **names)
    return None


@dataclass(frozen=True)
class Topics:
    """The topics of one site."""

    site: str

    def build(self, kind: Kind, **levels: str | int) -> str:
        """Return the topic of ``kind`` with ``levels`` filled in; KeyError if one is missing."""
        return f"{ROOT}/{self.site}/{TEMPLATES[kind].format(**levels)}"

    def filter(self, kind: Kind, **levels: str | int) -> str:
        """Return a subscription for ``kind``: a level that is not given matches anything."""
        template = f"{ROOT}/{self.site}/{TEMPLATES[kind]}"
        return re.sub(r"{(\w+)}", lambda level: str(levels.get(level[1], "+")), template)
