"""The entry of the command line: ``boardherd``, or ``python -m boardherd``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

import click

from boardherd.commands.lab import example, lab_options
from boardherd.exit_codes import Exit, Failure

SECTIONS = {
    "See": {
        "status": "boardherd.commands.see:status",
        "pcs": "boardherd.commands.see:pcs",
        "boards": "boardherd.commands.see:boards",
        "relays": "boardherd.commands.see:relays",
        "locks": "boardherd.commands.locks:locks",
        "why": "boardherd.commands.why:why",
        "show": "boardherd.commands.show:show",
        "history": "boardherd.commands.history:history",
        "report": "boardherd.commands.report:report",
        "events": "boardherd.commands.events:events",
        "watch": "boardherd.commands.events:watch",
    },
    "Switch": {
        "power": "boardherd.commands.power:power",
        "reset": "boardherd.commands.lines:reset",
        "line": "boardherd.commands.lines:line",
        "relay": "boardherd.commands.relay:relay",
    },
    "Have a board to yourself": {
        "lock": "boardherd.commands.locks:lock",
        "unlock": "boardherd.commands.locks:unlock",
        "acquire": "boardherd.commands.acquire:acquire",
        "console": "boardherd.commands.console:console",
    },
    "Look after the lab": {
        "set": "boardherd.commands.errands:set_facts",
        "probe": "boardherd.commands.errands:probe",
        "refresh": "boardherd.commands.errands:refresh",
        "drain": "boardherd.commands.errands:drain",
        "maintenance": "boardherd.commands.administration:maintenance",
        "deactivate": "boardherd.commands.administration:deactivate",
        "activate": "boardherd.commands.administration:activate",
        "retire": "boardherd.commands.administration:retire",
        "rename": "boardherd.commands.administration:rename",
        "note": "boardherd.commands.administration:note",
        "inventory": "boardherd.commands.inventory:inventory",
        "discover": "boardherd.commands.discover:discover",
        "doctor": "boardherd.commands.doctor:doctor",
    },
    "Try": {
        "demo": "boardherd.commands.demo:demo",
        "simulate": "boardherd.commands.simulate:simulate",
        "completion": "boardherd.commands.completion:completion",
    },
}
"""Where each command is, under the headings of the help; imported when it is needed."""

COMMANDS = {name: place for section in SECTIONS.values() for name, place in section.items()}


class Root(click.Group):
    """The group of all commands: finds them late, and tells every failure as one sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands of this installation, in the order of the help."""
        del ctx
        return [name for name, place in COMMANDS.items() if importlib.util.find_spec(place.split(":")[0])]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name, or None."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module, name = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under their headings."""
        here = self.list_commands(ctx)
        for title, places in SECTIONS.items():
            found = [(name, self.get_command(ctx, name)) for name in places if name in here]
            room = formatter.width - 6 - max(map(len, here))
            rows = [(name, command.get_short_help_str(room)) for name, command in found if command]
            with formatter.section(title):
                formatter.write_dl(rows, col_spacing=2)

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run, and leave with one of the codes of :class:`Exit`."""
        extra["standalone_mode"] = False
        try:
            code = super().main(*args, **extra)
        except click.exceptions.NoArgsIsHelpError as bare:
            bare.show()
            sys.exit(Exit.USAGE)
        except click.UsageError as wrong:
            help_hint = f" (see {wrong.ctx.command_path} --help)" if wrong.ctx else ""
            Failure(Exit.USAGE, wrong.format_message().rstrip(".") + help_hint).show()
            sys.exit(Exit.USAGE)
        except click.ClickException as failure:
            failure.show()
            sys.exit(failure.exit_code)
        except OSError as error:  # of standard output: everything else has been told as a Failure
            Failure(Exit.OUTPUT, f"the answer cannot be written: {error.strerror}").show()
            sys.exit(Exit.OUTPUT)
        except (click.Abort, KeyboardInterrupt):
            sys.exit(Exit.STOPPED)
        sys.exit(code if isinstance(code, int) else Exit.DONE)


@click.group(
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=example(
        "boardherd status", "boardherd power cycle evm-07 --wait-alive", "boardherd boards --alive --json"
    ),
)
@lab_options(hidden=False)
@click.version_option(package_name="boardherd", message="boardherd %(version)s")
def cli() -> None:
    """See the boards of a test lab, and switch their power.

    The lab is found through these options, BOARDHERD_BROKER, BOARDHERD_API, BOARDHERD_SITE and
    BOARDHERD_OPERATOR, ~/.config/boardherd/config.toml, a demo that runs, or on this machine.
    """


def main() -> None:
    """Run the command line and exit."""
    cli(prog_name="boardherd")


if __name__ == "__main__":
    main()
