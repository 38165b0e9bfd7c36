"""A simulated device to try a configuration on, without hardware."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from boardherd.commands.lab import Lab, example, lab_options, pass_lab, run
from boardherd.exit_codes import Exit, Failure
from boardherd.stopping import stopping

if TYPE_CHECKING:
    from boardherd.rack.devices.contacts import Transition
    from boardherd.rack.devices.device import SimulatedDevice

_LOOK_EVERY_S = 0.05
_KEYS = {"h": "hang", "d": "dead", "r": "reboot", "f": "refuse", "g": "garble", "s": "slow", "e": "heal"}
_KEY_HELP = "keys: [h]ang [d]ead [r]eboot re[f]use [g]arble [s]low h[e]al, 1-9 press the button of a port"


class DeviceCommand(click.Command):
    """A command whose help lists the kinds that there are, which are looked for only then."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the kinds, and the examples."""
        from boardherd.rack.devices import kinds

        with formatter.section("Kinds"):
            formatter.write_text(", ".join(kinds()))
        super().format_epilog(ctx, formatter)


class TimedFault(click.ParamType[tuple[str, float]]):
    """A fault and when it comes, written as "hang@30s"."""

    name = "fault"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        """Return the fault and the seconds after the start; fails as a usage error."""
        from boardherd.rack.trial import FAULTS
        from boardherd_shared.command import parse_duration

        fault, _, moment = str(value).partition("@")
        if fault not in FAULTS:
            self.fail(f'"{fault}" is no fault; there are {", ".join(FAULTS)}', param, ctx)
        try:
            return fault, float(str(parse_duration(moment or "0s")))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class KeyValue(click.ParamType[tuple[str, str]]):
    """A name and a value, written as "name=value"."""

    name = "key=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Return both; fails as a usage error."""
        name, equals, text = str(value).partition("=")
        if not equals:
            self.fail(f'"{value}" has no "="; write for example password=pear', param, ctx)
        return name, text


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    del ctx, param
    from boardherd.rack.devices import kinds

    return [kind for kind in kinds() if kind.startswith(incomplete)]


@click.command(
    cls=DeviceCommand,
    epilog=example(
        "boardherd simulate device devantech",
        "boardherd simulate device shelly --ports 2 --option password=pear",
        "boardherd simulate device netio --port 8081 --fault hang@30s --fault heal@60s",
        "boardherd simulate device lcus --options",
    ),
)
@click.argument("kind", shell_complete=_complete)
@click.option("--ports", type=click.IntRange(1, 100), metavar="N", help="How many ports it has.")
@click.option(
    "--port",
    "tcp_port",
    type=click.IntRange(1, 65535),
    metavar="TCP",
    help="Where it listens; a free port unless given.",
)
@click.option(
    "--option",
    "given",
    type=KeyValue(),
    multiple=True,
    metavar="KEY=VALUE",
    help="Anything else that this kind can be.",
)
@click.option("--options", "explain", is_flag=True, help="Show what this kind can be told, and end.")
@click.option("--relay", metavar="ID", help="What the relay is called in the stanza; sim-KIND unless given.")
@click.option(
    "--fault", "faults", type=TimedFault(), multiple=True, metavar="FAULT@TIME",
    help="A fault to come: hang, dead, reboot, refuse, garble, slow; heal ends them.",
)  # fmt: skip
@lab_options(hidden=True)
@pass_lab
def device(
    lab: Lab,
    *,
    kind: str,
    ports: int | None,
    tcp_port: int | None,
    given: tuple[tuple[str, str], ...],
    explain: bool,
    relay: str | None,
    faults: tuple[tuple[str, float], ...],
) -> None:
    """Be a relay device of KIND on this machine, until Ctrl-C.

    Prints its stanza for lab.toml first, then each movement of a contact: time, port, state and what moved it. On
    a terminal its faults are keys.
    """
    from boardherd.rack import trial

    try:
        if explain:
            _explain(trial.options_of(kind))
            return
        made = trial.make(kind, dict(given), ports=ports, tcp_port=tcp_port)
    except ImportError as error:
        text = f"simulating a {kind} needs {error.name or error}; install boardherd[devices]"
        raise Failure(Exit.USAGE, text) from error
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    run(Show(made, relay or f"sim-{kind}", as_json=lab.json).run(faults))


