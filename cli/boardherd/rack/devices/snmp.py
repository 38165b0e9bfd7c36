"""A simulated power strip with SNMP: pysnmp's own responder, and contacts behind its objects.

Versions 1, 2c and 3 are spoken at the same time. As with real strips a wrong community gets no answer at all,
and what is read and written are different objects with some makers. An outlet may follow a command late.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from pysnmp.carrier.asyncio.dgram import udp  # type: ignore[import-untyped]  # the library has no types
from pysnmp.entity import config, engine  # type: ignore[import-untyped]
from pysnmp.entity.rfc3413 import cmdrsp, context  # type: ignore[import-untyped]
from pysnmp.proto.rfc1902 import Integer32, OctetString  # type: ignore[import-untyped]
from pysnmp.proto.rfc1905 import endOfMibView, noSuchInstance  # type: ignore[import-untyped]
from pysnmp.smi import error  # type: ignore[import-untyped]
from pysnmp.smi.instrum import AbstractMibInstrumController  # type: ignore[import-untyped]

from boardherd.rack.devices._snmp_makes import MAKES
from boardherd.rack.devices.contacts import Contacts
from boardherd.rack.devices.plugged_device import PluggedDevice

Oid = tuple[int, ...]

_SYS_DESCR: Oid = (1, 3, 6, 1, 2, 1, 1, 1, 0)
_PHYS_ADDRESS: Oid = (1, 3, 6, 1, 2, 1, 2, 2, 1, 6)
_EVERYTHING: Oid = (1, 3, 6)
_NOTHING: Oid = (0, 0)
"""Where no object is; pysnmp lets everything pass where a view is empty."""


class SnmpStrip(PluggedDevice):
    """One strip on one UDP port, alive inside ``async with``; only its network card ever restarts."""

    keeps_outputs = True

    def __init__(
        self,
        *,
        profile: str = "apc-rpdu2",
        outlets: int = 8,
        version: str = "1",
        community: str = "public",
        write_community: str = "private",
        user: str = "boardherd",
        auth_password: str = "",
        privacy_password: str = "",
        module: str = "",
        watts: float | None = 40.0,
        mac: str = "00:C0:B7:12:34:56",
        late: float = 0.0,
        host: str = "127.0.0.1",
        port: int = 0,
        process_delay: float = 0.002,
        on_change: Callable[[int, bool, float], None] | None = None,
    ) -> None:
        """Describe a strip.

        Args:
            profile: whose objects it has, as in the driver's option of that name.
            outlets: how many outlets it has.
            version: what its stanza tells the driver to speak: "1", "2c" or "3".
            community: what it may be read with.
            write_community: what it may be read and switched with.
            user: who may do all over version 3.
            auth_password: password that the user's messages are signed with (SHA); empty for unsigned ones.
            privacy_password: password that they are encrypted with (AES) too; empty for none.
            module: number put before each outlet's, as "1.", where a strip has several modules.
            watts: what an outlet draws while it is on; None for a strip that does not measure.
            mac: hardware address of its second interface; the first one has none.
            late: seconds between the acknowledgement of a command and the contact.
            host: address to listen on.
            port: UDP port, 0 for a free one; the attribute ``port`` tells which, and it stays the same.
            process_delay: seconds between the arrival of a request and acting on it.
            on_change: called with port, energised and monotonic time at each change of an outlet.
        """
        super().__init__(Contacts(range(1, outlets + 1), on_change=on_change), process_delay=process_delay)
        if profile not in MAKES:
            raise ValueError(f'no "{profile}" can be simulated; known profiles are {", ".join(MAKES)}')
        self.profile, self.make = profile, MAKES[profile]
        self.version, self.community, self.write_community = version, community, write_community
        self.user, self.auth_password, self.privacy_password = user, auth_password, privacy_password
        self.module, self.watts, self.mac, self.late = module, watts, mac, late
        self.host, self.port = host, port
        self.writes: list[tuple[str, int]] = []
        """Which objects were set to what, oldest first; refused ones are not listed."""
        self._inbox: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()
        self._going: dict[int, tuple[bool, asyncio.TimerHandle]] = {}
        self._engine: Any = None
        self._socket: Any = None
        self._boots = 0

    def stanza(self) -> dict[str, Any]:
        """Return the keys of lab.toml with which a relay reaches this strip."""
        login: dict[str, Any] = {"community": self.community, "write_community": self.write_community}
        if self.version == "3":
            login = {"user": self.user}
            login |= {"auth_password": self.auth_password} if self.auth_password else {}
            login |= {"privacy_password": self.privacy_password} if self.privacy_password else {}
        where = {"address": self.host, "tcp_port": self.port, "port_count": len(self.outputs)}
        return {"kind": "snmp", "profile": self.profile, "version": self.version} | where | login

    async def dead(self) -> None:
        """Be unplugged from the network until :meth:`heal`: over UDP that looks like :meth:`hang`."""
        await self.hang()

    def objects(self) -> dict[Oid, Any]:
        """Return everything that can be read just now, in the order of the OIDs."""
        make = self.make
        found: dict[Oid, Any] = {
            _SYS_DESCR: OctetString(make.description),
            (*_PHYS_ADDRESS, 1): OctetString(b""),
            (*_PHYS_ADDRESS, 2): OctetString(bytes.fromhex(self.mac.replace(":", ""))),
        }
        for port, energised in self.outputs.items():
            for command in filter(None, (make.command, make.off_command)):
                found[self._oid(command, port)] = Integer32(make.on if energised else make.off)
            found[self._oid(make.state, port)] = Integer32(self._says(port, energised))
            if make.watts and self.watts is not None:
                drawn = round(self.watts) if energised else 0
                found[self._oid(make.watts, port, make.after_watts)] = Integer32(drawn)
        return dict(sorted(found.items()))

    def write(self, oid: Oid, value: int) -> None:
        """Carry out a command; raises one of pysnmp's errors where there is none, or it is refused."""
        make = self.make
        commands = {
            (self._oid(where, port), number): (port, state)
            for port in self.outputs
            for where, number, state in (
                (make.command, make.on, True),
                (make.off_command or make.command, make.off, False),
            )
        }
        if oid not in {known for known, _ in commands}:
            raise error.NoCreationError(idx=0)
        if self.answer_fail:
            raise error.GenError(idx=0)
        if (oid, value) not in commands:
            raise error.WrongValueError(idx=0)
        self.writes.append((".".join(map(str, oid)), value))
        self._command(*commands[oid, value])

    def _says(self, port: int, energised: bool) -> int:
        make = self.make
        if port in self._going:
            says = make.says_going_on if self._going[port][0] else make.says_going_off
            if says is not None:
                return says
        return make.says_on if energised else make.says_off

    def _oid(self, column: str, port: int, rest: str = "") -> Oid:
        text = f"{column}.{self.module}{port}" + (f".{rest}" if rest else "")
        return tuple(int(number) for number in text.split("."))

    def _command(self, port: int, energised: bool) -> None:
        if port in self._going:
            self._going.pop(port)[1].cancel()
        if not self.late:
            self.contacts.set(port, energised)
            return
        timer = asyncio.get_running_loop().call_later(self.late, self._follow, port, energised)
        self._going[port] = (energised, timer)

    def _follow(self, port: int, energised: bool) -> None:
        del self._going[port]
        self.contacts.set(port, energised)

    async def stop(self) -> None:
        """Let no outlet follow any more."""
        for _, timer in self._going.values():
            timer.cancel()
        self._going.clear()

    async def plug_in(self) -> None:
        """Listen, with one more boot on the counter, which version 3 needs to tell old messages from new."""
        self._boots += 1
        self._engine = _engine(self._boots)
        self._socket = _Socket(self).open_server_mode((self.host, self.port))
        config.add_transport(self._engine, udp.DOMAIN_NAME, self._socket)
        for name, community, writes in (
            ("reader", self.community, _NOTHING),
            ("writer", self.write_community, _EVERYTHING),
        ):
            config.add_v1_system(self._engine, name, community)
            for model in (1, 2):
                config.add_vacm_user(self._engine, model, name, "noAuthNoPriv", _EVERYTHING, writes)
        _add_user(self._engine, self.user, self.auth_password, self.privacy_password)
        objects = context.SnmpContext(self._engine)
        objects.unregister_context_name(b"")
        objects.register_context_name(b"", _Objects(self))
        for responder in (
            cmdrsp.GetCommandResponder,
            cmdrsp.NextCommandResponder,
            cmdrsp.SetCommandResponder,
        ):
            responder(self._engine, objects)
        await self._socket.ready()
        self.port = self._socket.transport.get_extra_info("sockname")[1]

    async def unplug(self) -> None:
        """Close the socket, and lose what has not been worked on."""
        ticking = self._engine.transport_dispatcher.loopingcall
        self._engine.close_dispatcher()
        await asyncio.wait([ticking])
        while not self._inbox.empty():
            self._inbox.get_nowait()
        await self._socket.gone()

    def received(self, datagram: bytes, address: Any) -> None:
        """Queue a request; lost if the strip hangs."""
        if not self._hung:
            self._inbox.put_nowait((datagram, address))

    async def work(self) -> None:
        """Work off one request after the other."""
        while True:
            datagram, address = await self._inbox.get()
            await asyncio.sleep(self.process_delay + self.delay)
            if not self._hung:
                self._socket.work_on(datagram, address)


