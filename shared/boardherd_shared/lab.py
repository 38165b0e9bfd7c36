"""The model of lab.toml: which PCs, relays and boards there are, and what is wired to what.

What one entry alone can tell is checked here; what needs the whole file, in
:mod:`boardherd_shared.inventory`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from boardherd_shared.command import Duration
from boardherd_shared.ids import Slug
from boardherd_shared.model import DeviceType, RelayModel, TestFarm

DEFAULT_DRIVER = {
    RelayModel.ETH_008_A: "devantech",
    RelayModel.ETH_008_B: "devantech",
    RelayModel.ETH_016: "devantech",
}
"""The driver that a relay gets from its model when ``kind`` is not given."""

MIN_OFF_TIME_S = 2.0
"""Nothing may be configured to be off for less: supplies hold up and boards do not reset."""

Mac = Annotated[str, StringConstraints(pattern=r"^([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}$", to_upper=True)]
ShortText = Annotated[str, StringConstraints(max_length=200)]
_FEED = re.compile(r"(?P<relay>[a-z0-9][a-z0-9._-]{0,62}):(?P<port>\d{1,3})")
_PROBE = re.compile(r"[a-z]+(:\d{1,5})?")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Feed(_Part):
    """One relay port that powers a board."""

    relay: Slug = Field(description="id of the relay")
    port: int = Field(ge=1, le=100, description="port of the relay, from 1")
    after: Duration = Field(0.0, description="switch on this long after the feed before it")
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
    return options | {"relay": match["relay"], "port": int(match["port"])}


def _probe(value: object) -> object:
    if isinstance(value, str) and not _PROBE.fullmatch(value):
        raise ValueError(f'"{value}" is no probe; write for example "ping", "ssh", "tcp:80" or "console"')
    return value


PowerFeed = Annotated[Feed, BeforeValidator(_feed)]
BoardLine = Annotated[Line, BeforeValidator(_feed)]
ProbeName = Annotated[str, BeforeValidator(_probe)]


class PcConfig(_Part):
    """A test PC; its id is its host name in lower case."""

    name: ShortText | None = Field(None, description="free text for people")
    ip: str | None = Field(None, max_length=45, description="its address, if it shall be checked")
    rack: ShortText | None = Field(None, description="what alerts are grouped by")
    location: ShortText | None = Field(None, description="where it stands")
    comment: str | None = Field(None, description="anything else")
    disk_mountpoint: str = Field("/", description="the disk that the statistics are about")
    watched_by: Slug | None = Field(
        None, description="another PC that watches the boards of a PC without an agent"
    )


class RelayConfig(_Part):
    """A relay module or power strip. Keys that are not listed here belong to its driver."""

    name: Annotated[str, StringConstraints(max_length=100)] | None = Field(
        None, description="free text for people"
    )
    kind: Slug | None = Field(None, description="the driver; devantech for ETH models unless given")
    model_type: RelayModel = Field(RelayModel.CUSTOM, description="what it is in the lab's words")
    address: str | None = Field(
        None, max_length=255, description="host name or IP address, for network relays"
    )
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
        return (self.address.lower(), self.tcp_port, self.unit) if self.address else None


class BoardConfig(_Part):
    """A board: what it is, who controls it, what powers it, how to tell that it lives."""

    name: ShortText | None = Field(None, description="free text for people")
    pc: Slug | None = Field(None, description="the test PC that controls it")
    platform: str | None = Field(None, description="TI platform code, or one of codes.platform")
    device_type: DeviceType = Field(DeviceType.EVM, description="kind of hardware")
    test_farm: TestFarm | None = Field(None, description="the farm it belongs to")
    project: Annotated[str, StringConstraints(max_length=50)] | None = Field(
        None, description="project using it"
    )
    hardware_serial_number: Annotated[str, StringConstraints(max_length=100)] | None = Field(
        None, description="serial number; unique"
    )
    pg_version: Annotated[str, StringConstraints(max_length=100)] | None = Field(
        None, description="silicon revision"
    )
    execution_engine: Annotated[str, StringConstraints(max_length=100)] | None = Field(
        None, description="what runs tests on it"
    )
    capabilities: tuple[str, ...] = Field((), description="what it can be used for")
    board_ip: str | None = Field(
        None, max_length=255, description="its address, for ping, tcp and ssh probes"
    )
    serial_port: str | None = Field(
        None, description="its console: a name below /dev/serial/by-id, a device path, or a socket:// URL"
    )
    serial_baud: int = Field(115200, ge=300, le=4_000_000, description="speed of the console")
    power: tuple[PowerFeed, ...] = Field(
        (), description="relay ports that power it, in the order of switching on"
    )
    lines: dict[Slug, BoardLine] = Field(
        default_factory=dict,
        description="relay ports that do not power it: lines.reset is what the command reset pulses",
    )
    off_time: Duration = Field(5.0, description="how long a power cycle stays off")
    min_off: Duration = Field(
        5.0, description="once off, it stays off at least this long; an earlier on waits and says so"
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
        "when-idle", description="whether the console is watched"
    )
    probes: tuple[ProbeName, ...] = Field(
        (), description="how to tell that it lives: ping, ssh, tcp:80, console"
    )
    boot_time: Duration = Field(90.0, description="how long it may take to boot before its silence counts")
    max_lock: Duration = Field(8 * 3600.0, description="the longest lock anybody gets")
    location: ShortText | None = Field(None, description="where it is")
    description: str | None = Field(None, description="what it is, at length")

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
    capability: tuple[str, ...] = Field((), description="further capabilities")


class Lab(_Part):
    """The whole of lab.toml."""

    site: Slug = Field(description="the lab's id; first level of every topic")
    admins: tuple[str, ...] = Field((), description="broker user names that may do what others may not")
    defaults: Defaults = Field(default_factory=Defaults, description="what boards and relays have in common")
    codes: Codes = Field(default_factory=Codes, description="codes that this lab adds to the open choices")
    pc: dict[str, PcConfig] = Field(default_factory=dict, description="test PCs by id")
    relay: dict[str, RelayConfig] = Field(default_factory=dict, description="relays by id")
    board: dict[str, BoardConfig] = Field(default_factory=dict, description="boards by id")
