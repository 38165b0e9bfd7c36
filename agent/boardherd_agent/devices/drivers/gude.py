"""Gude Expert Power Control over its status interface.

The device has one processor and, with some firmware, one user at a time: then it answers with a page that says
so in place of JSON, which the message shows. The name of the status resource is found out when it is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TypeVar

from boardherd_agent.devices.codecs import gude as codec
from boardherd_agent.devices.codecs.json_replies import shown
from boardherd_agent.devices.device import About, DeviceOffline, Identity
from boardherd_agent.devices.drivers._http import HttpRelay
from boardherd_agent.devices.http import EXTRA, HttpOptions
from boardherd_shared.inventory import RelayConfig

T = TypeVar("T")

_BLOCKED = b"blocked"
"""A word of the page that says that somebody else is using the device."""

ABOUT = About(
    title="Gude Expert Power Control",
    models="Expert Power Control series with an HTTP interface, such as 1202, 8031, 8045, 8221, 8225",
    connection="HTTP or HTTPS, port 80 or 443",
    example="""
[relay.gude-1]
kind = "gude"
address = "10.0.5.42"
port_count = 8
user = "admin"
password = "an example"
""",
    tested="a simulator of both status resources, written from the maker's documents; no real device yet",
    pulse="1 s to 18 h; times between whole seconds are rounded up",
    after_power_loss="as set in the device for each output",
    extra=EXTRA,
    notes='Some models must be set to "basic compatible" for requests like these. With some firmware the device '
    "serves one user of its web pages at a time. How it refuses an output that it lacks is not documented, so "
    "only listed ones are used.",
)


class Options(HttpOptions):
    """Keys of a Gude relay in lab.toml beside the common ones."""


class Driver(HttpRelay):
    """One device; see the contract in :mod:`boardherd_agent.devices.device`."""

    max_pulse_s = codec.MAX_PULSE_S
    reads_back = True

    def __init__(self, config: RelayConfig, options: Options) -> None:
        """Describe the device; ValueError if its address is missing."""
        super().__init__("gude", config, options)
        self._path = codec.PATHS[0]

    async def read(self) -> Mapping[int, bool]:
        """Return for each output whether it is energised; raises DeviceError."""
        return await self._ask(codec.ask(), codec.parse_outputs)

    async def set(self, port: int, energised: bool) -> None:
        """Set one output and wait for the acknowledgement; raises DeviceError.

        A batch that may still run is cancelled first: whether a switch ends it is not documented.
        """
        self._check(port, "output")
        await self._ask(codec.cancel(port), codec.parse_outputs)
        await self._ask(codec.switch(port, energised=energised), codec.parse_outputs)

    async def pulse(self, port: int, energised: bool, seconds: float) -> None:
        """Hold a state for up to 18 h, then take the opposite one; raises DeviceError or ValueError.

        A time between whole seconds is rounded up.
        """
        self._check(port, "output")
        await self._ask(codec.batch(port, energised=energised, seconds=seconds), codec.parse_outputs)

    async def _identify(self) -> Identity:
        body = await self._find()
        misc = self._parse(codec.parse_misc, body)
        self._ports = frozenset(self._parse(codec.parse_outputs, body))
        return Identity(misc.product or "Gude", "", misc.firmware, misc.mac, len(self._ports))

    async def _find(self) -> bytes:
        """Return the whole status, from where this firmware has it."""
        usual, other = codec.PATHS
        reply = await self._http.request("GET", usual, params=codec.ask_all())
        self._path = other if reply.status == HTTPStatus.NOT_FOUND else usual
        if reply.fine:
            return reply.body
        return await self._http.ask("GET", self._path, params=codec.ask_all())

    async def _ask(self, query: Mapping[str, str | int], parse: Callable[[bytes], T]) -> T:
        return self._parse(parse, await self._http.ask("GET", self._path, params=query))

    def _parse(self, parse: Callable[[bytes], T], body: bytes) -> T:
        if _BLOCKED in body.lower():
            raise DeviceOffline(f"{self._http.place} serves another user just now: {shown(body)}")
        return self._http.decode(parse, body)
