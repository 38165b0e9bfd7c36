"""A simulated NETIO power socket: one JSON document, read with GET and written with POST.

A write carries an action for each output that it is about: off, on, a short time off or on, toggle, or nothing. The
answer to both is the whole document as it is then. Outputs that it does not know are passed over.
"""

from __future__ import annotations

import json
from typing import Any

from boardherd.rack.devices.http_device import HttpDevice, Request, Response
from boardherd.rack.devices.http_login import Basic

_OFF, _ON, _SHORT_OFF, _SHORT_ON, _TOGGLE, _NOTHING, _IGNORE = range(7)
_MILLIWATTS = 60_000


class NetioDevice(HttpDevice):
    """One device on one TCP port, alive inside ``async with``."""

    def __init__(
        self,
        *,
        outlets: int = 4,
        user: str = "netio",
        password: str | None = None,
        mac: str = "24:A4:2C:00:00:01",
        metering: bool = True,
        default_delay_ms: int = 5000,
        **server: Any,
    ) -> None:
        """Describe a device.

        Args:
            outlets: how many outputs it has.
            user: user name for reading and writing.
            password: its password, None for no login.
            mac: hardware address it reports.
            metering: whether it measures power.
            default_delay_ms: how long a short time lasts when a write does not say.
            server: see :class:`HttpDevice`.
        """
        super().__init__(range(1, outlets + 1), **server)
        self.user, self.password, self.mac, self.metering = user, password, mac, metering
        self.default_delay_ms = default_delay_ms
        self._login = Basic("NETIO", user, password) if password is not None else None

    def stanza(self) -> dict[str, Any]:
        """Return the keys of lab.toml with which a relay reaches this device."""
        login = {"user": self.user, "password": self.password} if self.password is not None else {}
        return {"kind": "netio"} | self.where() | login

    def respond(self, request: Request) -> Response:
        """Act on a request and return the answer."""
        if request.path != "/netio.json":
            return Response.text("Not Found", 404)
        if self._login and (refused := self._login.challenge(request)):
            return refused
        if request.method == "POST":
            if self.answer_fail:  # as with an account that may only read
                return Response.text("Forbidden", 403)
            try:
                self._write(json.loads(request.body)["Outputs"])
            except (ValueError, KeyError, TypeError):
                return Response.text("Bad Request", 400)
        return Response.json(self._document())

    def _write(self, wanted: list[dict[str, Any]]) -> None:
        for output in wanted:
            port, action = int(output["ID"]), int(output["Action"])
            hold = int(output.get("Delay", self.default_delay_ms)) / 1000
            if port not in self.contacts or action in {_NOTHING, _IGNORE}:
                continue
            match action:
                case 0 | 1:
                    self.contacts.set(port, action == _ON)
                case 2 | 3:
                    self.contacts.set(port, action == _SHORT_ON, hold=hold)
                case 4:
                    self.contacts.set(port, not self.outputs[port])

    def _document(self) -> dict[str, Any]:
        return {
            "Agent": {
                "Model": "PowerPDU 8QS",
                "Version": "3.1.0",
                "JSONVer": "2.1",
                "DeviceName": "netio",
                "MAC": self.mac,
                "NumOutputs": len(self.outputs),
                "Uptime": self.uptime,
            },
            "Outputs": [self._output(port, energised) for port, energised in self.outputs.items()],
        }

    def _output(self, port: int, energised: bool) -> dict[str, Any]:
        load = {"Load": _MILLIWATTS // 1000 if energised else 0} if self.metering else {}
        return {
            "ID": port,
            "Name": f"output_{port}",
            "State": int(energised),
            "Action": _IGNORE,
            "Delay": self.default_delay_ms,
            **load,
        }


simulate = NetioDevice
