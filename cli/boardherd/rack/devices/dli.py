"""A simulated Digital Loggers power switch with its REST interface.

Outlets count from 0. A matrix address such as ``all;`` or ``=0,4`` is answered by a list, with status 207, a plain
number by the bare value. Changes need the header X-CSRF, and a Digest login always comes first. A state that
was set survives a restart; a transient one does not.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from boardherd.rack.devices.http_device import HttpDevice, Request, Response
from boardherd.rack.devices.http_login import Digest

_PATH = re.compile(
    r"/restapi/relay/outlets/(all;|=[\d,]+|\d+)/(state|transient_state|physical_state|cycle|name)/"
)
_FACTORY_WORD = "1234"


class DliSwitch(HttpDevice):
    """One power switch on one TCP port, alive inside ``async with``."""

    def __init__(
        self,
        *,
        outlets: int = 8,
        user: str = "admin",
        password: str = _FACTORY_WORD,
        relay_delay: float = 0.0,
        cycle_delay: float = 5.0,
        **server: Any,
    ) -> None:
        """Describe a power switch.

        Args:
            outlets: how many outlets it has.
            user: user name.
            password: its password; the device always has one.
            relay_delay: seconds from setting a state until the relay follows, as with an on-sequence delay.
            cycle_delay: seconds that its own cycle stays off.
            server: see :class:`HttpDevice`.
        """
        super().__init__(range(1, outlets + 1), **server)
        self.user, self.password = user, password
        self.relay_delay, self.cycle_delay = relay_delay, cycle_delay
        self._login = Digest("DLI", user, password)
        self._persistent = dict.fromkeys(self.outputs, False)
        self._transient = dict(self._persistent)
        self._following: set[asyncio.TimerHandle] = set()

    async def stop(self) -> None:
        """Let no relay follow any more."""
        for timer in self._following:
            timer.cancel()

    def stanza(self) -> dict[str, Any]:
        """Return the keys of lab.toml with which a relay reaches this device."""
        return {"kind": "dli"} | self.where() | {"user": self.user, "password": self.password}

    async def reboot(self, *, seconds: float = 0.5) -> None:
        """Restart; the outlets come back in their persistent state."""
        await super().reboot(seconds=seconds)
        for port, energised in self._persistent.items():
            self._transient[port] = energised
            self.contacts.set(port, energised, cause="reboot")

    def respond(self, request: Request) -> Response:
        """Act on a request and return the answer."""
        if refused := self._login.challenge(request):
            return refused
        if not (match := _PATH.fullmatch(request.path)):
            return Response.json({"error": "No such resource"}, 404)
        which, what = match.groups()
        ports = self._ports(which)
        if not all(port in self.contacts for port in ports):
            return Response.json({"error": "No such outlet"}, 404)
        if request.method != "GET":
            return self._change(request, what, ports)
        return self._read(which, what, ports)

    def _ports(self, which: str) -> list[int]:
        if which == "all;":
            return list(self.outputs)
        return [int(number) + 1 for number in which.removeprefix("=").split(",") if number]

    def _read(self, which: str, what: str, ports: list[int]) -> Response:
        if what == "cycle":
            return Response.json({"error": "Not readable"}, 405)
        values = [self._value(what, port) for port in ports]
        return Response.json(values[0]) if which.isdecimal() else Response.json(values, 207)

    def _value(self, what: str, port: int) -> bool | str:
        match what:
            case "state":
                return self._persistent[port]
            case "transient_state":
                return self._transient[port]
            case "physical_state":
                return self.outputs[port]
            case _:
                return f"Outlet {port}"

    def _change(self, request: Request, what: str, ports: list[int]) -> Response:
        if "x-csrf" not in request.headers:
            return Response.json({"error": "CSRF protection header is missing"}, 400)
        if self.answer_fail:
            return Response.json({"error": "Access denied"}, 403)
        if what == "cycle" and request.method == "POST":
            for port in ports:
                self.contacts.set(port, False, hold=self.cycle_delay)
            return Response(204)
        value = {"true": True, "false": False}.get(request.form.get("value", ""))
        if request.method != "PUT" or what not in {"state", "transient_state"} or value is None:
            return Response.json({"error": "Bad value"}, 400)
        for port in ports:
            self._set(what, port, value)
        return Response(204)

    def _set(self, what: str, port: int, value: bool) -> None:
        self._transient[port] = value
        if what == "state":
            self._persistent[port] = value
        if not self.relay_delay:
            self.contacts.set(port, value)
            return
        loop = asyncio.get_running_loop()
        self._following.add(loop.call_later(self.relay_delay, self.contacts.set, port, value))


simulate = DliSwitch
