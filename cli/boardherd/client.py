"""What the command line asks of a lab: its state, a command with its whole life, every change.

The collector's API is asked first. When it does not answer, everything but history comes from the broker's
retained topics, and commands never need it at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any

from boardherd.api import Api, ApiAway, Value
from boardherd.exit_codes import Exit, Failure
from boardherd.following import SLACK_S, Letter, follow, letter
from boardherd.retained import WATCHED, Change, Retained
from boardherd.settings import Settings
from boardherd.targets import Target
from boardherd_shared.collector_command import CollectorCommand
from boardherd_shared.command import Command, CommandStep
from boardherd_shared.ids import new_command_id
from boardherd_shared.link import Incoming, Link, LinkDown, Session
from boardherd_shared.messages import BoardState, ProtocolError, Status, decode, encode
from boardherd_shared.topics import ROOT, Address, Kind, Topics, parse
from boardherd_shared.views import FleetView

_QUIET_S = 0.4
"""Retained messages follow a subscription at once; when nothing has come for this long, that was all."""
_COLLECT_S = 5.0

Sighted = Callable[[BoardState], None]
"""Is told what an agent says of a board."""


class Client:
    """One lab, seen from one operator. Each call opens the connections it needs and closes them again."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._api = Api(settings.api, settings.api_token_file)

    async def fleet(self) -> FleetView:
        """Return the current fleet; raises Failure when neither collector nor broker tell it."""
        try:
            view = await self._api.fleet()
        except ApiAway as away:
            why = f"the collector at {self._api.url} does not answer ({away})"
        else:
            if self.settings.site in {None, view.site}:
                return view
            why = f'the collector at {self._api.url} is that of the site "{view.site}"'
        return await self._retained_fleet(why)

    async def ask(self, path: str, **query: Value) -> Any:
        """Return what the collector answers below ``/api/v1/``; raises Failure: nobody else can."""
        try:
            return await self._api.ask(path, query)
        except ApiAway as away:
            raise self._without_history(away) from away

    def _without_history(self, away: ApiAway) -> Failure:
        return Failure(
            Exit.UNREACHABLE,
            f"the collector at {self._api.url} does not answer ({away}), and it alone has history",
        )

    async def send(
        self, command: Command, target: Target, sighted: Sighted | None = None
    ) -> AsyncGenerator[CommandStep]:
        """Send ``command`` to ``target`` and yield each step of its life once; the last one is final.

        The command is valid for as long as an answer is waited for, so that nothing happens after the caller
        has been told that nobody answered. ``sighted`` is told meanwhile what the agent says of the board.
        Raises Silence when nobody answers, Failure when the broker or an agent at work is lost.
        """
        command = complete(command, target, self.settings.timeout)
        topics = Topics(target.site)
        also = [topics.filter(Kind.RESULT, id=str(command.id))]
        if sighted and target.board:
            also.append(topics.build(Kind.BOARD_STATE, agent=target.pc, board=target.board))
        sent = letter(command, encode(command), self.settings.timeout, self._command_topic(topics, target))
        async with contextlib.aclosing(self.converse(target.site, sent, also, sighted)) as steps:
            async for step in steps:
                yield step

    async def tell_collector(self, command: CollectorCommand, site: str) -> AsyncGenerator[CommandStep]:
        """Send ``command`` to the collector of ``site`` and yield each step of its life once; the last one is final.

        Raises Silence when it does not answer, Failure when the broker is lost.
        """
        topics, timeout = Topics(site), self.settings.timeout
        topic = topics.build(Kind.COLLECTOR_COMMAND, operator=self.settings.operator)
        sent = Letter(str(command.id), encode(command), timeout, timeout + SLACK_S, topic)
        async with contextlib.aclosing(self.converse(site, sent)) as steps:
            async for step in steps:
                yield step

    async def converse(
        self, site: str, sent: Letter, also: Sequence[str] = (), sighted: Sighted | None = None
    ) -> AsyncGenerator[CommandStep]:
        """Publish a command and yield each step of its life once, as replies and on the topics ``also``.

        Raises Silence when nobody answers, Failure when the broker or who answers is lost.
        """
        async with self._session() as session:
            reply = Topics(site).build(Kind.REPLY, operator=self.settings.operator)
            await session.subscribe(reply, *also)
            try:
                await session.publish(sent.topic, sent.payload, expiry_s=sent.timeout)
            except LinkDown as down:  # the command may have arrived all the same
                raise _lost(sent, down) from down
            arriving = _steps(session.messages(), sent, sighted)
            async with contextlib.aclosing(arriving), contextlib.aclosing(follow(arriving, sent)) as steps:
                async for step in steps:
                    yield step

    async def watch(self, show: Callable[[Change], None], retained: Retained) -> None:
        """Keep ``retained`` up to date and call ``show`` for every change, until cancelled.

        A lost broker is a change too, of the subject ``broker``; it is waited for, and what changed in the
        meantime is told after the reconnect.
        """
        topics, link = Topics(retained.site), self._link()

        async def serve(session: Session) -> None:
            if link.sessions > 1:
                show(_broker_change("connected to the broker again", up=True))
            await session.subscribe(*(topics.filter(kind) for kind in WATCHED), topics.filter(Kind.RESULT))
            try:
                async for message in session.messages():
                    address = parse(message.topic)
                    change = address and retained.apply(address, message.payload, retain=message.retain)
                    if change:
                        show(change)
            except LinkDown:
                show(_broker_change("the broker is lost, trying again", up=False))
                raise

        await link.run(serve)

    async def _retained_fleet(self, why: str) -> FleetView:
        try:
            async with self._session() as session:
                site = self.settings.site or await self._look_for_site(session)
                retained, topics = Retained(site), Topics(site)
                for message in await _collect(session, *(topics.filter(kind) for kind in WATCHED)):
                    if address := parse(message.topic):
                        retained.apply(address, message.payload, retain=message.retain)
        except Failure as failure:
            raise Failure(Exit(failure.exit_code), f"{failure.message}; and {why}") from failure
        return retained.view(time.time(), f"{why}: this is what the broker remembers, without history")

    async def _look_for_site(self, session: Session) -> str:
        """Return the one site whose collector or agents the broker knows."""
        statuses = await _collect(session, f"{ROOT}/+/+/status")
        found = sorted({address.site for message in statuses if (address := _speaker(message))})
        if len(found) == 1:
            return found[0]
        broker = self.settings.broker.display
        if not found:
            raise Failure(Exit.UNREACHABLE, f"no boardherd has ever spoken on the broker {broker}")
        raise Failure(
            Exit.USAGE,
            f"the broker {broker} serves several sites ({', '.join(found)}); choose one with --site",
        )

    def _command_topic(self, topics: Topics, target: Target) -> str:
        operator = self.settings.operator
        if target.board is not None:
            return topics.build(Kind.BOARD_COMMAND, board=target.board, operator=operator)
        return topics.build(Kind.COMMAND, agent=target.pc, operator=operator)

    def _link(self) -> Link:
        return Link(self.settings.broker, name=f"cli-{self.settings.operator}")

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        """Open one connection to the broker; raises Failure when that is not possible."""
        try:
            async with self._link().session() as session:
                yield session
        except LinkDown as down:
            where = f"{self.settings.broker.display} ({self.settings.origin})"
            raise Failure(Exit.UNREACHABLE, f"the broker {where} cannot be reached: {_plain(down)}") from down


