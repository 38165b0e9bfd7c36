"""Devantech ETH and WIFI relay modules over TCP (binary protocol, port 17494).

A module serves five connections and leaves a sixth without answers, so this driver holds exactly one. It
sets single outputs only, never masks and never toggles, and waits for each reply before the next request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from boardherd_agent.devices.codecs import devantech as codec
from boardherd_agent.devices.codecs.replies import BadReply
from boardherd_agent.devices.device import About, DeviceGarbled, DeviceRefused, Identity
from boardherd_agent.devices.drivers._connected import ConnectedRelay
from boardherd_agent.devices.transports import TcpTransport
from boardherd_shared.command import Duration
from boardherd_shared.inventory import RelayConfig

DEFAULT_TCP_PORT = 17494
_UNLOCK_MARGIN_S = 3
"""Log in again when the module would lock within this time: a set must not arrive just after."""

T = TypeVar("T")

ABOUT = About(
    title="Devantech ETH and WIFI modules",
    models="ETH002, ETH008 and ETH008-B, ETH484, ETH8020, ETH0621, ETH044, ETH1620, ETH1610, ETH24V008, "
    "WIFI002, WIFI008, WIFI484, WIFI8020",
    connection="TCP, port 17494",
    example="""
[relay.eth-1]
model_type = "ETH_008_B"
address = "10.0.5.21"
mac = "00:04:A3:12:34:56"
""",
    tested="a simulator with the module's oddities; two clients written by others drive the same simulator",
    pulse="0.1 to 25.5 s",
    after_power_loss='all released, unless "Latched Outputs" is switched on in the module',
    notes="A module serves five connections at a time. Its password travels in clear text. ETH008 and ETH008-B "
    "report the same id, so which one it is stays the lab's word. A module with an id that is not listed is used "
    "with as many outputs as port_count says, and shown as unverified.",
)


class Options(BaseModel):
    """Keys of a Devantech relay in lab.toml beside the common ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    password: SecretStr | None = Field(None, description="TCP password of the module, if it has one")
    connect_timeout: Duration = Field(3.0, gt=0, description="how long connecting may take")
    reply_timeout: Duration = Field(1.5, gt=0, description="how long one answer may take")


class Driver(ConnectedRelay):
    """One module; see the contract in :mod:`boardherd_agent.devices.device`."""

    max_pulse_s = codec.MAX_PULSE_S
    reads_back = True

    def __init__(self, config: RelayConfig, options: Options) -> None:
        """Describe the module; ValueError if its address or a usable password is missing."""
        super().__init__()
        if config.address is None:
            raise ValueError('a devantech relay needs "address"')
        self._config = config
        self._options = options
        password = options.password.get_secret_value() if options.password else None
        self._login = codec.unlock(password) if password is not None else None
        self._transport = TcpTransport(config.address, config.tcp_port or DEFAULT_TCP_PORT)
        self._model = codec.model_of(0, config.port_count)

    async def read(self) -> Mapping[int, bool]:
        """Return for each output whether it is energised; raises DeviceOffline or DeviceGarbled."""
        return await self._ask(
            codec.STATES, self._model.mask_bytes, lambda reply: codec.parse_states(reply, self._model)
        )

    async def set(self, port: int, energised: bool) -> None:
        """Set one output and wait for the acknowledgement; raises DeviceError."""
        await self._set(port, energised, 0)

    async def pulse(self, port: int, energised: bool, seconds: float) -> None:
        """Hold a state for 0.1 to 25.5 s, then go to the opposite one; raises DeviceError or ValueError."""
        await self._set(port, energised, codec.pulse_tenths(seconds))

    async def _open(self) -> None:
        await self._transport.open(self._options.connect_timeout)

    async def _close(self) -> None:
        await self._transport.close()

    async def _identify(self) -> Identity:
        info = await self._ask(codec.INFO, codec.INFO_LENGTH, codec.parse_info)
        self._model = codec.model_of(info.module_id, self._config.port_count)
        mac = ""
        if self._config.mac is not None:  # else nobody compares it
            mac = await self._ask(codec.MAC, codec.MAC_LENGTH, codec.parse_mac)
        return Identity(
            self._model.name, str(info.hardware), str(info.firmware), mac, max(self._model.outputs)
        )

    async def _set(self, port: int, energised: bool, tenths: int) -> None:
        if port not in self._model.outputs:
            raise DeviceRefused(f"{self._model.name} has no output {port}")
        await self._unlock()
        request = codec.set_output(port, energised=energised, tenths=tenths)
        if not await self._ask(request, codec.ACK_LENGTH, codec.parse_ack):
            hint = "" if self._login else "; does it ask for a password?"
            raise DeviceRefused(f"the module refuses to switch output {port}{hint}")

    async def _unlock(self) -> None:
        """Log in if the module would refuse, or stop accepting, a change."""
        if self._login is None:
            return
        left = await self._ask(codec.UNLOCKED_FOR, codec.ACK_LENGTH, codec.parse_unlocked_for)
        if left > _UNLOCK_MARGIN_S:
            return
        if not await self._ask(self._login, codec.ACK_LENGTH, codec.parse_unlock):
            raise DeviceRefused("the module does not accept the password")

    async def _ask(self, request: bytes, length: int, parse: Callable[[bytes], T]) -> T:
        reply = await self._transport.exchange(request, length, self._options.reply_timeout)
        try:
            return parse(reply)
        except BadReply as error:
            raise DeviceGarbled(f"{self._config.address}: {error}") from error
