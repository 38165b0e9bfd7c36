"""Simulated agents as load for a broker and a collector; and the way to simulated devices."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from boardherd.commands.lab import Duration, Lab, example, lab_options, pass_lab, run
from boardherd.commands.simulate_device import device
from boardherd.exit_codes import Exit, Failure
from boardherd.stopping import stopping

if TYPE_CHECKING:
    from boardherd.rack.fleet import FleetOptions, SimulatedFleet
    from boardherd.rack.fleet_report import CountsAnswer, Report
    from boardherd.settings import Settings

_SITE = "lab"
_LOOK_EVERY_S = 0.2
_ASK_TIMES = 3


@click.group(
    invoke_without_command=True,
    epilog=example(
        "boardherd simulate --agents 200 --lab trial.toml",
        "boardherd-collector --config trial-collector.toml   # whose inventory is trial.toml",
        "boardherd simulate --agents 200 --backlog 1h",
        "boardherd simulate device devantech",
    ),
)
@click.option("--agents", default=20, show_default=True, type=click.IntRange(1, 5000), help="How many PCs.")
@click.option(
    "--boards", default=4, show_default=True, type=click.IntRange(0, 64), help="How many boards each has."
)
@click.option(
    "--interval", default="10s", show_default=True, type=Duration(), metavar="TIME", help="Between samples."
)
@click.option(
    "--backlog", default="0s", show_default=True, type=Duration(), metavar="TIME",
    help="Begin as after an outage of this length.",
)  # fmt: skip
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    metavar="K",
    help="End after so many; else at Ctrl-C.",
)
@click.option("--until-drained", is_flag=True, help="End when the backlog is stored.")
@click.option(
    "--connections", default=8, show_default=True, type=click.IntRange(1, 5000), metavar="N",
    help="Connections they share; as many as agents gives each its own.",
)  # fmt: skip
@click.option(
    "--settle", default="30s", show_default=True, type=Duration(), metavar="TIME",
    help="At the end wait so long for what is on its way.",
)  # fmt: skip
@click.option("--seed", default=0, type=int, help="Another one gives the PCs another life.")
@click.option(
    "--lab", "lab_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Write a lab.toml that names these PCs, and end.",
)  # fmt: skip
@lab_options(hidden=True)
@pass_lab
@click.pass_context
def simulate(
    context: click.Context,
    lab: Lab,
    *,
    agents: int,
    boards: int,
    interval: float,
    backlog: float,
    minutes: float | None,
    until_drained: bool,
    connections: int,
    settle: float,
    seed: int,
    lab_file: Path | None,
) -> None:
    """Load a broker and a collector with simulated agents, and check that nothing is lost.

    The agents speak the real wire contract and keep a ledger of what they made, which is compared with the
    database at the end. Not for a lab that works: the database keeps what they tell.

    The exit code is 0 when nothing was lost and nothing doubled, 1 when something was, 3 when that could not
    be found out.
    """
    if context.invoked_subcommand is not None:
        return
    if interval <= 0:
        raise click.UsageError("--interval must be longer than nothing")
    if lab_file is not None:
        _write_lab(lab_file, lab.settings().site or _SITE, agents, boards)
        return
    from boardherd.rack.fleet import FleetOptions

    options = FleetOptions(agents, boards, interval, backlog, connections, seed)
    ending = _Ending(None if minutes is None else minutes * 60, settle, until_drained=until_drained)
    settings = _quiet(lab)
    result = run(_simulate(settings, options, ending))
    _show(result, as_json=lab.json)
    raise click.exceptions.Exit(
        Exit.UNREACHABLE if result.ok is None else Exit.DONE if result.ok else Exit.HARDWARE
    )


simulate.add_command(device)


def _quiet(lab: Lab) -> Settings:
    import logging

    from boardherd_shared import logs

    logs.configure("critical")
    logging.getLogger("mqtt").setLevel(logging.CRITICAL)
    return lab.settings()


def _write_lab(path: Path, site: str, agents: int, boards: int) -> None:
    from boardherd.rack.fleet_telemetry import MARK, lab_text

    try:
        if path.exists() and not path.read_text(encoding="utf-8").startswith(MARK):
            raise Failure(Exit.USAGE, f"{path} is there already and names a real lab; give another file")
        path.write_text(lab_text(site, agents, boards), encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(Exit.OUTPUT, f"{path} cannot be written: {error}") from error
    click.echo(f"{path}: {agents} PCs with {boards} boards each, site {site}")


class _Ending:
    """When a run ends: at a signal, at its time, or when its backlog is stored."""

    def __init__(self, seconds: float | None, settle_s: float, *, until_drained: bool) -> None:
        self.settle_s = settle_s
        self.interrupted = False
        self._seconds = seconds
        self._until_drained = until_drained
        self._stop = asyncio.Event()

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Take the first Ctrl-C as a wish to end; the second one ends everything."""
        task = asyncio.current_task()
        assert task is not None

        def stop() -> None:
            if self.interrupted:
                task.cancel()
            self.interrupted = True
            self._stop.set()

        with stopping(stop):
            try:
                yield
            except asyncio.CancelledError:
                raise click.Abort from None

    async def wait(self, fleet: SimulatedFleet) -> None:
        """Return when the run shall end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                while not self._stop.is_set() and not (self._until_drained and fleet.backlog == 0):
                    await self._pause()

    async def settle(self, fleet: SimulatedFleet) -> None:
        """Wait until everything is acknowledged, for a while; a signal ends that."""
        self._stop.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5.0 if self.interrupted else self.settle_s):
                while fleet.pending and not self._stop.is_set():
                    await self._pause()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_EVERY_S):
                await self._stop.wait()


async def _simulate(settings: Settings, options: FleetOptions, ending: _Ending) -> Report:
    from boardherd.rack.fleet import SimulatedFleet
    from boardherd.rack.fleet_report import compare, report
    from boardherd_shared.topics import Topics

    with ending.signals():
        await _require_broker(settings)
        site = await _site(settings, options)
        before = await _counts(settings)
        fleet = SimulatedFleet(options, settings.broker, Topics(site))
        began = time.monotonic()
        async with fleet.running(), _progress(fleet):
            await ending.wait(fleet)
            fleet.stop_producing()
            await ending.settle(fleet)
            seconds = time.monotonic() - began
        after = await _counts(settings)
    compared = (
        next(answer for answer in (before, after) if isinstance(answer, str))
        if isinstance(before, str) or isinstance(after, str)
        else compare(fleet.agents, before, after)
    )
    return report(options, fleet.agents, seconds, compared)


async def _require_broker(settings: Settings) -> None:
    from boardherd_shared.link import Link, LinkDown

    try:
        async with Link(settings.broker, name="boardherd-simulate").session():
            pass
    except LinkDown as down:
        raise Failure(
            Exit.UNREACHABLE, f"the broker at {settings.broker.display} cannot be reached: {down}"
        ) from down


async def _site(settings: Settings, options: FleetOptions) -> str:
    """Return the site, the collector's own by default; say so if the collector does not know the fleet."""
    from boardherd.api import Api, ApiAway
    from boardherd.output import note
    from boardherd.rack.fleet_telemetry import pc_id

    try:
        fleet = await Api(settings.api, settings.api_token_file).fleet()
    except ApiAway as away:
        note(f"the collector at {settings.api} does not answer ({away}); nothing will be compared with it")
        return settings.site or _SITE
    known = {pc.id for pc in fleet.pcs if pc.known}
    strangers = sum(pc_id(number) not in known for number in range(1, options.agents + 1))
    if strangers:
        note(
            f"the collector's lab.toml does not name {strangers} of the PCs, and it takes only so many of those;"
            " --lab FILE writes one that does"
        )
    return settings.site or fleet.site


