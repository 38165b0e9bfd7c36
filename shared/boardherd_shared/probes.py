"""How probes are written in lab.toml: one table, which the inventory, the agent and the documentation read.

A probe is written as its kind and, after a colon, an argument: ``ping``, ``tcp:80``, ``http:8080/health``. The agent
has a module of the same name for each kind, except for the console, which it only listens to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from boardherd_shared.values import one_line

CONSOLE = "console"
"""The kind that asks nothing: the board's serial console is listened to."""

_LONGEST_NAME = 63
_USB_PORT = re.compile(r"[0-9]{1,3}-[0-9]{1,3}(\.[0-9]{1,3}){0,6}")
_USB_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,63}")
_PROGRAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,54}")
_HTTP = re.compile(r"(?P<port>[0-9]{1,5})?(?P<path>/[!\"$-~]{0,200})?(#(?P<status>[1-5][0-9][0-9]))?")


@dataclass(frozen=True)
class ProbeSpec:
    """A probe as lab.toml names it."""

    kind: str
    argument: str
    """What stands after the colon, in one form for everything that means the same: ``ssh`` has ``22``."""
    name: str
    """A slug that is unique among the probes of a board: ``ping``, ``ssh``, ``tcp-80``."""


@dataclass(frozen=True)
class ProbeKind:
    """One way to tell whether a board lives, for whoever writes lab.toml."""

    written: str
    """How it is written; capitals stand for what is filled in."""
    example: str
    needs: Literal["", "board_ip", "serial_port"]
    """The key of the board that it cannot do without."""
    asks: str
    """What it asks of the board."""
    yes: str
    no: str
    """What it takes for an answer against the board."""
    notes: str
    read: Callable[[str], tuple[str, str]]
    """From the argument as written to the argument in its one form and the rest of the name; ValueError if wrong."""


@dataclass(frozen=True)
class HttpTarget:
    """What an http or https probe asks for."""

    port: int
    path: str
    status: int | None
    """The only status that is right; None for any below 400."""


def parse_probe(text: str) -> ProbeSpec:
    """Return what a probe in lab.toml means; raises ValueError with a sentence for whoever wrote it."""
    kind, _, argument = text.partition(":")
    known, shown = KINDS.get(kind), one_line(text, 100)
    if known is None or text.endswith(":"):
        raise ValueError(f'"{shown}" is no probe; write for example "ping", "ssh", "tcp:80" or "console"')
    try:
        argument, rest = known.read(argument)
    except ValueError as error:
        why = f"{error}; " if str(error) else ""
        raise ValueError(
            f'"{shown}" is no probe: {why}write {known.written}, for example "{known.example}"'
        ) from None
    name = f"{kind}-{rest}" if rest else kind
    return ProbeSpec(kind, argument, name[:_LONGEST_NAME])


def http_target(argument: str) -> HttpTarget:
    """Return what the argument of an http probe, in its one form, asks for; raises ValueError."""
    match = _HTTP.fullmatch(argument)
    if match is None or not match["port"]:
        raise ValueError("no port")
    return HttpTarget(
        int(match["port"]), match["path"] or "/", int(match["status"]) if match["status"] else None
    )


def is_usb_port(argument: str) -> bool:
    """Tell whether the argument of a usb probe is a port path, ``1-1.4``, and not a serial number."""
    return _USB_PORT.fullmatch(argument) is not None


def _nothing(argument: str) -> tuple[str, str]:
    if argument:
        raise ValueError("nothing may stand behind it")
    return "", ""


def _port(argument: str) -> str:
    if not re.fullmatch(r"[0-9]{1,5}", argument) or not 1 <= int(argument) <= 65535:
        raise ValueError("a TCP port is a number from 1 to 65535")
    return str(int(argument))


def _tcp(argument: str) -> tuple[str, str]:
    port = _port(argument)
    return port, port


def _ssh(argument: str) -> tuple[str, str]:
    port = _port(argument or "22")
    return port, "" if port == "22" else port


def _http_on(standard: str) -> Callable[[str], tuple[str, str]]:
    def read(argument: str) -> tuple[str, str]:
        match = _HTTP.fullmatch(argument)
        if match is None:
            raise ValueError
        port, path, status = _port(match["port"] or standard), match["path"] or "/", match["status"]
        parts = [_slugged(path), status or ""]
        if port != standard or any(parts):
            parts.insert(0, port)
        return f"{port}{path}{f'#{status}' if status else ''}", "-".join(filter(None, parts))

    return read


