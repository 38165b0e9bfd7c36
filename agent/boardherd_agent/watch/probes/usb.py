"""The usb probe: is the board on this PC's USB, and has it booted? Nothing is sent to it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from boardherd_agent.watch.probing import usb_devices
from boardherd_agent.watch.probing.aside import aside
from boardherd_agent.watch.probing.means import Means
from boardherd_agent.watch.probing.probe import Outcome, outcome_of
from boardherd_shared.lab import BoardConfig
from boardherd_shared.probes import ProbeSpec, is_usb_port


class UsbProbe:
    """Looks into sysfs for a port path or a serial number."""

    def __init__(self, name: str, wanted: str, *, sysfs: Path = usb_devices.SYSFS) -> None:
        """Prepare.

        Args:
            name: the probe's name.
            wanted: a port path such as ``1-1.4``, or a serial number.
            sysfs: the directory of USB devices.
        """
        self.name = name
        self._wanted = wanted
        self._sysfs = sysfs

    async def check(self, within_s: float) -> Outcome:
        """Look once. In a thread: the kernel makes readers wait while it sets a device up."""
        try:
            async with asyncio.timeout(within_s):
                return await aside(self._look, f"look for {self.name}")
        except TimeoutError:
            return Outcome("unavailable", f"USB devices could not be read within {within_s:g} s")
        except OSError as error:
            return outcome_of(error)

    def _look(self) -> Outcome:
        if not self._sysfs.is_dir():
            return Outcome("unavailable", f"there is no USB on this PC: {self._sysfs} is not there")
        by_port = is_usb_port(self._wanted)
        find = usb_devices.at_port if by_port else usb_devices.with_serial
        device = find(self._sysfs, self._wanted)
        if device is None:
            return self._absent(by_port=by_port)
        if state := usb_devices.waits_in(device):
            return Outcome("no", state, loader=state)
        gadget = "a Linux gadget: " if usb_devices.is_gadget(device) else ""
        return Outcome("yes", f"there as {gadget}{device.label}")

    def _absent(self, *, by_port: bool) -> Outcome:
        if not by_port:
            return Outcome("no", f"no USB device has the serial number {self._wanted}")
        if hub := usb_devices.missing_hub(self._sysfs, self._wanted):
            return Outcome("unavailable", f"the USB hub {hub} is not there")
        return Outcome("no", f"nothing at the USB port {self._wanted}")


def build(spec: ProbeSpec, board: str, config: BoardConfig, means: Means) -> UsbProbe:
    """Return the probe for a board."""
    del board, config, means
    return UsbProbe(spec.name, spec.argument)
