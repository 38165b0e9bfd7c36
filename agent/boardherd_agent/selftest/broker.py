"""The broker: whether it lets us in, what this account may read and write, and what it must not.

A second connection with an id of its own; the agent's will, status and states stay as they are. What is published
is not kept, and heeded by nobody: a copy of the agent's present status, a topic below its states that means
nothing, and, to be refused, an acknowledgement and a command for the reserved id ``boards``, which no test PC has.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from boardherd_agent.selftest.check import Check, Level, fail, ok, warn
from boardherd_agent.settings import AgentSettings
from boardherd_shared import certificates
from boardherd_shared.inventory import Inventory
from boardherd_shared.link import BrokerSettings, Incoming, Link, LinkDown, Session
from boardherd_shared.link_rights import may_publish
from boardherd_shared.messages import Ack, ProtocolError, Resume, Status, decode
from boardherd_shared.topics import Kind, Topics

NOBODY = "boards"
"""A reserved id: what is said for it reaches no agent, and the collector passes it over."""

_CREDENTIALS = "/run/credentials/"
_QUIET_S = 0.5
_ECHO_S = 2.0
_FAILS_DAYS, _WARNS_DAYS = 7, 30
_ACL = "give each account its own block of rights; docs/install.md, The broker"


@dataclass
class Heard:
    """What came in."""

    statuses: dict[str, bytes] = field(default_factory=dict)
    echo: asyncio.Event = field(default_factory=asyncio.Event)
    """What we said ourselves has come back."""
    time: asyncio.Event = field(default_factory=asyncio.Event)
    """The collector has said what time it is."""
    ahead_s: float | None = None
    """By how much our clock is ahead of the collector's, seconds."""


@dataclass(frozen=True)
class Findings:
    """What came of talking to the broker."""

    checks: Sequence[Check]
    ahead_s: float | None = None


async def broker(settings: AgentSettings, inventory: Inventory, *, agent_runs: bool) -> Findings:
    """Look at everything about the broker. Waits for a word of the collector's where an agent runs that gets one."""
    checks = [*await _certificates(settings.broker), *_clear_text(settings.broker)]
    link = Link(settings.broker, name=f"{settings.pc}-selftest", quiet=True)
    try:
        async with link.session() as session:
            found = await _Conversation(settings, inventory, session, agent_runs=agent_runs).hold()
    except LinkDown as down:
        place = settings.broker.display
        remedy = f"is it running, and are url, username and password_file of agent.toml right? ({place})"
        if _CREDENTIALS in str(down):
            remedy = (
                "start the agent first (systemd hands out its password only while it runs), and test as root"
            )
        return Findings([*checks, fail("broker", f"{place}: {down}", remedy)])
    return Findings([*checks, *found.checks], found.ahead_s)