def _usb(argument: str) -> tuple[str, str]:
    if not _USB_SERIAL.fullmatch(argument):
        raise ValueError
    return argument, _slugged(argument)


def _command(argument: str) -> tuple[str, str]:
    if not _PROGRAM.fullmatch(argument):
        raise ValueError("a program is a plain file name")
    return argument, _slugged(argument)


def _slugged(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-")


KINDS: Mapping[str, ProbeKind] = {
    "ping": ProbeKind(
        written="ping",
        example="ping",
        needs="board_ip",
        asks="an ICMP echo request",
        yes="the echo comes back",
        no="silence, or a router that says that there is no such host",
        notes="needs a datagram ICMP socket (sysctl net.ipv4.ping_group_range) or CAP_NET_RAW, which the systemd unit"
        " grants; without either it is unavailable",
        read=_nothing,
    ),
    "tcp": ProbeKind(
        written="tcp:PORT",
        example="tcp:80",
        needs="board_ip",
        asks="a TCP connection, closed at once; nothing is sent",
        yes="it is accepted",
        no="silence; a refusal, which shows that the IP stack is up",
        notes="",
        read=_tcp,
    ),
    "ssh": ProbeKind(
        written="ssh or ssh:PORT",
        example="ssh:2222",
        needs="board_ip",
        asks="the line with which an SSH server introduces itself; no login, no key exchange",
        yes="the line comes",
        no="silence, a refusal, or a server that speaks something else",
        notes="looked at every `probing.ssh`: servers log and count connections without a login",
        read=_ssh,
    ),
    "http": ProbeKind(
        written="http, http:PORT, http:PORT/PATH or http:PORT/PATH#STATUS",
        example="http:8080/health#204",
        needs="board_ip",
        asks="a GET of the path, `/` unless given",
        yes="a status below 400, or exactly the one behind `#`",
        no="silence, a refusal, another status, or a server that speaks something else",
        notes="redirects are not followed, nothing but the status line is read",
        read=_http_on("80"),
    ),
    "https": ProbeKind(
        written="https, https:PORT, https:PORT/PATH or https:PORT/PATH#STATUS",
        example="https:8443/health",
        needs="board_ip",
        asks="the same over TLS",
        yes="as http",
        no="as http, or no TLS",
        notes="the certificate is not checked: the question is whether the board lives; looked at every `probing.ssh`,"
        " because a handshake is work for a small board",
        read=_http_on("443"),
    ),
    "usb": ProbeKind(
        written="usb:PORT-PATH or usb:SERIAL-NUMBER",
        example="usb:1-1.4",
        needs="",
        asks="whether the board is on this PC's USB, and in which state; only sysfs is read",
        yes="it is there as an ordinary device, for example a Linux gadget",
        no="it is not there; or it is in DFU mode, in fastboot or in its boot ROM, so it has power and has not booted",
        notes="the port path is the name of the directory in /sys/bus/usb/devices; a boot ROM has no serial number of"
        " its own, so the path is the better choice; unavailable without sysfs, or when the hub itself is gone",
        read=_usb,
    ),
    "command": ProbeKind(
        written="command:PROGRAM",
        example="command:fan-turns",
        needs="",
        asks="a program of the lab in /etc/boardherd/commands; its arguments are the board's id and its board_ip",
        yes="it ends with 0",
        no="it ends with 1, or takes too long",
        notes="any other end is unavailable; the last line that it prints is shown; looked at every `probing.ssh`; at"
        " least 5 s are granted; the same rules as for the relay driver `command`",
        read=_command,
    ),
    CONSOLE: ProbeKind(
        written="console",
        example="console",
        needs="serial_port",
        asks="nothing: the serial console is listened to",
        yes="a login prompt or a shell, or anything else since power-on",
        no="a kernel panic, a boot loader's prompt, nothing since power-on",
        notes="see the key `console`; a console that is quiet or held by another program is unavailable",
        read=_nothing,
    ),
}
"""Every kind of probe, by the name with which it begins in lab.toml."""
