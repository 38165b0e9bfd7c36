"""What every command shares: the options that say where the lab is, and how to talk to it.

Nothing heavy is imported before a command really runs, so that help and completion are quick.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import click

from boardherd.exit_codes import Exit, Failure

if TYPE_CHECKING:
    from boardherd.client import Client
    from boardherd.local import LocalAgent
    from boardherd.settings import Settings
    from boardherd_shared.views import FleetView

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

COMPLETION_TIMEOUT_S = 3.0
"""A person who pressed the tabulator waits no longer than this."""


@dataclass
class Lab:
    """What the command line said, and the way to the lab that follows from it."""

    flags: dict[str, str | None] = field(default_factory=dict)
    timeout: float | None = None
    json: bool = False
    local: bool = False
    """Commands go to the agent of this machine, not to the broker."""

    def settings(self) -> Settings:
        """Return the settings in force; raises Failure when a source of them makes no sense."""
        from boardherd.settings import DEFAULT_TIMEOUT_S, resolve
        from boardherd_shared.settings import ConfigError

        try:
            return resolve(self.flags, timeout=self.timeout or DEFAULT_TIMEOUT_S)
        except ConfigError as error:
            raise Failure(Exit.USAGE, str(error).replace("\n", "; ")) from error

    def client(self) -> Client:
        """Return a client of the lab; raises Failure where only the agent of this machine may be asked."""
        from boardherd.client import Client
        from boardherd_shared import logs

        if self.local:
            raise Failure(Exit.USAGE, "--local is for commands that the agent of this machine carries out")
        settings = self.settings()
        # Failures reach the operator as one sentence, not as log lines; the MQTT library has a level of its own.
        logs.configure("critical")
        logging.getLogger("mqtt").setLevel(logging.CRITICAL)
        return Client(settings)

    def agent_here(self) -> LocalAgent:
        """Return the agent of this machine; raises Failure when a source of settings makes no sense."""
        from boardherd.local import LocalAgent

        settings = self.settings()
        return LocalAgent(settings.socket, settings.timeout)

    def fleet(self) -> FleetView:
        """Return the current fleet; raises Failure."""
        return run(self.client().fleet())


pass_lab = click.make_pass_decorator(Lab, ensure=True)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end, on an event loop that the MQTT library can use on every system."""
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(work)


class Duration(click.ParamType[float]):
    """Seconds, written as "5s", "300ms" or "2m"."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds; fails as a usage error."""
        from boardherd_shared.command import parse_duration

        try:
            return float(str(parse_duration(value)))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def example(*lines: str) -> str:
    """Return the end of a help text: commands to try, on lines of their own."""
    word = "Example" if len(lines) == 1 else "Examples"
    return "\n".join(("\b", f"{word}:", *(f"  {line}" for line in lines)))


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Note a shared option, wherever on the line it stood; the innermost wins."""
    if value is None or value is False:
        return
    lab = ctx.ensure_object(Lab)
    match param.name:
        case "as_json":
            lab.json = True
        case "timeout":
            lab.timeout = value
        case "local":
            lab.local = True
        case "socket":
            lab.local = True
            lab.flags["socket"] = value
        case name:
            lab.flags[str(name)] = value


def lab_options(*, hidden: bool) -> Callable[[F], F]:
    """Return a decorator that adds the shared options; below the top only ``--json`` is shown in the help."""
    options: list[Callable[[F], F]] = [
        click.option(
            "--broker",
            metavar="URL",
            help="Broker, mqtt://host:1883 or mqtts://host:8883.",
            callback=_keep,
            expose_value=False,
            hidden=hidden,
        ),
        click.option(
            "--api",
            metavar="URL",
            help="Collector, http://host:8080.",
            callback=_keep,
            expose_value=False,
            hidden=hidden,
        ),
        click.option(
            "--site",
            metavar="ID",
            help="The lab, where the broker serves several.",
            callback=_keep,
            expose_value=False,
            hidden=hidden,
        ),
        click.option(
            "--as",
            "operator",
            metavar="OPERATOR",
            help="Who asks; your broker user name, else your login.",
            callback=_keep,
            expose_value=False,
            hidden=hidden,
        ),
        click.option(
            "--timeout",
            type=Duration(),
            metavar="TIME",
            help="How long to wait for an answer to a command; 15s.",
            callback=_keep,
            expose_value=False,
            hidden=hidden,
        ),
        click.option(
            "--local",
            is_flag=True,
            help="Send commands to the agent of this machine, without the broker.",
            callback=_keep,
            expose_value=False,
            hidden=hidden,
        ),
        click.option(
            "--socket",
            metavar="PATH",
            help="The same, at another socket than /run/boardherd/agent.sock.",
            callback=_keep,
            expose_value=False,
            hidden=hidden,
        ),
        click.option(
            "--json",
            "as_json",
            is_flag=True,
            help="Print JSON instead of text.",
            callback=_keep,
            expose_value=False,
        ),
    ]

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def complete_line(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the lines of the board that was named before; nothing when nobody answers."""
    del param
    board = ctx.params.get("board")
    try:
        client = (ctx.find_object(Lab) or Lab()).client()
        fleet = run(asyncio.wait_for(client.fleet(), COMPLETION_TIMEOUT_S))
    except (Failure, TimeoutError):
        return []
    names = {
        port.state.line
        for relay in fleet.relays
        for port in relay.ports
        if port.board == board and port.state and port.state.line
    }
    return sorted(name for name in names if name.startswith(incomplete))


def complete(kind: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Return a completion of ids: of "boards", "pcs", "relays" or relay "ports", or of several, "ports boards".

    It offers nothing when nobody answers.
    """

    def offer(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        del param
        try:
            client = (ctx.find_object(Lab) or Lab()).client()
            fleet = run(asyncio.wait_for(client.fleet(), COMPLETION_TIMEOUT_S))
        except (Failure, TimeoutError):
            return []
        ids = {
            "boards": [board.id for board in fleet.boards],
            "pcs": [pc.id for pc in fleet.pcs],
            "relays": [relay.id for relay in fleet.relays],
            "ports": [f"{port.relay}:{port.port}" for relay in fleet.relays for port in relay.ports],
        }
        return [id_ for some in kind.split() for id_ in ids[some] if id_.startswith(incomplete)]

    return offer
