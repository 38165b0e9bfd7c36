"""How long to wait before trying again."""

from __future__ import annotations

import random
from collections.abc import Iterator


def delays(first: float = 0.5, cap: float = 20.0, rng: random.Random | None = None) -> Iterator[float]:
    """Yield waiting times in seconds, for ever: "full jitter" under a doubling ceiling.

    Each delay is drawn between a tenth of the ceiling and the ceiling, so that a hundred agents that lost
    the same broker neither return together nor hammer it. The cap keeps the promise to be back within
    30 s of the end of an outage.
    """
    draw = (rng or random.Random()).uniform
    ceiling = first
    while True:
        yield draw(ceiling / 10, ceiling)
        ceiling = min(cap, ceiling * 2)
