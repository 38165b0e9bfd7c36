"""A simulated PDUDaemon with one PDU: the answers of its HTTP listener, and outlets that move.

Like the real one it has no login, cannot be asked for a state, says 500 where it means no, and takes any request
that names a PDU it knows. It accepts only ports that the PDU has, as its drivers of network PDUs do.
"""

from __future__ import annotations

from typing import Any

from boardherd.rack.devices.http_device import HttpDevice, Request, Response

_ACTIONS = {"/power/control/on": True, "/power/control/off": False}
_REFUSED = Response.text("Invalid request\n", 500)


class PduDaemon(HttpDevice):
    """One daemon on one TCP port, alive inside ``async with``."""

    def __init__(self, *, outlets: int = 8, pdu: str = "rack-1", **server: Any) -> None:
        """Describe a daemon.

        Args:
            outlets: how many outlets the PDU has.
            pdu: name of the PDU in the daemon's configuration.
            server: see :class:`HttpDevice`.
        """
        super().__init__(range(1, outlets + 1), **server)
        self.pdu = pdu

    def stanza(self) -> dict[str, Any]:
        """Return the keys of lab.toml with which a relay reaches this PDU."""
        return {"kind": "pdudaemon", "pdu": self.pdu} | self.where()

    def respond(self, request: Request) -> Response:
        """Act on a request and return the answer."""
        query = request.query
        if request.path == "/power/control/reboot":
            return self._reboot(query)
        if request.method != "GET" or request.path not in _ACTIONS:
            return Response.text("404: Not Found", 404)
        port = self._port(query)
        if port is None:
            return _REFUSED
        self.contacts.set(port, _ACTIONS[request.path])
        return Response.text("OK - accepted request\n")

    def _reboot(self, query: dict[str, str]) -> Response:
        """Switch off, and on again after the delay; the real one answers when that is over."""
        port, delay = self._port(query), query.get("delay", "5")
        if port is None or not delay.isdecimal():
            return _REFUSED
        self.contacts.set(port, False, hold=max(float(delay), 0.001))
        return Response.text("OK - accepted request\n")

    def _port(self, query: dict[str, str]) -> int | None:
        """Return the outlet that a request is about; None for one that the daemon turns down."""
        port = query.get("port", "")
        if self.answer_fail or query.get("hostname") != self.pdu or not port.isdecimal():
            return None
        return int(port) if int(port) in self.contacts else None


simulate = PduDaemon
