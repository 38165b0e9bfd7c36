"""The program ``boardherd-collector``."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version
from pathlib import Path

from boardherd_collector.invariants import faults
from boardherd_collector.settings import CollectorSettings
from boardherd_shared import lifecycle, logs
from boardherd_shared.inventory import Inventory
from boardherd_shared.settings import ConfigError, Document

DEFAULT_CONFIG = Path("/etc/boardherd/collector.toml")


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit code: 78 for a bad configuration, 1 when it could not run on."""
    options = _parser().parse_args(argv)
    try:
        settings, inventory = _read(options.config)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return lifecycle.EXIT_CONFIG
    if options.check_config:
        sys.stdout.write(f"{options.config}: good; {_summary(inventory)}\n")
        return 0
    if options.work is not None:
        from boardherd_collector import upkeep_commands

        logs.configure(options.log_level or settings.log_level, settings.log_format)
        return upkeep_commands.run(options, settings, inventory)
    return _run(options, settings, inventory)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="boardherd-collector",
        description="Stores, shows and exports what the agents of a lab report.",
        epilog="Without a command it runs as the collector. The commands take their database from the same file.",
    )
    parser.add_argument(
        "--config", type=Path, default=DEFAULT_CONFIG, help="configuration file (default: %(default)s)"
    )
    parser.add_argument("--check-config", action="store_true", help="check the configuration and exit")
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"], help="what to log")
    parser.add_argument("--version", action="version", version=version("boardherd-collector"))
    commands = parser.add_subparsers(dest="work", metavar="COMMAND")
    backup = _command(commands, "backup", "copy the database while the collector runs")
    backup.add_argument("target", type=Path, help="file to write, or a directory")
    restore = _command(
        commands, "restore", "put a copy in the place of the database; the collector must not run"
    )
    restore.add_argument("source", type=Path, help="file that backup wrote")
    migrate = _command(commands, "migrate", "bring the database to the schema of this program")
    migrate.add_argument(
        "--check", action="store_true", help="only say what is missing; exit code 1 if anything is"
    )
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    does: str,
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")
    command.add_argument(
        "--config",
        type=Path,
        default=argparse.SUPPRESS,
        help=f"configuration file (default: {DEFAULT_CONFIG})",
    )
    return command


def _read(config: Path) -> tuple[CollectorSettings, Inventory]:
    """Read and check everything that is configured; raises ConfigError."""
    document = Document.read(config)
    settings = document.parse(CollectorSettings)
    inventory = Inventory.read(settings.inventory)
    _check(document, settings)
    return settings, inventory


def _check(document: Document, settings: CollectorSettings) -> None:
    """Find what no setting alone can tell; raises ConfigError."""
    from boardherd_collector.web.listen import read_token

    if found := [document.fault(key, text) for key, text in faults(settings.retention, settings.rollup)]:
        raise ConfigError("\n".join(found))
    read_token(settings.http)


def _summary(inventory: Inventory) -> str:
    lab = inventory.lab
    return f"site {lab.site}: {len(lab.pc)} PCs, {len(lab.relay)} relays, {len(lab.board)} boards"


def _run(options: argparse.Namespace, settings: CollectorSettings, inventory: Inventory) -> int:
    """Be the collector; SIGHUP has it read its configuration again."""
    troubles: list[str] = []
    code = lifecycle.run(
        _collector(options, settings, inventory, troubles),
        reload=lambda: _collector(options, *_read(options.config), troubles),
    )
    for trouble in troubles:
        sys.stderr.write(f"{trouble}\n")
    return 1 if troubles else code


def _collector(
    options: argparse.Namespace, settings: CollectorSettings, inventory: Inventory, troubles: list[str]
) -> lifecycle.Main:
    """Return what is the collector when it is called; it puts into ``troubles`` why it could not run on."""
    from boardherd_collector import app
    from boardherd_collector.stores.base import StoreError
    from boardherd_collector.web.listen import PortBusy

    async def collector() -> None:
        logs.configure(options.log_level or settings.log_level, settings.log_format)
        try:
            await app.run(settings, inventory)
        except* (StoreError, PortBusy) as group:
            troubles.extend(str(trouble) for trouble in group.exceptions)

    return collector


if __name__ == "__main__":
    sys.exit(main())
