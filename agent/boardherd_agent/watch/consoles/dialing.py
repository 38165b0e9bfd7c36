"""TCP connections of probes: plain sockets, because a stream costs twice as much to set up."""

from __future__ import annotations

import asyncio
import socket

from boardherd_agent.watch.probing.resolver import Addresses, Resolver


async def dial(resolver: Resolver, host: str, port: int, within_s: float) -> socket.socket:
    """Return a connected, non-blocking socket, the caller's to close.

    A name with several addresses is tried at each of them, in the system's order. Raises OSError of the last
    one, or of the name service, and TimeoutError when nobody answered within ``within_s`` seconds.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    addresses = await resolver.addresses(host, within_s)
    async with asyncio.timeout_at(deadline):
        return await _first(addresses, port)


async def _first(addresses: Addresses, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    trouble: OSError | None = None
    for address in addresses:
        sock: socket.socket | None = None
        try:
            sock = socket.socket(address.family, socket.SOCK_STREAM)
            sock.setblocking(False)
            await loop.sock_connect(sock, address.at(port))
        except OSError as error:
            trouble = error
            if sock:
                sock.close()
        except BaseException:
            if sock:
                sock.close()
            raise
        else:
            return sock
    raise trouble or OSError("the name has no address")
