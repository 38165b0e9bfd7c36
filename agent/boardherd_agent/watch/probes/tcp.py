"""The tcp probe: does a port accept a connection?"""

from __future__ import annotations

import asyncio
import time

from boardherd_agent.watch.probes.probe import Outcome, no_answer, outcome_of


class TcpProbe:
    """Connects and closes at once; nothing is sent. A refusal still proves that the IP stack is up."""

    def __init__(self, host: str, port: int) -> None:
        self.name = f"tcp-{port}"
        self._host = host
        self._port = port

    async def check(self, within_s: float) -> Outcome:
        """Connect once."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(within_s):
                _, writer = await asyncio.open_connection(self._host, self._port)
        except TimeoutError:
            return no_answer(within_s)
        except OSError as error:
            return outcome_of(error, time.monotonic() - began)
        duration = time.monotonic() - began
        writer.transport.abort()
        return Outcome("yes", "connected", duration, stack_up=True)
