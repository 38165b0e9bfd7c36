"""Host names and IP addresses as people write them in configuration files. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

_NAME = re.compile(
    r"(?=.{1,253}\.?$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*))*\.?"
)
_WITH_PORT = re.compile(r"[^:\s]+:\d+")
_NUMBERS = re.compile(r"[\d.]+")


def canonical(address: str) -> str:
    """Return the one form of a host name or IP address, by which two of them are compared."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address.lower().rstrip(".")


def is_loopback(address: str) -> bool:
    """Tell whether an address means another machine on each machine: 127.0.0.1, ::1, localhost."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return canonical(address) == "localhost"


def _host(text: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        pass
    else:
        return text
    if "://" in text or "/" in text:
        raise ValueError(f'"{text}" is a URL or a path; write a host name or an IP address alone')
    if _WITH_PORT.fullmatch(text):
        raise ValueError(f'"{text}" has a port in it; write a host name or an IP address alone')
    if _NUMBERS.fullmatch(text) or not _NAME.fullmatch(text):
        raise ValueError(f'"{text}" is no host name and no IP address')
    return text


def _ip(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f'"{text}" is no IP address') from None


Host = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_host)]
"""A host name or an IP address, without a port."""

IpAddress = Annotated[str, StringConstraints(min_length=1, max_length=45), AfterValidator(_ip)]
"""An IPv4 or IPv6 address in its canonical form."""
