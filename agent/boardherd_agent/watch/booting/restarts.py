"""Where boots begin among the signs on a console. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from boardherd_agent.watch.booting.boot_patterns import Stage

BEGINNINGS = (Stage.SPL, Stage.UBOOT, Stage.KERNEL)
"""Signs with which a boot can begin, in their order."""

_SAME_BOOT_US = 10_000_000
"""A step that shows a second time within this belongs to the same boot."""


def beginnings(signs: Iterable[tuple[int, Stage]]) -> list[int]:
    """Return when boots began, oldest first, given the :data:`BEGINNINGS` that were seen and when.

    A board comes back to a step, or to an earlier one, only by starting anew. Two steps show twice in one boot:
    SPL runs on two kinds of cores of TI's K3 one after the other, and a kernel is announced by U-Boot and by
    itself.
    """
    began: list[int] = []
    last_at, last, repeated = 0, None, False
    for at, stage in sorted(signs):
        same = stage is last and stage is not Stage.UBOOT and not repeated and at - last_at <= _SAME_BOOT_US
        if last is None or not (same or BEGINNINGS.index(stage) > BEGINNINGS.index(last)):
            began.append(at)
        last_at, last, repeated = at, stage, same
    return began
