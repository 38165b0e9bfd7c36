"""Names of boards to addresses: asked for once a minute at most, and never many at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from boardherd_agent.watch.probing.aside import aside
from boardherd_agent.watch.texts import brief


@dataclass(frozen=True)
class Address:
    """Where a board is reached, without a port."""

    family: int
    sockaddr: tuple[Any, ...]

    @property
    def host(self) -> str:
        """The address as text."""
        return str(self.sockaddr[0])

    def at(self, port: int) -> tuple[Any, ...]:
        """Return what connect(2) wants."""
        return (self.sockaddr[0], port, *self.sockaddr[2:])


Addresses = tuple[Address, ...]


@dataclass(frozen=True)
class _Known:
    """An answer of the name service; valid until then."""

    until: float
    answer: Addresses | OSError


def look_up(host: str) -> Addresses:
    """Return the addresses of ``host``, as the system orders them; may block for long. Raises OSError."""
    return _found(host, 0)


class Resolver:
    """Remembers what names mean. Shared by all probes of a PC; belongs to one event loop."""

    def __init__(
        self,
        *,
        keep_s: float = 60.0,
        keep_failure_s: float = 5.0,
        at_once: int = 4,
        look_up: Callable[[str], Addresses] = look_up,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare.

        Args:
            keep_s: how many seconds an answer is used.
            keep_failure_s: how many seconds a failure is, so that the probes of one board do not ask in turn.
            at_once: how many names may be asked for at the same time; a dead name server holds each for long.
            look_up: asks; may block, runs in a thread.
            now: monotonic seconds.
        """
        self._keep_s = keep_s
        self._keep_failure_s = keep_failure_s
        self._look_up = look_up
        self._now = now
        self._turns = asyncio.Semaphore(at_once)
        self._known: dict[str, _Known] = {}
        self._asked: dict[str, asyncio.Future[Addresses]] = {}

    async def addresses(self, host: str, within_s: float) -> Addresses:
        """Return the addresses of ``host``, one at least.

        An address needs no name service and no waiting. Raises OSError, in words that can stand alone, when
        the name is not known or nobody told within ``within_s`` seconds.
        """
        known = self._known.get(host)
        if known is None or known.until <= self._now():
            known = self._numeric(host) or await self._ask(host, within_s)
        if isinstance(known.answer, OSError):
            raise socket.gaierror(known.answer.errno, known.answer.strerror) from known.answer
        return known.answer

    def _numeric(self, host: str) -> _Known | None:
        with contextlib.suppress(OSError, ValueError):
            return self._keep(host, _found(host, socket.AI_NUMERICHOST), float("inf"))
        return None

    async def _ask(self, host: str, within_s: float) -> _Known:
        try:
            async with asyncio.timeout(within_s):
                # Shielded: others may wait for the same answer.
                return self._keep(host, await asyncio.shield(await self._asking(host)), self._keep_s)
        except TimeoutError:
            slow = socket.gaierror(
                socket.EAI_AGAIN, brief(f'the name "{host}" was not resolved within {within_s:g} s')
            )
            return _Known(0.0, slow)  # not kept: the answer may come yet
        except OSError as error:
            text = f'the name "{host}" is not resolved: {error.strerror or error}'
            return self._keep(
                host, socket.gaierror(error.errno or socket.EAI_FAIL, brief(text)), self._keep_failure_s
            )

    async def _asking(self, host: str) -> asyncio.Future[Addresses]:
        """Return the question that is under way, or ask it when it is its turn."""
        if host not in self._asked:
            await self._turns.acquire()
            if host in self._asked:
                self._turns.release()
            else:
                self._asked[host] = aside(lambda: self._look_up(host), f"resolve {brief(host, 40)}")
                self._asked[host].add_done_callback(lambda done: self._answered(host, done))
        return self._asked[host]

    def _answered(self, host: str, done: asyncio.Future[Addresses]) -> None:
        del self._asked[host]
        self._turns.release()
        if not done.cancelled():
            done.exception()  # looked at: nobody may be waiting any more

    def _keep(self, host: str, answer: Addresses | OSError, for_s: float) -> _Known:
        self._known[host] = _Known(self._now() + for_s, answer)
        return self._known[host]


def _found(host: str, flags: int) -> Addresses:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=flags)
    except ValueError as error:  # a label that is empty or too long, a NUL
        raise socket.gaierror(socket.EAI_NONAME, "this is no host name") from error
    return tuple(Address(family, sockaddr) for family, _, _, _, sockaddr in found)
