"""The model of lab.toml: which PCs, relays and boards there are, and what is wired to what.

What one entry alone can tell is checked here; what needs the whole file, in
:mod:`boardherd_shared.inventory`.
"""

from __future__ import annotations

import re
import uuid
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from boardherd_shared.addresses import Host, IpAddress, canonical
from boardherd_shared.command import Duration
from boardherd_shared.fault_words import MAC_PATTERN
from boardherd_shared.ids import Operator, Slug
from boardherd_shared.model import DeviceType, RelayModel, TestFarm
from boardherd_shared.probes import parse_probe
from boardherd_shared.values import Text

DEFAULT_DRIVER = {
    RelayModel.ETH_008_A: "devantech",
    RelayModel.ETH_008_B: "devantech",
    RelayModel.ETH_016: "devantech",
}
"""The driver that a relay gets from its model when ``kind`` is not given."""

MIN_OFF_TIME_S = 2.0
"""Nothing may be configured to be off for less: supplies hold up and boards do not reset."""


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise ValueError(f'"{text}" is no UUID; leave the key out and one is made') from None


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("NUL characters are not allowed")
    return text


Mac = Annotated[str, StringConstraints(pattern=MAC_PATTERN, to_upper=True)]
Uuid = Annotated[str, StringConstraints(max_length=45), AfterValidator(_uuid)]
Word = Annotated[Text, StringConstraints(min_length=1, max_length=100)]
ShortText = Annotated[Text, StringConstraints(min_length=1, max_length=200)]
LongText = Annotated[str, StringConstraints(min_length=1, max_length=5000), AfterValidator(_storable)]
"""Text that may have several lines."""
_FEED = re.compile(r"(?P<relay>[a-z0-9][a-z0-9._-]{0,62}):(?P<port>\d{1,3})")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Feed(_Part):
    """One relay port that powers a board."""

    relay: Slug = Field(description="id of the relay")
    port: int = Field(ge=1, le=100, description="port of the relay, from 1")
    after: Duration = Field(0.0, le=300, description="switch on this long after the feed before it")
    off_time: Duration | None = Field(
        None, description="stay off at least this long; the board's own by default"
    )
    polarity: Literal["NO", "NC"] = Field(
        "NO", description="NC when the board hangs on the normally closed contact: energised is then off"
    )

    @property
    def name(self) -> str:
        """The port as people write it: ``eth-1:3``."""
        return f"{self.relay}:{self.port}"


class Line(_Part):
    """One relay port that is wired to a board but does not power it: reset, boot mode."""

    relay: Slug = Field(description="id of the relay")
    port: int = Field(ge=1, le=100, description="port of the relay, from 1")
    pulse: Duration = Field(0.3, gt=0, le=60, description="how long a pulse of the line lasts")
    normally: Literal["on", "off"] = Field("off", description="the level it has when nobody uses it")
    polarity: Literal["NO", "NC"] = Field(
        "NO", description="NC when it hangs on the normally closed contact: energised is then off"
    )

    @property
    def name(self) -> str:
        """The port as people write it: ``eth-1:4``."""
        return f"{self.relay}:{self.port}"


def _feed(value: object) -> object:
    """Read "eth-1:3", or a table with ``port = "eth-1:3"``."""
    options: dict[str, Any] = {}
    text = value
    if isinstance(value, dict):
        options = dict(value)
        text = options.pop("port", None)
    if not isinstance(text, str) or not (match := _FEED.fullmatch(text)):
        raise ValueError(f'"{text}" is no relay port; write "eth-1:3", the relay and its port from 1')
    if int(match["port"]) == 0:
        raise ValueError(f'"{text}" is no relay port; ports are counted from 1')
    return options | {"relay": match["relay"], "port": int(match["port"])}


def _probe(value: object) -> object:
    if isinstance(value, str):
        parse_probe(value)
    return value


def _serial_port(value: object) -> object:
    """Refuse the URL of a serial port that nobody could open."""
    if not isinstance(value, str) or "://" not in value:
        return value
    parts = urlsplit(value)
    try:
        complete = bool(parts.hostname and parts.port)
    except ValueError:
        complete = False
    if parts.scheme not in {"socket", "rfc2217"} or not complete:
        raise ValueError(f'"{value}" cannot be opened; write socket://host:port or rfc2217://host:port')
    return value


