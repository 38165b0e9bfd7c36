"""A relay device made by hand, a worker that owns it, and what the worker told: for tests without sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from itertools import repeat
from types import TracebackType
from typing import Self

from boardherd_agent.devices.device import Identity
from boardherd_agent.devices.worker import PortStatus, PortUse, RelayWorker, Timing
from boardherd_shared.clock import Clock, SystemClock
from boardherd_shared.inventory import RelayConfig
from boardherd_shared.records import Power

PROMPT = Timing(operation=60, read_back=(0, 0, 0), backoff=lambda: repeat(0.0))


class Module:
    """The device: its outputs, what it was asked, and the failures it has in store."""

    def __init__(self) -> None:
        self.outputs = dict.fromkeys(range(1, 9), False)
        self.reads_back = True
        self.identity = Identity("TEST8", "1", "2", port_count=8)
        self.calls: list[str] = []
        self.failures: dict[str, list[BaseException]] = {}
        self.open = self.open_max = self.inside = 0
        self.ignores_sets = False
        self.lag = 0
        """How many readings after a set still show the state before."""
        self.lagging: list[dict[int, bool]] = []
        self.gate: asyncio.Event | None = None
        self.waiting = asyncio.Event()
        self.watts: dict[int, float] = {}

    def fail(self, call: str, *errors: BaseException) -> None:
        self.failures.setdefault(call, []).extend(errors)

    def sets(self) -> list[str]:
        """Return what it was asked to change."""
        return [call for call in self.calls if call.startswith(("set", "pulse"))]

    async def called(self, call: str) -> None:
        self.calls.append(call)
        self.inside += 1
        assert self.inside == 1, "two operations at once"
        try:
            await asyncio.sleep(0)
            if self.gate is not None and call.startswith(("set", "pulse")):
                self.waiting.set()
                await self.gate.wait()
            if errors := self.failures.get(call.split(maxsplit=1)[0]):
                raise errors.pop(0)
        finally:
            self.inside -= 1


class ModuleDriver:
    """A driver of that device, by the contract."""

    def __init__(self, module: Module) -> None:
        self._module = module
        self.identity = module.identity
        self.reads_back = module.reads_back

    async def __aenter__(self) -> Self:
        await self._module.called("open")
        self._module.open += 1
        self._module.open_max = max(self._module.open_max, self._module.open)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._module.open -= 1

    async def read(self) -> Mapping[int, bool]:
        await self._module.called("read")
        if self._module.lagging:
            return self._module.lagging.pop()
        return dict(self._module.outputs) if self.reads_back else {}

    async def set(self, port: int, energised: bool) -> None:
        await self._module.called(f"set {port} {energised}")
        self._move(port, energised)

    def _move(self, port: int, energised: bool) -> None:
        self._module.lagging = [dict(self._module.outputs)] * self._module.lag
        if not self._module.ignores_sets:
            self._module.outputs[port] = energised


class PulsingDriver(ModuleDriver):
    """A driver of a device that times pulses; a test ends them by hand."""

    max_pulse_s = 25.5

    async def pulse(self, port: int, energised: bool, seconds: float) -> None:
        await self._module.called(f"pulse {port} {energised} {seconds:g}")
        self._move(port, energised)


class MeteringDriver(ModuleDriver):
    """A driver of a device that measures power."""

    async def watts(self) -> Mapping[int, float]:
        await self._module.called("watts")
        return dict(self._module.watts)


USES = {3: PortUse("evm-07", expected="on"), 4: PortUse("evm-08", polarity="NC")}


class Bench:
    """A module, its worker, and what the worker told."""

    def __init__(
        self,
        timing: Timing = PROMPT,
        *,
        driver: Callable[[Module], ModuleDriver] = ModuleDriver,
        uses: Mapping[int, PortUse] | None = None,
        clock: Clock | None = None,
        may_restore: Callable[[int], bool] = lambda _: True,
        shared: bool = False,
        reads_back: bool = True,
        **config: object,
    ) -> None:
        self.module = Module()
        self.module.reads_back = reads_back
        self.told: list[PortStatus] = []
        self.events: list[tuple[str, int, str]] = []
        self.worker = RelayWorker(
            "eth-1",
            RelayConfig.model_validate(config),
            lambda: driver(self.module),
            uses or USES,
            clock or SystemClock(),
            self.told.append,
            tell=lambda *event: self.events.append(event),
            may_restore=may_restore,
            shared=shared,
            timing=timing,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.worker.run(), name="worker under test")
        try:
            yield
            assert not task.done()
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def until(self, seen: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not seen():  # noqa: ASYNC110 - as an onlooker would
                await asyncio.sleep(0)

    async def until_port(self, observed: Power, port: int = 3) -> None:
        await self.until(lambda: self.worker.status(port).observed is observed)

    async def until_read(self, times: int = 1) -> None:
        """Wait until the device has been read completely, so many times more."""
        wanted = self.module.calls.count("read") + times + 1
        await self.until(lambda: self.module.calls.count("read") >= wanted)
