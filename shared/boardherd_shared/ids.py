"""Names and identifiers: what is allowed, and how new ones are made."""

from __future__ import annotations

import re
import secrets
import uuid
from typing import Annotated

from pydantic import StringConstraints

SLUG_PATTERN = r"[a-z0-9][a-z0-9._-]{0,62}"
OPERATOR_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}"

Slug = Annotated[str, StringConstraints(pattern=rf"^{SLUG_PATTERN}$")]
"""The id of a site, a test PC, a relay or a board: safe in topics, file names and labels."""

Operator = Annotated[str, StringConstraints(pattern=rf"^{OPERATOR_PATTERN}$")]
"""A broker user name, as it stands in the last level of a command topic."""

HexId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16,64}$")]
"""A stream, session or digest: lower-case hexadecimal."""

CommandId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""A command's id: normally a UUID, but whatever a person types by hand will do."""

RESERVED_AGENT_IDS = frozenset({"collector", "boards", "reply"})
"""Slugs that stand where a test PC's id would in a topic, and so can never name one."""

_SLUG = re.compile(SLUG_PATTERN)


def is_slug(text: str) -> bool:
    """Tell whether ``text`` may be used as an id."""
    return _SLUG.fullmatch(text) is not None


def new_stream() -> str:
    """Return the identity of a new spool file: 128 random bits, in hexadecimal."""
    return secrets.token_hex(16)


def new_session() -> str:
    """Return the identity of one connection to the broker: 64 random bits, in hexadecimal."""
    return secrets.token_hex(8)


def new_command_id() -> str:
    """Return a fresh command id."""
    return str(uuid.uuid4())
