"""Whether this PC itself can reach a board: its routes and the carrier of its interfaces, as Linux shows them."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_UP = 0x1
_FIELDS = 8


@dataclass(frozen=True)
class Route:
    """A line of the routing table."""

    interface: str
    destination: int
    mask: int


def routes_in(text: str) -> list[Route]:
    """Return the routes of ``/proc/net/route``; lines that are none are left out.

    Addresses stand there as the bytes of the network order, read as a number of this machine and written in
    hexadecimal (Linux, fib_route_seq_show).
    """
    routes = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        try:
            flags, destination, mask = (int(fields[place], 16) for place in (3, 1, 7))
            if len(fields) >= _FIELDS and flags & _UP:
                routes.append(Route(fields[0], _swapped(destination), _swapped(mask)))
        except (IndexError, ValueError, struct.error):
            continue
    return routes


def interface_to(address: str, routes: list[Route]) -> str | None:
    """Return the interface through which an IPv4 address is reached: that of the narrowest route to it."""
    number = int(ipaddress.IPv4Address(address))
    fitting = [route for route in routes if number & route.mask == route.destination]
    return max(fitting, key=lambda route: route.mask).interface if fitting else None


class OwnNetwork:
    """Reads what the kernel knows; nothing is sent. Knows no trouble where there is no such kernel."""

    def __init__(
        self,
        routes: Path = Path("/proc/net/route"),
        interfaces: Path = Path("/sys/class/net"),
        *,
        unreachable: Callable[[str], bool] | None = None,
    ) -> None:
        """Prepare; ``unreachable`` tells whether the kernel has no way at all to an address."""
        self._routes, self._interfaces = routes, interfaces
        self._unreachable = unreachable or no_route
        self._text = ""
        self._table: list[Route] = []
        self._ways: dict[str, tuple[str, bool]] = {}
        self._carriers: dict[str, str] = {}

    def refresh(self) -> None:
        """Look anew; what follows from the routing table is worked out again only if that has changed."""
        self._carriers.clear()
        text = _read(self._routes)
        if text != self._text:
            self._text, self._table = text, routes_in(text)
            self._ways.clear()

    def way(self, address: str) -> str:
        """Return the interface through which ``address`` is reached; empty when nobody knows."""
        return self._way(address)[0]

    def trouble(self, address: str) -> str:
        """Return why ``address`` cannot be reached from here, in words; empty when nothing is known to be wrong."""
        interface, unreachable = self._way(address)
        if unreachable:
            return f"this PC has no route to {address}"
        if interface and self._carrier(interface) == "0":
            return f"{interface} of this PC has no carrier: look at its cable"
        return ""

    def _way(self, address: str) -> tuple[str, bool]:
        """Return the interface to ``address``, and whether there is no way to it."""
        known = self._ways.get(address)
        if known is None:
            known = self._ways[address] = self._find(address)
        return known

    def _find(self, address: str) -> tuple[str, bool]:
        try:
            local = ipaddress.IPv4Address(address).is_loopback
        except ValueError:  # a name, or IPv6
            return "", False
        if local or not self._text:
            return "", False
        interface = interface_to(address, self._table)
        # Rules may send it elsewhere than the main table says: only the kernel knows that there is no way at all.
        return interface or "", interface is None and self._unreachable(address)

    def _carrier(self, interface: str) -> str:
        """Return "1" or "0"; empty for an interface that is down, or gone."""
        if interface not in self._carriers:
            self._carriers[interface] = _read(self._interfaces / interface / "carrier").strip()
        return self._carriers[interface]


def no_route(address: str) -> bool:
    """Tell whether the kernel knows no way to ``address``; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))
        except OSError:
            return True
    return False


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError:  # an interface that is down answers EINVAL for its carrier
        return ""


def _swapped(number: int) -> int:
    return int.from_bytes(struct.pack("=I", number), "big")
