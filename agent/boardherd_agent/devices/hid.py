"""USB devices of the HID class: their feature reports, by hidapi, or through a socket to a simulated one.

All calls block, as the library's do, and raise OSError; :class:`OneThread` keeps them off the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from boardherd_agent.devices.extras import needs

T = TypeVar("T")

SIMULATED_TIMEOUT_S = 1.0
"""How long to wait for a simulated device; hidapi itself waits as long for a real one."""


class HidDevice(Protocol):
    """An open device: the part of hidapi's ``device`` that relays need."""

    def send_feature_report(self, buff: bytes, /) -> int:
        """Send a report, whose first byte is its id; returns a negative number if the device did not take it."""
        ...

    def get_feature_report(self, report_num: int, max_length: int, /) -> Iterable[int]:
        """Return a report of at most ``max_length`` bytes, that of its id included."""
        ...

    def close(self) -> None:
        """Let go of the device."""
        ...


@dataclass(frozen=True)
class Found:
    """A device that can be opened."""

    product: str
    """What its descriptor calls it."""
    path: str
    """Where it is plugged in."""
    open: Callable[[], HidDevice]
    """Opens it; raises OSError when that is not allowed or somebody else has claimed it."""


def plugged_in(vendor: int, product: int) -> list[Found]:
    """Return the devices with these USB ids; raises DeviceRefused if the library is missing."""
    hidapi = _hidapi()

    def opener(path: bytes) -> Callable[[], HidDevice]:
        def opened() -> HidDevice:
            device: HidDevice = hidapi.device()
            device.open_path(path)  # type: ignore[attr-defined]  # hidapi's own, before it is a HidDevice
            return device

        return opened

    return [
        Found(entry["product_string"] or "", entry["path"].decode("utf-8", "replace"), opener(entry["path"]))
        for entry in hidapi.enumerate(vendor, product)
    ]


def simulated(place: str) -> Found:
    """Return the device that is simulated at ``host:port``; raises OSError if none is there."""
    device = SimulatedHid(place)
    return Found(device.product, place, lambda: device)


class SimulatedHid:
    """A simulated device behind a socket, with hidapi's calls.

    A request is one letter, followed by the report for ``S``, set; ``G`` gets the report and ``I`` the
    product string. An answer is its length in one byte, and the bytes that the library would return.
    """

    def __init__(self, place: str) -> None:
        """Connect to ``host:port``; raises OSError."""
        host, _, port = place.rpartition(":")
        try:
            self._socket = socket.create_connection((host, int(port)), timeout=SIMULATED_TIMEOUT_S)
        except UnicodeError as error:
            raise OSError("this is no host name") from error
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.product = self._ask(b"I").decode("utf-8", "replace")
        except BaseException:
            self._socket.close()
            raise

    def send_feature_report(self, buff: bytes, /) -> int:
        """Send a report; raises OSError."""
        self._ask(b"S" + bytes(buff))
        return len(buff)

    def get_feature_report(self, report_num: int, max_length: int, /) -> Iterable[int]:
        """Return a report, without making sure that it has an id before it; raises OSError."""
        del report_num  # simulated devices have one report
        return self._ask(b"G")[:max_length]

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()

    def _ask(self, request: bytes) -> bytes:
        self._socket.sendall(request)
        return self._receive(self._receive(1)[0])

    def _receive(self, length: int) -> bytes:
        received = b""
        while len(received) < length:
            chunk = self._socket.recv(length - len(received))
            if not chunk:
                raise ConnectionResetError("the simulated device is gone")
            received += chunk
        return received


class OneThread:
    """A thread of its own for the blocking calls of one device: one at a time, in the order they were made."""

    def __init__(self, name: str) -> None:
        """Prepare; the thread begins with the first call."""
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, call: Callable[[], T], timeout: float) -> T:
        """Return what ``call`` returns; TimeoutError after ``timeout`` seconds, while the call itself goes on."""
        async with asyncio.timeout(timeout):
            return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    async def finish(self, last: Callable[[], None]) -> None:
        """Make a last call after all that were begun, and end the thread; what it raises is of no interest."""
        with contextlib.suppress(OSError, ValueError):
            await asyncio.get_running_loop().run_in_executor(self._executor, last)
        self._executor.shutdown(wait=False)


def _hidapi() -> Any:
    """Return hidapi's module; on Linux the one that goes through the kernel and claims nothing."""
    with needs("hid"):
        if sys.platform == "linux":
            import hidraw as hid  # type: ignore[import-not-found]  # a module of the same library, without types
        else:
            import hid
    return hid
