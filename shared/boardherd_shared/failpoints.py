"""Instants at which a crash would be worst, by name, so that a test can have the process die exactly there.

``BOARDHERD_FAILPOINT=name`` kills the process with SIGKILL when it reaches that name, ``name:3`` at the third
time. It is read once; without it, which is the rule, reaching an instant costs one comparison.
"""

from __future__ import annotations

import os
import signal

ENVIRONMENT = "BOARDHERD_FAILPOINT"

SPOOL_WRITTEN = "spool-written"
"""Inside a transaction of the agent's spool: everything is written, nothing is committed."""
SPOOL_COMMITTED = "spool-committed"
"""A transaction of the spool is committed, and nobody has been told yet."""
ACK_RECEIVED = "ack-received"
"""The agent has an acknowledgement, and has not written it down."""
STORED = "stored"
"""The collector's database has committed, and no acknowledgement has been sent."""

_name, _, _times = os.environ.get(ENVIRONMENT, "").partition(":")
_left = int(_times or 1)


def reach(name: str) -> None:
    """Die here, if that is what the environment asks for."""
    if name == _name:
        _count_down()


def _count_down() -> None:
    global _left  # noqa: PLW0603 - one countdown for one process
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
