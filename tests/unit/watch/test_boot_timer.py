"""Boot times from the first sign of each kind."""

from __future__ import annotations

from boardherd_agent.watch.booting.boot_patterns import Stage
from boardherd_agent.watch.booting.boot_timer import BootTimer
from boardherd_agent.watch.judging.evidence import Heard, Look
from boardherd_shared.records import BootTimes

S = 1_000_000


def test_the_first_sign_of_each_kind_counts_and_what_came_before_does_not() -> None:
    timer = BootTimer()
    timer.heard(Heard(1 * S, "noise"))
    timer.start(10 * S)
    timer.looked(Look(9 * S, "ssh", "yes", duration_s=2.0))  # began before the power-on
    timer.heard(Heard(9 * S, "the life before"))
    timer.heard(Heard(11 * S, "U"))
    timer.heard(Heard(12 * S, "U-Boot 2024.04", Stage.UBOOT))
    timer.heard(Heard(15 * S, "Linux version 6", Stage.KERNEL))
    timer.heard(Heard(16 * S, "Linux version 6", Stage.KERNEL))
    timer.looked(Look(17 * S, "ping", "no"))
    timer.looked(Look(18 * S, "ping", "yes", duration_s=0.25))
    timer.looked(Look(19 * S, "tcp-80", "yes", duration_s=0.5))
    timer.looked(Look(20 * S, "ssh-2222", "yes"))
    assert not timer.login_seen
    timer.heard(Heard(21 * S, "evm login:", Stage.LOGIN))
    assert timer.times() == BootTimes(
        console_s=1, uboot_s=2, kernel_s=5, login_s=11, ping_s=8.25, tcp_s=9.5, ssh_s=10
    )


def test_switching_off_forgets_the_boot() -> None:
    timer = BootTimer()
    timer.start(10 * S)
    timer.heard(Heard(11 * S, "U"))
    timer.cancel()
    timer.heard(Heard(12 * S, "x"))
    assert timer.times() == BootTimes()
    timer.start(20 * S)
    assert timer.times() == BootTimes()
