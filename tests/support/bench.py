"""The bench on which the contract suites test a driver: its simulator, and a worker with the real driver."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from itertools import repeat
from typing import Any

import pytest

from boardherd.rack.devices.device import SimulatedDevice
from boardherd_agent.devices import drivers
from boardherd_agent.devices.worker import PortStatus, PortUse, RelayWorker, Timing
from boardherd_shared.clock import SystemClock
from boardherd_shared.inventory import RelayConfig
from boardherd_shared.records import Power
from support.rigs.rig import Rig

POLL_S = 0.2
TIMING = Timing(backoff=lambda: repeat(0.02))


class Bench:
    """A simulator, a worker with the real driver, and what the worker told."""

    def __init__(self, rig: Rig, simulator: SimulatedDevice) -> None:
        self.rig = rig
        self.missing_port = rig.port_count + 1
        self.simulator: SimulatedDevice = simulator
        self.told: list[PortStatus] = []
        self.config = RelayConfig.model_validate(rig.config(simulator) | {"poll": POLL_S})
        self.worker = self.make_worker()

    def make_driver(self) -> Any:
        assert self.config.driver
        module = drivers.load(self.config.driver)
        return module.Driver(self.config, module.Options.model_validate(self.config.options))

    def make_worker(self) -> RelayWorker:
        return RelayWorker(
            "relay-1",
            self.config,
            self.make_driver,
            {
                1: PortUse("evm-01"),
                2: PortUse("evm-02", polarity="NC"),
                self.missing_port: PortUse("evm-09"),
            },
            SystemClock(),
            self.told.append,
            timing=TIMING,
        )

    def move(self, address: str, port: int) -> None:
        """Let the configuration lead elsewhere; skips the test of a device that has no address."""
        change: dict[str, Any] = {"address": address, "tcp_port": port}
        if self.rig.place is not None:
            option, text = self.rig.place
            change = {"options": self.config.options | {option: text.format(f"{address}:{port}")}}
        elif self.config.address is None:
            pytest.skip("this device has no address")
        self.config = self.config.model_copy(update=change)

    @contextlib.asynccontextmanager
    async def running(self, worker: RelayWorker | None = None) -> AsyncIterator[None]:
        """Let a worker run, and see that it has not died by itself and lets go of the device."""
        task = asyncio.create_task((worker or self.worker).run(), name="worker under test")
        try:
            yield
            assert not task.done()
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def until(self, seen: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not seen():  # noqa: ASYNC110 - a state of the outside world has no event
                await asyncio.sleep(0.01)

    async def until_port(self, observed: Power, reason: str | None = None) -> None:
        def seen() -> bool:
            status = self.worker.status(1)
            return status.observed is observed and reason in {None, status.reason}

        await self.until(seen)
