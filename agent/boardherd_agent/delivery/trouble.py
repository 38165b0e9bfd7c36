"""What is wrong with the spool's disk, said once per change, and when it may be tried again."""

from __future__ import annotations

import structlog

from boardherd_shared.clock import Clock

_TRY_AGAIN_S = 10.0

log = structlog.get_logger()


class DiskTrouble:
    """The state of the disk as its last use has shown it."""

    def __init__(self, clock: Clock) -> None:
        """Begin with nothing wrong; ``clock`` tells how long the disk has been left alone."""
        self._clock = clock
        self._again_at = 0
        self.why = ""
        """In words; empty when nothing is wrong."""

    @property
    def due(self) -> bool:
        """Whether the disk may be tried; it is left alone for ten seconds after each :meth:`pause`."""
        return self._clock.up() >= self._again_at

    def say(self, why: str) -> None:
        """Take note of the disk's state, and log it if it is news whether anything is wrong."""
        if why and not self.why:
            log.error("the spool cannot be written, making room or keeping records in memory", why=why)
        elif self.why and not why:
            log.info("the spool can be written again")
        self.why = why

    def pause(self, why: str) -> None:
        """Take note of what is wrong, and have the disk left alone for a while."""
        self.say(why)
        self._again_at = self._clock.up() + int(_TRY_AGAIN_S * 1e6)