async def _counts(settings: Settings) -> CountsAnswer | str:
    """Return what the database holds, or why that is not known."""
    from boardherd.rack.fleet_api import FleetApi

    return await FleetApi(settings.api, settings.api_token_file).counts(_ASK_TIMES)


@contextlib.asynccontextmanager
async def _progress(fleet: SimulatedFleet) -> AsyncIterator[None]:
    """Show how it goes, where a person looks at a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from boardherd.output import console

    columns = (TimeElapsedColumn(), BarColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        bar = progress.add_task("connecting", total=fleet.backlog or None)
        watcher = asyncio.create_task(
            _watch(fleet, lambda **more: progress.update(bar, **more)), name="progress"
        )
        try:
            yield
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)


async def _watch(fleet: SimulatedFleet, update: Any) -> None:
    total, stored, before = fleet.backlog, fleet.acknowledged, time.monotonic()
    while True:
        await asyncio.sleep(1.0)
        now, count = time.monotonic(), fleet.acknowledged
        rate, stored, before = (count - stored) / (now - before), count, now
        text = f"{fleet.resumed}/{len(fleet.agents)} agents, {fleet.backlog} to go, {rate:.0f}/s"
        update(description=text, completed=total - fleet.backlog)


def _show(result: Report, *, as_json: bool) -> None:
    from boardherd.output import emit_json
    from boardherd.rack.fleet_report import sentences

    if as_json:
        emit_json(result.model_dump(mode="json"))
        return
    for line in sentences(result):
        click.echo(line)
