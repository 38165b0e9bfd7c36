"""A search: which addresses are asked for what, how gently, and everything that was found."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from boardherd.discovery import devantech, http, snmp, usb
from boardherd.discovery.found import Found

MOST_ADDRESSES = 4096
AT_ONCE = 64
"""Addresses that are asked at the same time."""
_CONNECT_S = 1.0
"""Within a lab a connection is there sooner, or not at all."""

_SIOCGIFBRDADDR = 0x8919
_EVERYBODY = "255.255.255.255"

Network = ipaddress.IPv4Network
Progress = Callable[[int, int], None]
"""Is told how many addresses have been asked, and how many there are."""


class TooMany(ValueError):  # noqa: N818
    """More addresses than anybody should be asked for; the message says so."""


@dataclass(frozen=True)
class Ports:
    """Where each family listens; the makers' own ports unless somebody has moved them."""

    module: int = devantech.TCP_PORT
    broadcast: int = devantech.UDP_PORT
    web: int = http.HTTP_PORT
    strip: int = snmp.UDP_PORT


@dataclass(frozen=True)
class Plan:
    """What is searched."""

    networks: tuple[Network, ...] = ()
    """Whose addresses are asked one by one."""
    broadcast: bool = True
    """Whether the networks of this machine are asked by broadcast for Devantech modules."""
    community: str | None = None
    """What SNMP devices at ``networks`` may be read with; None to leave them alone."""
    within_s: float = 3.0
    """How long one answer may take."""
    ports: Ports = field(default_factory=Ports)
    by_id: Path = usb.BY_ID
    sysfs: Path = usb.SYSFS

    def addresses(self) -> list[str]:
        """Return every address that is asked; raises TooMany."""
        count = sum(network.num_addresses for network in self.networks)
        if count > MOST_ADDRESSES:
            raise TooMany(f"{count} addresses are too many; ask for {MOST_ADDRESSES} at most, a /20")
        hosts = (str(host) for network in self.networks for host in network.hosts())
        return list(dict.fromkeys(hosts))

    @property
    def bind(self) -> str:
        """Own address for datagrams: of the loopback where nobody else is asked."""
        local = not self.broadcast and all(network.is_loopback for network in self.networks)
        return "127.0.0.1" if local else "0.0.0.0"  # noqa: S104 - answers may come in at any interface


async def search(plan: Plan, progress: Progress = lambda _done, _all: None) -> list[Found]:
    """Return everything that was found: what is plugged in, then relays by address. Raises TooMany, OSError."""
    addresses = plan.addresses()
    replies = await _who_is_there(plan, addresses)
    ask_first = [reply.address for reply in replies.values()]
    places = list(dict.fromkeys([*ask_first, *addresses]))
    found = await _ask_all(plan, places, frozenset(addresses), progress)
    reached = {it.address for it in found}
    found += [devantech.unreached(reply) for reply in replies.values() if reply.address not in reached]
    plugged = await asyncio.to_thread(_plugged_in, plan)
    return [*plugged, *sorted(found, key=_in_order)]


def _plugged_in(plan: Plan) -> list[Found]:
    return [*usb.hid_boards(plan.sysfs), *usb.serial_ports(plan.by_id, plan.sysfs)]


async def _who_is_there(plan: Plan, addresses: Sequence[str]) -> dict[str, devantech.Reply]:
    """Ask for Devantech modules by datagram; return the answers by address."""
    everybody = own_broadcasts() if plan.broadcast else []
    asked = [*everybody, *(str(network.broadcast_address) for network in plan.networks), *addresses]
    if not asked:
        return {}
    replies = await devantech.who_is_there(
        dict.fromkeys(asked), bind=plan.bind, port=plan.ports.broadcast, within_s=plan.within_s
    )
    return {reply.address: reply for reply in replies}


async def _ask_all(
    plan: Plan, places: Sequence[str], in_networks: frozenset[str], progress: Progress
) -> list[Found]:
    """Ask every address for what may be there, a few of them at a time."""
    found: list[Found] = []
    gate, done = asyncio.Semaphore(AT_ONCE), 0
    async with contextlib.AsyncExitStack() as stack:
        asker = await stack.enter_async_context(_asker(plan)) if plan.community is not None else None

        async def one(address: str) -> None:
            nonlocal done
            async with gate:
                found.extend(
                    await _ask_one(plan, address, asker if address in in_networks else None, in_networks)
                )
            done += 1
            progress(done, len(places))

        async with asyncio.TaskGroup() as tasks:
            for address in places:
                tasks.create_task(one(address), name=f"ask {address}")
    return found


def _asker(plan: Plan) -> snmp.Asker:
    return snmp.Asker(plan.community or "", bind=plan.bind, within_s=plan.within_s)


async def _ask_one(
    plan: Plan, address: str, asker: snmp.Asker | None, in_networks: frozenset[str]
) -> list[Found]:
    """Ask one address for one family after the other; what only answered the broadcast, as a module alone."""
    limits = {"connect_s": min(_CONNECT_S, plan.within_s), "within_s": plan.within_s}
    module = await devantech.ask(address, port=plan.ports.module, **limits)
    if module is not None or address not in in_networks:
        return [module] if module else []  # its web pages can switch: they are left alone
    found = [await http.ask(address, port=plan.ports.web, **limits)]
    if asker and found == [None]:
        found.append(await asker.ask(address, port=plan.ports.strip))
    return [it for it in found if it]


def own_broadcasts() -> list[str]:
    """Return the broadcast address of each network that this machine is in; the general one where none is told."""
    if not sys.platform.startswith("linux"):
        return [_EVERYBODY]
    import fcntl

    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # an interface without an address
                request = struct.pack("256s", name.encode()[:15])
                found.append(socket.inet_ntoa(fcntl.ioctl(sock, _SIOCGIFBRDADDR, request)[20:24]))
    return list(dict.fromkeys(address for address in found if address != "0.0.0.0")) or [_EVERYBODY]  # noqa: S104


def _in_order(found: Found) -> tuple[bool, int, str]:
    try:
        return found.role != "relay", int(ipaddress.ip_address(found.where)), found.title
    except ValueError:
        return found.role != "relay", 0, found.where
