"""The one owner of a relay device: everything that is true of every driver is decided here, once.

One operation at a time, each with a deadline; a read-back after every switch; a second try, on a
fresh connection, for reads and absolute sets only; closing and opening again after silence or nonsense.
What is then known of each port is kept by :mod:`boardherd_agent.devices.ports`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import structlog

from boardherd_agent.devices.device import (
    DeviceError,
    DeviceGarbled,
    DeviceOffline,
    DeviceRefused,
    Driver,
    Identity,
)
from boardherd_agent.devices.ports import PortBook, PortStatus, PortUse
from boardherd_shared.backoff import delays
from boardherd_shared.clock import Clock
from boardherd_shared.inventory import RelayConfig
from boardherd_shared.records import Power
from boardherd_shared.values import one_line

T = TypeVar("T")

log = structlog.get_logger()

__all__ = ["PortStatus", "PortUse", "RelayWorker", "Switched", "Timing"]


@dataclass(frozen=True)
class Switched:
    """The outcome of a switch: measured before, and measured after."""

    before: Power
    observed: Power


def _short_delays() -> Iterator[float]:
    return delays(first=0.5, cap=10.0)


@dataclass(frozen=True)
class Timing:
    """How patient a worker is; seconds."""

    operation: float = 10.0
    """The longest that one operation may hold the device."""
    read_back: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)
    """Pauses before each look whether the port has followed a switch."""
    backoff: Callable[[], Iterator[float]] = _short_delays
    """Pauses between attempts to reach a device that does not answer."""


class RelayWorker:
    """Owns one physical device; all access to it goes through here."""

    def __init__(
        self,
        relay: str,
        config: RelayConfig,
        driver: Callable[[], Driver],
        ports: Mapping[int, PortUse],
        clock: Clock,
        on_change: Callable[[PortStatus], None] = lambda _: None,
        *,
        timing: Timing | None = None,
    ) -> None:
        """Make a worker; nothing is opened yet.

        Args:
            relay: id of the relay.
            config: its entry in the inventory.
            driver: makes a fresh driver for each connection.
            ports: the ports that may be driven, and what for.
            clock: for the times in statuses.
            on_change: called when the observed or asked state of a port changes, or the reason given with it.
            timing: how patient to be.
        """
        self.online = False
        """Whether the device answered last time."""
        self.identity: Identity | None = None
        """What the device says of itself; None until it has answered once."""
        self.last_answer: int | None = None
        """When it last answered, wall clock in microseconds."""
        self.trouble = ""
        """Why it is not online, in words."""
        self._relay, self._config, self._driver, self._clock = relay, config, driver, clock
        self._timing = timing or Timing()
        self._ports = PortBook(relay, ports, clock, on_change)
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._device: Driver | None = None
        self._closing = contextlib.AsyncExitStack()
        self._reopened = False
        """Whether the connection is new since the last reading."""

    async def run(self) -> None:
        """Keep the device open and read it every ``config.poll`` seconds, until cancelled.

        No failure of the device ends it; the device is closed when it ends.
        """
        waits = self._timing.backoff()
        try:
            while True:
                try:
                    await self._poll()
                except DeviceError:
                    pause = next(waits)
                else:
                    waits, pause = self._timing.backoff(), self._config.poll
                await self._rest(pause)
        finally:
            async with self._lock:
                await self._close()

    async def read(self, port: int) -> Power:
        """Return the state of a port, fresh from the device; raises DeviceError."""
        self._check(port)
        async with self._turn():
            return await self._measure(port)

    async def switch(self, port: int, power: Power, *, by: str) -> Switched:
        """Switch a port on or off, and return what was measured before and after.

        The state after may differ from what was asked: the device acknowledged, but its read-back did not
        follow within about a second. Raises DeviceError when the device could not be reached, answered
        nonsense or refused; the port may have moved all the same unless it refused.
        """
        self._check(port)
        async with self._turn():
            return await self._drive(port, await self._measure(port), power, by)

    async def toggle(self, port: int, *, by: str) -> Switched:
        """Switch a port to the opposite of the state just read, as an absolute set.

        Raises DeviceRefused when that state cannot be read, DeviceError as :meth:`switch` does afterwards.
        """
        self._check(port)
        async with self._turn():
            try:
                before = await self._measure(port)
            except (DeviceOffline, DeviceGarbled) as error:
                await self._fail(error)
                raise DeviceRefused(f"the state of {self._relay}:{port} is unknown: {error}") from error
            return await self._drive(port, before, Power.OFF if before is Power.ON else Power.ON, by)

    def status(self, port: int) -> PortStatus:
        """Return what is known of a port, without asking the device; a port not in use here is unknown."""
        return self._ports.status(port)

    async def _poll(self) -> None:
        async with self._turn():
            await self._refresh()

    async def _rest(self, seconds: float) -> None:
        """Wait, or less if an interrupted switch left a port unknown."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    def _check(self, port: int) -> None:
        if port not in self._ports:
            raise DeviceRefused(f"no board of this PC uses {self._relay}:{port}")

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Have the device to oneself for one operation, and leave it closed unless that ended in order."""
        limit = self._timing.operation
        async with self._lock:
            try:
                async with asyncio.timeout(limit):
                    yield
            except DeviceRefused:
                raise
            except DeviceError as error:
                await self._fail(error)
                raise
            except TimeoutError as error:
                late = DeviceOffline(f"{self._relay} did not finish within {limit:g} s")
                await self._fail(late)
                raise late from error
            except BaseException:
                await self._close()
                raise

    async def _drive(self, port: int, before: Power, power: Power, by: str) -> Switched:
        """Ask for a state, and look until the device shows it."""
        energised = self._ports.energised(port, power)
        self._ports.asked(port, power)
        try:
            await self._attempt(lambda device: device.set(port, energised))
            self._ports.switched(port, by, moved=power is not before)
            return Switched(before, await self._read_back(port, power))
        except DeviceRefused as error:
            self._ports.remark(port, str(error))
            raise
        except asyncio.CancelledError:
            self._ports.interrupted(port)
            self._wake.set()
            raise

    async def _read_back(self, port: int, power: Power) -> Power:
        observed = Power.UNKNOWN
        for pause in self._timing.read_back:
            await asyncio.sleep(pause)
            observed = await self._measure(port, ours=port)
            if observed is power:
                return observed
        self._ports.remark(port, f"asked {power}, but the module still says {observed}")
        return observed

    async def _measure(self, port: int, ours: int | None = None) -> Power:
        """Read the device and return one port's state; raises DeviceRefused if it has no such port."""
        await self._refresh(ours)
        status = self._ports.status(port)
        if status.observed is Power.UNKNOWN:
            raise DeviceRefused(f"{self._relay}:{port}: {status.reason}")
        return status.observed

    async def _refresh(self, ours: int | None = None) -> None:
        """Read all ports; a change of port ``ours`` is our own doing."""
        try:
            outputs = await self._attempt(lambda device: device.read())
        except DeviceRefused as error:
            self._lose(error)
            raise
        self._found()
        self._ports.measured(outputs, reopened=self._reopened, ours=ours)
        self._reopened = False

    async def _attempt(self, act: Callable[[Driver], Awaitable[T]]) -> T:
        """Do what may be repeated without harm, a second time if the connection turns out to be stale."""
        was_open = self._device is not None
        try:
            return await act(await self._open())
        except (DeviceOffline, DeviceGarbled):
            await self._close()
            if not was_open:
                raise
        return await act(await self._open())

    async def _open(self) -> Driver:
        if self._device is None:
            self._device = await self._closing.enter_async_context(self._driver())
            self._reopened = True
            self._identified(self._device.identity)
        return self._device

    async def _close(self) -> None:
        self._device = None
        await self._closing.aclose()

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

    async def _fail(self, error: DeviceError) -> None:
        """Give up the connection; what the ports do is unknown from here on."""
        await self._close()
        self._lose(error)

    def _lose(self, error: DeviceError) -> None:
        if self.online or not self.trouble:
            log.warning("the relay does not answer properly", relay=self._relay, why=str(error))
        self.online, self.trouble = False, one_line(str(error))
        self._ports.lost(self.trouble)


def _mismatch(identity: Identity, config: RelayConfig) -> str:
    """Return how a device differs from its entry in the inventory, in words."""
    odd = []
    if identity.port_count is not None and identity.port_count != config.port_count:
        odd.append(f"it has {identity.port_count} ports, the inventory says {config.port_count}")
    if identity.mac and config.mac and identity.mac != config.mac.replace("-", ":"):
        odd.append(f"its address is {identity.mac}, the inventory says {config.mac}")
    return ", ".join(odd)
