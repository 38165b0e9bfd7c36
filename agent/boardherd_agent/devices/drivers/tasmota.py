"""Tasmota plugs, relays and strips, over HTTP or over MQTT.

Relays are set absolutely and one by one; only the numbers that the device lists are used, because some firmware
takes a number that does not exist for the first relay. A pulse is an absolute set, which the device acknowledges,
and then a ``Backlog`` that waits in the device. It would also come after a later switch, and there is one queue
for all relays; so pulses are left to devices with a single relay, and each switch there empties the queue first.
Over MQTT nothing is ever published with the retain flag: a
retained command would switch again at each connect of the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Protocol, TypeVar

from pydantic import BeforeValidator, Field

from boardherd_agent.devices.codecs import tasmota as codec
from boardherd_agent.devices.codecs.json_replies import Readings, Refusal, bad
from boardherd_agent.devices.codecs.replies import BadReply
from boardherd_agent.devices.device import About, DeviceGarbled, DeviceRefused, Identity
from boardherd_agent.devices.drivers._connected import ConnectedRelay
from boardherd_agent.devices.http import EXTRA, HttpOptions, HttpTransport
from boardherd_agent.devices.mqtt import MqttTransport
from boardherd_agent.devices.uptime import Uptime
from boardherd_shared.inventory import RelayConfig
from boardherd_shared.link import BrokerSettings, Incoming

T = TypeVar("T")

_USER = "admin"
"""The only user that the firmware knows."""
_RESULT = "RESULT"

ABOUT = About(
    title="Tasmota plugs, relays and strips",
    models="any device with the Tasmota firmware and at least one relay",
    connection="HTTP, port 80; or MQTT through a broker that the device is connected to",
    example="""
[relay.plug-2]
kind = "tasmota"
address = "10.0.5.44"
port_count = 1