async def _collect(session: Session, *filters: str) -> list[Incoming]:
    """Return what the broker remembers on ``filters``."""
    found: list[Incoming] = []
    await session.subscribe(*filters)
    messages = session.messages()
    end = time.monotonic() + _COLLECT_S
    while (left := end - time.monotonic()) > 0:
        try:
            async with asyncio.timeout(min(_QUIET_S, left)):
                found.append(await anext(messages))
        except TimeoutError:
            break
    await messages.aclose()  # type: ignore[attr-defined]
    return found


def _broker_change(text: str, *, up: bool) -> Change:
    return Change(time.time(), "broker", text, False, {"connected": up})


def _speaker(message: Incoming) -> Address | None:
    """Return the address of a status that says anything."""
    address = parse(message.topic)
    if address is None or address.kind not in {Kind.STATUS, Kind.COLLECTOR_STATUS}:
        return None
    try:
        decode(Status, message.payload)
    except ProtocolError:
        return None
    return address


async def _steps(
    messages: AsyncIterator[Incoming], sent: Letter, sighted: Sighted | None
) -> AsyncGenerator[CommandStep]:
    """Yield the steps among ``messages`` that belong to the command, and hand on what is said of its board."""
    try:
        async for message in messages:
            if step := _step_of(message, sent.id):
                yield step
            elif sighted and (state := _state_of(message)):
                sighted(state)
    except LinkDown as down:
        raise _lost(sent, down) from down


def _state_of(message: Incoming) -> BoardState | None:
    """Return what is said of a board in ``message``, if that is what it is about."""
    address = parse(message.topic)
    if address is None or address.kind is not Kind.BOARD_STATE:
        return None
    try:
        return decode(BoardState, message.payload)
    except ProtocolError:
        return None


def _step_of(message: Incoming, command_id: str) -> CommandStep | None:
    """Return the step in ``message`` if it belongs to the command; replies carry those of others too."""
    if message.retain:
        return None
    try:
        step = decode(CommandStep, message.payload)
    except ProtocolError:
        return None
    return step if step.id == command_id else None


def _plain(down: LinkDown) -> str:
    """Return the trouble without the number that the system gives it."""
    return re.sub(r"^\[Errno -?\d+\] ", "", str(down)).lower()


def _lost(sent: Letter, down: LinkDown) -> Failure:
    why = f"the connection to the broker was lost while waiting ({_plain(down)})"
    return Failure(Exit.UNREACHABLE, f"{why}; learn the outcome with the same command and --id {sent.id}")


def complete(command: Command, target: Target, timeout: float) -> Command:
    """Return ``command`` with an id, its target, and valid for ``timeout`` seconds from now."""
    return command.model_copy(
        update={
            "id": command.id or new_command_id(),
            "board": target.board,
            "relay": target.relay,
            "port": target.port,
            "sent_at": time.time(),
            "valid_for": command.valid_for or timeout,
        }
    )
