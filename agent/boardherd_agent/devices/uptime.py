"""Noticing that a device has restarted, from the uptime that it reports."""

from __future__ import annotations

from boardherd_agent.devices.device import DeviceOffline

_SLACK_S = 2.0
"""Clocks of small devices tick in whole seconds, and not all at the same pace."""


class Uptime:
    """The uptime of one device, as it was last reported within one opening of the driver.

    A device that is asked by single requests leaves no broken connection behind when it restarts between two
    of them; its uptime tells.
    """

    def __init__(self, place: str) -> None:
        """Know nothing yet; ``place`` is the device in messages."""
        self._place = place
        self._last: float | None = None

    def reported(self, seconds: float | None) -> None:
        """Take note of an uptime, None when the device gave none.

        Raises DeviceOffline when it is less than before: the device was away, and what was known of it from
        before does not hold. The worker opens it again and says that it rebooted.
        """
        if seconds is None:
            return
        last, self._last = self._last, seconds
        if last is not None and seconds < last - _SLACK_S:
            raise DeviceOffline(f"{self._place} has restarted {seconds:g} s ago")
