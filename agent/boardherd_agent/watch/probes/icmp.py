"""The ping probe: does the board answer an ICMP echo request?"""

from __future__ import annotations

import asyncio
import socket
import time

import icmplib

from boardherd_agent.watch.probes.probe import Outcome, no_answer, outcome_of
from boardherd_agent.watch.texts import one_line

NOT_PERMITTED = (
    "ICMP is not permitted: widen the sysctl net.ipv4.ping_group_range or give the agent CAP_NET_RAW"
)


class PingProbe:
    """Sends one echo request, by whichever kind of socket the system permits.

    First the datagram socket of unprivileged processes (net.ipv4.ping_group_range, closed by default), then
    the raw socket (CAP_NET_RAW). If neither is permitted the answer is "unavailable", never "no".
    """

    name = "ping"

    def __init__(self, host: str) -> None:
        self._host = host

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
        return await _ping(family, str(address[0]), within_s)


async def _ping(family: int, address: str, within_s: float) -> Outcome:
    try:
        sock = _open(family)
    except icmplib.SocketPermissionError:
        return Outcome("unavailable", NOT_PERMITTED)
    except icmplib.ICMPSocketError as error:
        return Outcome("unavailable", one_line(str(error)))
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
            return outcome_of(cause) if isinstance(cause, OSError) else Outcome("no", one_line(str(error)))
        except icmplib.ICMPError as error:
            return Outcome("no", one_line(str(error)))
    return Outcome("yes", "answered", time.monotonic() - began, stack_up=True)


def _open(family: int) -> icmplib.AsyncSocket:
    """Return an ICMP socket of the first permitted kind; raises icmplib.SocketPermissionError if none is."""
    kind = icmplib.ICMPv6Socket if family == socket.AF_INET6 else icmplib.ICMPv4Socket
    try:
        return icmplib.AsyncSocket(kind(privileged=False))
    except icmplib.SocketPermissionError:
        return icmplib.AsyncSocket(kind(privileged=True))
