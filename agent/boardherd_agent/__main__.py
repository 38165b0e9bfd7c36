"""The entry of the agent: ``boardherd-agent --config FILE``."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version
from pathlib import Path

from boardherd_agent.bench import driver_factories
from boardherd_agent.settings import AgentSettings
from boardherd_shared import lifecycle, logs
from boardherd_shared.inventory import Inventory
from boardherd_shared.settings import ConfigError, load

DEFAULT_CONFIG = Path("/etc/boardherd/agent.toml")


def main() -> int:
    """Run the agent; return the exit code: 78 when the configuration cannot be used."""
    arguments = _parser().parse_args()
    try:
        settings = load(arguments.config, AgentSettings)
        inventory = Inventory.read(settings.inventory)
        places = [*filter(None, [lifecycle.credentials_directory()]), settings.secrets_dir]
        driver_factories(inventory, settings.pc, places)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return lifecycle.EXIT_CONFIG
    if arguments.check_config:
        boards = len(inventory.boards_of(settings.pc))
        print(f"{arguments.config} is in order: {settings.pc} controls {boards} boards")  # noqa: T201
        return 0
    logs.configure(arguments.log_level or settings.log_level, settings.log_format)
    from boardherd_agent.app import main as run

    return lifecycle.run(lambda: run(settings, inventory))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="boardherd-agent", description="The boardherd agent of a test PC.")
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="agent.toml (%(default)s)")
    parser.add_argument(
        "--check-config", action="store_true", help="check agent.toml and lab.toml, then exit"
    )
    parser.add_argument(
        "--log-level", choices=["debug", "info", "warning", "error"], help="instead of log_level"
    )
    parser.add_argument(
        "--version", action="version", version=f"boardherd-agent {version('boardherd-agent')}"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