[relay.strip-1]
kind = "tasmota"
broker = "mqtt://10.0.5.1:1883"
topic = "strip_1"
port_count = 4
""",
    tested="a simulator over HTTP, and over MQTT through Mosquitto; written from the project's documents; no real "
    "device yet",
    pulse="0.2 s to 6 min, by devices with a single relay",
    metering="power, if each relay has a meter of its own (command Status 8)",
    after_power_loss="as they were (PowerOnState 3, the default), or as set in the device",
    extra=EXTRA,
    notes="Over MQTT the extra is not needed. Leave the words for states (StateText) at ON and OFF, and over MQTT "
    "SetOption4 at 0. Over HTTP the password travels in the address of each request, in clear text. A switch "
    "of a device with a single relay empties its Backlog.",
)


def _broker(value: object) -> object:
    """Take an address for a table of which nothing else is given."""
    return {"url": value} if isinstance(value, str) else value


class Options(HttpOptions):
    """Keys of a Tasmota relay in lab.toml beside the common ones."""

    broker: Annotated[BrokerSettings | None, BeforeValidator(_broker)] = Field(
        None,
        description='MQTT broker of the device instead of an address: "mqtt://host:1883", or a table with url, '
        "username, password, ca_file and so on",
    )
    topic: str | None = Field(
        None,
        pattern=r"^[^/+#]+$",
        description="with a broker: the device's topic, for example tasmota_A1B2C3",
    )
    full_topic: str = Field(
        "%prefix%/%topic%/",
        pattern=r"%prefix%[^+#]*%topic%|%topic%[^+#]*%prefix%",
        description="with a broker: the device's FullTopic, if it was changed",
    )


class Driver(ConnectedRelay):
    """One device; see the contract in :mod:`boardherd_agent.devices.device`."""

    reads_back = True

    def __init__(self, config: RelayConfig, options: Options) -> None:
        """Describe the device; ValueError unless it has an address, or a broker and a topic."""
        super().__init__()
        self._line = _line(config, options)
        self._uptime = Uptime(self._line.place)
        self._ports: frozenset[int] = frozenset()
        self.max_pulse_s = 0.0
        """The longest pulse; 0 for devices with several relays, which are not asked for any."""

    async def read(self) -> Mapping[int, bool]:
        """Return for each relay whether it is energised; raises DeviceError."""
        readings = await self._status(codec.STATUS_STATE, codec.parse_state)
        self._uptime.reported(readings.uptime_s)
        return readings.outputs

    async def set(self, port: int, energised: bool) -> None:
        """Set one relay and wait for the acknowledgement; raises DeviceError.

        An answer with the other state counts as somebody else's switch, not as this one's acknowledgement.
        """
        if port not in self._ports:
            raise DeviceRefused(f"{self._line.place} has no relay {port}")
        if self.max_pulse_s:
            await self._line.ask(*codec.ABORT, _RESULT, codec.parse_aborted)

        def acknowledged(body: bytes) -> bool | None:
            return True if codec.parse_power(body, port) is energised else None

        await self._line.ask(*codec.power(port, energised=energised), _RESULT, acknowledged)

    async def pulse(self, port: int, energised: bool, seconds: float) -> None:
        """Hold a state for 0.2 s to 6 min, then take the opposite one; raises DeviceError or ValueError."""
        if not self.max_pulse_s:
            raise ValueError("pulses are left to devices with a single relay")
        command, argument = codec.later(port, energised=not energised, seconds=seconds)
        await self.set(port, energised)
        await self._line.tell(command, argument)

    async def watts(self) -> Mapping[int, float]:
        """Return the power at each relay that is measured; raises DeviceError."""
        return await self._status(
            codec.STATUS_SENSORS, lambda body: codec.parse_watts(body, len(self._ports))
        )

    async def _open(self) -> None:
        await self._line.open()

    async def _close(self) -> None:
        await self._line.close()

    async def _identify(self) -> Identity:
        readings: Readings = await self._status(codec.STATUS_STATE, codec.parse_state)
        self._ports = frozenset(readings.outputs)
        self.max_pulse_s = codec.MAX_PULSE_S if len(self._ports) == 1 else 0.0
        firmware, processor = await self._status(codec.STATUS_FIRMWARE, codec.parse_firmware)
        mac = await self._status(codec.STATUS_NETWORK, codec.parse_mac)
        return Identity("Tasmota", processor, firmware, mac, len(self._ports))

    async def _status(self, number: str, parse: Callable[[bytes], T]) -> T:
        return await self._line.ask("Status", number, f"STATUS{number}", parse)


class _Line(Protocol):
    """A way to send a command and get its answer."""

    place: str

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def ask(
        self, command: str, argument: str, answered_on: str, parse: Callable[[bytes], T | None]
    ) -> T:
        """Send a command and return what ``parse`` makes of the answer; None means it is not this answer."""
        ...

    async def tell(self, command: str, argument: str) -> None:
        """Send a command whose answer says nothing."""
        ...


class _HttpLine:
    """Commands in the query of a GET request, the login beside them."""

    def __init__(self, config: RelayConfig, options: Options) -> None:
        self._http = HttpTransport(config, options, login="inline")
        self.place = self._http.place
        word = options.word()
        self._login = {"user": options.user or _USER, "password": word} if word is not None else {}

    async def open(self) -> None:
        await self._http.open()

    async def close(self) -> None:
        await self._http.close()

    async def ask(
        self, command: str, argument: str, answered_on: str, parse: Callable[[bytes], T | None]
    ) -> T:
        del answered_on
        body = await self._send(command, argument)
        if (answer := self._http.decode(parse, body)) is None:
            raise DeviceGarbled(f"{self.place}: {bad(body)}")
        return answer

    async def tell(self, command: str, argument: str) -> None:
        body = await self._send(command, argument)
        if body.strip():
            self._http.decode(codec.parse_answer, body)

    async def _send(self, command: str, argument: str) -> bytes:
        query = self._login | {"cmnd": f"{command} {argument}".strip()}
        return await self._http.ask("GET", "/cm", params=query)


class _MqttLine:
    """Commands on ``cmnd/<topic>/<command>``, answers on ``stat/<topic>/...``, the will on ``tele/<topic>/LWT``."""

    def __init__(self, broker: BrokerSettings, options: Options) -> None:
        self._options = options
        self.place = f"{options.topic} at {broker.display}"
        self._will = self._topic("tele", "LWT")
        self._mqtt = MqttTransport(broker, self.place, gone=self._gone, patience_s=options.connect_timeout)

    async def open(self) -> None:
        await self._mqtt.open(self._will, self._topic("stat", "+"))

    async def close(self) -> None:
        await self._mqtt.close()

    async def ask(
        self, command: str, argument: str, answered_on: str, parse: Callable[[bytes], T | None]
    ) -> T:
        topic = self._topic("stat", answered_on)

        def answer(message: Incoming) -> T | None:
            return parse(message.payload) if message.topic == topic else None

        try:
            return await self._mqtt.ask(
                self._topic("cmnd", command), argument, answer, self._options.reply_timeout
            )
        except Refusal as refusal:
            raise DeviceRefused(f"{self.place} refuses: {refusal}") from refusal
        except BadReply as error:
            raise DeviceGarbled(f"{self.place}: {error}") from error

    async def tell(self, command: str, argument: str) -> None:
        """Send a command; that it has arrived is known once a later one is answered."""
        await self._mqtt.tell(self._topic("cmnd", command), argument, self._options.reply_timeout)
        await self.ask("Status", codec.STATUS_STATE, f"STATUS{codec.STATUS_STATE}", codec.parse_state)

    def _topic(self, prefix: str, suffix: str) -> str:
        whole = self._options.full_topic.replace("%prefix%", prefix)
        return f"{whole.replace('%topic%', self._options.topic or '').rstrip('/')}/{suffix}"

    def _gone(self, message: Incoming) -> bool:
        return message.topic == self._will and message.payload.strip().lower() == b"offline"


def _line(config: RelayConfig, options: Options) -> _Line:
    if options.broker is not None:
        if config.address is not None:
            raise ValueError('a tasmota relay has either "address" or "broker", not both')
        if options.topic is None:
            raise ValueError('a tasmota relay with "broker" needs "topic"')
        return _MqttLine(options.broker, options)
    if config.address is None:
        raise ValueError('a tasmota relay needs "address", or "broker" and "topic"')
    return _HttpLine(config, options)
