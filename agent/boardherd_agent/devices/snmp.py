"""SNMP to a device: one request at a time, and every way it fails, in words.

Uses pysnmp, which comes with the extra ``snmp`` and is imported when the first device is opened. A device
that does not know a community stays silent, so silence has two explanations and the message names both.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from boardherd_agent.devices.codecs import snmp as codec
from boardherd_agent.devices.device import DeviceGarbled, DeviceOffline, DeviceRefused
from boardherd_agent.devices.extras import needs
from boardherd_shared.command import Duration
from boardherd_shared.inventory import RelayConfig

EXTRA = "snmp"
"""The extra of the agent's package that brings pysnmp."""
DEFAULT_UDP_PORT = 161
SHORTEST_PASSWORD = 8
"""RFC 3414 demands at least so many characters."""

_AT_ONCE = 10
"""Objects in one request: the answer then fits the smallest message that a device must be able to send."""
_PATIENCE_S = 3600
"""What pysnmp is told to wait; the timeout is kept here, to the millisecond and not in its ticks."""
_NO_SUCH_NAME, _GEN_ERR = 2, 5
_ONE_ENGINE_AT_A_TIME = threading.Lock()

_AUTH = {
    "md5": "usmHMACMD5AuthProtocol",
    "sha": "usmHMACSHAAuthProtocol",
    "sha224": "usmHMAC128SHA224AuthProtocol",
    "sha256": "usmHMAC192SHA256AuthProtocol",
    "sha384": "usmHMAC256SHA384AuthProtocol",
    "sha512": "usmHMAC384SHA512AuthProtocol",
}
_PRIVACY = {
    "des": "usmDESPrivProtocol",
    "aes": "usmAesCfb128Protocol",
    "aes192": "usmAesCfb192Protocol",
    "aes256": "usmAesCfb256Protocol",
}
_WRONG_LOGIN = {
    "AuthenticationError",
    "AuthenticationFailure",
    "DecryptionError",
    "EncryptionError",
    "UnknownSecurityName",
    "UnknownUserName",
    "UnsupportedAuthProtocol",
    "UnsupportedPrivProtocol",
    "UnsupportedSecurityLevel",
    "WrongDigest",
}
"""Indications of pysnmp after which asking again would not help."""

Value: TypeAlias = int | bytes
"""What an object may be: any kind of number, or a text."""


class NoSuchObject(DeviceRefused):
    """The device has not got one of the objects that it was asked for."""


