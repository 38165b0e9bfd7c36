"""Any power switch for which the lab has a program: one run for each switch, and one for each look at it.

The inventory gives a bare name and arguments; where programs are is not its to say (see
:mod:`boardherd_agent.devices.programs`). No shell is involved, and of the environment it can set only names that
begin with ``RELAY_``, which no interpreter and no loader knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from boardherd_agent.devices import programs
from boardherd_agent.devices.codecs import command as codec
from boardherd_agent.devices.codecs.replies import BadReply
from boardherd_agent.devices.device import (
    About,
    DeviceError,
    DeviceGarbled,
    DeviceOffline,
    DeviceRefused,
    Identity,
)
from boardherd_shared.command import Duration
from boardherd_shared.inventory import RelayConfig
from boardherd_shared.values import one_line

T = TypeVar("T")

_WORDS = 200
"""As much as is shown of what a program says when it fails."""

Argument = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")]
Variable = Annotated[str, StringConstraints(pattern=r"^RELAY_[A-Z0-9_]{1,50}$")]

ABOUT = About(
    title="A program of the lab",
    models="whatever a program can switch: a script around curl, a maker's tool, a bench supply",
    connection="an executable in /etc/boardherd/commands of the test PC",
    example="""
[relay.bench-supply]
kind = "command"
program = "bench-supply"
address = "10.0.5.60"
port_count = 2
on = ["--host", "{address}", "output", "{port}", "on"]
off = ["--host", "{address}", "output", "{port}", "off"]
read = ["--host", "{address}", "state", "{port}"]
environment = { RELAY_PASSWORD = "an example" }
""",
    tested="a program that reaches a simulated device over TCP, with all ways of reading back",
    read_back="if the program can tell; without the key `read` a switch counts as done when the program ends with 0",
    notes="Exit status 0 means done, 69 or 75 that the device cannot be reached just now, anything else that it "
    "refused; the last line of standard error is shown. A program that takes too long is killed with its whole "
    "process group. It runs as the agent does, with the restrictions of its systemd unit: sudo does not work. It "
    "gets RELAY_PORT, RELAY_STATE (on, off or read), PATH, LANG and the variables of the key `environment`, and "
    "must be safe for any argument: put a small script there, not a shell or ssh itself; links that lead out of the "
    "directory are refused. BOARDHERD_COMMANDS in the agent's own environment names another directory.",
)


class Options(BaseModel):
    """Keys in lab.toml of a relay that a program switches, beside the common ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    program: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] | None = Field(
        None, description="file name of the program; where it is, the agent knows"
    )
    on: tuple[Argument, ...] = Field(
        ("on", "{port}"),
        description="arguments that energise a port; {port}, {address} and {tcp_port} stand for what the relay has",
    )
    off: tuple[Argument, ...] = Field(("off", "{port}"), description="arguments that release a port")
    read: tuple[Argument, ...] | None = Field(
        None,
        description="arguments that ask for the state: with {port} of one port, without it of all of them, a line "
        '"3 on" for each; a relay without this key is not read back',
    )
    read_by: Literal["output", "exit"] = Field(
        "output",
        description="what tells the state of one port: what is printed, or the exit status, 0 on and 1 off",
    )
    check: tuple[Argument, ...] | None = Field(
        None,
        description="for a relay that is not read back: arguments that find out whether it is there, moving nothing",
    )
    environment: dict[Variable, SecretStr] = Field(
        default_factory=dict, description="variables that the program gets; their names begin with RELAY_"
    )
    reply_timeout: Duration = Field(8.0, gt=0, description="how long one run of the program may take")


