"""Relay boards of the HID class called "USBRelayN" (dcttech and clones).

The board is found by the five characters that it calls its serial number, since its USB descriptor says the
same for every board. hidapi blocks, so its calls run in a thread of their own; one that is stuck ends by
itself after a second, and only then is the board let go of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from boardherd_agent.devices import hid
from boardherd_agent.devices.codecs import hid_relay as codec
from boardherd_agent.devices.codecs.replies import BadReply
from boardherd_agent.devices.device import (
    About,
    DeviceError,
    DeviceGarbled,
    DeviceOffline,
    DeviceRefused,
    Identity,
)
from boardherd_shared.command import Duration
from boardherd_shared.inventory import RelayConfig

T = TypeVar("T")

ABOUT = About(
    title='USB HID relay boards "USBRelayN" (dcttech)',
    models="USBRelay1, USBRelay2, USBRelay4, USBRelay8 (USB 16C0:05DF)",
    connection="USB, HID feature reports",
    example="""
[relay.usb-7]
kind = "hid_relay"
serial = "HURTM"
port_count = 2
""",
    tested="a simulated device in place of the library's, with the same reports; not with hardware, and of "
    "the library only that it finds no board where there is none",
    extra="hid",
    notes="The rule systemd/60-boardherd-relays.rules, which the Ansible role installs, lets the agent's group open "
    'the board. "serial" may be left out where only one such board is plugged in.',
)


class Options(BaseModel):
    """Keys of a HID relay in lab.toml beside the common ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    serial: str | None = Field(
        None, pattern=r"^[!-~]{5}$", description="the five characters that the board calls its serial number"
    )
    simulator: str | None = Field(
        None,
        pattern=r"^[^:\s]+:\d{1,5}$",
        description="host:port of a simulated board, in place of one that is plugged in",
    )
    connect_timeout: Duration = Field(3.0, gt=0, description="how long finding the board may take")
    reply_timeout: Duration = Field(2.0, gt=0, description="how long one report may take")


class Driver:
    """One board; see the contract in :mod:`boardherd_agent.devices.device`."""

    reads_back = True

    def __init__(self, config: RelayConfig, options: Options) -> None:
        """Describe the board."""
        del config  # the board itself says how many relays it has
        self.identity = Identity("not asked yet")
        self._options = options
        self._place = options.simulator or " ".join(["the USB relay", options.serial or ""]).strip()
        self._thread = hid.OneThread(f"hid {self._place}")
        self._device: hid.HidDevice | None = None
        self._relays = 0

    async def __aenter__(self) -> Self:
        try:
            self.identity = await self._find()
        except BaseException:
            await self._thread.finish(self._close)
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._thread.finish(self._close)

    async def read(self) -> Mapping[int, bool]:
        """Return for each relay whether it is energised; raises DeviceOffline or DeviceGarbled."""
        report = await self._call(self._report, self._options.reply_timeout)
        return report.states(self._relays)

    async def set(self, port: int, energised: bool) -> None:
        """Set one relay and return when the board says that it has switched; raises DeviceError."""
        if not 1 <= port <= self._relays:
            raise DeviceRefused(f"{self.identity.model} has no relay {port}")
        await self._call(lambda: self._send(port, energised), self._options.reply_timeout)
        if (await self.read())[port] is not energised:
            raise DeviceRefused(f"{self.identity.model} did not switch relay {port}")

    async def _find(self) -> Identity:
        """Find the board and keep it open."""
        found = await self._call(self._candidates, self._options.connect_timeout)
        others: list[str] = []
        for candidate in found:
            try:
                report = await self._call(partial(self._open, candidate), self._options.reply_timeout)
            except DeviceError as error:
                if len(found) == 1:
                    raise
                others.append(f"{candidate.path} ({error})")
            else:
                if self._options.serial in {None, report.serial}:
                    return Identity(f"{candidate.product} {report.serial}", port_count=self._relays)
                others.append(report.serial)
            await self._call(self._close, self._options.reply_timeout)
        seen = f"; there is {', '.join(others)}" if others else ""
        raise DeviceOffline(f"{self._place} is not plugged in{seen}")

    async def _call(self, call: Callable[[], T], timeout: float) -> T:
        """Make a call in the thread; raises DeviceError."""
        try:
            return await self._thread.run(call, timeout)
        except BadReply as error:
            raise DeviceGarbled(f"{self._place}: {error}") from error
        except TimeoutError as error:
            raise DeviceOffline(f"{self._place} does not answer within {timeout:g} s") from error
        except (OSError, ValueError) as error:
            raise DeviceOffline(f"{self._place}: {getattr(error, 'strerror', None) or error}") from error

    # The following methods block and run in the thread.

    def _open(self, candidate: hid.Found) -> codec.Report:
        """Open a board and return what it says of itself."""
        self._device = candidate.open()
        self._relays = codec.relays_of(candidate.product) or 0
        return self._report()

    def _candidates(self) -> list[hid.Found]:
        if self._options.simulator:
            return [hid.simulated(self._options.simulator)]
        boards = [
            device
            for device in hid.plugged_in(codec.VENDOR, codec.PRODUCT)
            if codec.relays_of(device.product)
        ]
        if len(boards) > 1 and self._options.serial is None:
            raise DeviceRefused(f'{len(boards)} such boards are plugged in; say which one with "serial"')
        return boards

    def _report(self) -> codec.Report:
        assert self._device is not None
        data = bytes(self._device.get_feature_report(codec.REPORT_ID, codec.REPORT_LENGTH))
        return codec.parse_report(data)

    def _send(self, port: int, energised: bool) -> None:
        """Send a switch; whether the board took it shows when it is read."""
        assert self._device is not None
        self._device.send_feature_report(codec.set_report(port, energised=energised))

    def _close(self) -> None:
        device, self._device = self._device, None
        if device is not None:
            device.close()
