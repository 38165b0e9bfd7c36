"""What is being carried out on relay ports now: one command at a time on each, and who may end it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from boardherd_agent.control.life import Life
from boardherd_agent.control.refusal import Refused
from boardherd_agent.control.safety import Port
from boardherd_shared.command import Action, Refusal

_ENDS_OTHERS = frozenset({Action.OFF, Action.ALL_OFF})
"""What does not wait for a command that is under way, but ends it."""


@dataclass
class Running:
    """A command that has its ports."""

    life: Life
    task: asyncio.Task[None] | None = field(default=None, repr=False)
    begun: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    """A task that is cancelled before it has begun could not say how its command ended."""


class UnderWay:
    """The commands that are under way, by port."""

    def __init__(self) -> None:
        """Begin with none."""
        self._by_port: dict[Port, Running] = {}

    def __len__(self) -> int:
        """Return how many commands are under way."""
        return len(self._on(self._by_port))

    def busy(self, port: Port) -> bool:
        """Tell whether a command is under way on a port."""
        return port in self._by_port

    def start(self, life: Life, work: Coroutine[Any, Any, None], tasks: asyncio.TaskGroup) -> None:
        """Carry out a command, which has the ports of its target until ``work`` ends."""
        running = Running(life)
        for port in life.target.ports:
            self._by_port[port] = running

        async def see_through() -> None:
            running.begun.set()
            try:
                await work
            except asyncio.CancelledError:
                if not life.ended_by:
                    raise
            finally:
                for port in life.target.ports:
                    if self._by_port.get(port) is running:
                        del self._by_port[port]

        running.task = tasks.create_task(see_through(), name=f"command {life.command_id}")

    def in_the_way(self, life: Life) -> list[Running]:
        """Return what a new command would have to end; raises Refused if it may not."""
        command = life.command
        others = self._on(life.target.ports)
        if command.action is Action.LOCK:
            others = [running for running in others if running.life.operator != life.operator]
        ends = command.action in _ENDS_OTHERS and not command.expect  # who expects a state is in no hurry
        for running in others:
            if not ends or running.task is None:
                raise Refused(
                    Refusal.BUSY,
                    f"{life.target.label} is being switched: {running.life.command.action} by"
                    f" {running.life.operator} is under way",
                )
        return others

    async def end(self, others: Iterable[Running], life: Life) -> None:
        """End commands in favour of a new one, and return when they have ended."""
        for running in others:
            if running.task and not running.task.done():
                await running.begun.wait()
                running.life.ended_by = f"{life.command.action} by {life.operator}"
                running.task.cancel()
                await asyncio.wait([running.task])

    def _on(self, ports: Iterable[Port]) -> list[Running]:
        return list({id(running): running for port in ports if (running := self._by_port.get(port))}.values())
