"""Looks at all boards of a PC at once for what no single one can know: a shared silence, a standstill of the agent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from boardherd_agent.watch.judging.own_network import OwnNetwork
from boardherd_agent.watch.judging.pulse import BEAT_S, Pulse
from boardherd_agent.watch.judging.surroundings import TOGETHER, Common, Sighting, common_silence
from boardherd_shared.clock import Clock


class Watched(Protocol):
    """What is asked of the watch of a board, and told to it."""

    def sighting(self) -> Sighting | None:
        """Return how the board was last seen over the network; None where that tells nothing."""
        ...

    def network_changed(self, trouble: str) -> None:
        """Take note of what is wrong with the network between this PC and the board; empty when nothing is."""
        ...


class Outlook:
    """Tells each watch what is wrong with the network that its board shares with others."""

    def __init__(
        self,
        watches: Mapping[str, Watched],
        addresses: Mapping[str, str | None],
        clock: Clock,
        pulse: Pulse,
        network: OwnNetwork | None = None,
        *,
        every_s: float = 1.0,
    ) -> None:
        """Prepare.

        Args:
            watches: the watches of all boards of this PC.
            addresses: the address of each board that has one.
            clock: tells the time since boot.
            pulse: beaten here, so that a standstill is noticed.
            network: what this PC knows of its own network.
            every_s: how often to look.
        """
        self._watches = watches
        self._addresses = {board: address for board, address in addresses.items() if address}
        self._clock, self._pulse = clock, pulse
        self._network = network or OwnNetwork()
        self._every_s = every_s
        self._common: dict[str, Common | None] = {}
        self._told: dict[str, str] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        due = self._clock.up()
        while True:
            now = self._clock.up()
            self._pulse.beat(now)
            if now >= due:
                self.look()
                due = now + round(self._every_s * 1e6)
            await asyncio.sleep(min(BEAT_S, self._every_s))

    def look(self) -> None:
        """Look once, and tell what changed."""
        self._network.refresh()
        shared = self._shared_silence()
        for board, address in self._addresses.items():
            trouble = self._network.trouble(address) or (TOGETHER if board in shared else "")
            if trouble != self._told.get(board, ""):
                self._told[board] = trouble
                self._watches[board].network_changed(trouble)

    def _shared_silence(self) -> frozenset[str]:
        """Return the boards that fell silent together; those behind different interfaces share nothing."""
        groups: dict[str, list[Sighting]] = {}
        for board, address in self._addresses.items():
            if seen := self._watches[board].sighting():
                groups.setdefault(self._network.way(address), []).append(seen)
        self._common = {
            way: common_silence(groups.get(way, []), self._common.get(way))
            for way in {*groups, *self._common}
        }
        return frozenset(board for common in self._common.values() if common for board in common.boards)
