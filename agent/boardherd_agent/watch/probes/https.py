"""The https probe: the http probe over TLS, whatever the certificate."""

from __future__ import annotations

from boardherd_agent.watch.probes.http import HttpProbe
from boardherd_agent.watch.probing.means import Means
from boardherd_shared.lab import BoardConfig
from boardherd_shared.probes import ProbeSpec, http_target


def build(spec: ProbeSpec, board: str, config: BoardConfig, means: Means) -> HttpProbe:
    """Return the probe for a board."""
    del board
    return HttpProbe(spec.name, config.board_ip or "", http_target(spec.argument), means, tls=True)
