"""Digital Loggers power switches over their REST interface, which has to be allowed in the device.

What is set is the persistent state, so the device brings it back after a restart; what is read is the
physical one. The device's own cycle takes a time that was set in the device, so it is not used.
"""

from __future__ import annotations

from collections.abc import Mapping

from boardherd_agent.devices.codecs import dli as codec
from boardherd_agent.devices.device import About, Identity
from boardherd_agent.devices.drivers._http import HttpRelay
from boardherd_agent.devices.http import EXTRA, HttpOptions
from boardherd_shared.inventory import RelayConfig

_USER = "admin"

ABOUT = About(
    title="Digital Loggers web power switches",
    models="Pro switch, EPCR, DIN relay: models with WLAN and firmware that has the REST interface",
    connection="HTTP or HTTPS, port 80 or 443",
    example="""
[relay.dli-1]
kind = "dli"
address = "10.0.5.43"
port_count = 8
password = "an example"
""",
    tested="a simulator, written from the maker's examples; no real device yet",
    after_power_loss="as they were last set",
    extra=EXTRA,
    notes="Allow the REST interface in the device. A user other than admin must be granted access there. Outlets that "
    "the user may not see are missing from the list, so use one that sees all: numbers would shift.",
)


class Options(HttpOptions):
    """Keys of a Digital Loggers relay in lab.toml beside the common ones."""


class Driver(HttpRelay):
    """One device; see the contract in :mod:`boardherd_agent.devices.device`."""

    reads_back = True

    def __init__(self, config: RelayConfig, options: Options) -> None:
        """Describe the device; ValueError if its address is missing."""
        super().__init__("dli", config, options, login="digest", user=_USER)

    async def read(self) -> Mapping[int, bool]:
        """Return for each outlet whether its relay is energised; raises DeviceError."""
        body = await self._http.ask("GET", codec.STATES, headers={"Accept": "application/json"})
        return self._http.decode(codec.parse_states, body)

    async def set(self, port: int, energised: bool) -> None:
        """Set one outlet and wait for the acknowledgement; raises DeviceError."""
        self._check(port, "outlet")
        path, form = codec.outlet_path(port), codec.value(energised=energised)
        await self._http.ask("PUT", path, headers=codec.CHANGE, form=form)

    async def _identify(self) -> Identity:
        self._ports = frozenset(await self.read())
        return Identity("Digital Loggers", port_count=len(self._ports))
