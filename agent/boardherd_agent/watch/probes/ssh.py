"""The ssh probe: does an SSH server introduce itself?"""

from __future__ import annotations

import asyncio
import time

from boardherd_agent.watch.probes.probe import Outcome, no_answer, outcome_of
from boardherd_agent.watch.texts import brief

_MAX_BANNER = 255
"""RFC 4253 section 4.2: the longest identification line, CR and LF included."""
_BANNER_S = 3.0
"""A server under load takes its time for the banner; each extra attempt would cost it more."""


class SshProbe:
    """Reads the identification line and closes: no key exchange, no login, at most 255 bytes read."""

    def __init__(self, host: str, port: int = 22, *, banner_s: float = _BANNER_S) -> None:
        """Prepare; ``banner_s`` is the least time in seconds that a server gets for its banner."""
        self.name = "ssh" if port == 22 else f"ssh-{port}"
        self._host = host
        self._port = port
        self._banner_s = banner_s

    async def check(self, within_s: float) -> Outcome:
        """Connect within the time given, then wait for the banner, three seconds at least."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(within_s):
                reader, writer = await asyncio.open_connection(self._host, self._port)
        except TimeoutError:
            return no_answer(within_s)
        except OSError as error:
            return outcome_of(error, time.monotonic() - began)
        try:
            text = await _greeting(reader, max(within_s, self._banner_s))
        except OSError as error:
            return outcome_of(error, time.monotonic() - began)
        finally:
            writer.transport.abort()
        duration = time.monotonic() - began
        if text is None:
            return Outcome("no", "connected, but it stays mute", None, stack_up=True)
        banner = _banner_in(text)
        if banner is None:
            return Outcome("no", f'no SSH server: "{brief(text, 80)}"', duration, stack_up=True)
        return Outcome("yes", banner, duration, stack_up=True)


async def _greeting(reader: asyncio.StreamReader, within_s: float) -> bytes | None:
    """Return what the server says up to its identification line; None if it says nothing in time.

    Other lines may precede the identification (RFC 4253 section 4.2).
    """
    text = b""
    try:
        async with asyncio.timeout(within_s):
            while len(text) < _MAX_BANNER and not _banner_in(text):
                data = await reader.read(_MAX_BANNER - len(text))
                if not data:
                    break
                text += data
    except TimeoutError:
        return text or None
    return text


def _banner_in(text: bytes) -> str | None:
    """Return the identification line in ``text``, once it is complete or as long as it can be."""
    lines = text.split(b"\n")
    complete = lines if len(text) >= _MAX_BANNER else lines[:-1]
    return next((brief(line) for line in complete if line.startswith(b"SSH-")), None)
