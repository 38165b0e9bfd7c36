"""The conversation with the collector: hello, resume, envelopes, acknowledgements.

Nothing is sent before the collector has answered the hello of this very session, nothing while it is away,
and no more than it grants. Only its acknowledgement counts: that the broker took an envelope says nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog
from pydantic import BaseModel

from boardherd_agent.delivery.envelopes import Key, Spooled, fault_event
from boardherd_agent.delivery.ranges import coarsen, contains
from boardherd_agent.delivery.spool import Spool
from boardherd_agent.delivery.window import RESEND_AFTER_S, Lane, Window
from boardherd_shared.backoff import delays
from boardherd_shared.clock import Clock, seconds
from boardherd_shared.failpoints import ACK_RECEIVED, reach
from boardherd_shared.link import LinkDown, Session, TooLarge
from boardherd_shared.messages import (
    Ack,
    Hello,
    ProtocolError,
    RefusedEnvelope,
    Resume,
    Standing,
    Status,
    decode,
    encode,
)
from boardherd_shared.records import EventRecord
from boardherd_shared.topics import Kind, Topics

_ANSWER_WITHIN_S = 10.0
_REPEAT_FIRST_S, _REPEAT_CAP_S = 1.0, 30.0
_SENDERS = 8
"""Publishes under way at once; more would only queue in the MQTT library, which complains of it."""
_MAX_NEWS = 1000
_REPORT_EVERY_S = 60.0
_SILENCE_S = 30.0
_MAX_RANGES = 4000
"""Retained ranges in one hello, of all streams together: it has to fit into a payload."""
_NEWS_EVERY_S = 2.0

M = TypeVar("M", bound=BaseModel)
log = structlog.get_logger()


@dataclass
class Traffic:
    """What has passed since the start, in envelopes unless it says otherwise."""

    sent: int = 0
    """Sent for the first time in this process."""
    resent: int = 0
    acknowledged: int = 0
    late: int = 0
    """Acknowledgements for what was not waiting for one: repeated, or from before a restart."""
    refused: int = 0
    parked: int = 0
    """Put aside because nobody answers for them."""
    garbled: int = 0
    """Messages from the collector that made no sense."""


class Uplink:
    """Empties the spool into the database, as the collector allows."""

    def __init__(
        self,
        spool: Spool,
        topics: Topics,
        agent: str,
        clock: Clock,
        *,
        hello: Callable[[str], Hello],
        on_event: Callable[[EventRecord], None],
        on_standing: Callable[[Standing], None] = lambda _: None,
        answer_within_s: float = _ANSWER_WITHIN_S,
        resend_after_s: float = RESEND_AFTER_S,
        silence_s: float = _SILENCE_S,
    ) -> None:
        """Make an uplink; nothing is sent before :meth:`serve`.

        Args:
            spool: what is to be sent.
            topics: of the site.
            agent: id of the test PC.
            clock: the clock that records are stamped with.
            hello: given the session id, what to say of ourselves; streams and clock are filled in here.
            on_event: takes records about envelopes that the database will not have (Outbox.put).
            on_standing: hears what others decided about this agent's boards and relays.
            answer_within_s: how long a resume is waited for before hello is said again, in seconds.
            resend_after_s: how long an acknowledgement is waited for at least, in seconds.
            silence_s: after how long without any answer the collector is called silent, in seconds.
        """
        self._spool = spool
        self._topics = topics
        self._agent = agent
        self._clock = clock
        self._hello = hello
        self._on_event = on_event
        self._on_standing = on_standing
        self._answer_within_s = answer_within_s
        self._silence_s = silence_s
        self._answers = 0
        self._told: tuple[object, ...] = ()
        self.traffic = Traffic()
        self._server_boot: float | None = None
        """When our machine booted by the collector's clock, as of its last word; Unix seconds."""
        self._window = Window(resend_after_s)
        self._sent: set[Key] = set()  # by this process, and not acknowledged: only these may be
        self._session: str | None = None
        self._collector: str | None = None
        self._collector_connection: str | None = None  # its will speaks for every session taken over it
        self._meeting = 0  # counts the times that the collector came online
        self._resumed = False
        self._news: asyncio.Queue[Ack | Resume] = asyncio.Queue(_MAX_NEWS)
        self._greeting = asyncio.Event()
        self._sending = asyncio.Event()
        self._picking = asyncio.Lock()
        self._reported: dict[str, float] = {}
        spool.listen(self._sending.set)

    @property
    def state(self) -> str:
        """What the uplink is doing, in words."""
        if self._session is None:
            return "no connection to the broker"
        if self._collector is None:
            return "the collector is away"
        if not self._resumed:
            return "waiting for the collector's answer"
        return "sending what is new, the backlog waits for its turn" if self._window.waiting else "sending"

    async def serve(self, session: Session) -> None:
        """Deliver over this session until cancelled or the link is down.

        LinkDown comes inside an exception group.
        """
        self._window.reset()
        self._session, self._resumed = session.id, False
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._greet(session), name="uplink-hello")
                tasks.create_task(self._apply_news(), name="uplink-news")
                tasks.create_task(self._greet_again(session), name="uplink-news-of-ours")
                tasks.create_task(self._watch_silence(), name="uplink-silence")
                for number in range(_SENDERS):
                    tasks.create_task(self._send(session), name=f"uplink-send-{number}")
        finally:
            self._session, self._resumed = None, False

    def on_collector_status(self, payload: bytes) -> None:
        """Take a payload of ``collector/status``; the goodbye of an older session is ignored."""
        status = self._understand(Status, payload)
        if status is None:
            return
        if status.state == "online":
            self._collector_connection = status.connection or status.session
            if status.session != self._collector:
                self._collector, self._resumed = status.session, False
                self._meeting += 1
        elif status.session in {self._collector, self._collector_connection}:
            self._collector, self._resumed = None, False
        self._stir()

    def on_ack(self, payload: bytes) -> None:
        """Take a payload of ``<agent>/ack``."""
        self._take(self._understand(Ack, payload))

    def on_resume(self, payload: bytes) -> None:
        """Take a payload of ``<agent>/resume``; an answer to another session's hello is ignored."""
        resume = self._understand(Resume, payload)
        if resume and resume.session == self._session:
            self._take(resume)

    # The greeting

    async def _greet(self, session: Session) -> None:
        while True:
            meeting = self._meeting
            for wait in delays(_REPEAT_FIRST_S, _REPEAT_CAP_S):
                await self._say_hello(session)
                if await self._answered_or_gone(meeting, self._answer_within_s + wait):
                    break
            while self._meeting == meeting:
                await self._greeting_news(None)

    async def _answered_or_gone(self, meeting: int, seconds: float) -> bool:
        """Wait for the answer to a hello; False when hello has to be said again to the same collector."""
        while not self._resumed and self._meeting == meeting:
            # While the collector is away nobody can answer; the retained hello waits for it.
            if not await self._greeting_news(seconds if self._collector else None):
                return False
        return True

    async def _greeting_news(self, seconds: float | None) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._greeting.wait()
        except TimeoutError:
            return False
        self._greeting.clear()
        return True

    async def _say_hello(self, session: Session) -> None:
        self._told = await self._spool.news()
        found = await self._spool.describe()
        self._window.begin({info.stream: info.last for info in found})
        many = max(1, _MAX_RANGES // max(1, len(found)))
        # The present stream first: a collector that looks at only so many has seen what matters.
        streams = tuple(
            info.model_copy(update={"retained": tuple(coarsen(info.retained, many))})
            for info in reversed(found)
        )
        hello = self._hello(session.id).model_copy(
            update={
                "session": session.id,
                "boot": self._clock.boot,
                "wall": self._clock.wall(),
                "up": self._clock.up(),
                "streams": streams,
            }
        )
        topic = self._topics.build(Kind.HELLO, agent=self._agent)
        try:
            await session.publish(topic, encode(hello), retain=True)
        except (
            TooLarge
        ) as error:  # without a hello there is no delivery: waiting for a better broker is all there is
            raise LinkDown(f"the hello of this agent: {error}") from error

    async def _greet_again(self, session: Session) -> None:
        """Say hello again when the collector has to know something new of the spool.

        How far a stream in memory has come nobody could tell it when this process has ended, and which
        numbers of a damaged spool are lost only it can tell.
        """
        while True:
            await asyncio.sleep(_NEWS_EVERY_S)
            if self._resumed and await self._spool.news() != self._told:
                await self._say_hello(session)

    async def _watch_silence(self) -> None:
        """Say when nothing is answered though the collector is there: the broker tells nobody what it denies."""
        answers, since, said = self._answers, time.monotonic(), False
        while True:
            await asyncio.sleep(self._silence_s / 10)
            expecting = self._collector is not None and not (self._resumed and not self._window.flying)
            if answers != self._answers or not expecting:
                if said and answers != self._answers:
                    log.info("the collector answers again")
                    said = False
                answers, since = self._answers, time.monotonic()
            elif time.monotonic() - since > self._silence_s and not said:
                said = True
                what = "what is sent" if self._resumed else "a hello"
                why = "its database may be away, or the broker may deny the topic"
                self._report("silence", f"the collector is there and does not answer {what}: {why}")

    # Sending

    async def _send(self, session: Session) -> None:
        topic = self._topics.build(Kind.TELEMETRY, agent=self._agent)
        while True:
            envelope = await self._next()
            try:
                await session.publish(topic, envelope.payload)
            except TooLarge as error:
                await self._set_aside(
                    envelope.key, "too_large", f"envelope {envelope.key.seq} stays here: {error}"
                )

    async def _next(self) -> Spooled:
        """Wait until an envelope may be sent, and take it."""
        async with self._picking:
            while True:
                self._sending.clear()
                if self._resumed and (envelope := await self._overdue() or await self._fresh()):
                    return envelope
                deadline = self._window.deadline() if self._resumed else None
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(
                        None if deadline is None else max(0.0, deadline - time.monotonic())
                    ):
                        await self._sending.wait()

    async def _overdue(self) -> Spooled | None:
        while key := self._window.overdue(time.monotonic()):
            if self._window.hopeless(key):
                why = f"an envelope is never acknowledged while others are: {key.seq}"
                await self._set_aside(key, "unanswered", why)
            elif envelope := await self._spool.load(key):
                self._window.resent(key, time.monotonic())
                self.traffic.resent += 1
                return envelope
            else:
                self._window.forget(key)  # evicted meanwhile
                self._sent.discard(key)
        return None

    async def _set_aside(self, key: Key, code: str, why: str) -> None:
        await self._spool.park(key)
        self._window.forget(key)
        self._sent.discard(key)
        self.traffic.parked += 1
        self._report(code, why)

    async def _fresh(self) -> Spooled | None:
        lane: Lane | None = self._window.lane()
        if lane is None:
            return None
        pick = self._spool.newest if lane == "newest" else self._spool.oldest
        envelope = await pick(frozenset(self._window.flying))
        if envelope is None or not self._window.admits(envelope.key):
            return None
        self._window.sent(envelope.key, lane, time.monotonic())
        self.traffic.sent += envelope.key not in self._sent
        self.traffic.resent += envelope.key in self._sent
        self._sent.add(envelope.key)
        return envelope

    @property
    def server_offset(self) -> float:
        """Seconds by which the collector's clock is ahead of ours, whatever ours was set to since; 0 at first."""
        if self._server_boot is None:
            return 0.0
        return self._server_boot + seconds(self._clock.up() - self._clock.wall())

    # What the collector says

    def _take(self, news: Ack | Resume | None) -> None:
        if news is None:
            return
        self._server_boot = news.server_time - seconds(self._clock.up())
        self._answers += 1
        if news.standing is not None:
            self._on_standing(news.standing)
        if self._news.full():
            self._news.get_nowait()  # a lost acknowledgement costs one more send
        self._news.put_nowait(news)

    async def _apply_news(self) -> None:
        while True:
            news = await self._news.get()
            if isinstance(news, Resume):
                await self._apply_resume(news)
            else:
                await self._apply_ack(news)
            self._stir()

    async def _apply_resume(self, resume: Resume) -> None:
        if resume.session != self._session:
            return
        await self._spool.resume(resume.missing)
        self._window.grant(resume.window, wait=resume.wait)
        self._resumed = True

    async def _apply_ack(self, ack: Ack) -> None:
        reach(ACK_RECEIVED)
        self._window.grant(ack.window, wait=ack.wait)
        hits = [key for key in self._sent if key.stream == ack.stream and contains(ack.committed, key.seq)]
        told = sum(last - first + 1 for first, last in ack.committed)
        self.traffic.late += max(0, told - len(hits))
        # What could not be written down stays on its way, and is asked about again by sending it again.
        if hits and await self._spool.acknowledge(hits):
            self._window.acknowledged(hits, time.monotonic())
            self._sent.difference_update(hits)
            self.traffic.acknowledged += len(hits)
        for refused in ack.refused:
            await self._apply_refusal(Key(ack.stream, refused.seq), refused)

    async def _apply_refusal(self, key: Key, refused: RefusedEnvelope) -> None:
        if key not in self._sent or await self._spool.refuse(key, refused.digest, refused.code) == "ignored":
            self.traffic.late += 1
            return
        self._window.acknowledged([key], time.monotonic())
        self._sent.discard(key)
        self.traffic.refused += 1
        self._report(
            refused.code, f"the collector refuses envelope {key.seq} as {refused.code}: {refused.text}"
        )

    def _report(self, code: str, text: str) -> None:
        """Tell of trouble, once a minute for each kind: the report travels by envelope too."""
        now = time.monotonic()
        if now - self._reported.get(code, -_REPORT_EVERY_S) < _REPORT_EVERY_S:
            return
        self._reported[code] = now
        log.error("delivery is in trouble", code=code, why=text)
        self._on_event(fault_event(text, self._clock))

    def _understand(self, model: type[M], payload: bytes) -> M | None:
        try:
            return decode(model, payload)
        except ProtocolError as error:
            self.traffic.garbled += 1
            if self.traffic.garbled == 1:
                log.warning("the collector said something that makes no sense", why=str(error))
            return None

    def _stir(self) -> None:
        self._greeting.set()
        self._sending.set()
