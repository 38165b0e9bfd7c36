"""What simulated devices with a plug have in common: being alive, every fault, and what they are made of."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from abc import abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from boardherd.rack.devices.contacts import Contacts
from boardherd.rack.devices.device import SimulatedDevice


class PluggedDevice(SimulatedDevice):
    """A device that is reached while it is plugged in, be it into the network or into a USB port."""

    keeps_outputs = False
    """Whether the outputs come back as they were when the device has been without power."""

    def __init__(self, contacts: Contacts, *, process_delay: float = 0.002) -> None:
        """Describe a device.

        Args:
            contacts: its outputs.
            process_delay: seconds between the arrival of a request and acting on it.
        """
        super().__init__(contacts)
        self.process_delay = process_delay
        self._hung = False
        self._plugged = False
        self._firmware: asyncio.Task[None] | None = None
        self._belongings = contextlib.ExitStack()

    async def __aenter__(self) -> Self:
        try:
            self.prepare()
            await self._put_plug()
        except BaseException:
            self._belongings.close()
            raise
        self._firmware = asyncio.create_task(self.work(), name=f"firmware of {type(self).__name__}")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._firmware is not None:
            self._firmware.cancel()
            await asyncio.gather(self._firmware, return_exceptions=True)
        await self.stop()
        await self._pull_plug()
        await self.contacts.close()
        self._belongings.close()

    async def hang(self) -> None:
        """Keep every connection, accept new ones, and neither act nor answer until :meth:`heal`."""
        self._hung = True

    async def dead(self) -> None:
        """Be unplugged until :meth:`heal`; the outputs stay as they are."""
        await self._pull_plug()

    async def reboot(self, *, seconds: float = 0.2) -> None:
        """Be without plug and power for a moment, and return when it is back."""
        await self._pull_plug()
        self.lose_power()
        await asyncio.sleep(seconds)
        await self.heal()

    async def heal(self) -> None:
        """End every fault; what came during a hang stays lost."""
        self._hung = self.answer_fail = False
        self.delay, self.garble = 0.0, None
        await self._put_plug()

    @abstractmethod
    async def plug_in(self) -> None:
        """Become reachable; called while the device is not."""

    @abstractmethod
    async def unplug(self) -> None:
        """Lose all connections and be out of reach when this returns; called while the device is reachable."""

    def prepare(self) -> None:
        """Make what the device needs before it is plugged in for the first time; nothing as a rule."""

    async def work(self) -> None:
        """Do what the device's processor does, for as long as the device is alive; nothing as a rule."""

    async def stop(self) -> None:
        """End what a device of this kind has running beside :meth:`work`; nothing as a rule."""

    def lose_power(self) -> None:
        """Do what the loss of power does to the outputs."""
        if self.keeps_outputs:
            self.contacts.end_pulses()
        else:
            self.contacts.drop()

    def own_directory(self, kind: str) -> Path:
        """Make a directory that goes with the device."""
        place = tempfile.TemporaryDirectory(prefix=f"boardherd-{kind}-")
        return Path(self._belongings.enter_context(place))

    async def _put_plug(self) -> None:
        if not self._plugged:
            await self.plug_in()
            self._plugged = True

    async def _pull_plug(self) -> None:
        if self._plugged:
            self._plugged = False
            await self.unplug()
