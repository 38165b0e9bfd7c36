"""How long a boot takes, from its beginning to each sign of life."""

from __future__ import annotations

from enum import StrEnum

from boardherd_agent.watch.booting.boot_patterns import Stage
from boardherd_agent.watch.judging.evidence import Heard, Look
from boardherd_shared.clock import seconds
from boardherd_shared.records import BootTimes

_STAGE_FIELD = {
    Stage.SPL: "spl_s",
    Stage.UBOOT: "uboot_s",
    Stage.KERNEL: "kernel_s",
    Stage.LOGIN: "login_s",
}
_PROBE_FIELD = {"ping": "ping_s", "tcp": "tcp_s", "ssh": "ssh_s"}


class Cause(StrEnum):
    """What began a boot, as it ends the sentence "evm-07 booted"."""

    SWITCHED = ""
    """We switched the board on, so the time of it is exact."""
    OUTSIDE = " after its power came on from outside"
    RESTART = " after it restarted without a power cycle"


class BootTimer:
    """Collects the first time of each sign since a boot began."""

    def __init__(self) -> None:
        self.began: int | None = None
        """When it began, microseconds since the PC's boot; None while no boot is measured."""
        self.cause = Cause.SWITCHED
        self.open = False
        """Whether the boot under way has not been told of yet."""
        self._first: dict[str, int] = {}

    def start(self, up: int, cause: Cause = Cause.SWITCHED) -> None:
        """Begin to measure."""
        self.began, self.cause, self.open, self._first = up, cause, True, {}

    def cancel(self) -> None:
        """Forget the boot: the power went off again."""
        self.began, self.open, self._first = None, False, {}

    def looked(self, look: Look) -> None:
        """Take note of a probe's answer. A look that began before the boot is not about it."""
        name = _PROBE_FIELD.get(look.probe.partition("-")[0])
        if name and look.answer == "yes" and self.began is not None and look.up >= self.began:
            self._mark(name, look.ended)

    def heard(self, heard: Heard) -> None:
        """Take note of characters on the console."""
        if self.began is None or heard.up < self.began:
            return
        self._mark("console_s", heard.up)
        if isinstance(heard.stage, Stage) and heard.stage in _STAGE_FIELD:
            self._mark(_STAGE_FIELD[heard.stage], heard.up)

    def elapsed(self, up: int) -> float:
        """Return the seconds from the beginning to ``up``; 0 while no boot is measured."""
        return 0.0 if self.began is None else seconds(up - self.began)

    @property
    def login_seen(self) -> bool:
        """Whether the login prompt has come."""
        return "login_s" in self._first

    def times(self) -> BootTimes:
        """Return what has been measured so far; nothing if no boot was."""
        return BootTimes.model_validate(
            {name: round(self.elapsed(up), 3) for name, up in self._first.items()}
        )

    def _mark(self, name: str, up: int) -> None:
        self._first[name] = min(up, self._first.get(name, up))