class SnmpOptions(BaseModel):
    """Keys in lab.toml that every device with SNMP has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Annotated[Literal["1", "2c", "3"], BeforeValidator(str)] = Field(
        "1", description="of SNMP: 1, 2c or 3"
    )
    community: SecretStr | None = Field(None, description="versions 1 and 2c: what it is read with")
    write_community: SecretStr | None = Field(
        None, description="versions 1 and 2c: what it is switched with; as community by default"
    )
    user: str | None = Field(None, min_length=1, max_length=32, description="version 3: user name")
    auth: Literal["md5", "sha", "sha224", "sha256", "sha384", "sha512"] = Field(
        "sha", description="version 3: how messages are signed, if there is an auth_password"
    )
    auth_password: SecretStr | None = Field(
        None, min_length=SHORTEST_PASSWORD, description="version 3: password for signing"
    )
    privacy: Literal["des", "aes", "aes192", "aes256"] = Field(
        "aes", description="version 3: how messages are encrypted, if there is a privacy_password"
    )
    privacy_password: SecretStr | None = Field(
        None, min_length=SHORTEST_PASSWORD, description="version 3: password for encryption"
    )
    connect_timeout: Duration = Field(
        3.0,
        gt=0,
        description="how long finding its address may take, and with version 3 the exchange of keys and clocks",
    )
    reply_timeout: Duration = Field(2.0, gt=0, description="how long one answer may take")

    def check(self) -> None:
        """Raise ValueError in words if the version lacks what it needs."""
        if self.version == "3" and self.user is None:
            raise ValueError('SNMP version 3 needs "user"')
        if self.version != "3" and self.community is None:
            raise ValueError(f'SNMP version {self.version} needs "community"')
        if self.privacy_password is not None and self.auth_password is None:
            raise ValueError('"privacy_password" needs "auth_password" too: encrypted messages are signed')


class SnmpTransport:
    """The way to one device; there is no connection, so opening it proves nothing."""

    def __init__(self, config: RelayConfig, options: SnmpOptions) -> None:
        """Remember where the device is, and how it is to be spoken to; ValueError if that does not fit."""
        options.check()
        self._host = str(config.address)
        self._port = config.tcp_port or DEFAULT_UDP_PORT
        self._options = options
        self._place = f"{self._host}:{self._port}"
        self._hlapi: Any = None
        self._error: type[Exception] = Exception
        self._engine: Any = None
        self._target: Any = None
        self._acquainted = options.version != "3"
        """Whether the device's clock and its part of the keys are known."""

    async def open(self) -> None:
        """Get ready to ask; raises DeviceOffline for a name that cannot be found, DeviceRefused without pysnmp."""
        # An engine reads its tables from files, for a tenth of a second.
        self._hlapi, self._error, self._engine = await asyncio.to_thread(_make_engine)
        try:
            async with asyncio.timeout(self._options.connect_timeout):
                self._target = await _target(self._hlapi, self._host, self._port)
        except TimeoutError as error:
            limit = self._options.connect_timeout
            raise DeviceOffline(f"the address of {self._place} was not found within {limit:g} s") from error
        except UnicodeError as error:
            raise DeviceOffline(f"{self._place}: this is no host name") from error
        except self._error as error:
            raise DeviceOffline(f"{self._place}: the name cannot be found") from error

    async def close(self) -> None:
        """Close the socket, and return when nothing of it is left."""
        engine, self._engine = self._engine, None
        if engine is None or engine.transport_dispatcher is None:
            return
        ticking = engine.transport_dispatcher.loopingcall
        engine.close_dispatcher()
        if ticking is not None:
            await asyncio.wait([ticking])
        await self._target.transport.gone()

    async def get(self, oids: Sequence[str]) -> list[Value]:
        """Return the values of some objects; raises DeviceError, NoSuchObject if there is not one of them."""
        values: list[Value] = []
        for start in range(0, len(oids), _AT_ONCE):
            found = await self._request("get_cmd", [(oid, None) for oid in oids[start : start + _AT_ONCE]])
            values += [self._value(name, value) for name, value in found]
        return values

    async def walk(self, column: str, limit: int) -> dict[str, Value]:
        """Return the objects below ``column`` by what follows it in their OIDs, ``limit`` of them at most."""
        found: dict[str, Value] = {}
        oid = column
        with contextlib.suppress(NoSuchObject):  # the end of everything that the device has
            while len(found) < limit:
                [(oid, value)] = await self._request("next_cmd", [(oid, None)])
                index = codec.index_in(column, oid)
                if not index or index in found:
                    break
                found[index] = self._value(oid, value)
        return found

    async def set(self, oid: str, value: int) -> None:
        """Write an INTEGER and return when the device has acknowledged it; raises DeviceError."""
        await self._request("set_cmd", [(oid, self._hlapi.Integer32(value))])

    async def _request(self, command: str, objects: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Ask once, and return names and values; raises DeviceError."""
        hlapi, writes = self._hlapi, command == "set_cmd"
        bindings = [
            hlapi.ObjectType(hlapi.ObjectIdentity(oid), *([] if value is None else [value]))
            for oid, value in objects
        ]
        if self._target.transport is not None:
            self._target.transport.strange = b""
        limit = self._limit()
        try:
            async with asyncio.timeout(limit):
                indication, status, place, found = await getattr(hlapi, command)(
                    self._engine,
                    self._login(writes=writes),
                    self._target,
                    hlapi.ContextData(),
                    *bindings,
                    lookupMib=False,
                )
        except TimeoutError as error:
            raise self._silence(limit) from error
        except self._error as error:
            raise DeviceOffline(f"{self._place}: {error}") from error
        self._acquainted = True
        if indication:
            raise self._indicated(indication)
        if status:
            raise self._denied(int(status), status.prettyPrint(), objects, int(place), writes=writes)
        return [(str(name), value) for name, value in found]

    def _login(self, *, writes: bool) -> Any:
        options = self._options
        if options.version != "3":
            word = (options.write_community if writes else None) or options.community
            assert word is not None
            return self._hlapi.CommunityData(
                word.get_secret_value(), mpModel=0 if options.version == "1" else 1
            )
        keys = {}
        if options.auth_password is not None:
            keys["authKey"] = options.auth_password.get_secret_value()
            keys["authProtocol"] = getattr(self._hlapi, _AUTH[options.auth])
        if options.privacy_password is not None:
            keys["privKey"] = options.privacy_password.get_secret_value()
            keys["privProtocol"] = getattr(self._hlapi, _PRIVACY[options.privacy])
        return self._hlapi.UsmUserData(options.user, **keys)

    def _limit(self) -> float:
        """Return how long the next request may take; the first one of version 3 is several exchanges."""
        options = self._options
        return (
            options.reply_timeout if self._acquainted else max(options.connect_timeout, options.reply_timeout)
        )

    def _silence(self, limit: float) -> DeviceOffline | DeviceGarbled:
        if self._target.transport is not None and (strange := self._target.transport.strange):
            shown = strange[:32].hex(" ") + (" ..." if len(strange) > 32 else "")
            return DeviceGarbled(f"{self._place} answers {shown}, which is no SNMP")
        login = "user" if self._options.version == "3" else "community"
        return DeviceOffline(f"{self._place} does not answer within {limit:g} s; is the {login} right?")

    def _indicated(self, indication: Any) -> DeviceOffline | DeviceRefused:
        kind = DeviceRefused if type(indication).__name__ in _WRONG_LOGIN else DeviceOffline
        return kind(f"{self._place}: {indication}")

    def _denied(
        self, status: int, name: str, objects: list[tuple[str, Any]], place: int, *, writes: bool
    ) -> DeviceRefused:
        """Return what a device means by an error status; version 1 has one word for absent and for forbidden."""
        oid = objects[place - 1][0] if 0 < place <= len(objects) else objects[0][0]
        if writes:
            hint = "" if status == _GEN_ERR else "; may this login write, and is there such an outlet?"
            return DeviceRefused(f"{self._place} refuses to set {oid}: {name}{hint}")
        if status == _NO_SUCH_NAME:
            return NoSuchObject(f"{self._place} has no object {oid}")
        return DeviceRefused(f"{self._place} refuses to tell {oid}: {name}")

    def _value(self, oid: str, value: Any) -> Value:
        """Return what Python has for a value; raises NoSuchObject where the device has none."""
        kind = type(value).__name__
        if kind in {"NoSuchObject", "NoSuchInstance", "EndOfMibView", "Null"}:
            raise NoSuchObject(f"{self._place} has no object {oid}")
        try:
            return int(value) if not hasattr(value, "asOctets") else bytes(value)
        except (TypeError, ValueError) as error:
            raise DeviceGarbled(f"{self._place} answers a {kind} for {oid}") from error


def _make_engine() -> tuple[Any, type[Exception], Any]:
    """Return pysnmp's functions, its kind of error, and a fresh engine; to be called in a thread."""
    with _ONE_ENGINE_AT_A_TIME, needs(EXTRA):
        from pysnmp.error import PySnmpError  # type: ignore[import-untyped]  # the library has no types
        from pysnmp.hlapi.v3arch import asyncio as hlapi  # type: ignore[import-untyped]

        return hlapi, PySnmpError, hlapi.SnmpEngine()


async def _target(hlapi: Any, host: str, port: int) -> Any:
    """Return where a device is, with a socket of ours that keeps what is no SNMP."""
    base = hlapi.Udp6TransportTarget if ":" in host else hlapi.UdpTransportTarget
    target = type("Target", (base,), {"PROTO_TRANSPORT": _keeping(base.PROTO_TRANSPORT)})
    return await target.create((host, port), timeout=_PATIENCE_S, retries=0)  # type: ignore[attr-defined]


def _keeping(transport: Any) -> Any:
    """Return a kind of ``transport`` that remembers the last datagram that is no SNMP, and drops it."""

    def datagram_received(self: Any, datagram: bytes, address: Any) -> None:
        if codec.is_message(datagram):
            transport.datagram_received(self, datagram, address)
        else:
            self.strange = datagram

    async def gone(self: Any) -> None:
        """Return when the socket has closed, which begins in the loop's next turn, or will not open any more."""
        await asyncio.wait([self._lport])
        await asyncio.sleep(0)

    own = {"strange": b"", "datagram_received": datagram_received, "gone": gone}
    return type("Transport", (transport,), own)
