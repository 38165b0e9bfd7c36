"""What stands in the demo rack and what is wired to what: pure thought, and its words in lab.toml."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from boardherd.rack.console import FLAVOURS

PORTS_PER_MODULE = 8
MAX_MODULES = 16

_SECOND_FEED_AFTER = "500ms"

_KINDS = (
    ("j721e", "HLOS", ("CMD", "CAMERA", "NETWORK")),
    ("am62x", "RTOS", ("CMD", "DISPLAY")),
    ("j784s4", "HLOS", ("CMD", "CAMERA", "FILE")),
    ("j721s2", "BAREMETAL", ("CMD", "GPIO", "ADC")),
    ("am62px", "STAGING", ("CMD", "DISPLAY", "SOUND")),
    ("j721e", "INTEGRATION", ("CMD", "NETWORK", "SENSOR")),
)
"""Platform, test farm and capabilities of the first boards; further boards begin again."""


@dataclass(frozen=True)
class FeedPlan:
    """A relay port that powers a board."""

    port: str
    """As people write it: ``eth-1:3``."""
    after: str = ""
    """How long after the feed before it, as lab.toml has it; empty for at once."""


@dataclass(frozen=True)
class BoardPlan:
    """A board before it exists."""

    id: str
    name: str
    platform: str
    test_farm: str
    capabilities: tuple[str, ...]
    feeds: tuple[FeedPlan, ...]


@dataclass(frozen=True)
class ModulePlan:
    """A relay module before it exists."""

    id: str
    mac: str


@dataclass(frozen=True)
class Layout:
    """A whole rack before it exists."""

    modules: tuple[ModulePlan, ...]
    boards: tuple[BoardPlan, ...]


@dataclass(frozen=True)
class BoardPlace:
    """Where a board can be reached once it exists."""

    host: str
    ssh_port: int
    tcp_port: int
    console: Path
    boot_seconds: float


def plan(boards: int = 6, modules: int = 2) -> Layout:
    """Lay out a rack: boards are dealt out over the modules, and the last one gets a second feed.

    Raises ValueError, in words, for numbers that do not fit.
    """
    if not 1 <= modules <= MAX_MODULES:
        raise ValueError(f"a rack has 1 to {MAX_MODULES} modules, not {modules}")
    most = modules * PORTS_PER_MODULE - 1
    if not 1 <= boards <= most:
        raise ValueError(f"{modules} modules have room for 1 to {most} boards, not {boards}")
    ports = [
        f"eth-{module}:{port}" for port in range(1, PORTS_PER_MODULE + 1) for module in range(1, modules + 1)
    ]
    return Layout(
        modules=tuple(ModulePlan(f"eth-{n}", f"00:04:A3:00:00:{n:02X}") for n in range(1, modules + 1)),
        boards=_boards(boards, ports),
    )


def _boards(count: int, ports: list[str]) -> tuple[BoardPlan, ...]:
    plans: list[BoardPlan] = []
    for index, (platform, farm, capabilities) in enumerate(islice(cycle(_KINDS), count)):
        family = FLAVOURS[platform].family
        number = 1 + sum(plan.platform == platform for plan in plans)
        feeds = [FeedPlan(ports[index])]
        if index == count - 1:
            feeds.append(FeedPlan(ports[count], after=_SECOND_FEED_AFTER))
        plans.append(
            BoardPlan(
                f"evm-{index + 1:02}", f"{family} #{number}", platform, farm, capabilities, tuple(feeds)
            )
        )
    return tuple(plans)


def lab_head(site: str, pc: str) -> str:
    """Return the beginning of a lab.toml: the site, what boards and relays have in common, the test PC."""
    return (
        f"# The simulated rack of the demo. Written anew at each start.\n"
        f"site = {_quoted(site)}\n"
        'defaults.relay = { model_type = "ETH_008_B", rack = "demo", poll = "1s" }\n'
        'defaults.board = { off_time = "2s", min_off = "2s", normally = "on" }\n'
        f'\n[pc.{_quoted(pc)}]\nrack = "demo"\n'
    )


def lab_module(module: ModulePlan, host: str, tcp_port: int) -> str:
    """Return a relay's table of lab.toml."""
    return (
        f"\n[relay.{module.id}]\naddress = {_quoted(host)}\ntcp_port = {tcp_port}\n"
        f"mac = {_quoted(module.mac)}\nport_count = {PORTS_PER_MODULE}\n"
    )


def lab_board(board: BoardPlan, pc: str, place: BoardPlace) -> str:
    """Return a board's table of lab.toml."""
    return "\n".join(
        (
            f"\n[board.{board.id}]",
            f"name = {_quoted(board.name)}",
            f"pc = {_quoted(pc)}",
            f"platform = {_quoted(board.platform)}",
            f"test_farm = {_quoted(board.test_farm)}",
            f"capabilities = {json.dumps(board.capabilities)}",
            f'hardware_serial_number = "DEMO-{board.id.upper()}"',
            f"board_ip = {_quoted(place.host)}",
            f"serial_port = {_quoted(str(place.console))}",
            f'probes = ["ssh:{place.ssh_port}", "tcp:{place.tcp_port}", "console"]',
            f"power = [{', '.join(_feed(feed) for feed in board.feeds)}]",
            f'boot_time = "{_patience(place.boot_seconds):g}s"',
            "",
        )
    )


def _feed(feed: FeedPlan) -> str:
    if not feed.after:
        return _quoted(feed.port)
    return f"{{ port = {_quoted(feed.port)}, after = {_quoted(feed.after)} }}"


def _patience(boot_seconds: float) -> float:
    """Return how long a board may take before its silence counts, with room for a busy machine."""
    return round(2 * boot_seconds + 4, 1)


def _quoted(text: str) -> str:
    """Return a TOML basic string; JSON's escapes are among those of TOML."""
    return json.dumps(text, ensure_ascii=False)
