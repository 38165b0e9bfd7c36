"""The entry of the agent: ``boardherd-agent --config FILE``; SIGHUP has it read its configuration again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Coroutine
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boardherd_shared import lifecycle
from boardherd_shared.inventory import Inventory
from boardherd_shared.settings import ConfigError, load

if TYPE_CHECKING:  # to check an inventory takes neither, and a person waits for that
    from boardherd_agent.settings import AgentSettings

DEFAULT_CONFIG = Path("/etc/boardherd/agent.toml")


def main() -> int:
    """Run the agent; return the exit code: 78 when the configuration cannot be used."""
    arguments = _parser().parse_args()
    if arguments.check_inventory is not None:
        from boardherd_agent.checking import print_findings

        return print_findings(arguments.check_inventory)
    try:
        settings, inventory = _read(arguments.config)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return lifecycle.EXIT_CONFIG
    if arguments.check_config:
        boards = len(inventory.boards_of(settings.pc))
        print(f"{arguments.config} is in order: {settings.pc} controls {boards} boards")  # noqa: T201
        return 0
    if arguments.task == "selftest":
        from boardherd_agent.selftest.run import main as selftest

        return selftest(settings, inventory, as_json=arguments.json)
    return lifecycle.run(
        _agent(arguments, settings, inventory),
        reload=lambda: _agent(arguments, *_read(arguments.config)),
    )


def _read(config: Path) -> tuple[AgentSettings, Inventory]:
    """Read and check everything that is configured; raises ConfigError."""
    from boardherd_agent.bench import driver_factories
    from boardherd_agent.settings import AgentSettings

    settings = load(config, AgentSettings)
    inventory = Inventory.read(settings.inventory)
    places = [*filter(None, [lifecycle.credentials_directory()]), settings.secrets_dir]
    driver_factories(inventory, settings.pc, places)
    return settings, inventory


def _agent(arguments: argparse.Namespace, settings: AgentSettings, inventory: Inventory) -> lifecycle.Main:
    """Return what is the agent when it is called."""

    def agent() -> Coroutine[Any, Any, None]:
        from boardherd_agent.app import main as run
        from boardherd_shared import logs

        logs.configure(arguments.log_level or settings.log_level, settings.log_format)
        return run(settings, inventory)

    return agent


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="boardherd-agent", description="The boardherd agent of a test PC.")
    parser.add_argument(
        "task",
        nargs="?",
        choices=["selftest"],
        help="selftest: look at relays, consoles, disk, clock and broker, without writing to any; else be the agent",
    )
    parser.add_argument("--json", action="store_true", help="selftest: print JSON")
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="agent.toml (%(default)s)")
    parser.add_argument(
        "--check-config", action="store_true", help="check agent.toml and lab.toml, then exit"
    )
    parser.add_argument(
        "--check-inventory",
        type=Path,
        metavar="LAB",
        help="check the relays of a lab.toml against their drivers, print the findings as JSON, then exit",
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
