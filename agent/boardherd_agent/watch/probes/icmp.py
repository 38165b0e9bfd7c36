"""The ping probe: does the board answer an ICMP echo request?"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

import icmplib

from boardherd_agent.watch.probes.probe import Outcome, no_answer, outcome_of
from boardherd_agent.watch.texts import brief

NOT_PERMITTED = (
    "ICMP is not permitted: widen the sysctl net.ipv4.ping_group_range or give the agent CAP_NET_RAW"
)


def open_socket(family: int) -> icmplib.AsyncSocket:
    """Return an ICMP socket of the first permitted kind; raises icmplib.SocketPermissionError if none is."""
    kind = icmplib.ICMPv6Socket if family == socket.AF_INET6 else icmplib.ICMPv4Socket
    try:
        return icmplib.AsyncSocket(kind(privileged=False))
    except icmplib.SocketPermissionError:
        return icmplib.AsyncSocket(kind(privileged=True))


class PingProbe:
    """Sends one echo request, by whichever kind of socket the system permits.

    First the datagram socket of unprivileged processes (net.ipv4.ping_group_range, closed by default), then
    the raw socket (CAP_NET_RAW). If neither is permitted the answer is "unavailable", never "no".
    """

    name = "ping"

    def __init__(self, host: str, *, opener: Callable[[int], icmplib.AsyncSocket] = open_socket) -> None:
        """Prepare; ``opener`` makes a socket of an address family, or raises icmplib's errors."""
        self._host = host
        self._open = opener

    async def check(self, within_s: float) -> Outcome:
        """Ping once."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(within_s):
                found = await loop.getaddrinfo(self._host, None, type=socket.SOCK_DGRAM)
        except TimeoutError:
            return Outcome("unavailable", f'the name "{self._host}" was not resolved within {within_s:g} s')
        except OSError as error:
            return outcome_of(error)
        family, _, _, _, address = found[0]
        try:
            sock = self._open(family)
        except icmplib.SocketPermissionError:
            return Outcome("unavailable", NOT_PERMITTED)
        except icmplib.ICMPSocketError as error:
            return Outcome("unavailable", brief(str(error)))
        return await _ping(sock, str(address[0]), within_s)


async def _ping(sock: icmplib.AsyncSocket, address: str, within_s: float) -> Outcome:
    began = time.monotonic()
    with sock:
        request = icmplib.ICMPRequest(address, icmplib.utils.unique_identifier(), 0)
        try:
            sock.send(request)
            reply = await sock.receive(request, within_s)
            reply.raise_for_status()
        except icmplib.TimeoutExceeded:
            return no_answer(within_s)
        except icmplib.ICMPSocketError as error:
            # The library turns the system's error into text; the original tells whose fault it is.
            cause = error.__context__
            return outcome_of(cause) if isinstance(cause, OSError) else Outcome("no", brief(str(error)))
        except icmplib.ICMPError as error:
            return Outcome("no", brief(str(error)))
    return Outcome("yes", "answered", time.monotonic() - began, stack_up=True)
