"""The listening socket and the token: everything about the web side that can be wrong before it serves."""

from __future__ import annotations

import errno
import ipaddress
import socket
from pathlib import Path

from boardherd_collector.settings import HttpSettings
from boardherd_shared.settings import ConfigError

_BACKLOG = 128
_MIN_TOKEN = 16


class PortBusy(Exception):  # noqa: N818 - a state of the world, not a fault of the program
    """The address cannot be listened on; the message is one sentence with the remedy."""


def read_token(http: HttpSettings) -> str | None:
    """Return the token that requests must carry, or None when none is configured and none is needed.

    Raises ConfigError when the address is reachable from elsewhere and there is no token, or when the token
    cannot be read or is too short to be one.
    """
    if http.token_file is None:
        if not is_loopback(http.host):
            raise ConfigError(
                f"http.host {http.host} can be reached from other machines, so http.token_file is required"
            )
        return None
    return _read(http.token_file)


def _read(path: Path) -> str:
    try:
        token = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigError(f"http.token_file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"http.token_file {path} is not plain ASCII text") from error
    if len(token) < _MIN_TOKEN or not token.isprintable() or " " in token:
        raise ConfigError(
            f"http.token_file {path} must hold one word of at least {_MIN_TOKEN} characters, "
            "for example from: openssl rand -hex 32"
        )
    return token


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` is only reachable from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _ListeningSocket(socket.socket):
    """Keeps its backlog: asyncio listens again, with the number that it accepts in one go."""

    def listen(self, backlog: int = _BACKLOG, /) -> None:
        super().listen(max(backlog, _BACKLOG))


def listen(http: HttpSettings) -> socket.socket:
    """Return a listening socket on the configured address; raises PortBusy with one sentence."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            http.host, http.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise PortBusy(f"http.host {http.host} is no address of this machine: {error.strerror}") from error
    sock = _ListeningSocket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen()
    except OSError as error:
        sock.close()
        raise PortBusy(_say(http, error)) from error
    sock.setblocking(False)
    return sock


def _say(http: HttpSettings, error: OSError) -> str:
    place = f"{http.host} port {http.port}"
    if error.errno == errno.EADDRINUSE:
        return f"{place} is in use by another program; stop it, or set http.port to a free port"
    if error.errno == errno.EACCES:
        return f"{place} may not be listened on by this user; set http.port to one above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"http.host {http.host} is no address of this machine"
    return f"{place} cannot be listened on: {error.strerror}"


def url_for(host: str, port: int) -> str:
    """Return the address to open in a browser for what listens on the IP address ``host``."""
    if ipaddress.ip_address(host).is_unspecified:
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
