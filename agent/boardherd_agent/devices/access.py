"""One operation at a time on one device, and what is found out about it by reading."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import structlog

from boardherd_agent.devices.causes import Link
from boardherd_agent.devices.connection import Connection
from boardherd_agent.devices.device import (
    AsksPeople,
    DeviceError,
    DeviceOffline,
    DeviceRefused,
    Driver,
    Identity,
    Meter,
    Patient,
    Pulser,
)
from boardherd_agent.devices.ports import PortBook
from boardherd_shared.clock import Clock
from boardherd_shared.inventory import RelayConfig
from boardherd_shared.records import Power
from boardherd_shared.values import one_line

log = structlog.get_logger()


class Access:
    """The way to one device: a turn for each operation, readings that go into the books, and what went wrong.

    A device that other PCs use too is connected to for one turn at a time, because it may serve few connections.
    """

    def __init__(
        self,
        relay: str,
        config: RelayConfig,
        driver: Callable[[], Driver],
        ports: PortBook,
        clock: Clock,
        *,
        limit: float,
        shared: bool,
        on_stray: Callable[[int], None],
    ) -> None:
        """Open nothing yet.

        Args:
            relay: id of the relay.
            config: its entry in the inventory.
            driver: makes a fresh driver for each connection.
            ports: the books that readings go into.
            clock: for the time of the last answer.
            limit: the longest that one turn may last, seconds.
            shared: whether other PCs use the device too.
            on_stray: called with each port that an outage led away from what was asked of it.
        """
        self.online = False
        self.identity: Identity | None = None
        self.last_answer: int | None = None
        self.trouble = ""
        self.max_pulse_s = 0.0
        """The longest pulse that the device times itself; 0 when it times none."""
        self.asks_people = False
        """Whether a switch is a request to a person."""
        self._relay, self._config, self._ports, self._clock = relay, config, ports, clock
        self._limit = self._patience = limit
        self._shared, self._on_stray = shared, on_stray
        self._lock = asyncio.Lock()
        self.connection = Connection(driver, self._opened, _elbow_room if shared else tuple)
        self._metered, self._meter_trouble = False, ""
        self._able(driver())

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Have the device to oneself for one operation, and leave it closed unless that ended in order."""
        async with self._lock:
            try:
                async with asyncio.timeout(self._patience):
                    yield
            except DeviceRefused:
                raise
            except DeviceError as error:
                await self.fail(error)
                raise
            except TimeoutError as error:
                late = DeviceOffline(f"{self._relay} did not finish within {self._patience:g} s")
                await self.fail(late)
                raise late from error
            except BaseException:
                await self.connection.close()
                raise
            finally:
                if self._shared:
                    await self.connection.close()

    async def close(self) -> None:
        """Close the device when the turn that is under way has ended."""
        async with self._lock:
            await self.connection.close()

    async def poll(self) -> None:
        """Read the ports, and what they draw where the device measures it; raises DeviceError."""
        async with self.turn():
            await self._refresh()
            if self._metered:
                await self._meter()

    async def measure(self, port: int) -> Power:
        """Read the device and return one port's state; raises DeviceRefused if it has no such port."""
        await self._refresh()
        status = self._ports.status(port)
        if status.observed is Power.UNKNOWN and self._ports.measurable:
            raise DeviceRefused(f"{self._relay}:{port}: {status.reason}")
        return status.observed

    async def _refresh(self) -> None:
        """Read all ports, and find out which of them are to be brought back."""
        try:
            outputs = await self.connection.attempt(lambda device: device.read())
        except DeviceRefused as error:
            self._lose(error)
            raise
        self._found()
        link = self.connection.since_last_reading()
        if not self._ports.measurable:
            self._ports.unread()
            return
        for port in self._ports.measured(outputs, link):
            self._on_stray(port)

    async def _meter(self) -> None:
        """Read what the ports draw; a meter that fails says nothing about the ports."""
        watts: Mapping[int, float] = {}
        trouble = ""
        try:
            watts = await self.connection.once(_watts)
        except DeviceError as error:
            trouble = str(error)
            if not isinstance(error, DeviceRefused):
                await self.connection.close()
        if trouble and not self._meter_trouble:
            log.warning("the relay's meter cannot be read", relay=self._relay, why=trouble)
        self._meter_trouble = trouble
        self._ports.metered(watts)

    def _opened(self, device: Driver) -> None:
        self._able(device)
        self._identified(device.identity)

    def _able(self, device: Driver) -> None:
        """Take note of what the device can do; some know that only once they are open."""
        self._ports.measurable = device.reads_back
        self._metered = isinstance(device, Meter)
        self.asks_people = isinstance(device, AsksPeople)
        self.max_pulse_s = device.max_pulse_s if isinstance(device, Pulser) else 0.0
        slow = device.patience_s + 1.0 if isinstance(device, Patient) else 0.0
        self._patience = max(self._limit, slow)

    def _identified(self, identity: Identity) -> None:
        """Take note of what the device says it is."""
        if identity == self.identity:
            return
        self.identity = identity
        odd = _mismatch(identity, self._config)
        self._ports.module = one_line(f"{identity}; {odd}" if odd else str(identity))
        if odd:
            log.warning(
                "the relay is not what the inventory says", relay=self._relay, found=self._ports.module
            )

    def _found(self) -> None:
        self.last_answer = self._clock.wall()
        if not self.online:
            log.info("the relay answers", relay=self._relay, module=self._ports.module)
        self.online, self.trouble = True, ""

    async def fail(self, error: DeviceError) -> None:
        """Give up the connection; what the ports do is unknown from here on."""
        await self.connection.close()
        self._lose(error)

    def _lose(self, error: DeviceError) -> None:
        self.connection.suffered(Link.OUTAGE)
        if self.online or not self.trouble:
            log.warning("the relay does not answer properly", relay=self._relay, why=str(error))
        self.online, self.trouble = False, one_line(str(error))
        self._ports.lost(self.trouble)


async def _watts(device: Driver) -> Mapping[int, float]:
    return await device.watts() if isinstance(device, Meter) else {}


def _elbow_room() -> Sequence[float]:
    """Return pauses before trying again to get one of the few places of a device that other PCs use too."""
    return [random.uniform(0.05, 0.3) for _ in range(2)]


def _mismatch(identity: Identity, config: RelayConfig) -> str:
    """Return how a device differs from its entry in the inventory, in words."""
    odd = []
    if identity.port_count is not None and identity.port_count != config.port_count:
        odd.append(f"it has {identity.port_count} ports, the inventory says {config.port_count}")
    if identity.mac and config.mac and identity.mac != config.mac.replace("-", ":"):
        odd.append(f"its address is {identity.mac}, the inventory says {config.mac}")
    return ", ".join(odd)
