"""The demo: a whole lab on this machine, to look at and to be checked."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from boardherd.commands.lab import example, run
from boardherd.exit_codes import Exit, Failure

if TYPE_CHECKING:
    from boardherd.demo import Demo, Options
    from boardherd.story import Step


@click.group(
    invoke_without_command=True,
    epilog=example("boardherd demo", "boardherd demo --check --json", "boardherd demo fault evm-03 hang"),
)
@click.option(
    "--check", is_flag=True, help="Play a story against a demo of its own and exit 0 if all went well."
)
@click.option("--json", "as_json", is_flag=True, help="With --check: print the result as JSON.")
@click.option(
    "--broker", "broker_url", metavar="URL", help="Use a broker that runs already, mqtt://host:port."
)
@click.option(
    "--broker-port", default=1883, show_default=True, type=click.IntRange(0, 65535), help="Port of its own."
)
@click.option(
    "--http-port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Port of the page."
)
@click.option("--boards", default=6, show_default=True, type=click.IntRange(2, 15), help="How many boards.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep database, spool and logs here; a temporary directory otherwise.",
)
@click.pass_context
def demo(
    context: click.Context,
    check: bool,
    as_json: bool,
    broker_url: str | None,
    broker_port: int,
    http_port: int,
    boards: int,
    directory: Path | None,
) -> None:
    """Run broker, collector, agent and a simulated rack on this machine; Ctrl-C ends it.

    The statistics are this machine's own. The relays are real TCP devices, and the boards really boot and
    really go dark. Ports may be 0 for any free one.
    """
    if context.invoked_subcommand is not None:
        return
    if as_json and not check:
        raise click.UsageError("--json goes with --check")
    _require_parts()
    from boardherd.demo import Options, free_port

    with _place(directory) as place:
        options = Options(
            directory=place,
            broker_url=broker_url,
            broker_port=free_port() if check or not broker_port else broker_port,
            http_port=free_port() if check or not http_port else http_port,
            boards=boards,
            boot_seconds=3.0 if check else 6.0,
        )
        context.exit(_check(options, as_json=as_json) if check else _show(options))


@demo.command(epilog=example("boardherd demo fault evm-03 hang", "boardherd demo fault eth-1 dead"))
@click.argument("target")
@click.argument("fault")
def fault(target: str, fault: str) -> None:
    """Break something in the running demo.

    TARGET is a board (hang, panic, slow, no_boot, no_network, no_console), a relay module (hang, dead, reboot)
    or a port of one, as in eth-1:3 (weld).
    """
    click.echo(_ask_rack("fault", target, fault))


@demo.command(epilog=example("boardherd demo heal evm-03", "boardherd demo heal"))
@click.argument("target", required=False)
def heal(target: str | None) -> None:
    """Mend TARGET in the running demo, or everything."""
    click.echo(_ask_rack("heal", target))


@demo.command(epilog=example("boardherd demo miswire eth-1:1 eth-2:1"))
@click.argument("port")
@click.argument("other")
def miswire(port: str, other: str) -> None:
    """Swap what two relay ports feed in the running demo; `heal wiring` puts it right."""
    click.echo(_ask_rack("miswire", port, other))


def _ask_rack(verb: str, *words: str | None) -> str:
    from boardherd.rack.control import RackControl
    from boardherd.rack.rack import RackError
    from boardherd.settings import demo_connection_file

    address = _rack_of(demo_connection_file())
    try:
        return str(run(getattr(RackControl(address), verb)(*words)))
    except RackError as error:
        raise Failure(Exit.USAGE, str(error)) from error


def _rack_of(path: Path) -> str:
    import json

    try:
        return str(json.loads(path.read_text())["rack"])
    except (OSError, ValueError, KeyError) as error:
        raise Failure(Exit.UNREACHABLE, "no demo is running; start one with: boardherd demo") from error


def _require_parts() -> None:
    """Raise Failure if the demo's other parts are not installed beside the command line."""
    import importlib.util

    parts = {
        "amqtt": "amqtt",
        "boardherd_agent": "boardherd-agent",
        "boardherd_collector": "boardherd-collector",
    }
    if missing := [package for module, package in parts.items() if importlib.util.find_spec(module) is None]:
        text = f"the demo needs {', '.join(missing)} beside the command line; install boardherd[demo]"
        raise Failure(Exit.USAGE, text)