PowerFeed = Annotated[Feed, BeforeValidator(_feed)]
BoardLine = Annotated[Line, BeforeValidator(_feed)]
SerialPort = Annotated[ShortText, BeforeValidator(_serial_port)]
ProbeName = Annotated[str, BeforeValidator(_probe)]


class PcConfig(_Part):
    """A test PC; its id is its host name in lower case."""

    name: ShortText | None = Field(None, description="free text for people")
    uuid: Uuid | None = Field(
        None, description="its key in the database, where it had one before; else one is made"
    )
    ip: IpAddress | None = Field(None, description="its address, if it shall be checked; unique")
    rack: ShortText | None = Field(None, description="what alerts are grouped by")
    location: ShortText | None = Field(None, description="where it stands")
    comment: LongText | None = Field(None, description="anything else")
    disk_mountpoint: Word = Field("/", description="the disk that the statistics are about")
    watched_by: Slug | None = Field(
        None, description="another PC that watches the boards of a PC without an agent"
    )


class RelayConfig(_Part):
    """A relay module or power strip. Keys that are not listed here belong to its driver."""

    name: Word | None = Field(None, description="free text for people; unique")
    uuid: Uuid | None = Field(
        None, description="its key in the database, where it had one before; else one is made"
    )
    kind: Slug | None = Field(None, description="the driver; devantech for ETH models unless given")
    model_type: RelayModel = Field(RelayModel.CUSTOM, description="what it is in the lab's words")
    address: Host | None = Field(None, description="host name or IP address, for network relays")
    tcp_port: int | None = Field(None, ge=1, le=65535, description="TCP port; the driver's own by default")
    unit: int | None = Field(
        None, ge=0, le=255, description="unit behind a gateway, for drivers that have units"
    )
    mac: Mac | None = Field(None, description="hardware address, XX:XX:XX:XX:XX:XX")
    port_count: int = Field(8, ge=1, le=100, description="how many ports it has")
    after_outage: Literal["leave", "restore"] = Field(
        "leave",
        description="what to do when the module comes back with other port states than were asked for",
    )
    stagger: Duration = Field(
        1.0,
        le=60,
        description="at least this long between two boards that it switches on: inrush trips supplies",
    )
    supply: Slug | None = Field(
        None, description="relays behind one fuse share a word here, and their stagger"
    )
    location: ShortText | None = Field(None, description="where it is mounted")
    rack: ShortText | None = Field(None, description="what alerts are grouped by")
    poll: Duration = Field(5.0, ge=0.2, description="how often its ports are read back")
    options: dict[str, Any] = Field(
        default_factory=dict, description="the driver's own keys, written beside these"
    )

    @model_validator(mode="before")
    @classmethod
    def _split_options(cls, data: object) -> object:
        if not isinstance(data, dict) or "options" in data:
            return data
        own = {key: value for key, value in data.items() if key in cls.model_fields}
        return own | {"options": {key: value for key, value in data.items() if key not in cls.model_fields}}

    @property
    def driver(self) -> str | None:
        """The driver's name, or None if neither ``kind`` nor the model tells."""
        return self.kind or DEFAULT_DRIVER.get(self.model_type)

    @property
    def endpoint(self) -> tuple[str, int | None, int | None] | None:
        """What may not be claimed twice; None for relays without an address."""
        return (canonical(self.address), self.tcp_port, self.unit) if self.address else None


