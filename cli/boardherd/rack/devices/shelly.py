"""Simulated Shelly devices: generation 1 with plain GET requests, later ones with remote procedure calls.

``/shelly`` stays open when there is a password. Switches count from 0 on the wire. A later generation asks for a
Digest login with SHA-256 as user admin, and before firmware 2.0.0 each nonce holds for one request; generation
1 asks for a Basic login. Both keep ``/relay/<id>``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from boardherd.rack.devices.http_device import HttpDevice, Request, Response
from boardherd.rack.devices.http_login import Basic, Digest, Login

_BAD_ARGUMENT, _NO_METHOD, _FAILED = -103, 404, -109
_NO_SUCH_ID = -105
_WATTS_ON = 12.5


class ShellyDevice(HttpDevice):
    """One device on one TCP port, alive inside ``async with``."""

    def __init__(
        self,
        *,
        generation: Literal[1, 2] = 2,
        outlets: int = 4,
        password: str | None = None,
        user: str = "admin",
        firmware: str | None = None,
        mac: str = "A8032AB00001",
        metering: bool = True,
        **server: Any,
    ) -> None:
        """Describe a device.

        Args:
            generation: 1, or 2 for everything later.
            outlets: how many switches it has.
            password: what it asks for, None for no login.
            user: the user name of generation 1; later ones know admin only.
            firmware: the version it reports; 1.4.4 or, for generation 1, 1.14.0 unless given.
            mac: hardware address as it reports it, without separators.
            metering: whether it measures power.
            server: see :class:`HttpDevice`.
        """
        super().__init__(range(1, outlets + 1), **server)
        self.generation, self.password, self.user, self.mac = generation, password, user, mac
        self.firmware = firmware or ("1.4.4" if generation >= 2 else "20230913-112003/v1.14.0-gcb84623")
        self.metering = metering
        self._login = self._make_login()

    def stanza(self) -> dict[str, Any]:
        """Return the keys of lab.toml with which a relay reaches this device."""
        return {"kind": "shelly"} | self.where() | ({"password": self.password} if self.password else {})

    def respond(self, request: Request) -> Response:
        """Act on a request and return the answer."""
        if request.path == "/shelly":
            return Response.json(self._about())
        if self._login and (refused := self._login.challenge(request)):
            return refused
        if request.path.startswith("/relay/"):
            return self._relay(request.path.removeprefix("/relay/"), request.query | request.form)
        return self._first(request) if self.generation == 1 else self._later(request)

    def _first(self, request: Request) -> Response:
        return Response.json(self._status_1()) if request.path == "/status" else _not_found()

    def _later(self, request: Request) -> Response:
        if request.path == "/rpc":
            return self._frame(request.body)
        if request.path.startswith("/rpc/"):
            return self._bare(request.path.removeprefix("/rpc/"), request.query)
        return _not_found()

    def _make_login(self) -> Login | None:
        if self.password is None:
            return None
        name = f"shelly-{self.mac.lower()}"
        if self.generation == 1:
            return Basic(name, self.user, self.password)
        reusable = int(self.firmware.split(".")[0]) >= 2
        return Digest(name, "admin", self.password, algorithm="SHA-256", reusable=reusable)

    def _about(self) -> dict[str, Any]:
        locked = self.password is not None
        if self.generation == 1:
            return {
                "type": "SHSW-44",
                "mac": self.mac,
                "auth": locked,
                "fw": self.firmware,
                "num_outputs": len(self.outputs),
            }
        name = f"shellypro4pm-{self.mac.lower()}"
        return {
            "name": None,
            "id": name,
            "mac": self.mac,
            "model": "SPSW-104PE16EU",
            "gen": self.generation,
            "ver": self.firmware,
            "app": "Pro4PM",
            "auth_en": locked,
            "auth_domain": name if locked else None,
        }

    def _frame(self, body: bytes) -> Response:
        """Answer a call in a frame: always with status 200, an error inside the frame."""
        try:
            frame = json.loads(body)
            method, params = frame["method"], frame.get("params", {})
        except (ValueError, KeyError, TypeError):
            return Response.text("Bad Request", 400)
        head = {"id": frame.get("id"), "src": f"shellypro4pm-{self.mac.lower()}"}
        code, outcome = self._call(method, params)
        return Response.json(head | ({"result": outcome} if not code else {"error": _error(code, outcome)}))

    def _bare(self, method: str, query: Mapping[str, str]) -> Response:
        """Answer a call in a GET request, its parameters in the query."""
        try:
            params = {name: json.loads(value) for name, value in query.items()}
        except ValueError:
            params = {}
        code, outcome = self._call(method, params)
        return Response.json(outcome) if not code else Response.json(_error(code, outcome), 400)

    def _call(self, method: str, params: Mapping[str, Any]) -> tuple[int, Any]:
        """Carry out a call; return 0 and its result, or an error code and its message."""
        match method:
            case "Shelly.GetDeviceInfo":
                return 0, self._about()
            case "Shelly.GetStatus":
                switches = {f"switch:{port - 1}": self._switch(port) for port in self.outputs}
                return 0, switches | {"sys": {"mac": self.mac, "uptime": self.uptime}}
            case "Switch.GetStatus" | "Switch.Set":
                return self._one(method, params)
            case _:
                return _NO_METHOD, f"No handler for {method}"

    def _one(self, method: str, params: Mapping[str, Any]) -> tuple[int, Any]:
        number = params.get("id")
        if type(number) is not int or number + 1 not in self.contacts:
            return _NO_SUCH_ID, f"Argument 'id', value {number} not found!"
        if method == "Switch.GetStatus":
            return 0, self._switch(number + 1)
        on, hold = params.get("on"), params.get("toggle_after", 0)
        if not isinstance(on, bool) or isinstance(hold, bool) or not isinstance(hold, int | float):
            return _BAD_ARGUMENT, "Invalid argument 'on'"
        if self.answer_fail:
            return _FAILED, "Switch is in an error state"
        before = self.outputs[number + 1]
        self.contacts.set(number + 1, on, hold=hold)
        return 0, {"was_on": before}

    def _switch(self, port: int) -> dict[str, Any]:
        energised = self.outputs[port]
        power = {"apower": _WATTS_ON if energised else 0.0, "voltage": 230.1} if self.metering else {}
        return {"id": port - 1, "source": "http", "output": energised, **power}

    def _relay(self, number: str, fields: Mapping[str, str]) -> Response:
        """Answer ``/relay/<id>``, which generation 1 has and later ones keep."""
        port = int(number) + 1 if number.isdecimal() else 0
        if port not in self.contacts:
            return _not_found()
        if (turn := fields.get("turn")) is not None:
            if self.answer_fail or turn not in {"on", "off", "toggle"}:
                return Response.text("Bad turn value!", 400)
            energised = not self.outputs[port] if turn == "toggle" else turn == "on"
            self.contacts.set(port, energised, hold=float(fields.get("timer", "0")))
        return Response.json(self._relay_state(port) | {"source": "http"})

    def _relay_state(self, port: int) -> dict[str, Any]:
        return {"ison": self.outputs[port], "has_timer": False, "overpower": False}

    def _status_1(self) -> dict[str, Any]:
        meters = [{"power": _WATTS_ON if on else 0.0, "is_valid": True} for on in self.outputs.values()]
        return {
            "mac": self.mac,
            "relays": [self._relay_state(port) for port in self.outputs],
            "meters": meters if self.metering else [],
            "uptime": self.uptime,
        }


def _error(code: int, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


def _not_found() -> Response:
    return Response.text("Not Found", 404)


simulate = ShellyDevice
