"""Where boots begin among the signs of a console."""

from __future__ import annotations

import pytest

from boardherd_agent.watch.booting.boot_patterns import Stage
from boardherd_agent.watch.booting.restarts import beginnings

SPL, UBOOT, KERNEL = Stage.SPL, Stage.UBOOT, Stage.KERNEL


@pytest.mark.parametrize(
    ("signs", "expected"),
    [
        ([], []),
        ([(1, SPL), (2, UBOOT), (3, KERNEL)], [1]),
        (
            [(1, SPL), (2, SPL), (3, UBOOT), (5, KERNEL), (6, KERNEL)],
            [1],
        ),  # TI K3: R5 and A53 have an SPL each
        ([(1, SPL), (2, UBOOT), (8, SPL)], [1, 8]),
        ([(1, UBOOT), (2, UBOOT)], [1, 2]),  # nothing prints U-Boot's banner twice
        ([(1, SPL), (2, SPL), (3, SPL), (4, SPL)], [1, 3]),
        ([(1, SPL), (30, SPL)], [1, 30]),
        ([(1, KERNEL), (2, KERNEL), (60, KERNEL), (61, KERNEL)], [1, 60]),
        ([(40, SPL), (1, SPL), (5, KERNEL)], [1, 40]),
    ],
)
def test_a_board_goes_back_only_by_starting_anew(signs: list[tuple[int, Stage]], expected: list[int]) -> None:
    second = 1_000_000
    found = beginnings([(at * second, stage) for at, stage in signs])
    assert found == [at * second for at in expected]