class _Socket(udp.UdpAsyncioTransport):  # type: ignore[misc]  # the library has no types
    """The strip's UDP socket: requests go through its queue, and answers may be spoilt."""

    def __init__(self, strip: SnmpStrip) -> None:
        super().__init__()
        self._strip = strip
        self._closed = asyncio.Event()

    async def ready(self) -> None:
        """Return when the socket is open; raises OSError if it cannot be."""
        await self._lport

    async def gone(self) -> None:
        """Return when it is closed, and its port free."""
        await self._closed.wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end; called by the event loop."""
        self._closed.set()
        super().connection_lost(exc)

    def datagram_received(self, datagram: bytes, address: Any) -> None:
        """Pass a request on to the strip; called by the event loop."""
        self._strip.received(datagram, address)

    def work_on(self, datagram: bytes, address: Any) -> None:
        """Let the responder act on a request."""
        super().datagram_received(datagram, address)

    def send_message(self, message: bytes, address: Any) -> None:
        """Send an answer, or what stands in its place."""
        super().send_message(message if self._strip.garble is None else self._strip.garble, address)


class _Objects(AbstractMibInstrumController):  # type: ignore[misc]  # the library has no types
    """What the responder asks for objects."""

    def __init__(self, strip: SnmpStrip) -> None:
        self._strip = strip

    def read_variables(self, *bindings: Any, **asker: Any) -> list[tuple[Any, Any]]:
        """Return the objects asked for."""
        self._check("read", bindings, asker)
        found = self._strip.objects()
        return [(name, found.get(tuple(name), noSuchInstance)) for name, _ in bindings]

    def read_next_variables(self, *bindings: Any, **asker: Any) -> list[tuple[Any, Any]]:
        """Return the objects that follow those asked for."""
        self._check("read", bindings, asker)
        found = self._strip.objects()
        answer = []
        for name, _ in bindings:
            after = next((oid for oid in found if oid > tuple(name)), None)
            answer.append((name.clone(after), found[after]) if after else (name, endOfMibView))
        return answer

    def write_variables(self, *bindings: Any, **asker: Any) -> list[tuple[Any, Any]]:
        """Carry out a command."""
        self._check("write", bindings, asker)
        for name, value in bindings:
            if not isinstance(value, Integer32):
                raise error.WrongTypeError(idx=0)
            self._strip.write(tuple(name), int(value))
        return list(bindings)

    @staticmethod
    def _check(access: str, bindings: Any, asker: dict[str, Any]) -> None:
        for place, binding in enumerate(bindings):
            if asker["acFun"](access, binding, idx=place, **asker):
                raise error.NoAccessError(idx=place)


def _engine(boots: int) -> Any:
    """Return an engine that was started so many times; pysnmp itself would keep that in a file for ever."""
    made = engine.SnmpEngine()
    counter, started = made.get_mib_builder().import_symbols(
        "__SNMP-FRAMEWORK-MIB", "snmpEngineBoots", "snmpEngineTime"
    )
    counter.syntax = counter.syntax.clone(boots)
    started.syntax = started.syntax.clone(int(time.time()))
    return made


def _add_user(made: Any, name: str, auth_password: str, privacy_password: str) -> None:
    """Let a user of version 3 do everything, with messages no less secure than the passwords allow."""
    auth = (config.USM_AUTH_HMAC96_SHA, auth_password) if auth_password else ()
    privacy = (config.USM_PRIV_CFB128_AES, privacy_password) if privacy_password else ()
    level = "authPriv" if privacy else "authNoPriv" if auth else "noAuthNoPriv"
    config.add_v3_user(made, name, *auth, *privacy)
    config.add_vacm_user(made, 3, name, level, _EVERYTHING, _EVERYTHING)


simulate = SnmpStrip
