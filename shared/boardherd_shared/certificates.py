"""How long certificates still hold: one that a server shows, and one in a file.

Nothing is verified here: that a certificate is trusted is found out by whoever connects. The dates are read from
the certificate itself (X.509, RFC 5280 section 4.1), for the standard library tells them of verified ones only.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from datetime import UTC, datetime
from pathlib import Path

_SEQUENCE, _EXPLICIT_VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_BEFORE_VALIDITY = 3
"""Serial number, algorithm and issuer stand before the dates."""


class NoCertificate(Exception):  # noqa: N818 - a state of the world
    """There is no certificate to be seen; the message says why."""


async def shown_by(host: str, port: int, within_s: float = 5.0) -> datetime:
    """Return until when the certificate holds that the TLS server at ``host`` shows; raises NoCertificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(within_s):
            _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    except TimeoutError as error:
        raise NoCertificate(f"{host}:{port} does not answer within {within_s:g} s") from error
    except (OSError, ValueError) as error:
        raise NoCertificate(f"{host}:{port}: {error}") from error
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(within_s):
                await writer.wait_closed()
    return not_after(shown)


def in_file(path: Path) -> datetime:
    """Return until when the first certificate of a PEM file holds; raises NoCertificate."""
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise NoCertificate(f"{path} cannot be read: {error.strerror}") from error
    _, begin, rest = text.partition(ssl.PEM_HEADER)
    body, end, _ = rest.partition(ssl.PEM_FOOTER)
    if not begin or not end:
        raise NoCertificate(f"{path} holds no certificate")
    try:
        return not_after(ssl.PEM_cert_to_DER_cert(begin + body + end))
    except ValueError as error:
        raise NoCertificate(f"{path}: {error}") from error


def not_after(der: bytes) -> datetime:
    """Return until when a certificate holds; raises NoCertificate for bytes that are none."""
    try:
        _, certificate, _ = _element(der, _SEQUENCE)
        _, inner, _ = _element(certificate, _SEQUENCE)
        tag, _, rest = _element(inner)
        if tag != _EXPLICIT_VERSION:  # version 1 leaves its number out
            rest = inner
        for _ in range(_BEFORE_VALIDITY):
            _, _, rest = _element(rest)
        _, validity, _ = _element(rest, _SEQUENCE)
        _, _, after_begin = _element(validity)
        tag, end, _ = _element(after_begin)
        return _time(tag, end.decode("ascii"))
    except (ValueError, IndexError) as error:
        raise NoCertificate("this is no certificate") from error


def _element(data: bytes, expected: int | None = None) -> tuple[int, bytes, bytes]:
    """Return tag, content and what follows of the first DER element; raises ValueError or IndexError."""
    tag, length, start = data[0], data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    if expected not in {None, tag} or start + length > len(data):
        raise ValueError("another element")
    return tag, data[start : start + length], data[start + length :]


def _time(tag: int, text: str) -> datetime:
    if tag == _UTC_TIME:  # two digits of the year: 50 to 99 are of the last century
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
