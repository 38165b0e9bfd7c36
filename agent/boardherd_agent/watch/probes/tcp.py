"""The tcp probe: does a port accept a connection?"""

from __future__ import annotations

import time

from boardherd_agent.watch.consoles.dialing import dial
from boardherd_agent.watch.probing.means import Means
from boardherd_agent.watch.probing.probe import Outcome, no_answer, outcome_of
from boardherd_shared.lab import BoardConfig
from boardherd_shared.probes import ProbeSpec


class TcpProbe:
    """Connects and closes at once; nothing is sent. A refusal still proves that the IP stack is up."""

    def __init__(self, host: str, port: int, means: Means) -> None:
        self.name = f"tcp-{port}"
        self._host = host
        self._port = port
        self._means = means

    async def check(self, within_s: float) -> Outcome:
        """Connect once."""
        began = time.monotonic()
        try:
            sock = await dial(self._means.resolver, self._host, self._port, within_s)
        except TimeoutError:
            return no_answer(within_s)
        except OSError as error:
            return outcome_of(error, time.monotonic() - began)
        sock.close()
        return Outcome("yes", "connected", time.monotonic() - began, stack_up=True)


def build(spec: ProbeSpec, board: str, config: BoardConfig, means: Means) -> TcpProbe:
    """Return the probe for a board."""
    del board
    return TcpProbe(config.board_ip or "", int(spec.argument), means)
