"""What is misconfigured in a lab, in words, with the remedy."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from boardherd.commands.lab import Lab, example, lab_options, pass_lab, run
from boardherd.discovery.found import number
from boardherd.exit_codes import Failure

if TYPE_CHECKING:
    from boardherd.client import Client
    from boardherd.diagnosis import Finding
    from boardherd.seat import Seat
    from boardherd_shared.views import FleetView

AGENT_CONFIG = Path("/etc/boardherd/agent.toml")
_SELFTEST_S = 120.0


@click.command(epilog=example("boardherd doctor", "boardherd doctor --agent-config agent.toml"))
@click.option(
    "--agent-config",
    type=click.Path(path_type=Path),
    metavar="AGENT.TOML",
    help="Also have the agent of this PC test itself; /etc/boardherd/agent.toml if it is there.",
)
@lab_options(hidden=True)
@pass_lab
def doctor(lab: Lab, /, agent_config: Path | None) -> int:
    """Look for what is set up wrong: connections, rights, versions, clocks, probes, relays, wiring.

    Each finding comes with what to do about it. Exit code 1 when something fails, 0 otherwise.
    """
    from boardherd.diagnosis import Level

    config = agent_config or (AGENT_CONFIG if AGENT_CONFIG.exists() else None)
    seat, fleet, findings = run(_examine(lab.client(), config))
    if lab.json:
        _emit(seat, fleet, findings)
    else:
        _print(seat, fleet, findings)
    return int(any(it.level is Level.FAIL for it in findings))


async def _examine(client: Client, config: Path | None) -> tuple[Seat, FleetView | None, list[Finding]]:
    """Look at everything that can be seen from here, the agent of this PC included."""
    from boardherd.diagnosis import diagnose, grouped
    from boardherd.seat import look

    async with asyncio.TaskGroup() as tasks:
        selftest = tasks.create_task(_selftest(config), name="selftest of this PC")
        fleet, missing = await _fleet(client)
        seat = await look(client.settings, client.settings.site or (fleet.site if fleet else None))
    return seat, fleet, grouped([*diagnose(seat, fleet, missing), *selftest.result()])


async def _fleet(client: Client) -> tuple[FleetView | None, str]:
    """Return what is current in the lab, or why nobody tells."""
    try:
        return await client.fleet(), ""
    except Failure as failure:
        return None, failure.message


async def _selftest(config: Path | None) -> list[Finding]:
    """Have the agent of this PC test itself; return what it found wrong."""
    if config is None:
        return []
    program = _agent_program()
    if program is None:
        return [_warn(f"{config} is there, and no boardherd-agent beside this program")]
    process = await asyncio.create_subprocess_exec(
        *program, "--config", str(config), "selftest", "--json",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_SELFTEST_S):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return [_warn(f"the agent's selftest did not end within {_SELFTEST_S:g} s")]
    return _understood(out, err, config)


def _agent_program() -> list[str] | None:
    """Return how the agent is called: of this very installation, else from PATH."""
    if importlib.util.find_spec("boardherd_agent"):
        return [sys.executable, "-m", "boardherd_agent"]
    beside = shutil.which("boardherd-agent", path=str(Path(sys.executable).parent)) or shutil.which(
        "boardherd-agent"
    )
    return [beside] if beside else None


def _understood(out: bytes, err: bytes, config: Path) -> list[Finding]:
    """Return what a selftest found wrong, or why it said nothing."""
    from boardherd.diagnosis import Finding, Level

    try:
        told = json.loads(out)
        checks = [it for it in told["checks"] if it["level"] != "ok"]
        return [
            Finding(
                Level(it["level"]), f"{it['name']}: {it['text']}", it["remedy"], (f"{told['pc']}, this PC",)
            )
            for it in checks
        ]
    except (ValueError, KeyError, TypeError):
        sentence = err.decode("utf-8", "replace").strip().replace("\n", "; ") or "it said nothing"
        remedy = f"correct it, then: boardherd-agent --config {config} --check-config"
        return [Finding(Level.FAIL, f"the agent of this PC cannot test itself: {sentence}", remedy)]


def _warn(what: str) -> Finding:
    from boardherd.diagnosis import Finding, Level

    return Finding(Level.WARN, what, "boardherd-agent selftest, by hand")


def _emit(seat: Seat, fleet: FleetView | None, findings: list[Finding]) -> None:
    from boardherd import output

    document: dict[str, Any] = {
        "seat": asdict(seat)
        | {"certificates": {name: until.isoformat() for name, until in seat.certificates}},
        "site": fleet.site if fleet else None,
        "findings": [it.document() for it in findings],
    }
    output.emit_json(document)


def _print(seat: Seat, fleet: FleetView | None, findings: list[Finding]) -> None:
    from boardherd import output
    from boardherd.diagnosis import Level
    from boardherd.tables import Cell, Table, Tone

    account = f", account {seat.account}" if seat.account else ""
    collector = f"version {seat.collector.version}" if seat.collector.version else "no answer"
    rows = (
        (Cell("broker"), Cell(f"{seat.broker_place} ({seat.origin}{account})")),
        (Cell("collector"), Cell(f"{seat.api_place} ({collector})")),
        (Cell("operator"), Cell(seat.operator)),
        (Cell("lab"), Cell(_lab(fleet))),
    )
    output.emit_table(Table(("", ""), rows), headings=False)
    tones: dict[Level, Tone] = {Level.FAIL: "bad", Level.WARN: "warn"}
    for it in findings:
        click.echo()
        about = f": {', '.join(it.about)}" if it.about else ""
        output.emit_line(Cell(it.level.value.upper(), tones[it.level]), Cell(f"{it.what}{about}"))
        output.emit_line(Cell("  ->"), Cell(it.remedy))
    click.echo()
    failed = sum(it.level is Level.FAIL for it in findings)
    if findings:
        output.note(f"{number(len(findings), 'finding')}, {number(failed, 'failure')}")
    else:
        output.emit_line(Cell("Nothing is set up wrong, as far as can be seen from here.", "good"))


def _lab(fleet: FleetView | None) -> str:
    if fleet is None:
        return "nothing was heard of it"
    things = ((fleet.pcs, "test PC"), (fleet.boards, "board"), (fleet.relays, "relay"))
    counts = ", ".join(number(len(some), what) for some, what in things)
    return f"{fleet.site}: {counts}, by the word of the {fleet.source}"
