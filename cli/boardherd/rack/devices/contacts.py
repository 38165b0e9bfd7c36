"""The contacts of a simulated device, and the record of everything that ever moved them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Literal

Cause = Literal["command", "pulse", "reboot", "outside"]


@dataclass(frozen=True)
class Transition:
    """One change of one output."""

    port: int
    energised: bool
    at: float
    """When, on the device's clock (monotonic seconds)."""
    cause: Cause


class Contacts:
    """The outputs of one device, numbered as people count them, from 1.

    What a device is asked and what its contacts do are different things; tests believe only this.
    """

    def __init__(
        self,
        ports: Iterable[int],
        *,
        on_change: Callable[[int, bool, float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Begin with every output released.

        Args:
            ports: which outputs there are.
            on_change: called with port, energised and time at each change of an output.
            clock: the device's clock in seconds.
            sleep: how the device waits for the end of a pulse.
        """
        self.transitions: list[Transition] = []
        """Every change, oldest first."""
        self._outputs = dict.fromkeys(ports, False)
        self._on_change, self._clock, self._sleep = on_change, clock, sleep
        self._pulses: dict[int, asyncio.Task[None]] = {}

    def __contains__(self, port: object) -> bool:
        return port in self._outputs

    @property
    def states(self) -> dict[int, bool]:
        """For each output whether it is energised, as a copy."""
        return dict(self._outputs)

    def set(self, port: int, energised: bool, *, hold: float = 0.0, cause: Cause = "command") -> None:
        """Energise or release an output; after ``hold`` seconds, if given, it goes to the opposite state.

        A pulse that is under way on this output ends here.
        """
        self._end_pulse(port)
        self._change(port, energised, cause)
        if hold:
            self._pulses[port] = asyncio.create_task(
                self._pulse(port, energised, hold), name=f"pulse of port {port}"
            )

    def drop(self) -> None:
        """Release everything, as the loss of the device's supply does."""
        for port in self._outputs:
            self._end_pulse(port)
            self._change(port, False, "reboot")

    def end_pulses(self) -> None:
        """Forget what pulses would still do; the outputs stay as they are."""
        for port in list(self._pulses):
            self._end_pulse(port)

    async def close(self) -> None:
        """End all pulses and return when they have ended."""
        pulses = list(self._pulses.values())
        self.end_pulses()
        await asyncio.gather(*pulses, return_exceptions=True)

    async def _pulse(self, port: int, energised: bool, seconds: float) -> None:
        await self._sleep(seconds)
        del self._pulses[port]
        self._change(port, not energised, "pulse")

    def _end_pulse(self, port: int) -> None:
        if pulse := self._pulses.pop(port, None):
            pulse.cancel()

    def _change(self, port: int, energised: bool, cause: Cause) -> None:
        if self._outputs[port] == energised:
            return
        self._outputs[port] = energised
        now = self._clock()
        self.transitions.append(Transition(port, energised, now, cause))
        if self._on_change is not None:
            self._on_change(port, energised, now)
