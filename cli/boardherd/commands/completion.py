"""Completion for the shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from boardherd.commands.lab import example
from boardherd.exit_codes import Exit, Failure


@click.command(
    epilog=example("boardherd completion bash > ~/.local/share/bash-completion/completions/boardherd")
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that completes in your shell."""
    kind = get_completion_class(shell)
    if kind is None:
        raise Failure(Exit.USAGE, f"no completion for {shell}")
    click.echo(kind(ctx.find_root().command, {}, "boardherd", "_BOARDHERD_COMPLETE").source())
