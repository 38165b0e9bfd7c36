"""A simulated Gude Expert Power Control: commands in the query, the state as JSON.

The answer has the parts that ``components`` asks for, so a switch may be answered by an empty object. Firmware
versions name the resource differently, and some serve one user at a time: whoever comes while another request
is under way gets a page that says so, and no action.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from boardherd.rack.devices.http_device import HttpDevice, Request, Response
from boardherd.rack.devices.http_login import Basic

_SWITCH, _CANCEL, _BATCH, _RESET = 1, 2, 5, 12
_OUTPUTS, _MISC = 1, 16
_RESET_S = 10
_BUSY = "<html><body>The device is blocked by another user.</body></html>"


class GudeDevice(HttpDevice):
    """One device on one TCP port, alive inside ``async with``."""

    def __init__(
        self,
        *,
        outlets: int = 8,
        user: str = "admin",
        password: str | None = None,
        path: str = "/status.json",
        one_user: bool = False,
        mac: str = "00:19:32:00:00:01",
        **server: Any,
    ) -> None:
        """Describe a device.

        Args:
            outlets: how many outputs it has.
            user: user name, if there is a password.
            password: what it asks for, None for no login.
            path: where its status is: ``/status.json`` or ``/statusjsn.js``.
            one_user: whether a request that comes while another waits is turned away.
            mac: hardware address it reports.
            server: see :class:`HttpDevice`.
        """
        super().__init__(range(1, outlets + 1), **server)
        self.user, self.password, self.path, self.one_user, self.mac = user, password, path, one_user, mac
        self._login = Basic("Gude", user, password) if password is not None else None

    def stanza(self) -> dict[str, Any]:
        """Return the keys of lab.toml with which a relay reaches this device."""
        login = {"user": self.user, "password": self.password} if self.password is not None else {}
        return {"kind": "gude"} | self.where() | login

    def respond(self, request: Request) -> Response:
        """Act on a request and return the answer."""
        if self._login and (refused := self._login.challenge(request)):
            return refused
        if request.path != self.path:
            return Response.text("Not Found", 404)
        if self.one_user and self.waiting:
            return Response(200, _BUSY.encode(), {"Content-Type": "text/html"})
        try:
            query = {name: int(value) for name, value in request.query.items()}
        except ValueError:
            return Response.text("Bad Request", 400)
        if self.answer_fail and "cmd" in query:
            return Response.text("Forbidden", 403)
        self._act(query)
        return Response.json(self._status(query.get("components", 0)))

    def _act(self, query: Mapping[str, int]) -> None:
        """Carry out a command; one for an output that there is not does nothing."""
        port = query.get("p", 0)
        if port not in self.contacts:
            return
        match query.get("cmd"):
            case 1:
                self.contacts.set(port, query.get("s") == 1)
            case 2:
                self.contacts.set(port, self.outputs[port])
            case 5:
                hold = query.get("s", 1) if query.get("a1") != query.get("a2") else 0
                self.contacts.set(port, query.get("a1") == 1, hold=hold)
            case 12:
                self.contacts.set(port, False, hold=_RESET_S)

    def _status(self, components: int) -> dict[str, Any]:
        status: dict[str, Any] = {}
        if components & _OUTPUTS:
            status["outputs"] = [
                {"name": f"Power Port {port}", "state": int(energised), "type": 1, "batch": [0, 0, 0, 0, 0]}
                for port, energised in self.outputs.items()
            ]
        if components & _MISC:
            status["misc"] = {
                "product_name": "Expert Power Control 8045",
                "firm_v": "1.4.2",
                "mac_addr": self.mac,
            }
        return status


simulate = GudeDevice
