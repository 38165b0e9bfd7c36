"""``python -m boardherd.rack``: the rack as a process of its own."""

from __future__ import annotations

import asyncio
import fcntl
import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import IO

import click

from boardherd.rack.control import ControlServer
from boardherd.rack.rack import Rack
from boardherd_shared import lifecycle, logs
from boardherd_shared.ids import is_slug


def _slug(context: click.Context, parameter: click.Parameter, value: str) -> str:
    del context, parameter
    if not is_slug(value):
        raise click.BadParameter(f'"{value}" is no id; use a-z, 0-9, dot, dash and underscore')
    return value


@click.command()
@click.option(
    "--dir",
    "directory",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where consoles, lab.toml and the control socket are put.",
)
@click.option("--boards", default=6, show_default=True, help="How many boards.")
@click.option("--modules", default=2, show_default=True, help="How many relay modules.")
@click.option(
    "--boot-seconds",
    default=4.0,
    show_default=True,
    type=click.FloatRange(min=0.05),
    help="How long a board takes to boot.",
)
@click.option("--seed", default=0, show_default=True, help="Makes the differences between boots repeatable.")
@click.option("--site", default="demo", show_default=True, callback=_slug, help="Site in lab.toml.")
@click.option("--pc", default="demo-pc", show_default=True, callback=_slug, help="Test PC in lab.toml.")
@click.option("--off", "leave_off", multiple=True, metavar="BOARD", help="A board that starts without power.")
def main(
    directory: Path,
    boards: int,
    modules: int,
    boot_seconds: float,
    seed: int,
    site: str,
    pc: str,
    leave_off: tuple[str, ...],
) -> None:
    """Run a simulated rack until SIGTERM or Ctrl-C.

    Once everything listens, one line of JSON on standard output names the lab.toml that describes the rack
    and the address of its control socket.
    """
    logs.configure()
    directory = directory.absolute()
    try:
        rack = Rack(directory, boards=boards, modules=modules, boot_seconds=boot_seconds, seed=seed)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if unknown := set(leave_off) - set(rack.boards):
        raise click.BadParameter(
            f"there is no board {', '.join(unknown)}; known are: {', '.join(rack.boards)}"
        )
    with _claim(directory):
        sys.exit(lifecycle.run(lambda: _serve(rack, directory, site, pc, leave_off)))


async def _serve(rack: Rack, directory: Path, site: str, pc: str, leave_off: Collection[str]) -> None:
    async with rack, ControlServer(rack, directory / "rack.sock") as control:
        lab = directory / "lab.toml"
        _write(lab, rack.lab_toml(site, pc))
        rack.power_all(leave_off)
        click.echo(json.dumps({"ready": True, "lab": str(lab), "control": control.address}))
        await asyncio.Event().wait()


def _claim(directory: Path) -> IO[str]:
    """Make ``directory`` and hold it against other racks, until what is returned is closed."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "rack.lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise click.ClickException(f"another rack is running in {directory}") from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or directory}: {error.strerror}") from error
    return lock


def _write(path: Path, text: str) -> None:
    """Replace a file as a whole, so that nobody reads half of it."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


if __name__ == "__main__":
    main()
