"""The operator's seat: what can be found out from here about broker, collector and one's own rights.

What is published to find out is heeded by nobody: it is for the reserved id ``boards``, which no test PC has, and
the collector passes it over.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from boardherd.api import Api, ApiAway
from boardherd.settings import Settings
from boardherd_shared import certificates
from boardherd_shared.link import Link, LinkDown, Session
from boardherd_shared.link_rights import may_publish
from boardherd_shared.topics import ROOT, Kind, Topics

NOBODY = "boards"
_QUIET_S = 0.5


@dataclass(frozen=True)
class Component:
    """A part of the collector, and how it says it is."""

    name: str
    ok: bool
    text: str


@dataclass(frozen=True)
class Broker:
    """What came of talking to the broker; ``trouble`` is empty when it let us in."""

    trouble: str = ""
    protocol: int = 0
    """5, or 4 for MQTT 3.1.1."""
    statuses: int = 0
    """How many retained statuses it delivered."""
    refused: tuple[str, ...] = ()
    """Subscriptions that it did not grant."""
    may_command: bool | None = None
    """None where the broker does not tell."""
    may_forge: tuple[str, ...] = ()
    """What the account may do and must not: "acknowledge", "command in another name"."""


@dataclass(frozen=True)
class Collector:
    """What came of asking the collector; ``trouble`` is empty when it answered."""

    trouble: str = ""
    version: str = ""
    components: tuple[Component, ...] = ()


@dataclass(frozen=True)
class Seat:
    """Where the operator sits, and what can be seen from there."""

    origin: str
    """Where the addresses came from."""
    broker_place: str
    api_place: str
    operator: str
    account: str | None
    """The broker user name, None without one."""
    version: str
    broker: Broker
    collector: Collector
    certificates: tuple[tuple[str, datetime], ...] = ()
    """What shows a certificate, and until when that holds."""


async def look(settings: Settings, site: str | None) -> Seat:
    """Return what can be seen of a lab; ``site`` is None while nobody knows it, and then no rights are tried."""
    async with asyncio.TaskGroup() as tasks:
        broker = tasks.create_task(_broker(settings, site), name="look at the broker")
        collector = tasks.create_task(_collector(settings), name="look at the collector")
        lasting = tasks.create_task(_certificates(settings), name="look at the certificates")
    return Seat(
        origin=settings.origin,
        broker_place=settings.broker.display,
        api_place=settings.api,
        operator=settings.operator,
        account=settings.broker.user,
        version=version("boardherd"),
        broker=broker.result(),
        collector=collector.result(),
        certificates=lasting.result(),
    )


async def _broker(settings: Settings, site: str | None) -> Broker:
    try:
        async with Link(settings.broker, name=f"cli-{settings.operator}", quiet=True).session() as session:
            refused = await session.subscribe(f"{ROOT}/{site or '+'}/+/status")
            statuses = await _count(session)
            if site is None or session.protocol != 5:
                return Broker("", session.protocol, statuses, refused)
            may_command, may_forge = await _rights(session, Topics(site), settings.operator)
            return Broker("", session.protocol, statuses, refused, may_command, may_forge)
    except LinkDown as down:
        return Broker(re.sub(r"^\[Errno -?\d+\] ", "", str(down)).lower())


async def _count(session: Session) -> int:
    """Return how many messages are retained: they come at once, so a pause is the end of them."""
    messages, count = session.messages(), 0
    with contextlib.suppress(TimeoutError):
        while True:
            async with asyncio.timeout(_QUIET_S):
                await anext(messages)
            count += 1
    await messages.aclose()  # type: ignore[attr-defined]
    return count


async def _rights(session: Session, topics: Topics, operator: str) -> tuple[bool | None, tuple[str, ...]]:
    """Return whether commands are let through, and what is that should not be."""
    own = topics.build(Kind.COMMAND, agent=NOBODY, operator=operator)
    forged = {
        "acknowledge for the collector": topics.build(Kind.ACK, agent=NOBODY),
        "command in another's name": topics.build(
            Kind.COMMAND, agent=NOBODY, operator=f"not-{operator}"[:63]
        ),
    }
    may_command = await may_publish(session, own, b"")
    allowed = [words for words, topic in forged.items() if await may_publish(session, topic, b"")]
    return may_command, tuple(allowed)


async def _collector(settings: Settings) -> Collector:
    api = Api(settings.api, settings.api_token_file)
    try:
        ready = await api.ready()
        described = await api.ask("openapi.json", {})
    except ApiAway as away:
        return Collector(str(away))
    return Collector("", _text(described, "info", "version"), tuple(_components(ready)))


def _components(ready: Any) -> Iterable[Component]:
    parts = ready.get("components") if isinstance(ready, dict) else None
    for name, part in (parts or {}).items():
        if isinstance(part, dict):
            yield Component(name, bool(part.get("ok")), str(part.get("text", "")))


def _text(document: Any, *path: str) -> str:
    for key in path:
        document = document.get(key) if isinstance(document, dict) else None
    return document if isinstance(document, str) else ""


async def _certificates(settings: Settings) -> tuple[tuple[str, datetime], ...]:
    """Return until when the certificates of broker and collector hold; nothing of one that shows none."""
    found = []
    api = urlsplit(settings.api)
    servers = []
    if settings.broker.tls:
        servers.append(("the broker", settings.broker.host, settings.broker.port))
    if api.scheme == "https" and api.hostname:
        servers.append(("the collector", api.hostname, api.port or 443))
    for name, host, port in servers:
        with contextlib.suppress(certificates.NoCertificate):
            found.append((name, await certificates.shown_by(host, port)))
    if settings.broker.tls and settings.broker.cert_file:
        with contextlib.suppress(certificates.NoCertificate):
            found.append(("this client", certificates.in_file(settings.broker.cert_file)))
    return tuple(found)
