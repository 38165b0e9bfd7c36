"""Who is at the other end of a connection on this machine, as the kernel knows it. Unix only."""

from __future__ import annotations

import pwd
import re
import socket
import struct
from pathlib import Path

_ESTABLISHED = "01"
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def login(uid: int) -> str:
    """Return the name of a user, as a broker user name may be written."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid-{uid}"
    return re.sub(r"^[^A-Za-z0-9]|[^A-Za-z0-9._@-]", "x", name)[:63]


def user_of(peer: socket.socket) -> str:
    """Return who is at the other end of a Unix socket."""
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return login(struct.unpack("3i", credentials)[1])


def user_of_tcp(client: tuple[str, int], server: tuple[str, int]) -> str | None:
    """Return whose end ``client`` of a loopback connection to ``server`` is; None if that cannot be told.

    Only a connection that still stands tells: the kernel gives those that are closing to root.
    """
    ends = {_hex4(client): _hex4(server), _hex6(client): _hex6(server)}
    for table in _TABLES:
        try:
            rows = table.read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, rows):
            if ends.get(fields[1]) == fields[2] and fields[3] == _ESTABLISHED:
                return login(int(fields[7]))
    return None


def _hex4(end: tuple[str, int]) -> str:
    """Return an IPv4 address and port as /proc/net/tcp writes them: the address in the machine's byte order."""
    (address,) = struct.unpack("=I", socket.inet_aton(end[0]))
    return f"{address:08X}:{end[1]:04X}"


def _hex6(end: tuple[str, int]) -> str:
    """Return the same as /proc/net/tcp6 writes it, where a program speaks IPv4 by an IPv6 socket."""
    return f"0000000000000000{struct.unpack('=I', bytes.fromhex('0000ffff'))[0]:08X}{_hex4(end)}"