class Driver:
    """What a program switches; see the contract in :mod:`boardherd_agent.devices.device`."""

    def __init__(self, config: RelayConfig, options: Options) -> None:
        """Describe it; ValueError if the program is missing, or something that an argument needs."""
        if options.program is None:
            raise ValueError('a relay of kind command needs "program", the name of a file')
        _check(config, options)
        self._program, self._options = options.program, options
        self._ports = range(1, config.port_count + 1)
        self._places = {"address": config.address or "", "tcp_port": str(config.tcp_port or "")}
        self._each = len(self._ports) == 1 or "port" in codec.placeholders(options.read or ())
        self.reads_back = options.read is not None
        self.identity = Identity(options.program)

    async def __aenter__(self) -> Self:
        programs.find(self._program)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Nothing is left open between two runs."""

    async def read(self) -> Mapping[int, bool]:
        """Return for each port what the program says of it, nothing if it cannot be asked; raises DeviceError."""
        if self._options.read is None:
            await self._check()
            return {}
        if self._each:
            return {port: await self._read_one(self._options.read, port) for port in self._ports}
        output = await self._carry_out(self._options.read, 0, "read")
        states = self._understood(codec.parse_states, output)
        if missing := [port for port in self._ports if port not in states]:
            raise DeviceGarbled(f"{self._program} does not tell the state of port {missing[0]}")
        return {port: states[port] for port in self._ports}

    async def set(self, port: int, energised: bool) -> None:
        """Run the program once for one port, and return when it ended with 0; raises DeviceError."""
        if port not in self._ports:
            raise DeviceRefused(f"{self._program} has no port {port} (see port_count)")
        state = "on" if energised else "off"
        await self._carry_out(self._options.on if energised else self._options.off, port, state)

    async def _check(self) -> None:
        """Find out whether the device is there, or at least the program; raises DeviceError."""
        if self._options.check is None:
            programs.find(self._program)
        else:
            await self._carry_out(self._options.check, 0, "read")

    async def _read_one(self, template: Sequence[str], port: int) -> bool:
        if self._options.read_by == "output":
            return self._understood(codec.parse_state, await self._carry_out(template, port, "read"))
        ended = await self._run(template, port, "read")
        if ended.code not in {0, 1}:
            raise self._failure(ended)
        return ended.code == 0

    async def _carry_out(self, template: Sequence[str], port: int, state: str) -> bytes:
        """Run the program, insist on success, and return what it printed; raises DeviceError."""
        ended = await self._run(template, port, state)
        if ended.code != 0:
            raise self._failure(ended)
        return ended.output

    async def _run(self, template: Sequence[str], port: int, state: str) -> programs.Ended:
        arguments = codec.fill(template, {"port": str(port), **self._places})
        secrets = {name: value.get_secret_value() for name, value in self._options.environment.items()}
        environment = secrets | {"RELAY_PORT": str(port), "RELAY_STATE": state}
        return await programs.run(
            programs.find(self._program), arguments, environment, self._options.reply_timeout
        )

    def _failure(self, ended: programs.Ended) -> DeviceError:
        lines = (ended.errors.strip() or ended.output.strip()).splitlines()
        words = f": {one_line(lines[-1], _WORDS)}" if lines else ""
        if ended.code < 0:
            return DeviceOffline(f"{self._program} was killed by signal {-ended.code}{words}")
        if ended.code in codec.OUT_OF_REACH:
            return DeviceOffline(f"{self._program} cannot reach the device{words}")
        return DeviceRefused(f"{self._program} failed with {ended.code}{words}")

    def _understood(self, parse: Callable[[bytes], T], output: bytes) -> T:
        try:
            return parse(output)
        except BadReply as error:
            raise DeviceGarbled(f"{self._program}: {error}") from error


def _check(config: RelayConfig, options: Options) -> None:
    """Raise ValueError, in words, for arguments that cannot be filled in, or a state that nobody could tell."""
    read = options.read or ()
    wanted = codec.placeholders([*options.on, *options.off, *read, *(options.check or ())])
    if unknown := wanted - set(codec.PLACEHOLDERS):
        names = ", ".join(f"{{{name}}}" for name in codec.PLACEHOLDERS)
        raise ValueError(f"{{{min(unknown)}}} stands for nothing; an argument may have {names}")
    for name, value in (("address", config.address), ("tcp_port", config.tcp_port)):
        if name in wanted and value is None:
            raise ValueError(f'an argument has {{{name}}}, so the relay needs "{name}"')
    if options.read_by == "exit" and config.port_count > 1 and "port" not in codec.placeholders(read):
        raise ValueError('read_by = "exit" tells of one port, so "read" needs {port}')
