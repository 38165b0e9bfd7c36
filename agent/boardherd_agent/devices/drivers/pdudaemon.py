"""Power switches behind a PDUDaemon that the lab runs already, over its HTTP listener.

PDUDaemon can be told to switch and cannot be asked for a state. It answers when the job is done, after up to five
tries of its own with five seconds between them (its defaults), and goes on with them when nobody waits any more;
fewer tries in its configuration make an answer arrive while it still counts. ``200`` means that its driver raised
no error, which for some drivers proves nothing. Facts: version 1.1.1, watched while it ran.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from boardherd_agent.devices.codecs.json_replies import shown
from boardherd_agent.devices.device import About, DeviceGarbled, DeviceRefused, Identity
from boardherd_agent.devices.drivers._http import HttpRelay
from boardherd_agent.devices.http import EXTRA, HttpOptions, Reply
from boardherd_shared.command import Duration
from boardherd_shared.inventory import RelayConfig

DEFAULT_TCP_PORT = 16421
_CONTROL = "/power/control/"
_DONE = b"OK - accepted request"
_REFUSED = b"Invalid request"
"""With status 500; its own documentation says 503."""

ABOUT = About(
    title="PDUDaemon as a back end",
    models='every PDU that a PDUDaemon drives, with the setting "listener": "http"',
    connection="HTTP to PDUDaemon, port 16421",
    example="""
[relay.pdu-3]
kind = "pdudaemon"
address = "10.0.5.2"
pdu = "rack-3-apc"
port_count = 16
poll = "60s"
""",
    tested="PDUDaemon 1.1.1 itself, with a simulated Devantech module behind it; a simulator of its answers",
    read_back="no; a switch counts as done when PDUDaemon says so",
    after_power_loss="as with the PDU behind it",
    extra=EXTRA,
    notes='Set "retries" to 1 for the PDU in PDUDaemon\'s configuration: else it may still be switching after a '
    "command has ended without an answer. Every poll asks whether it is there, which it notes in its log as a "
    "request without arguments. PDUDaemon has no login; user and password are for a proxy in front of it.",
)


class Options(HttpOptions):
    """Keys of a PDU behind PDUDaemon in lab.toml beside the common ones."""

    pdu: str | None = Field(
        None, min_length=1, max_length=255, description="name of the PDU in PDUDaemon's configuration"
    )
    reply_timeout: Duration = Field(
        60.0,
        gt=0,
        description="how long PDUDaemon may take over one job, its own tries included",
    )


class Driver(HttpRelay):
    """One PDU of a PDUDaemon; see the contract in :mod:`boardherd_agent.devices.device`."""

    reads_back = False

    def __init__(self, config: RelayConfig, options: Options) -> None:
        """Describe the PDU; ValueError if the daemon's address or the PDU's name is missing."""
        port = config.tcp_port or DEFAULT_TCP_PORT
        super().__init__("pdudaemon", config.model_copy(update={"tcp_port": port}), options)
        if options.pdu is None:
            raise ValueError(
                'a pdudaemon relay needs "pdu", the name of the PDU in PDUDaemon\'s configuration'
            )
        self._pdu, self._port_count = options.pdu, config.port_count
        self.patience_s = options.connect_timeout + options.reply_timeout
        """How long one switch may take, which is longer than any device takes."""

    async def read(self) -> Mapping[int, bool]:
        """Return nothing, but only if a PDUDaemon is there; raises DeviceError."""
        reply = await self._http.request("GET", f"{_CONTROL}on")  # it says no to a request without arguments
        if not reply.body.startswith(_REFUSED):
            raise self._unexpected(reply)
        return {}

    async def set(self, port: int, energised: bool) -> None:
        """Have one outlet switched, and return when PDUDaemon says that this is done; raises DeviceError."""
        if not 1 <= port <= self._port_count:
            raise DeviceRefused(f"{self._pdu} has no outlet {port} (see port_count)")
        action = "on" if energised else "off"
        reply = await self._http.request(
            "GET", f"{_CONTROL}{action}", params={"hostname": self._pdu, "port": str(port)}
        )
        if reply.body.startswith(_REFUSED):
            raise DeviceRefused(
                f'PDUDaemon did not switch outlet {port} of "{self._pdu}" {action}: it does not know the PDU, or '
                "all its tries failed; its log tells"
            )
        if not reply.fine or not reply.body.startswith(_DONE):
            raise self._unexpected(reply)

    async def _identify(self) -> Identity:
        await self.read()
        return Identity(f"{self._pdu} behind PDUDaemon")

    def _unexpected(self, reply: Reply) -> Exception:
        if not reply.fine:
            return self._http.fault(reply)
        return DeviceGarbled(f"{self._http.place} answers {shown(reply.body)}, as no PDUDaemon does")
