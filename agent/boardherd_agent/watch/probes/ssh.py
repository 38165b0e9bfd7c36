"""The ssh probe: does an SSH server introduce itself?"""

from __future__ import annotations

import asyncio
import socket
import time

from boardherd_agent.watch.consoles.dialing import dial
from boardherd_agent.watch.probing.means import Means
from boardherd_agent.watch.probing.probe import Outcome, mute, no_answer, outcome_of
from boardherd_agent.watch.texts import brief
from boardherd_shared.lab import BoardConfig
from boardherd_shared.probes import ProbeSpec

MAX_BANNER = 255
"""RFC 4253 section 4.2: the longest identification line, CR and LF included."""
_BANNER_S = 3.0
"""A server under load takes its time for the banner; each extra attempt would cost it more."""


class SshProbe:
    """Reads the identification line and closes: no key exchange, no login, at most 255 bytes read."""

    def __init__(self, host: str, port: int, means: Means, *, banner_s: float = _BANNER_S) -> None:
        """Prepare; ``banner_s`` is the least time in seconds that a server gets for its banner."""
        self.name = "ssh" if port == 22 else f"ssh-{port}"
        self._host = host
        self._port = port
        self._means = means
        self._banner_s = banner_s

    async def check(self, within_s: float) -> Outcome:
        """Connect within the time given, then wait for the banner, three seconds at least."""
        began = time.monotonic()
        try:
            with await dial(self._means.resolver, self._host, self._port, within_s) as sock:
                text = await _greeting(sock, max(within_s, self._banner_s))
        except TimeoutError:
            return no_answer(within_s)
        except OSError as error:
            return outcome_of(error, time.monotonic() - began)
        if text is None:
            return mute()
        duration = time.monotonic() - began
        banner = banner_in(text)
        if banner is None:
            return Outcome("no", f'no SSH server: "{brief(text, 80)}"', duration, stack_up=True)
        return Outcome("yes", banner, duration, stack_up=True)


def build(spec: ProbeSpec, board: str, config: BoardConfig, means: Means) -> SshProbe:
    """Return the probe for a board."""
    del board
    return SshProbe(config.board_ip or "", int(spec.argument), means)


def banner_in(text: bytes) -> str | None:
    """Return the identification line in ``text``, once it is complete or as long as it can be.

    Other lines may precede the identification (RFC 4253 section 4.2).
    """
    lines = text.split(b"\n")
    complete = lines if len(text) >= MAX_BANNER else lines[:-1]
    return next((brief(line) for line in complete if line.startswith(b"SSH-")), None)


async def _greeting(sock: socket.socket, within_s: float) -> bytes | None:
    """Return what the server says up to its identification line; None if it says nothing in time."""
    loop, text = asyncio.get_running_loop(), b""
    try:
        async with asyncio.timeout(within_s):
            while len(text) < MAX_BANNER and not banner_in(text):
                data = await loop.sock_recv(sock, MAX_BANNER - len(text))
                if not data:
                    break
                text += data
    except TimeoutError:
        return text or None
    return text