def _explain(options: dict[str, Any]) -> None:
    from boardherd.output import emit_table
    from boardherd.tables import Cell, Table

    rows = tuple(
        (
            Cell(name),
            Cell(option.type),
            Cell("" if option.default is None else str(option.default)),
            Cell(option.text),
        )
        for name, option in options.items()
    )
    emit_table(Table(("option", "type", "default", "meaning"), rows))


@dataclass
class Show:
    """One device, shown while it lives."""

    device: SimulatedDevice
    relay: str
    as_json: bool = False
    told: int = 0
    """How many movements have been told."""

    async def run(self, faults: tuple[tuple[str, float], ...]) -> None:
        """Let the device live until a signal ends it; raises Failure when it cannot begin."""
        stop = asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(stopping(stop.set))
            try:
                await stack.enter_async_context(self.device)
            except OSError as error:
                raise Failure(
                    Exit.USAGE, f"the device cannot be reached where it should: {error.strerror}"
                ) from error
            keys: asyncio.Queue[str] = asyncio.Queue()
            stack.enter_context(_keyboard(keys.put_nowait))
            self._introduce()
            async with asyncio.TaskGroup() as tasks:
                living = [tasks.create_task(self._watch(), name="contacts")]
                living += [tasks.create_task(self._obey(keys), name="keys")]
                living += [
                    tasks.create_task(self._strike(*fault), name=f"fault {fault[0]}") for fault in faults
                ]
                await stop.wait()
                for task in living:
                    task.cancel()
            self._tell_news()

    def _introduce(self) -> None:
        from boardherd.output import emit_json_line, note
        from boardherd.rack.trial import keys, stanza

        environment = self.device.environment()
        if self.as_json:
            emit_json_line({"relay": self.relay, "stanza": keys(self.device), "environment": environment})
        else:
            for name, value in environment.items():
                click.echo(f"# the agent needs this in its environment: {name}={value}")
            click.echo(stanza(self.device, self.relay) + "\n")
        if _has_keyboard():
            note(_KEY_HELP)

    async def _watch(self) -> None:
        while True:
            self._tell_news()
            await asyncio.sleep(_LOOK_EVERY_S)

    def _tell_news(self) -> None:
        """Tell of every movement since the last look."""
        news = self.device.transitions[self.told :]
        self.told += len(news)
        for movement in news:
            self._tell(movement)

    def _tell(self, movement: Transition) -> None:
        from boardherd.output import emit_json_line

        at = datetime.now(UTC) - timedelta(seconds=time.monotonic() - movement.at)
        state = "on" if movement.energised else "off"
        if self.as_json:
            emit_json_line(
                {"at": at.isoformat(), "port": movement.port, "state": state, "cause": movement.cause}
            )
        else:
            clock = at.astimezone().strftime("%H:%M:%S.%f")[:-3]
            click.echo(f"{clock}  port {movement.port:<3} {state.upper():<3}  {movement.cause}")

    async def _strike(self, fault: str, after: float) -> None:
        await asyncio.sleep(after)
        await self._inflict(fault)

    async def _inflict(self, fault: str) -> None:
        from boardherd.output import note
        from boardherd.rack.trial import FAULTS, inflict

        note(f"{fault}: it {FAULTS[fault]}")
        try:
            await inflict(self.device, fault)
        except OSError as error:
            note(f"{fault}: {error.strerror}")

    async def _obey(self, keys: asyncio.Queue[str]) -> None:
        """Do what each key stands for."""
        while True:
            key = await keys.get()
            if key in _KEYS:
                await self._inflict(_KEYS[key])
            elif key.isdecimal() and int(key) in self.device.outputs:
                self.device.switch(int(key), not self.device.outputs[int(key)])


def _has_keyboard() -> bool:
    """Tell whether somebody sits at the keyboard; one who has put this into the background does not."""
    if sys.platform == "win32" or not sys.stdin.isatty():
        return False
    return os.getpgrp() == os.tcgetpgrp(sys.stdin.fileno())


@contextlib.contextmanager
def _keyboard(typed: Callable[[str], object]) -> Iterator[None]:
    """Call ``typed`` with each key, where there is a keyboard."""
    if sys.platform == "win32" or not _has_keyboard():
        yield
        return
    import termios
    import tty

    loop, number = asyncio.get_running_loop(), sys.stdin.fileno()
    before = termios.tcgetattr(number)
    tty.setcbreak(number)
    loop.add_reader(number, lambda: typed(os.read(number, 1).decode("ascii", "replace")))
    try:
        yield
    finally:
        loop.remove_reader(number)
        termios.tcsetattr(number, termios.TCSADRAIN, before)
