"""A simulated person, who does what the requests on a desk say and answers each of them."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from boardherd.rack.devices.contacts import Contacts
from boardherd.rack.devices.device import SimulatedDevice

_LOOK_EVERY_S = 0.005


class Person(SimulatedDevice):
    """Somebody at one desk, there inside ``async with``."""

    def __init__(
        self,
        *,
        outlets: int = 8,
        desk: str = "bench-1",
        directory: str | Path | None = None,
        process_delay: float = 0.002,
        on_change: Callable[[int, bool, float], None] | None = None,
    ) -> None:
        """Describe a person.

        Args:
            outlets: how many switches are within reach.
            desk: name of the desk.
            directory: where desks are; a directory of its own, which goes with the person, unless given.
            process_delay: seconds from seeing a request to having done it.
            on_change: called with port, energised and monotonic time at each movement of a switch.
        """
        super().__init__(Contacts(range(1, outlets + 1), on_change=on_change))
        self.desk, self.process_delay = desk, process_delay
        self.directory = Path(directory or ".")
        """Where desks are, as soon as the person is there."""
        self.requests: deque[dict[str, Any]] = deque(maxlen=1000)
        """What was asked last."""
        self._own_directory = directory is None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._seen: set[str] = set()
        self._working: asyncio.Task[None] | None = None
        self._hung = False

    async def __aenter__(self) -> Self:
        if self._own_directory:
            self._temporary = tempfile.TemporaryDirectory(prefix="boardherd-desks-")
            self.directory = Path(self._temporary.name, "desks")
        self.directory.mkdir(exist_ok=True)
        self._working = asyncio.create_task(self._work(), name=f"person at {self.desk}")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)
        await self.contacts.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def stanza(self) -> dict[str, Any]:
        """Return the keys of lab.toml with which a relay reaches this person."""
        return {"kind": "manual", "desk": self.desk, "port_count": len(self.outputs)}

    def environment(self) -> dict[str, str]:
        """Return the variable that makes the agent find the desk."""
        return {"BOARDHERD_DESKS": str(self.directory)}

    async def hang(self) -> None:
        """Pay no attention until :meth:`heal`."""
        self._hung = True

    async def dead(self) -> None:
        """Take the desk away until :meth:`heal`; the switches stay as they are."""
        if self.directory.exists():
            self.directory.rename(self._away)

    async def reboot(self, *, seconds: float = 0.2) -> None:
        """Lose the mains: every switch drops, and the desk is away for a moment."""
        await self.dead()
        self.contacts.drop()
        await asyncio.sleep(seconds)
        await self.heal()

    async def heal(self) -> None:
        """End every fault; what was asked during a hang stays undone."""
        self._seen |= {str(request.get("id")) for request in self._requests()}
        self._hung = self.answer_fail = False
        self.delay, self.garble = 0.0, None
        if self._away.exists():
            self._away.rename(self.directory)

    @property
    def _away(self) -> Path:
        return self.directory.with_name(f"{self.directory.name}.away")

    async def _work(self) -> None:
        """Do one request after the other, as people do."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            for request in [] if self._hung else self._requests():
                if request["id"] not in self._seen:
                    await self._do(request)

    async def _do(self, request: dict[str, Any]) -> None:
        self._seen.add(request["id"])
        self.requests.append(request)
        await asyncio.sleep(self.process_delay + self.delay)
        if self._hung or request not in self._requests():
            return  # it was withdrawn
        answer = "no, the knob is broken\n" if self.answer_fail else "done\n"
        if not self.answer_fail and request["port"] in self.contacts:
            self.contacts.set(request["port"], request["state"] == "on")
        said = answer.encode() if self.garble is None else self.garble
        (self._place / f"{request['port']}.answer").write_bytes(said)

    @property
    def _place(self) -> Path:
        return self.directory / f"by-hand-{self.desk}"

    def _requests(self) -> list[dict[str, Any]]:
        """Return what lies on the desk; a request may go while it is looked at."""
        found = []
        for path in sorted(self._place.glob("*.ask")):
            try:
                found.append(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError):
                continue
        return found


simulate = Person
