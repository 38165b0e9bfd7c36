"""What the drivers of relays on a serial port, real or virtual, have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field

from boardherd_agent.devices.codecs.replies import BadReply
from boardherd_agent.devices.device import DeviceGarbled, DeviceRefused
from boardherd_agent.devices.drivers._connected import ConnectedRelay
from boardherd_agent.devices.transports import SerialTransport
from boardherd_shared.command import Duration

R = TypeVar("R")
T = TypeVar("T")


class SerialOptions(BaseModel):
    """Keys in lab.toml that all relays on a serial port have."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    serial_port: str | None = Field(
        None,
        min_length=1,
        max_length=255,
        description="port of the relay: a name below /dev/serial/by-id, a device path, or socket://host:port",
    )
    connect_timeout: Duration = Field(3.0, gt=0, description="how long opening the port may take")
    reply_timeout: Duration = Field(1.0, gt=0, description="how long one answer may take")


class SerialRelay(ConnectedRelay):
    """A relay board on a serial port; see the contract in :mod:`boardherd_agent.devices.device`.

    Few of these boards acknowledge a switch, so each switch is followed by a question: what counts as the
    acknowledgement is that the board says it has switched.
    """

    reads_back = True

    def __init__(self, kind: str, options: SerialOptions, relays: int, baud: int) -> None:
        """Describe the board; ValueError if its port is missing."""
        super().__init__()
        if options.serial_port is None:
            raise ValueError(f'a relay of kind {kind} needs "serial_port"')
        self._ports: Collection[int] = range(1, relays + 1)
        self._place = options.serial_port
        self._options = options
        self._transport = SerialTransport(options.serial_port, baud)

    async def read(self) -> Mapping[int, bool]:
        """Return for each relay whether it is energised; raises DeviceOffline or DeviceGarbled."""
        return await self._read()

    async def set(self, port: int, energised: bool) -> None:
        """Set one relay and return when the board says that it has switched; raises DeviceError."""
        if port not in self._ports:
            raise DeviceRefused(f"{self.identity.model} has no relay {port}")
        await self._switch(port, energised)
        if self.reads_back and await self._follows(port) is not energised:
            raise DeviceRefused(f"{self.identity.model} did not switch relay {port}")

    async def _open(self) -> None:
        await self._transport.open(self._options.connect_timeout)

    async def _close(self) -> None:
        await self._transport.close()

    @abstractmethod
    async def _read(self) -> Mapping[int, bool]:
        """Ask for the state of all relays; raises DeviceError."""

    @abstractmethod
    async def _switch(self, port: int, energised: bool) -> None:
        """Command one relay that exists; raises DeviceError."""

    async def _follows(self, port: int) -> bool:
        """Ask for the state of one relay; raises DeviceError."""
        return (await self._read())[port]

    async def _ask(
        self,
        request: bytes,
        complete: Callable[[bytes], bool],
        parse: Callable[[bytes], T],
        *,
        alphabet: bytes | None = None,
        quiet: float | None = None,
    ) -> T:
        """Exchange a request for a reply and return what it means; raises DeviceOffline or DeviceGarbled."""
        timeout = self._options.reply_timeout
        reply = await self._transport.exchange(request, complete, timeout, alphabet=alphabet, quiet=quiet)
        return self._understood(reply, parse)

    def _understood(self, reply: R, parse: Callable[[R], T]) -> T:
        """Return what ``reply`` means; raises DeviceGarbled where the codec calls it bad."""
        try:
            return parse(reply)
        except BadReply as error:
            raise DeviceGarbled(f"{self._place}: {error}") from error
