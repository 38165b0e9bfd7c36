"""A simulated Tasmota device: commands over HTTP and, when it is given a broker, over MQTT as well.

A single relay is called POWER, several are called POWER1 and so on. ``Backlog`` runs its commands one after the other,
with pauses that ``Delay`` makes. A wrong login is answered by a warning with status 200 or by status 401. Over MQTT
it obeys any command, retained ones too, as the firmware does, and its last will says Offline.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import deque
from typing import Any, Literal, Self

from boardherd.rack.devices.http_device import HttpDevice, Request, Response
from boardherd_shared.link import BrokerSettings, Farewell, Incoming, Link, LinkDown, Session

_POWER = re.compile(r"power(\d*)")
_STATES = {"on": True, "1": True, "true": True, "off": False, "0": False, "false": False}
_TOGGLES = {"toggle", "2"}
_WATTS_ON = 7
_WARNING = "Need user=<username>&password=<password>"


class TasmotaDevice(HttpDevice):
    """One device on one TCP port and perhaps at a broker, alive inside ``async with``."""

    def __init__(
        self,
        *,
        outlets: int = 4,
        password: str | None = None,
        denies_with: Literal[200, 401] = 200,
        broker: str | None = None,
        topic: str = "tasmota_A1B2C3",
        single_is_numbered: bool = False,
        metering: bool = False,
        mac: str = "A4:CF:12:A1:B2:C3",
        keeps_outputs: bool = True,
        **server: Any,
    ) -> None:
        """Describe a device.

        Args:
            outlets: how many relays it has.
            password: password of its web interface, None for none.
            denies_with: status of the answer to a wrong login.
            broker: address of the broker it connects to, ``mqtt://host:port``; None for none.
            topic: its topic there.
            single_is_numbered: whether a single relay is called POWER1 all the same.
            metering: whether each relay has a meter.
            mac: hardware address it reports.
            keeps_outputs: whether the relays come back as they were, as PowerOnState 3 says.
            server: see :class:`HttpDevice`.
        """
        super().__init__(range(1, outlets + 1), keeps_outputs=keeps_outputs, **server)
        self.password, self.denies_with, self.metering, self.mac = password, denies_with, metering, mac
        self.broker, self.topic = broker, topic
        self.single_is_numbered = single_is_numbered
        self.published: deque[tuple[str, str]] = deque(maxlen=1000)
        """What came last over MQTT, as command and argument."""
        self._backlog: deque[str] = deque()
        self._backlog_task: asyncio.Task[None] | None = None
        self._mqtt: asyncio.Task[None] | None = None
        self._session: Session | None = None

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        await self._join()
        return self

    async def stop(self) -> None:
        """Leave the broker in good order and forget the backlog."""
        await self._leave(suddenly=False)
        await self._forget()

    def stanza(self) -> dict[str, Any]:
        """Return the keys of lab.toml with which a relay reaches this device."""
        if self.broker is not None:
            keys = {"broker": self.broker, "topic": self.topic, "port_count": len(self.outputs)}
            return {"kind": "tasmota"} | keys
        return {"kind": "tasmota"} | self.where() | ({"password": self.password} if self.password else {})

    async def dead(self) -> None:
        """Vanish from the network and the broker until :meth:`heal`; the relays stay as they are."""
        await super().dead()
        await self._leave()

    async def reboot(self, *, seconds: float = 0.5) -> None:
        """Restart; what waited in the backlog is forgotten."""
        await self._leave()
        await self._forget()
        await super().reboot(seconds=seconds)

    async def heal(self) -> None:
        """End every fault."""
        await super().heal()
        await self._join()

    def respond(self, request: Request) -> Response:
        """Act on a request and return the answer."""
        if request.path != "/cm":
            return Response.text("Not Found", 404)
        said = request.query
        if self.password is not None and (said.get("user"), said.get("password")) != ("admin", self.password):
            return Response.json({"WARNING": _WARNING}, self.denies_with)
        name, _, argument = said.get("cmnd", "").partition(" ")
        _, answer = self.execute(name, argument)
        return Response.json(answer)

    def execute(self, name: str, argument: str) -> tuple[str, dict[str, Any]]:
        """Carry out a command; return the topic that answers it, and the answer."""
        name, argument = name.lower(), argument.strip()
        if match := _POWER.fullmatch(name):
            return "RESULT", self._power(int(match[1] or 1), argument.lower())
        match name:
            case "status":
                return f"STATUS{argument}", self._status(argument)
            case "backlog":
                return "RESULT", self._queue(argument)
            case _:
                return "RESULT", {"Command": "Unknown"}

    def _power(self, port: int, argument: str) -> dict[str, Any]:
        if port not in self.contacts:
            port = 1  # the oddity of some firmware that clients have to know
        if self.answer_fail and argument:
            return {"Command": "Error"}
        if argument in _STATES:
            self.contacts.set(port, _STATES[argument])
        elif argument in _TOGGLES:
            self.contacts.set(port, not self.outputs[port])
        return {self._key(port): self._word(port)}

    def _status(self, number: str) -> dict[str, Any]:
        match number:
            case "2":
                return {"StatusFWR": {"Version": "14.3.0(tasmota)", "Core": "2_7_7", "Hardware": "ESP8266EX"}}
            case "5":
                return {"StatusNET": {"Hostname": self.topic, "IPAddress": self.host, "Mac": self.mac}}
            case "8" | "10":
                watts = [_WATTS_ON if energised else 0 for energised in self.outputs.values()]
                energy = {"Power": watts if len(watts) > 1 else watts[0], "Voltage": 231}
                return {
                    "StatusSNS": {"Time": "2026-11-20T10:00:00"}
                    | ({"ENERGY": energy} if self.metering else {})
                }
            case "11":
                states = {self._key(port): self._word(port) for port in self.outputs}
                return {"StatusSTS": {"UptimeSec": self.uptime, "Heap": 24} | states}
            case _:
                return {"Command": "Error"}

    def _key(self, port: int) -> str:
        return f"POWER{port}" if len(self.outputs) > 1 or self.single_is_numbered else "POWER"

    def _word(self, port: int) -> str:
        return "ON" if self.outputs[port] else "OFF"

    def _queue(self, commands: str) -> dict[str, Any]:
        """Let commands wait, which is answered by nothing; no commands empty the queue."""
        if not commands:
            outcome = "Aborted" if self._backlog else "Empty"
            self._backlog.clear()
            return {"Backlog": outcome}
        self._backlog.extend(command.strip() for command in commands.split(";"))
        if self._backlog_task is None or self._backlog_task.done():
            self._backlog_task = asyncio.create_task(self._work_off(), name=f"backlog of {self.topic}")
        return {}

    async def _work_off(self) -> None:
        while self._backlog:
            name, _, argument = self._backlog.popleft().partition(" ")
            if name.lower() == "delay":
                await asyncio.sleep(int(argument) / 10)
            else:
                self.execute(name, argument)

    async def _forget(self) -> None:
        self._backlog.clear()
        await _end(self._backlog_task)

    async def _join(self) -> None:
        """Connect to the broker, and return when it is listening there."""
        if self.broker is None or self._mqtt is not None:
            return
        listening = asyncio.Event()
        offline = Farewell(self._topic("tele", "LWT"), b"Offline")
        link = Link(
            BrokerSettings.model_validate({"url": self.broker}),
            name=self.topic,
            will=lambda _: offline,
            goodbye=lambda _: offline,
        )

        async def serve(session: Session) -> None:
            self._session = session
            await session.subscribe(self._topic("cmnd", "+"))
            await session.publish(self._topic("tele", "LWT"), b"Online", retain=True)
            listening.set()
            async for message in session.messages():
                await self._obey(session, message)

        self._mqtt = asyncio.create_task(link.run(serve), name=f"{self.topic} at its broker")
        await listening.wait()

    async def _leave(self, *, suddenly: bool = True) -> None:
        """Go from the broker, which publishes the will of a device that vanishes."""
        if suddenly and self._session is not None:
            self._session.cut()
        await _end(self._mqtt)
        self._mqtt = self._session = None

    async def _obey(self, session: Session, message: Incoming) -> None:
        name, argument = message.topic.rpartition("/")[2], message.payload.decode("utf-8", "replace")
        self.published.append((name, argument))
        await asyncio.sleep(self.process_delay + self.delay)
        if self._hung:
            return
        topic, answer = self.execute(name, argument)
        payload = json.dumps(answer).encode() if self.garble is None else self.garble
        with contextlib.suppress(LinkDown):
            if answer:
                await session.publish(self._topic("stat", topic), payload)

    def _topic(self, prefix: str, suffix: str) -> str:
        return f"{prefix}/{self.topic}/{suffix}"


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


simulate = TasmotaDevice