class _Conversation:
    """One connection, and what is asked over it."""

    def __init__(
        self, settings: AgentSettings, inventory: Inventory, session: Session, *, agent_runs: bool
    ) -> None:
        self._pc, self._session, self._agent_runs = settings.pc, session, agent_runs
        self._user, self._place = settings.broker.user, settings.broker.display
        self._patience_s = settings.sampling.interval + 3.0
        self._topics = Topics(inventory.lab.site)
        self._boards = inventory.boards_of(settings.pc)
        self._status = self._topics.build(Kind.STATUS, agent=self._pc)
        self._collector = self._topics.build(Kind.COLLECTOR_STATUS)
        self._echo = self._status.removesuffix("status") + "state/selftest"
        self._heard = Heard()

    async def hold(self) -> Findings:
        """Subscribe, say what must be let through and what must not, and listen meanwhile. Raises LinkDown."""
        refused = await self._session.subscribe(*self._own_topics())
        receiving = asyncio.create_task(self._receive(), name="messages of the selftest")
        try:
            await asyncio.sleep(_QUIET_S)  # what the broker retains comes at once
            checks = [self._let_in(), self._subscriptions(refused)]
            checks += [await self._may_write(), await self._may_not_write()]
            collector = self._what_the_collector_says()
            if self._agent_runs and collector.level is Level.OK:  # it acknowledges what that agent sends
                await _within(self._patience_s, self._heard.time)
            return Findings([*checks, collector], self._heard.ahead_s)
        finally:
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)

    async def _receive(self) -> None:
        async for message in self._session.messages():
            self._take(message)

    def _own_topics(self) -> Iterable[str]:
        """What the agent subscribes to, but for its states; of them the one that is ours."""
        for kind in (Kind.STATUS, Kind.ACK, Kind.RESUME, Kind.COMMAND):
            yield self._topics.filter(kind, agent=self._pc)
        for board in self._boards:
            yield self._topics.filter(Kind.BOARD_COMMAND, board=board)
        yield from (self._collector, self._echo)

    def _let_in(self) -> Check:
        who = f"as {self._user}" if self._user else "without a user name"
        text = f"{self._place} lets us in {who}, with MQTT {'5' if self._session.protocol == 5 else '3.1.1'}"
        if self._user is None:
            return warn("broker", f"{text}: whoever reaches it may do everything", _ACL)
        return ok("broker", text)

    def _subscriptions(self, refused: Sequence[str]) -> Check:
        if refused:
            return fail("subscriptions", f"the broker refuses {', '.join(refused)}", _ACL)
        return ok("subscriptions", "all are granted")

    async def _may_write(self) -> Check:
        """Say what the agent may say, and hear it come back."""
        denied = [self._echo] if await may_publish(self._session, self._echo, b"selftest") is False else []
        status = self._heard.statuses.get(self._status)
        if status and await may_publish(self._session, self._status, status) is False:
            denied.append(self._status)
        if denied:
            text = f"the account may not write {' or '.join(denied)}"
            return fail("own topics", text, f"{_ACL}; is the account named like the test PC, {self._pc}?")
        if not await _within(_ECHO_S, self._heard.echo):
            remedy = f"{_ACL}; is the account named like the test PC, {self._pc}?"
            return fail("own topics", f"what is said on {self._echo} does not come back", remedy)
        return ok("own topics", "what this test PC says is let through, and comes back")

    async def _may_not_write(self) -> Check:
        """Try what must be refused. Without MQTT 5 nobody tells."""
        if self._session.protocol != 5:
            words = "this broker does not tell what it denies (MQTT 3.1.1), so this was not tried"
            return ok("foreign topics", words)
        acknowledgement = self._topics.build(Kind.ACK, agent=NOBODY)
        command = self._topics.build(Kind.COMMAND, agent=NOBODY, operator=self._user or "selftest")
        answers = [
            (words, await may_publish(self._session, topic, b""))
            for words, topic in (("acknowledge", acknowledgement), ("command", command))
        ]
        allowed = [words for words, answer in answers if answer]
        if not allowed:
            return ok("foreign topics", "the account cannot speak for others")
        text = f"the account may {' and '.join(allowed)} in the name of others"
        return fail("foreign topics", text, _ACL) if self._user else warn("foreign topics", text, _ACL)

    def _what_the_collector_says(self) -> Check:
        try:
            said = decode(Status, self._heard.statuses.get(self._collector, b""))
        except ProtocolError:
            remedy = f"is a collector running for this site? else: {_ACL}"
            return warn("collector", "nothing was heard of a collector", remedy)
        if said.state != "online":
            remedy = (
                "systemctl status boardherd-collector on its server; the spool keeps everything meanwhile"
            )
            return warn("collector", f"the collector is {said.state}", remedy)
        return ok("collector", "the collector is online")

    def _take(self, message: Incoming) -> None:
        if message.topic == self._echo:
            self._heard.echo.set()
        elif message.topic in {self._status, self._collector}:
            self._heard.statuses[message.topic] = message.payload
        elif (server := _server_time(message)) is not None:
            self._heard.ahead_s = message.received_at - server
            self._heard.time.set()


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Wait for an event; return whether it happened."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


def _server_time(message: Incoming) -> float | None:
    """Return the collector's time in an acknowledgement or an answer to a hello."""
    with contextlib.suppress(ProtocolError):
        if message.topic.endswith("/ack"):
            return decode(Ack, message.payload).server_time
        if message.topic.endswith("/resume"):
            return decode(Resume, message.payload).server_time
    return None


def _clear_text(broker: BrokerSettings) -> Iterator[Check]:
    """Yield a warning where a password leaves the machine for everybody to read."""
    if broker.tls or broker.user is None or _is_here(broker.host):
        return
    text = f"the password for {broker.display} goes over the network in clear text"
    yield warn("tls", text, "set up TLS at the broker, and url = mqtts://... in agent.toml; docs/install.md")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _certificates(broker: BrokerSettings) -> list[Check]:
    """Return how long the certificates hold that stand between us and the broker."""
    if not broker.tls:
        return []
    checks = []
    for name, file in (("client certificate", broker.cert_file), ("certificate authority", broker.ca_file)):
        if file is not None:
            try:
                checks.append(lasting(name, certificates.in_file(file), datetime.now(UTC)))
            except certificates.NoCertificate as error:
                checks.append(fail(name, str(error), "correct the file's name in agent.toml"))
    with contextlib.suppress(certificates.NoCertificate):  # whoever connects will say what is wrong
        shown = await certificates.shown_by(broker.host, broker.port)
        checks.append(lasting("certificate of the broker", shown, datetime.now(UTC)))
    return checks


def lasting(name: str, until: datetime, now: datetime) -> Check:
    """Return how a certificate stands that holds ``until``."""
    days = (until - now).days
    if until <= now:
        return fail(name, f"ran out on {until:%Y-%m-%d}", "renew it")
    text = f"holds for {days} days, until {until:%Y-%m-%d}"
    if days < _FAILS_DAYS:
        return fail(name, text, "renew it now")
    return warn(name, text, "renew it") if days < _WARNS_DAYS else ok(name, text)
