"""The only file that knows the MQTT library: one connection after another, for ever.

What a caller can rely on:

* each life of the connection is a new client object with a new session id, TCP_NODELAY set and nothing left
  over from the life before; subscriptions are made anew each time by the caller's ``serve``;
* MQTT 5 is spoken where the broker has it, and 3.1.1 exactly when the broker answers with reason code 132;
* a clean end says goodbye on purpose; a crash of our own cuts the line, so that the broker publishes the will;
* the world's failures (:class:`LinkDown`) are waited out with jitter and logged once per change; any other
  exception is a bug and leaves :meth:`Link.run`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import aiomqtt
import paho.mqtt.client as paho
import structlog
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from boardherd_shared.backoff import delays
from boardherd_shared.ids import new_session

_UNSUPPORTED_PROTOCOL = 132
_REFUSED_FOR_GOOD = {133, 134, 135, 138, 4, 5}
"""Reason codes that trying again does not mend: client id, credentials, authorisation, banned."""
FAILURE = 128  # reason codes from here on mean that something was not done
_CALL_TIMEOUT_S = 5.0
_GOODBYE_TIMEOUT_S = 2.0
_STEADY_S = 10.0
"""A life that lasted this long starts the next series of waits from the beginning."""
_PACKET_OVERHEAD = 32
"""Bytes that a PUBLISH has beside topic and payload, at most: header, packet id, expiry."""
RECEIVE_MAXIMUM = 200
"""Unacknowledged messages that a broker may have on the way to us (MQTT 5)."""
MAX_PACKET = 1024**2
"""What is larger a broker does not hand to us (MQTT 5): four times the largest payload of ours, and no burden."""
_END = aiomqtt.Message("end", b"", 0, False, 0, None)
"""Stands in the queue of messages behind the last one."""

log = structlog.get_logger()


class LinkDown(Exception):  # noqa: N818 - a state of the world, not a fault of the program
    """The broker cannot be reached, has gone, or does not answer; trying again may help."""


class TooLarge(Exception):  # noqa: N818 - a state of the world, not a fault of the program
    """The broker has said that it takes no message of this size; sending it would end the connection."""


class BrokerSettings(BaseModel):
    """Where the broker is and how to be let in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(
        "mqtt://127.0.0.1:1883", description="mqtt://host:port, or mqtts:// for TLS; may carry user:password@"
    )
    username: str | None = Field(None, description="broker user name; also the name that the ACL knows")
    password: SecretStr | None = Field(None, description="broker password")
    password_file: Path | None = Field(None, description="file that holds the password; read at each connect")
    ca_file: Path | None = Field(None, description="certificate authority to trust instead of the system's")
    cert_file: Path | None = Field(None, description="client certificate")
    key_file: Path | None = Field(None, description="key of the client certificate")
    keepalive_s: int = Field(
        15, ge=5, le=300, description="a silent connection is given up after 1.5 of these"
    )

    @field_validator("url")
    @classmethod
    def _url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname:
            raise ValueError(f'"{url}" is no broker address; write mqtt://host:1883 or mqtts://host:8883')
        _ = parts.port  # raises ValueError when it is no number
        return url

    @property
    def host(self) -> str:
        """Host name or address of the broker."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """TCP port of the broker: 1883, or 8883 with TLS, unless the address names one."""
        return urlsplit(self.url).port or (8883 if self.tls else 1883)

    @property
    def tls(self) -> bool:
        """True for mqtts addresses."""
        return urlsplit(self.url).scheme == "mqtts"

    @property
    def user(self) -> str | None:
        """The user name, wherever it stands."""
        name = urlsplit(self.url).username
        return self.username or (unquote(name) if name else None)

    @property
    def display(self) -> str:
        """The address without anything secret."""
        return f"{urlsplit(self.url).scheme}://{self.host}:{self.port}"

    def read_password(self) -> str | None:
        """Return the password now in force; LinkDown if its file cannot be read."""
        if self.password is not None:
            return self.password.get_secret_value()
        if self.password_file is not None:
            try:
                return self.password_file.read_text().strip()
            except OSError as error:
                raise LinkDown(f"password file {self.password_file}: {error.strerror}") from error
        word = urlsplit(self.url).password
        return unquote(word) if word else None

    def tls_context(self) -> ssl.SSLContext | None:
        """Return a fresh TLS context, so that renewed certificates are picked up; None without TLS."""
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file)
        except (OSError, ssl.SSLError) as error:
            raise LinkDown(f"TLS files: {error}") from error
        return context


@dataclass(frozen=True)
class Incoming:
    """A message that arrived."""

    topic: str
    payload: bytes
    retain: bool
    received_at: float
    """When it was taken from the socket, Unix seconds."""


@dataclass(frozen=True)
class Farewell:
    """A retained message that tells others what became of us: as the will, or said in person."""

    topic: str
    payload: bytes


class Session:
    """One life of the connection."""

    def __init__(
        self, client: aiomqtt.Client, session_id: str, protocol: int, max_packet: int | None = None
    ) -> None:
        self._client = client
        self._max_packet = max_packet
        self.id = session_id
        self.protocol = protocol
        """5, or 4 for MQTT 3.1.1."""

    async def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, expiry_s: float | None = None
    ) -> None:
        """Publish with QoS 1 and wait for the broker.

        That the broker has it says nothing about anybody reading it, and that it was denied goes unheard
        (but see :mod:`boardherd_shared.link_rights`). Raises LinkDown; the message may have arrived all the
        same. Raises TooLarge when the broker would end the connection for it, as far as it has told (MQTT 5).
        """
        size = len(topic.encode()) + len(payload) + _PACKET_OVERHEAD
        if self._max_packet is not None and size > self._max_packet:
            raise TooLarge(f"{size} bytes are more than the {self._max_packet} that the broker takes")
        properties = _expiring(expiry_s) if self.protocol == 5 and expiry_s is not None else None
        with _world():
            await self._client.publish(
                topic, payload, qos=1, retain=retain, properties=properties, timeout=_CALL_TIMEOUT_S
            )

    async def subscribe(self, *filters: str) -> tuple[str, ...]:
        """Subscribe with QoS 1, and return those of ``filters`` that the broker refused.

        With MQTT 5 the retain flag then tells how a message was published. A broker may grant what it never
        delivers: Mosquitto does, where its rights come from a file. Raises LinkDown.
        """
        how: dict[str, Any] = {"qos": 1}
        if self.protocol == 5:
            how = {"options": SubscribeOptions(qos=1, retainAsPublished=True)}
        refused = []
        for topic in filters:
            with _world():
                codes = await self._client.subscribe(topic, timeout=_CALL_TIMEOUT_S, **how)
            if any(getattr(code, "value", code) >= FAILURE for code in codes):
                refused.append(topic)
        return tuple(refused)

    async def messages(self) -> AsyncIterator[Incoming]:
        """Yield messages in the order of arrival; raises LinkDown when the connection is lost."""
        arrived = self._client._queue  # noqa: SLF001 - the library's own iterator makes two tasks for each message
        gone = self._client._disconnected  # noqa: SLF001
        gone.add_done_callback(lambda _: arrived.put_nowait(_END))
        while (message := await arrived.get()) is not _END:
            yield Incoming(message.topic.value, bytes(message.payload), message.retain, time.time())
        raise LinkDown("disconnected") from gone.exception()

    def cut(self) -> None:
        """Drop the connection without a goodbye: the broker then publishes the will."""
        sock = self._client._client.socket()  # noqa: SLF001 - the library has no other way to do this
        if isinstance(sock, socket.socket):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


@functools.cache
def _expiring(seconds: float) -> Properties:
    """Return what makes a message expire; the library is slow to make it."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.MessageExpiryInterval = max(1, int(seconds))
    return properties