@contextlib.contextmanager
def _place(directory: Path | None) -> Iterator[Path]:
    if directory is not None:
        yield directory.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="boardherd-demo-", ignore_cleanup_errors=True) as temporary:
        yield Path(temporary)


def _show(options: Options) -> int:
    """Run a demo until a signal ends it."""
    from boardherd.demo import Demo

    async def show() -> None:
        click.echo("starting a lab on this machine ...", err=True)
        async with Demo(options) as running:
            click.echo(_welcome(running))
            try:
                await asyncio.Event().wait()
            finally:
                click.echo("\nstopping ...", err=True)

    return _live(show)


def _live(main: Any) -> int:
    """Run ``main`` under the daemons' own rules for signals; failures are told as everywhere."""
    from boardherd_shared import lifecycle, logs

    logs.configure("warning")
    failures: list[Failure] = []

    async def guarded() -> None:
        try:
            await main()
        except Failure as failure:
            failures.append(failure)

    code = lifecycle.run(guarded)
    if failures:
        raise failures[0]
    return code


def _welcome(running: Demo) -> str:
    from boardherd.demo import SITE
    from boardherd.settings import login_name
    from boardherd_shared.link import BrokerSettings

    broker = BrokerSettings(url=running.broker_url)
    topic = f"boardherd/v1/{SITE}/boards/evm-02/cmd/{login_name()}"
    return f"""
boardherd demo, site "{SITE}"

  page     {running.api}/
  metrics  {running.api}/metrics
  broker   {broker.display}
  files    {running.directory}

Try in another terminal{_activation()}:

  boardherd status
  boardherd power cycle evm-01 --wait-alive
  mosquitto_pub -h {broker.host} -p {broker.port} -t {topic} -m cycle

Break something:  boardherd demo fault evm-03 hang
Ctrl-C ends it.
"""


def _activation() -> str:
    """Return how another terminal finds this very command line, if it lives in a virtual environment."""
    import os
    import sys

    if sys.prefix == sys.base_prefix:
        return ""
    place = (
        Path(os.path.relpath(sys.prefix)) if Path(sys.prefix).is_relative_to(Path.cwd()) else Path(sys.prefix)
    )
    return f", after: . {place / 'bin' / 'activate'}"


def _check(options: Options, *, as_json: bool) -> int:
    """Play the story on a demo of its own; return the exit code."""
    import time

    from boardherd.demo import Demo
    from boardherd.output import emit_json
    from boardherd.story import Step, Story

    steps: list[Step] = []
    began = time.monotonic()

    def tell(step: Step) -> None:
        if not as_json:
            click.echo(f"{'ok  ' if step.ok else 'FAIL'} {step.seconds:6.1f} s  {step.name}: {step.text}")

    async def check() -> None:
        async with Demo(options) as running:
            start = Step(
                "start", ok=True, seconds=_since(began), text="broker, collector, agent and rack are up"
            )
            steps.append(start)
            tell(start)
            steps.extend(await Story(running, tell).play())
            leaving = time.monotonic()
        stop = Step("stop", ok=_since(leaving) < 10, seconds=_since(leaving), text="everything has stopped")
        steps.append(stop)
        tell(stop)

    def _since(moment: float) -> float:
        return round(time.monotonic() - moment, 2)

    code = _live(check)
    ok = code == 0 and len(steps) > 2 and all(step.ok for step in steps)
    if as_json:
        emit_json({"ok": ok, "seconds": _since(began), "steps": [asdict(step) for step in steps]})
    return int(Exit.DONE if ok else Exit.HARDWARE)
