"""How a command ends: by what was measured, and where that was asked for, by the board coming alive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from boardherd_agent.control.life import Life
from boardherd_agent.control.power import Target
from boardherd_agent.control.safety import Safety
from boardherd_agent.devices.device import DeviceError
from boardherd_shared.command import State
from boardherd_shared.records import BootTimes, Power


class Liveness(Protocol):
    """What the watching side offers to whoever switched a board on."""

    async def wait_alive(self, board: str, timeout: float) -> BootTimes | None:
        """Return the boot's times once ``board`` is alive, or None after ``timeout`` seconds."""
        ...

    def describe(self, board: str) -> str:
        """Return the present verdict on ``board`` in words."""
        ...

    def alive(self, board: str) -> bool:
        """Tell whether ``board`` is alive now."""
        ...


@dataclass(frozen=True)
class Ending:
    """Takes the final step of commands that switched something."""

    liveness: Liveness
    safety: Safety

    async def conclude(self, life: Life, observed: Power, times: dict[str, float]) -> None:
        """Take the final step after a switch: by what was measured, and where that was asked for, by the boot."""
        label, asked = life.target.label, life.asked
        if not as_asked(life, observed):
            text = f"{label} was asked {str(asked).upper()} but measures {observed.upper()}"
            await life.step(State.FAILED, text, observed=observed, times=times)
            return
        wait = life.command.wait_alive
        if asked is Power.ON and wait and life.target.is_board:
            await self._wait_alive(life, wait, times)
            return
        done = f"off {times['off_s']:.1f} s, on again" if "off_s" in times else str(asked)
        if observed is Power.UNKNOWN:
            done += ", acknowledged; this device cannot be read back"
        await life.step(State.SUCCEEDED, f"{label}: {done}{life.remark}", observed=observed, times=times)

    async def _wait_alive(self, life: Life, timeout: float, times: dict[str, float]) -> None:
        board = life.target.board
        text = f"{board} is on, waiting up to {timeout:g} s for it to come alive"
        await life.step(State.RUNNING, text, phase="waiting", observed=Power.ON, times=times)
        boot = await self.liveness.wait_alive(board, timeout)
        if boot is None:
            text = (
                f"{board} is on but did not come alive within {timeout:g} s: {self.liveness.describe(board)}"
            )
            await life.step(State.FAILED, text, phase="waiting", observed=Power.ON, times=times)
            return
        await self.safety.forgive(board)
        times = times | boot.model_dump(exclude_none=True, exclude={"slow"})
        slow = f"; slower than usual: {boot.slow}" if boot.slow else ""
        text = f"{board}: {_phases(times)}{slow}{life.remark}"
        await life.step(State.SUCCEEDED, text, observed=Power.ON, times=times)


def as_asked(life: Life, observed: Power) -> bool:
    """Tell whether a switch did what was asked, as far as the device lets anybody know."""
    return observed is life.asked or (observed is Power.UNKNOWN and not life.target.measurable)


async def measure(target: Target) -> Power:
    """Return the state as measured now, unknown when the device does not say."""
    try:
        return await target.read()
    except DeviceError:
        return Power.UNKNOWN


def _phases(times: dict[str, float]) -> str:
    """Return the phases of a cycle in a line: "off 5.0 s, console 0.4 s, ssh 4.1 s; alive"."""
    parts = [
        f"{name.removesuffix('_s')} {value:.1f} s" for name, value in times.items() if name != "switched_s"
    ]
    return ", ".join([*parts[:-1], parts[-1]]) + "; alive" if parts else "alive"
