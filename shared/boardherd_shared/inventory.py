"""lab.toml: which PCs, relays and boards there are, and what is wired to what.

One file for the whole lab, the same on every PC and on the collector; each agent acts on its own part.
:meth:`Inventory.read` checks everything before anything runs, and names file, line and key of each fault.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from boardherd_shared.command import Duration
from boardherd_shared.ids import RESERVED_AGENT_IDS, Slug, is_slug
from boardherd_shared.model import Capability, DeviceType, Platform, RelayModel, TestFarm
from boardherd_shared.secrets import SecretMissing, resolve
from boardherd_shared.settings import ConfigError, Document, Key

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
    off_time: Duration = Field(5.0, description="how long a power cycle stays off")
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


class Inventory:
    """A checked lab.toml."""

    def __init__(self, lab: Lab, document: Document, text: str) -> None:
        """Hold what :meth:`parse` has checked."""
        self.lab = lab
        self.document = document
        self.hash = hashlib.sha256(text.encode()).hexdigest()[:16]

    @classmethod
    def read(cls, path: Path) -> Inventory:
        """Return the inventory in ``path``; raises ConfigError with a sentence for each fault."""
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
        return cls.parse(text, path)

    @classmethod
    def parse(cls, text: str, path: Path = Path("lab.toml")) -> Inventory:
        """Return the inventory in ``text``; ``path`` is for messages. Raises ConfigError."""
        document = Document(path, text)
        _apply_defaults(document.data)
        lab = document.parse(Lab)
        if faults := list(_faults(lab, document)):
            raise ConfigError("\n".join(faults))
        return cls(lab, document, text)

    def boards_of(self, pc: str) -> dict[str, BoardConfig]:
        """Return the boards that ``pc`` controls, by id."""
        return {id_: board for id_, board in self.lab.board.items() if board.pc == pc}

    def relays_of(self, pc: str) -> dict[str, RelayConfig]:
        """Return the relays that power boards of ``pc``, by id."""
        wanted = {feed.relay for board in self.boards_of(pc).values() for feed in board.power}
        return {id_: relay for id_, relay in self.lab.relay.items() if id_ in wanted}

    def find_board(self, name: str) -> str | None:
        """Return the id of the board that ``name`` means: its id, or its free-text name."""
        if name in self.lab.board:
            return name
        ids = [id_ for id_, board in self.lab.board.items() if board.name == name]
        return ids[0] if len(ids) == 1 else None

    def options_of(self, relay: str, model: type[BaseModel], secrets: Sequence[Path] = ()) -> BaseModel:
        """Return the driver's own keys of ``relay`` as ``model``; raises ConfigError with their lines.

        References to secrets are looked up in the directories ``secrets``.
        """
        try:
            return model.model_validate(resolve(self.lab.relay[relay].options, secrets))
        except SecretMissing as error:
            raise ConfigError(self.document.fault(("relay", relay), str(error))) from error
        except ValidationError as error:
            raise ConfigError("\n".join(self.document.explain(error, below=("relay", relay)))) from error


def _apply_defaults(data: dict[str, Any]) -> None:
    """Fill each board and relay with the keys of ``defaults`` it does not have itself."""
    defaults = data.get("defaults")
    if not isinstance(defaults, dict):
        return
    for part in ("board", "relay"):
        given = defaults.get(part)
        things = data.get(part)
        if isinstance(given, dict) and isinstance(things, dict):
            for id_, thing in things.items():
                if isinstance(thing, dict):
                    things[id_] = given | thing


def _faults(lab: Lab, document: Document) -> Iterator[str]:
    """Yield a sentence for everything that the model alone cannot see."""
    yield from _bad_ids(lab, document)
    for id_, board in lab.board.items():
        yield from _bad_references(lab, document, id_, board)
    yield from _double_claims(lab, document)


def _bad_ids(lab: Lab, document: Document) -> Iterator[str]:
    for part, things in (("pc", lab.pc), ("relay", lab.relay), ("board", lab.board)):
        for id_ in things:
            if not is_slug(id_):
                yield document.fault(
                    (part, id_),
                    "an id consists of a-z, 0-9, dot, dash and underscore, and starts with a-z or 0-9",
                )
    for id_ in lab.pc:
        if id_ in RESERVED_AGENT_IDS:
            yield document.fault(("pc", id_), f'"{id_}" is a reserved word; give the PC another id')


def _bad_references(lab: Lab, document: Document, id_: str, board: BoardConfig) -> Iterator[str]:
    def fault(key: Key, message: str) -> str:
        return document.fault(("board", id_, *key), message)

    if board.pc is not None and board.pc not in lab.pc:
        yield fault(("pc",), f'there is no test PC "{board.pc}"; add pc.{board.pc} = {{}}')
    if board.platform is not None and board.platform not in {*Platform, *lab.codes.platform}:
        yield fault(
            ("platform",), f'unknown platform "{board.platform}"; add it to codes.platform if it is right'
        )
    for capability in board.capabilities:
        if capability not in {*Capability, *lab.codes.capability}:
            yield fault(
                ("capabilities",),
                f'unknown capability "{capability}"; add it to codes.capability if it is right',
            )
    if board.off_time < MIN_OFF_TIME_S:
        yield fault(
            ("off_time",),
            f"a board must stay off for at least {MIN_OFF_TIME_S:g} s, not {board.off_time:g} s",
        )
    yield from _bad_feeds(lab, document, id_, board)
    yield from _bad_probes(document, id_, board)


def _bad_feeds(lab: Lab, document: Document, id_: str, board: BoardConfig) -> Iterator[str]:
    for index, feed in enumerate(board.power):
        relay = lab.relay.get(feed.relay)
        if relay is None:
            yield document.fault(("board", id_, "power", index), f'there is no relay "{feed.relay}"')
        elif feed.port > relay.port_count:
            yield document.fault(
                ("board", id_, "power", index),
                f"{feed.relay} has {relay.port_count} ports, there is no port {feed.port} (see port_count)",
            )


def _bad_probes(document: Document, id_: str, board: BoardConfig) -> Iterator[str]:
    needs_address = [probe for probe in board.probes if probe.split(":")[0] in {"ping", "tcp", "ssh"}]
    if needs_address and not board.board_ip:
        yield document.fault(("board", id_, "probes"), f'the probe "{needs_address[0]}" needs board_ip')
    if "console" in board.probes and not board.serial_port:
        yield document.fault(("board", id_, "probes"), 'the probe "console" needs serial_port')


def _double_claims(lab: Lab, document: Document) -> Iterator[str]:
    ports = (
        (("board", id_, "power", index), id_, feed.name)
        for id_, board in lab.board.items()
        for index, feed in enumerate(board.power)
    )
    yield from _twice(document, ports, "")
    endpoints = (
        (("relay", id_, "address"), id_, ":".join(str(part) for part in relay.endpoint if part is not None))
        for id_, relay in lab.relay.items()
        if relay.endpoint
    )
    yield from _twice(document, endpoints, "the address ")
    macs = ((("relay", id_, "mac"), id_, relay.mac) for id_, relay in lab.relay.items() if relay.mac)
    yield from _twice(document, macs, "the hardware address ")
    serials = (
        (("board", id_, "hardware_serial_number"), id_, board.hardware_serial_number)
        for id_, board in lab.board.items()
        if board.hardware_serial_number
    )
    yield from _twice(document, serials, "the serial number ")
    consoles = (
        (("board", id_, "serial_port"), id_, board.serial_port)
        for id_, board in lab.board.items()
        if board.serial_port
    )
    yield from _twice(document, consoles, "the console ")


def _twice(document: Document, claims: Iterable[tuple[Key, str, str]], what: str) -> Iterator[str]:
    """Yield a sentence for each claim that was made before."""
    first: dict[str, tuple[Key, str]] = {}
    for key, id_, claimed in claims:
        if claimed in first:
            other_key, other = first[claimed]
            line = document.line(other_key)
            yield document.fault(key, f"{what}{claimed} is also claimed by {other} (line {line})")
        else:
            first[claimed] = (key, id_)
