"""The command probe: what does a program of the lab say of the board?

The inventory gives a bare file name; where programs are and which may be run is not its to say (see
:mod:`boardherd_agent.devices.programs`). No shell is involved, and the program gets the board's id and its address as
arguments, nothing else of the inventory.
"""

from __future__ import annotations

import time

from boardherd_agent.devices import programs
from boardherd_agent.devices.device import DeviceOffline, DeviceRefused
from boardherd_agent.watch.judging.evidence import Answer
from boardherd_agent.watch.probing.means import Means
from boardherd_agent.watch.probing.probe import Outcome
from boardherd_agent.watch.texts import brief
from boardherd_shared.lab import BoardConfig
from boardherd_shared.probes import ProbeSpec

_LEAST_S = 5.0
"""A program starts slowly on a busy PC, and does more than send a packet."""
_ANSWERS: dict[int, Answer] = {0: "yes", 1: "no", 2: "unavailable"}
"""What the exit status of the program means."""


class CommandProbe:
    """Runs a program: it ends with 0 for yes, with 1 for no, with anything else if it could not find out."""

    def __init__(
        self, name: str, program: str, arguments: tuple[str, ...], means: Means, *, least_s: float = _LEAST_S
    ) -> None:
        """Prepare; ``least_s`` is the least time in seconds that the program gets."""
        self.name = name
        self._program = program
        self._arguments = arguments
        self._means = means
        self._least_s = least_s

    async def check(self, within_s: float) -> Outcome:
        """Run the program once, for the time given or five seconds, whichever is longer, and kill it then."""
        async with self._means.programs:
            began = time.monotonic()
            try:
                path = programs.find(self._program)
                ended = await programs.run(path, self._arguments, {}, max(within_s, self._least_s))
            except DeviceOffline as error:
                return Outcome("no", brief(str(error)))
            except DeviceRefused as error:
                return Outcome("unavailable", brief(str(error)))
            return judged(self._program, ended, time.monotonic() - began)


def judged(program: str, ended: programs.Ended, duration_s: float) -> Outcome:
    """Return what the end of a program says: its exit status, and the last line that it printed."""
    answer = _ANSWERS.get(ended.code, "unavailable")
    lines = (ended.output.strip() or ended.errors.strip()).splitlines()
    words = brief(lines[-1]) if lines else ""
    if ended.code in _ANSWERS:
        return Outcome(
            answer, words or f"{program} says {answer}", None if answer == "unavailable" else duration_s
        )
    how = f"was killed by signal {-ended.code}" if ended.code < 0 else f"ended with {ended.code}"
    return Outcome(answer, brief(": ".join(filter(None, (f"{program} {how}", words)))))


def build(spec: ProbeSpec, board: str, config: BoardConfig, means: Means) -> CommandProbe:
    """Return the probe for a board."""
    return CommandProbe(spec.name, spec.argument, (board, config.board_ip or ""), means)
