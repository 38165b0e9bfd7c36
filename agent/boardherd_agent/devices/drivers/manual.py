"""A switch that a person moves: each one is a request that lies on a desk until somebody says that it is done.

Nothing here measures anything: what counts is a person's word, so the state stays unknown. A request that nobody
answers in time is withdrawn, and so is one whose command was ended: nobody shall act on an old one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Annotated, Self

import structlog
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from boardherd_agent.devices.desk import Desk
from boardherd_agent.devices.device import About, DeviceGarbled, DeviceOffline, DeviceRefused, Identity
from boardherd_shared.command import Duration
from boardherd_shared.inventory import RelayConfig
from boardherd_shared.values import one_line

_LOOK_EVERY_S = 0.05
_WORDS = 200

log = structlog.get_logger()

ABOUT = About(
    title="A person at the switch",
    models="bench supplies without an interface, plugs, jumpers",
    connection="a person; requests lie in /run/boardherd/by-hand-DESK of the test PC",
    example="""
[relay.bench-3]
kind = "manual"
desk = "bench-3"
port_count = 2
deadline = "10m"
""",
    tested="a simulated person with the habits of real ones: slow, absent, unwilling, unclear",
    read_back="no; a switch counts as done when a person says so",
    notes="A request is a file such as 1.ask, and its text says how to answer: `echo done > 1.answer`, or no and why. "
    "Members of the group boardherd may. The request is also in the agent's log. When the deadline has passed, the "
    "request is withdrawn and the switch has failed. The relay's lock is held meanwhile, so give each person a desk.",
)


class Options(BaseModel):
    """Keys of a switch that a person moves in lab.toml, beside the common ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    desk: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")] | None = Field(
        None, description="name of the desk on which requests lie; one for each relay"
    )
    deadline: Duration = Field(600.0, gt=0, description="how long a person has for a switch")


class Driver:
    """Whoever works at a desk; see the contract in :mod:`boardherd_agent.devices.device`."""

    reads_back = False

    def __init__(self, config: RelayConfig, options: Options) -> None:
        """Describe the desk; ValueError if it has no name."""
        if options.desk is None:
            raise ValueError('a manual relay needs "desk", a name for the place where requests lie')
        self._desk, self._port_count = Desk(options.desk), config.port_count
        self.patience_s = options.deadline
        """How long one switch may take, which is longer than any device takes."""
        self.identity = Identity(f"a person at the desk {options.desk}")

    async def __aenter__(self) -> Self:
        self._desk.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Requests are withdrawn by whoever made them."""

    async def read(self) -> Mapping[int, bool]:
        """Return nothing, but only if there is a desk; raises DeviceOffline."""
        self._desk.open()
        return {}

    async def set(self, port: int, energised: bool) -> None:
        """Ask a person, and return when the answer is that it is done; raises DeviceError.

        DeviceOffline when nobody answers in time, DeviceRefused for a no, DeviceGarbled for anything else.
        """
        if not 1 <= port <= self._port_count:
            raise DeviceRefused(f"{self.identity.model} has no port {port} (see port_count)")
        text = self._desk.ask(port, "on" if energised else "off", self.patience_s)
        log.warning("a person is asked", desk=self._desk.name, request=text, within_s=self.patience_s)
        try:
            async with asyncio.timeout(self.patience_s):
                answer = await self._answer(port)
        except TimeoutError as error:
            raise DeviceOffline(
                f"nobody answered at the desk {self._desk.name} within {self.patience_s:g} s; "
                f"the request to switch port {port} is withdrawn"
            ) from error
        finally:
            self._desk.clear(port)
        self._judge(one_line(answer, _WORDS))

    def say_done(self, port: int) -> bool:
        """Take the word of somebody who says that a request is done; False if nothing is asked about this port."""
        return self._desk.say_done(port)

    async def _answer(self, port: int) -> str:
        while (answer := self._desk.answer(port)) is None:  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(_LOOK_EVERY_S)
        return answer

    def _judge(self, answer: str) -> None:
        word, _, reason = answer.partition(" ")
        match word.lower().rstrip(":,."):
            case "done":
                return
            case "no":
                raise DeviceRefused(
                    f"the person at the desk {self._desk.name} says no: {reason or 'without a reason'}"
                )
            case _:
                raise DeviceGarbled(
                    f'the answer at the desk {self._desk.name} is "{answer}", neither done nor no'
                )
