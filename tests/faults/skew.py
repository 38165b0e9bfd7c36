"""A line on which one side is of another version: payloads get another major version on their way."""

from __future__ import annotations

from dataclasses import replace

from faults.frames import Frame, Splitter
from faults.proxy import FaultProxy

_OURS, _THEIRS = b'"v":1', b'"v":2'


class SkewedProxy(FaultProxy):
    """Passes everything on, and has messages on some topics say that they are of version 2.

    Both are of one length, so packets stay packets.
    """

    topics: frozenset[str] = frozenset()
    """Last levels of the topics that are concerned."""

    def frames(self, splitter: Splitter | None, data: bytes) -> list[Frame]:
        """Return what ``data`` consists of, changed where it is of the other version."""
        return [self._skewed(frame) for frame in super().frames(splitter, data)]

    def _skewed(self, frame: Frame) -> Frame:
        if frame.topic.rpartition("/")[2] not in self.topics:
            return frame
        self.tally.done["skewed"] += 1
        return replace(frame, data=frame.data.replace(_OURS, _THEIRS))
