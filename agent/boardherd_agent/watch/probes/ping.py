"""The ping probe: does the board answer an ICMP echo request?"""

from __future__ import annotations

from boardherd_agent.watch.probing.icmp import PingError
from boardherd_agent.watch.probing.means import Means
from boardherd_agent.watch.probing.probe import Outcome, no_answer, outcome_of
from boardherd_agent.watch.texts import brief
from boardherd_shared.lab import BoardConfig
from boardherd_shared.probes import ProbeSpec


class PingProbe:
    """Sends one echo request; "unavailable", never "no", when that is not permitted."""

    name = "ping"

    def __init__(self, host: str, means: Means) -> None:
        """Prepare; ``host`` is a name or an address, and of a name the first address is asked."""
        self._host = host
        self._means = means

    async def check(self, within_s: float) -> Outcome:
        """Ping once."""
        try:
            addresses = await self._means.resolver.addresses(self._host, within_s)
            duration = await self._means.pinger.ping(addresses[0], within_s)
        except TimeoutError:
            return no_answer(within_s)
        except PingError as error:
            return Outcome("no" if error.host_gone else "unavailable", brief(str(error)))
        except OSError as error:
            return outcome_of(error)
        return Outcome("yes", "answered", duration, stack_up=True)


def build(spec: ProbeSpec, board: str, config: BoardConfig, means: Means) -> PingProbe:
    """Return the probe for a board."""
    del spec, board
    return PingProbe(config.board_ip or "", means)
