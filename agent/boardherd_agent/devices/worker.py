"""The one owner of a relay device: everything that is true of every driver is decided here, once.

One operation at a time, each with a deadline; a read-back after every switch; a second try, on a
fresh connection, for reads and absolute sets only; closing and opening again after silence or nonsense.
On a module that other PCs use too, the connection lasts for one operation. What is then known of each port
is kept by :mod:`boardherd_agent.devices.ports`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Literal

import structlog

from boardherd_agent.devices.access import Access
from boardherd_agent.devices.device import (
    DeviceError,
    DeviceGarbled,
    DeviceOffline,
    DeviceRefused,
    Driver,
    Identity,
    Pulser,
)
from boardherd_agent.devices.outcome import Switched, Timing
from boardherd_agent.devices.ports import WORN_AT, PortBook, PortStatus, PortUse, opposite
from boardherd_agent.devices.restoring import AFTER_OUTAGE, RestorePlan
from boardherd_shared.clock import Clock
from boardherd_shared.inventory import RelayConfig
from boardherd_shared.records import Power

log = structlog.get_logger()

__all__ = ["PortStatus", "PortUse", "RelayWorker", "Switched", "Tell", "Timing"]

Tell = Callable[[Literal["fault", "transition"], int, str], None]
"""Takes the kind of an event, the port that it is about, and the sentence."""


_JUST_NOW_US = 5_000
"""What was read so short a time ago is what is before a switch: to ask again takes about as long."""

StillWanted = Callable[[], None]
"""Raises when a switch that has waited for the device is not wanted any more."""


def _still_wanted() -> None:
    """Want it for ever."""


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
        tell: Tell = lambda _kind, _port, _text: None,
        may_restore: Callable[[int], bool] = lambda _: False,
        shared: bool = False,
        timing: Timing | None = None,
    ) -> None:
        """Make a worker; nothing is opened yet.

        Args:
            relay: id of the relay.
            config: its entry in the inventory.
            driver: makes a fresh driver for each connection.
            ports: the ports that may be driven, and what for.
            clock: for the times in statuses.
            on_change: called when the observed or asked state of a port changes, its drift, or the reason.
            tell: called with what belongs on record beside the states: a port brought back, a worn contact.
            may_restore: asked before a port is brought back after an outage, as ``after_outage = "restore"``
                wants it; it answers False while the board is locked, in use or being switched.
            shared: whether other PCs use the device too, so that no connection may be kept.
            timing: how patient to be.
        """
        self.maintenance = ""
        """Why nothing may be switched, in a person's words; empty when everything may. Reading goes on."""
        self._relay, self._config, self._clock = relay, config, clock
        self._tell, self._may_restore, self._shared = tell, may_restore, shared
        self._timing = timing or Timing()
        self._ports = PortBook(relay, ports, clock, on_change, self._worn)
        self._plan = RestorePlan(config.stagger)
        self._looked_at = -math.inf
        self._wake = asyncio.Event()
        self._access = Access(
            relay,
            config,
            driver,
            self._ports,
            clock,
            limit=self._timing.operation,
            shared=shared,
            on_stray=self._strayed,
        )

    @property
    def online(self) -> bool:
        """Whether the device answered last time."""
        return self._access.online

    @property
    def identity(self) -> Identity | None:
        """What the device says of itself; None until it has answered once."""
        return self._access.identity

    @property
    def last_answer(self) -> int | None:
        """When it last answered, wall clock in microseconds."""
        return self._access.last_answer

    @property
    def trouble(self) -> str:
        """Why it is not online, in words."""
        return self._access.trouble

    async def run(self) -> None:
        """Keep reading the device every ``config.poll`` seconds, until cancelled.

        No failure of the device ends it; the device is closed when it ends.
        """
        waits = self._timing.backoff()
        try:
            while True:
                try:
                    await self._access.poll()
                    await self._bring_back()
                except DeviceError:
                    pause = next(waits)
                else:
                    waits, pause = self._timing.backoff(), self._poll_interval()
                await self._rest(pause)
        finally:
            await self._access.close()

    async def read(self, port: int) -> Power:
        """Return the state of a port, fresh from the device; raises DeviceError.

        A device that cannot be read back is asked whether it is there, and the state is unknown.
        """
        self._check(port)
        async with self._access.turn():
            return await self._access.measure(port)

    async def look(self, port: int) -> None:
        """Read the device ahead of a switch that is about to be asked of it, which then need not wait for that.

        Nothing is done where that would cost a connection. What goes wrong is left for the switch to meet.
        """
        if self.online and not self._shared:
            with contextlib.suppress(DeviceError):
                await self.read(port)
                self._looked_at = self._clock.up()

    async def switch(
        self, port: int, power: Power, *, by: str, still_wanted: StillWanted = _still_wanted
    ) -> Switched:
        """Switch a port on or off, and return what was measured before and after.

        The state after may differ from what was asked: the device acknowledged, but its read-back did not
        follow within about a second. Raises DeviceError when the device could not be reached, answered
        nonsense or refused; the port may have moved all the same unless it refused. What ``still_wanted`` raises,
        asked when nothing is left but to switch, ends it before.
        """
        async with self._switching(port):
            before = self._ports.status(port).observed
            if before is Power.UNKNOWN or self._clock.up() - self._looked_at > _JUST_NOW_US:
                before = await self._access.measure(port)
            still_wanted()
            return await self._drive(port, before, power, by)

    async def toggle(self, port: int, *, by: str, still_wanted: StillWanted = _still_wanted) -> Switched:
        """Switch a port to the opposite of the state just read, as an absolute set.

        Raises DeviceRefused when that state cannot be read, DeviceError as :meth:`switch` does afterwards.
        """
        async with self._switching(port):
            try:
                before = await self._access.measure(port)
            except (DeviceOffline, DeviceGarbled) as error:
                await self._access.fail(error)
                raise DeviceRefused(f"the state of {self._relay}:{port} is unknown: {error}") from error
            if before is Power.UNKNOWN:
                raise DeviceRefused(
                    f"{self._relay}:{port} cannot be read back, so it can be set but not toggled"
                )
            still_wanted()
            return await self._drive(port, before, opposite(before), by)

    def can_pulse(self, port: int, seconds: float) -> bool:
        """Return whether the device itself can hold a state of a port for ``seconds``."""
        return port in self._ports and 0 < seconds <= self._access.max_pulse_s

    async def pulse(
        self, port: int, power: Power, seconds: float, *, by: str, still_wanted: StillWanted = _still_wanted
    ) -> Switched:
        """Let the device hold a state for ``seconds`` and then go to the opposite one by its own clock.

        Returns when the begin was measured; the opposite state is from now on the asked one, and whoever
        needs to know that it came reads the port later. Never tried a second time. Raises DeviceError as
        :meth:`switch` does, and DeviceRefused when the device cannot do it (see :meth:`can_pulse`).
        """
        if not self.can_pulse(port, seconds):
            raise DeviceRefused(f"{self._relay}:{port} times no pulse of {seconds:g} s by itself")
        async with self._switching(port):
            before = await self._access.measure(port)
            energised = self._ports.energised(port, power)
            still_wanted()
            with self._minding(port, power):
                self._ports.pulsing(port, power, seconds)
                await self._access.connection.once(lambda device: _pulse(device, port, energised, seconds))
                self._ports.acknowledged(port, by, moved=power is not before)
                return await self._outcome(port, before, power, over_at=self._now() + seconds)

    async def restore(self, port: int, *, by: str) -> Switched:
        """Bring a port to the state that was asked of it, or else to the one that the inventory calls normal.

        Raises DeviceRefused when neither is known, DeviceError as :meth:`switch` does.
        """
        async with self._switching(port):
            before = await self._access.measure(port)
            wanted = self._ports.status(port).wanted
            if wanted == "any":
                raise DeviceRefused(
                    f"nothing was asked of {self._relay}:{port}, and no state of it is normal"
                )
            return await self._drive(port, before, Power(wanted), by)

    async def accept(self, port: int, *, by: str) -> Power:
        """Take the state measured now for the one that was asked, switch nothing, and return it.

        Where a person was asked to switch, this is the word that it is done. Raises DeviceRefused for a device that
        cannot be read back, DeviceError as :meth:`read` does.
        """
        self._check(port)
        if self._access.connection.say_done(port):
            self._tell("transition", port, f"{self._relay}:{port} was switched by hand, says {by}")
            return Power.UNKNOWN
        async with self._access.turn():
            observed = await self._access.measure(port)
            if observed is Power.UNKNOWN:
                raise DeviceRefused(
                    f"{self._relay}:{port} cannot be read back, so there is nothing to accept"
                )
            self._plan.forget(port)
            self._ports.accepted(port, by)
        self._tell("transition", port, f"{self._relay}:{port} may be {observed.upper()}: accepted by {by}")
        return observed

    def status(self, port: int) -> PortStatus:
        """Return what is known of a port, without asking the device; a port not in use here is unknown."""
        return self._ports.status(port)

    def _poll_interval(self) -> float:
        """Return the pause between readings; of a shared device a longer and uneven one, so that PCs do not meet."""
        return self._config.poll * (random.uniform(1.0, 1.5) if self._shared else 1.0)

    async def _rest(self, pause: float) -> None:
        """Wait, or less if an interrupted switch left a port unknown, or when a port shall be brought back."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(pause, self._plan.wait(self._now())) if self.online else pause):
                await self._wake.wait()
        self._wake.clear()

    async def _bring_back(self) -> None:
        """Restore the ports whose turn it is; one that cannot be reached keeps its place."""
        while (port := self._plan.next(self._now())) is not None:
            async with self._access.turn():
                await self._bring_back_one(port)

    async def _bring_back_one(self, port: int) -> None:
        name = f"{self._relay}:{port}"
        try:
            before = await self._access.measure(port)
            status = self._ports.status(port)
            if before is status.asked:
                self._plan.forget(port)
                return
            if objection := self._objection(port):
                self._plan.forget(port)
                text = f"{name} stays {before.upper()} ({status.reason}): {objection}"
                self._tell("transition", port, text)
                return
            observed = (await self._drive(port, before, status.asked, AFTER_OUTAGE)).observed
        except DeviceRefused as error:
            self._plan.forget(port)
            self._tell("fault", port, f"{name} could not be brought back: {error}")
        except (DeviceOffline, DeviceGarbled):
            self._strayed(port)
            raise
        else:
            text = f"{name} was brought back to {status.asked.upper()} by {AFTER_OUTAGE}"
            self._tell("transition", port, f"{text}, measures {observed.upper()} ({status.reason})")

    def _objection(self, port: int) -> str:
        """Return why a port must not be brought back; empty when it may."""
        if self.maintenance:
            return f"{self._relay} is in maintenance: {self.maintenance}"
        return "" if self._may_restore(port) else "the board is locked, in use or being switched"

    def _check(self, port: int) -> None:
        if port not in self._ports:
            raise DeviceRefused(f"no board of this PC uses {self._relay}:{port}")

    @contextlib.asynccontextmanager
    async def _switching(self, port: int) -> AsyncIterator[None]:
        """Have the device to oneself for one switch, where switching is allowed at all."""
        self._check(port)
        async with self._access.turn():
            if self.maintenance:
                raise DeviceRefused(f"{self._relay} is in maintenance: {self.maintenance}")
            yield

    @contextlib.contextmanager
    def _minding(self, port: int, power: Power) -> Iterator[None]:
        """Keep the books right while a port is asked to be ``power``, however that ends."""
        self._plan.forget(port)
        with self._ports.driving(port):
            try:
                yield
            except DeviceRefused as error:
                self._ports.refused(port, str(error))
                raise
            except asyncio.CancelledError:
                self._ports.interrupted(port)
                self._wake.set()
                raise
            finally:
                if power is Power.ON:
                    self._plan.switched_on(self._now())

    async def _drive(self, port: int, before: Power, power: Power, by: str) -> Switched:
        """Ask for a state, and look until the device shows it."""
        energised = self._ports.energised(port, power)
        last = before if self._ports.measurable else self._ports.status(port).asked
        with self._minding(port, power):
            self._ports.asked(port, power)
            if self._access.asks_people:
                self._ports.remark(port, text := f"a person is asked to switch it {power.upper()}")
                self._tell("transition", port, f"{self._relay}:{port}: {text}")
            await self._access.connection.attempt(lambda device: device.set(port, energised))
            self._ports.acknowledged(port, by, moved=power is not last)
            return await self._outcome(port, before, power)

    async def _outcome(
        self, port: int, before: Power, power: Power, over_at: float = float("inf")
    ) -> Switched:
        """Look until the port is ``power``, or until that is ``over_at`` by the device's own clock."""
        if not self._ports.measurable:
            return Switched(before, Power.UNKNOWN, confirmed=False)
        observed = Power.UNKNOWN
        for pause in self._timing.read_back:
            await asyncio.sleep(pause)
            observed = await self._access.measure(port)
            if observed is power:
                return Switched(before, observed)
            if self._now() >= over_at:
                return Switched(before, observed, confirmed=False)
        self._ports.remark(port, f"asked {power}, but the module still says {observed}")
        return Switched(before, observed)

    def _strayed(self, port: int) -> None:
        """Put a port that an outage led away from what was asked on the list, where that is wanted."""
        if self._config.after_outage == "restore":
            self._plan.add(port, self._ports.status(port).asked, self._now() + self._ports.min_off(port))

    def _worn(self, status: PortStatus) -> None:
        text = (
            f"{self._relay}:{status.port} has been switched {WORN_AT} times: its contact may fail from now on"
        )
        log.warning("a relay's contact is worn", relay=self._relay, port=status.port, switches=WORN_AT)
        self._tell("fault", status.port, text)

    def _now(self) -> float:
        return self._clock.up() / 1e6


async def _pulse(device: Driver, port: int, energised: bool, seconds: float) -> None:
    if not isinstance(device, Pulser):
        raise DeviceRefused("the device times no pulses by itself")
    try:
        await device.pulse(port, energised, seconds)
    except ValueError as error:  # a length that the device has no number for
        raise DeviceRefused(str(error)) from error
