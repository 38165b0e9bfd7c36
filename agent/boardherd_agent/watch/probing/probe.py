"""The probe contract: one look at a board, and the three answers it can have.

A probe asks one question and returns within about the time it is given. What the world does (refusal,
silence, no route, no permission) is an answer, never an exception. "no" is about the board; "unavailable"
means that the probe could not look: no permission, no network, no such name.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import Protocol

from boardherd_agent.watch.judging.evidence import Answer
from boardherd_agent.watch.texts import error_text


@dataclass(frozen=True)
class Outcome:
    """What one look saw."""

    answer: Answer
    text: str
    """For a person: the banner, the error."""
    duration_s: float | None = None
    """How long the answer took; None without one."""
    stack_up: bool = False
    """The board's IP stack answered, even if the service did not."""
    loader: str = ""
    """Where the board waits instead of booting, in words: ``in DFU mode (TI ROM, AM62x)``; empty if it does not."""


class Probe(Protocol):
    """A way to tell whether a board lives."""

    @property
    def name(self) -> str:
        """A slug that is unique among the probes of a board: ``ping``, ``ssh``, ``tcp-80``."""
        ...

    async def check(self, within_s: float) -> Outcome:
        """Look once; an answer that takes longer than ``within_s`` seconds counts as none.

        A probe says in its documentation if it grants more. Nothing that it opens outlives the call, whether
        that ends or is cancelled.
        """
        ...


_OUR_SIDE = {
    errno.ENETUNREACH, errno.ENETDOWN, errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT,
    errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM,
}  # fmt: skip
"""Errors of socket(2), connect(2) and sendto(2) that say nothing about the board."""


def outcome_of(error: OSError, duration_s: float | None = None) -> Outcome:
    """Return what a failed connection says about the board."""
    if isinstance(error, ConnectionRefusedError):
        return Outcome("no", "refused: the IP stack is up", duration_s, stack_up=True)
    if isinstance(error, ConnectionError):
        return Outcome("no", "reset: the IP stack is up", duration_s, stack_up=True)
    text = error_text(error)
    if isinstance(error, socket.gaierror) or error.errno in _OUR_SIDE:
        return Outcome("unavailable", text)
    return Outcome("no", text)


def no_answer(within_s: float) -> Outcome:
    """Return the outcome of a look that nobody answered in time."""
    return Outcome("no", f"no answer within {within_s:g} s")


def mute() -> Outcome:
    """Return the outcome of a look at a server that takes the connection and says nothing."""
    return Outcome("no", "connected, but it stays mute", stack_up=True)
