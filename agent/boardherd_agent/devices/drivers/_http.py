"""What the drivers of devices with an HTTP interface have in common."""

from __future__ import annotations

from boardherd_agent.devices.device import DeviceRefused
from boardherd_agent.devices.drivers._connected import ConnectedRelay
from boardherd_agent.devices.http import HttpOptions, HttpTransport, Login
from boardherd_shared.inventory import RelayConfig


class HttpRelay(ConnectedRelay):
    """A device whose HTTP server is asked and told; see the contract in :mod:`boardherd_agent.devices.device`."""

    def __init__(
        self,
        kind: str,
        config: RelayConfig,
        options: HttpOptions,
        *,
        login: Login = "basic",
        user: str | None = None,
    ) -> None:
        """Describe the device; ValueError if its address is missing.

        Args:
            kind: what the driver is called in lab.toml.
            config: where the device is.
            options: login, TLS and patience.
            login: which way the device takes the login, when there is a password.
            user: the user name of a device that has only one, unless the options name one.
        """
        super().__init__()
        if config.address is None:
            raise ValueError(f'a {kind} relay needs "address"')
        self._http = HttpTransport(config, options, login=login, user=user)
        self._ports: frozenset[int] = frozenset()
        """The outputs that exist; known once the device is open."""

    async def _open(self) -> None:
        await self._http.open()

    async def _close(self) -> None:
        await self._http.close()

    def _check(self, port: int, what: str) -> None:
        """Raise DeviceRefused unless the device has listed ``port``, which its maker calls ``what``."""
        if port not in self._ports:
            raise DeviceRefused(f"{self.identity.model} has no {what} {port}")