class BoardConfig(_Part):
    """A board: what it is, who controls it, what powers it, how to tell that it lives."""

    name: ShortText | None = Field(None, description="free text for people; unique")
    uuid: Uuid | None = Field(
        None, description="its key in the database, where it had one before; else one is made"
    )
    pc: Slug | None = Field(None, description="the test PC that controls it")
    platform: str | None = Field(None, description="TI platform code, or one of codes.platform")
    device_type: DeviceType = Field(DeviceType.EVM, description="kind of hardware")
    test_farm: TestFarm | None = Field(None, description="the farm it belongs to")
    project: Annotated[Text, StringConstraints(min_length=1, max_length=50)] | None = Field(
        None, description="project using it"
    )
    hardware_serial_number: Word | None = Field(None, description="serial number; unique")
    pg_version: Word | None = Field(None, description="silicon revision")
    execution_engine: Word | None = Field(None, description="what runs tests on it")
    capabilities: tuple[str, ...] = Field((), description="what it can be used for")
    board_ip: Host | None = Field(None, description="its address, for the probes that ask over the network")
    serial_port: SerialPort | None = Field(
        None,
        description="its console: a name below /dev/serial/by-id, a device path, socket://host:port, or"
        " rfc2217://host:port",
    )
    serial_baud: int = Field(115200, ge=300, le=4_000_000, description="speed of the console")
    power: tuple[PowerFeed, ...] = Field(
        (), description="relay ports that power it, in the order of switching on"
    )
    lines: dict[Slug, BoardLine] = Field(
        default_factory=dict,
        description="relay ports that do not power it: lines.reset is what the command reset pulses",
    )
    off_time: Duration = Field(5.0, le=3600, description="how long a power cycle stays off")
    min_off: Duration = Field(
        5.0, le=3600, description="once off, it stays off at least this long; an earlier on waits and says so"
    )
    max_ons: int = Field(
        12, ge=0, le=1000, description="most times it may be switched on within a minute; 0 for no limit"
    )
    max_cycles: int = Field(
        10,
        ge=0,
        le=1000,
        description="after so many power cycles within an hour without coming alive it is taken out; 0 for never",
    )
    normally: Literal["on", "off", "any"] = Field("any", description="the state its power should be in")
    console: Literal["off", "when-idle", "tap"] = Field(
        "when-idle",
        description="who has the console: nobody watches it; the agent listens while nobody holds the board; or the"
        " agent keeps it and shares it",
    )
    console_tcp: int | None = Field(
        None,
        ge=1024,
        le=65535,
        description="TCP port of 127.0.0.1 on its test PC where a tapped console is shared with programs; one's own",
    )
    probes: tuple[ProbeName, ...] = Field(
        (),
        description="how to tell that it lives: ping, ssh, tcp:80, http:8080/health, usb:1-1.4, command:NAME, console",
    )
    boot_time: Duration = Field(90.0, description="how long it may take to boot before its silence counts")
    max_lock: Duration = Field(8 * 3600.0, ge=60, description="the longest lock anybody gets")
    location: ShortText | None = Field(None, description="where it is")
    description: LongText | None = Field(None, description="what it is, at length")

    @field_validator("console_tcp")
    @classmethod
    def _shared_where_tapped(cls, port: int | None, info: ValidationInfo) -> int | None:
        if port is not None and info.data.get("console", "tap") != "tap":
            raise ValueError('only a tapped console is shared; add console = "tap"')
        return port

    @property
    def wires(self) -> tuple[Feed | Line, ...]:
        """Every relay port that belongs to the board: its feeds in order, then its lines."""
        return (*self.power, *self.lines.values())


class Defaults(_Part):
    """What boards and relays get unless they say otherwise."""

    board: dict[str, Any] = Field(default_factory=dict, description="default keys of every board")
    relay: dict[str, Any] = Field(default_factory=dict, description="default keys of every relay")


class Codes(_Part):
    """Codes that a lab adds to the open choices."""

    platform: tuple[Slug, ...] = Field((), description="further platforms")
    capability: tuple[Slug, ...] = Field((), description="further capabilities, in lower case")


class Lab(_Part):
    """The whole of lab.toml."""

    site: Slug = Field(description="the lab's id; first level of every topic")
    admins: tuple[Operator, ...] = Field((), description="broker user names that may do what others may not")
    defaults: Defaults = Field(default_factory=Defaults, description="what boards and relays have in common")
    codes: Codes = Field(default_factory=Codes, description="codes that this lab adds to the open choices")
    pc: dict[str, PcConfig] = Field(default_factory=dict, description="test PCs by id")
    relay: dict[str, RelayConfig] = Field(default_factory=dict, description="relays by id")
    board: dict[str, BoardConfig] = Field(default_factory=dict, description="boards by id")
