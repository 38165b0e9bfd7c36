"""The read-only page: HTML from templates, with every name and text escaped."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import jinja2

from boardherd_collector.health import Component
from boardherd_collector.stores.answers import CommandRow, EventRow
from boardherd_shared.drift import is_drifting
from boardherd_shared.model import PcStatus
from boardherd_shared.records import HostRecord, Power, Verdict
from boardherd_shared.views import BoardView, FleetView, PortView
from boardherd_shared.why import explain

HERE = Path(__file__).parent
STATIC = HERE / "static"
_NAMED = 3
"""So many boards in trouble are named in the summary; the rest are counted."""


@dataclass(frozen=True)
class History:
    """What happened lately, newest first."""

    commands: list[CommandRow]
    events: list[EventRow]


@dataclass(frozen=True)
class Tile:
    """One figure of the summary."""

    anchor: str
    label: str
    value: int
    total: int
    trouble: str = ""


def render_page(fleet: FleetView, components: dict[str, Component], history: History | None) -> str:
    """Return the whole document; ``history`` is None while the store cannot be read."""
    return _render("page.html", fleet, components, history)


def render_sections(fleet: FleetView, components: dict[str, Component], history: History | None) -> str:
    """Return what changes: the inside of ``#live``, for the page's script to merge."""
    return _render("sections.html", fleet, components, history)


def _render(
    template: str, fleet: FleetView, components: dict[str, Component], history: History | None
) -> str:
    return (
        _templates()
        .get_template(template)
        .render(
            fleet=fleet,
            components=[
                {"name": name, "ok": component.ok, "text": component.text}
                for name, component in sorted(components.items())
            ],
            history=history,
            tiles=_tiles(fleet),
            whys=_whys(fleet, history.commands if history else []),
            ports={f"{port.relay}:{port.port}": port for relay in fleet.relays for port in relay.ports},
            assets=_fingerprint(),
        )
    )


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "age": age,
        "iso": lambda at: _utc(at).isoformat(timespec="seconds"),
        "clock": lambda at: _utc(at).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "why": why,
        "drift": drift,
        "used": used,
        "short": lambda target: target.removeprefix("board/").removeprefix("relay/").replace("/", ":"),
    }
    return environment


@cache
def _fingerprint() -> str:
    """Return what changes when a static file changes, so that browsers may keep them."""
    content = b"".join(file.read_bytes() for file in sorted(STATIC.iterdir()))
    return hashlib.sha256(content).hexdigest()[:12]


def _utc(at: float) -> datetime:
    """Return the time ``at``, in Unix seconds; what no calendar holds becomes 1970."""
    try:
        return datetime.fromtimestamp(at, UTC)
    except (OverflowError, OSError, ValueError):
        return datetime.fromtimestamp(0, UTC)


def age(seconds: float) -> str:
    """Return a duration in its largest whole unit: "14 min". The page's script counts on in the same words."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 172_800:
        return f"{whole // 3600} h"
    return f"{whole // 86_400} d"


def why(board: BoardView) -> str:
    """Return the reason for a board's verdict in words; where nothing is known, the collector tells why."""
    if board.verdict is Verdict.UNKNOWN or board.state is None:
        return board.text
    return board.state.reason


def drift(port: PortView) -> str:
    """Return what a port should be when it is something else; empty when it is right or not known."""
    state = port.state
    if state is None or not is_drifting(state):
        return ""
    if state.expected not in {"any", state.observed}:
        return f"should be {state.expected.upper()}"
    return f"asked {state.asked.upper()}"


def used(sample: HostRecord, what: str) -> str:
    """Return "1.9 of 8.2 GB" for the memory or the disk of a sample; empty when it was not measured."""
    amount, total = getattr(sample, f"{what}_used"), getattr(sample, f"{what}_total")
    if amount is None or total is None:
        return ""
    return f"{amount / 1e9:.1f} of {total / 1e9:.1f} GB"


def _whys(fleet: FleetView, commands: Sequence[CommandRow]) -> dict[str, tuple[str, ...]]:
    """Return the five lines of each board, with those of its commands that are among the newest."""
    return {
        board.id: explain(
            fleet,
            board.id,
            commands=[command for command in commands if command.target == f"board/{board.id}"],
            now=fleet.at,
        ).lines()
        for board in fleet.boards
    }


def _tiles(fleet: FleetView) -> Iterable[Tile]:
    offline = [pc.id for pc in fleet.pcs if pc.status is PcStatus.OFFLINE]
    dead = [board.id for board in fleet.boards if board.verdict in {Verdict.SILENT, Verdict.DEGRADED}]
    unclear = sum(board.verdict is Verdict.UNKNOWN for board in fleet.boards)
    ports = [port for relay in fleet.relays for port in relay.ports]
    drifting = [f"{port.relay}:{port.port}" for port in ports if drift(port)]
    unread = sum(port.state is None or port.state.observed is Power.UNKNOWN for port in ports)
    return [
        Tile(
            "boards",
            "boards alive",
            sum(board.is_alive for board in fleet.boards),
            len(fleet.boards),
            _trouble(("in trouble", dead)) or (f"{unclear} unknown" if unclear else ""),
        ),
        Tile(
            "relays",
            "relay ports on",
            sum(port.state is not None and port.state.observed is Power.ON for port in ports),
            len(ports),
            _trouble(("drifting", drifting)) or (f"{unread} unknown" if unread else ""),
        ),
        Tile(
            "pcs",
            "test PCs online",
            sum(pc.status is PcStatus.ONLINE for pc in fleet.pcs),
            len(fleet.pcs),
            _trouble(("offline", offline)),
        ),
    ]


def _trouble(said: tuple[str, list[str]]) -> str:
    word, names = said
    if not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{word}: {', '.join(names[:_NAMED])}{more}"