@contextlib.contextmanager
def _world() -> Iterator[None]:
    """Turn the library's errors into LinkDown, and give back a cancellation that it lost.

    Its calls use asyncio.wait_for, which in Python 3.11 forgets a cancellation that comes in the same turn of the
    loop as the answer; the task would then go on for ever.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    except aiomqtt.MqttError as error:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError from error
        raise LinkDown(str(error) or "connection lost") from error
    if task and task.cancelling() > before:
        raise asyncio.CancelledError


class Link:
    """Keeps a connection to the broker alive; see the module's text for what it promises."""

    def __init__(
        self,
        broker: BrokerSettings,
        *,
        name: str,
        will: Callable[[str], Farewell] | None = None,
        goodbye: Callable[[str], Farewell] | None = None,
        patience_s: float = _CALL_TIMEOUT_S,
        quiet: bool = False,
    ) -> None:
        """Make a link; nothing is opened yet.

        Args:
            broker: where to connect.
            name: what to call us; the client id is made from it and unique for each session.
            will: given the session id, what the broker shall publish when we vanish.
            goodbye: given the session id, what we publish ourselves when we leave on purpose.
            patience_s: how long the broker may take to let us in, and to answer a call.
            quiet: whether connections are not worth a line in the log.
        """
        self._broker = broker
        self._name = name
        self._will = will
        self._goodbye = goodbye
        self._patience_s, self._quiet = patience_s, quiet
        self._protocol = aiomqtt.ProtocolVersion.V5
        self._said: str | None = None
        self._max_packet: int | None = None
        self.connected = False
        self.sessions = 0
        """How many connections there have been."""

    async def run(self, serve: Callable[[Session], Awaitable[None]]) -> None:
        """Connect, call ``serve`` with the session, and begin again when the connection is lost.

        ``serve`` works until it is cancelled or raises. LinkDown means "try again"; if it returns, the link
        is closed with a goodbye and ``run`` returns too.
        """
        waits = delays()
        while True:
            began = time.monotonic()
            try:
                async with self.session() as session:
                    await serve(session)
                    return
            except* LinkDown as downs:
                self._report(str(_first(downs)))
            if time.monotonic() - began > _STEADY_S:
                waits = delays()
            await asyncio.sleep(next(waits))

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """Open one connection; leaving the block says goodbye, or cuts the line after a bug.

        Raises LinkDown when the broker cannot be reached.
        """
        session_id = new_session()
        client = await self._connect(session_id)
        protocol = 5 if self._protocol is aiomqtt.ProtocolVersion.V5 else 4
        session = Session(client, session_id, protocol, self._max_packet)
        self.connected, self.sessions = True, self.sessions + 1
        self._report(None)
        try:
            yield session
        except (asyncio.CancelledError, GeneratorExit):
            await self._leave(session)
            raise
        except LinkDown:
            raise
        except BaseException:
            session.cut()
            raise
        else:
            await self._leave(session)
        finally:
            self.connected = False
            await _close(client)

    async def _connect(self, session_id: str) -> aiomqtt.Client:
        client = self._client(session_id)
        self._max_packet = None
        self._hear_limits(client)
        try:
            await client.__aenter__()
        except MqttConnectError as error:
            code = getattr(error.rc, "value", error.rc)
            if code == _UNSUPPORTED_PROTOCOL and self._protocol is aiomqtt.ProtocolVersion.V5:
                self._protocol = aiomqtt.ProtocolVersion.V311
                return await self._connect(session_id)
            self._protocol = aiomqtt.ProtocolVersion.V5
            remedy = "; check user name and password" if code in _REFUSED_FOR_GOOD else ""
            raise LinkDown(f"the broker refused the connection: {error.rc}{remedy}") from error
        except (aiomqtt.MqttError, UnicodeError) as error:
            self._protocol = aiomqtt.ProtocolVersion.V5
            why = "this is no host name" if isinstance(error, UnicodeError) else str(error)
            raise LinkDown(why) from error
        except asyncio.CancelledError:
            await _abandon(client)
            raise
        return client

    def _hear_limits(self, client: aiomqtt.Client) -> None:
        """Keep what the broker's CONNACK says of its limits, which the library lets pass unread."""
        mqtt = client._client  # noqa: SLF001 - there is no other way to it
        then = mqtt.on_connect
        assert then is not None

        def on_connect(*args: Any) -> None:
            self._max_packet = getattr(args[-1], "MaximumPacketSize", None)
            then(*args)

        mqtt.on_connect = on_connect

    def _client(self, session_id: str) -> aiomqtt.Client:
        v5 = self._protocol is aiomqtt.ProtocolVersion.V5
        properties = None
        if v5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.ReceiveMaximum = RECEIVE_MAXIMUM
            properties.MaximumPacketSize = MAX_PACKET
        will = self._will(session_id) if self._will else None
        return aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            username=self._broker.user,
            password=self._broker.read_password(),
            identifier=f"{self._name}-{session_id}",
            protocol=self._protocol,
            will=aiomqtt.Will(will.topic, will.payload, qos=1, retain=True) if will else None,
            clean_session=None if v5 else True,
            clean_start=True if v5 else paho.MQTT_CLEAN_START_FIRST_ONLY,
            keepalive=self._broker.keepalive_s,
            properties=properties,
            tls_context=self._broker.tls_context(),
            timeout=self._patience_s,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )

    async def _leave(self, session: Session) -> None:
        if self._goodbye is None:
            return
        words = self._goodbye(session.id)
        with contextlib.suppress(LinkDown, TimeoutError):
            async with asyncio.timeout(_GOODBYE_TIMEOUT_S):
                await session.publish(words.topic, words.payload, retain=True)

    def _report(self, trouble: str | None) -> None:
        """Log a change of the link's state, once."""
        if trouble == self._said and self.sessions > 1:
            return
        if self._quiet:
            pass
        elif trouble is None:
            log.info("connected to the broker", broker=self._broker.display, protocol=self._protocol.name)
        elif trouble != self._said:
            log.warning("the broker is away, trying again", broker=self._broker.display, why=trouble)
        self._said = trouble


def _first(group: BaseExceptionGroup[LinkDown]) -> BaseException:
    """Return the first leaf of a group."""
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    return inner


async def _abandon(client: aiomqtt.Client) -> None:
    """End a client that was still waiting to be let in; the library would leave it on the loop."""
    client._connected = asyncio.get_running_loop().create_future()  # noqa: SLF001 - it counts as connected
    client._connected.set_result(None)  # noqa: SLF001
    await _close(client)


async def _close(client: aiomqtt.Client) -> None:
    """End a client whatever state it is in, and take from its futures what nobody else will."""
    with contextlib.suppress(aiomqtt.MqttError, OSError, ValueError):
        await client.__aexit__(None, None, None)
    gone = client._disconnected  # noqa: SLF001 - else asyncio complains of an exception never retrieved
    if gone.done() and not gone.cancelled():
        gone.exception()
