"""A board that boots when it gets power and is gone when it loses it."""

from __future__ import annotations

import asyncio
import random
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from boardherd.rack import console
from boardherd.rack.background import Background
from boardherd.rack.board_port import BoardPort
from boardherd.rack.console import FLAVOURS, Step
from boardherd.rack.serial_line import LineInput, SerialLine

SSH_GREETING = b"SSH-2.0-OpenSSH_9.6\r\n"

SLOWNESS = 4.0
"""How many times longer a boot takes under the fault ``slow``."""

_JITTER = 0.05


class Stage(StrEnum):
    """What a board is doing."""

    DARK = "dark"
    SPL = "spl"
    STUCK = "stuck"
    U_BOOT = "u-boot"
    COUNTDOWN = "countdown"
    PROMPT = "u-boot-prompt"
    LINUX = "linux"
    UP = "up"
    HUNG = "hung"
    PANICKED = "panicked"


class Fault(StrEnum):
    """What can be wrong with a board."""

    HANG = "hang"
    """Everything stops answering at once, power stays on; ends with a power cycle."""
    PANIC = "panic"
    """The kernel panics, says so on the console, and is dead; ends with a power cycle."""
    SLOW = "slow"
    """Every boot takes several times as long."""
    NO_BOOT = "no_boot"
    """The next boots end in SPL, which finds no boot device."""
    NO_NETWORK = "no_network"
    """The network cable is pulled: the kernel says so on the console, and no port is reached until it is back."""
    NO_CONSOLE = "no_console"
    """The adapter of the serial console is pulled out of the test PC: its device is gone until it is back."""


_ENDED_BY_POWER_CYCLE = {Fault.HANG, Fault.PANIC}
_DEFECT_STAGES = {Stage.HUNG, Stage.PANICKED, Stage.STUCK}


class NoPower(Exception):  # noqa: N818 - a state of the simulated world
    """The fault asked for needs a board that is powered; the message says so in words."""


class SimulatedBoard:
    """One board: a serial console, an SSH port and another TCP port, alive inside ``async with``.

    Without power its console is silent and its ports give no reply at all. With power it prints what a board
    prints, counts down (any key stops U-Boot at its prompt, where ``boot`` and ``reset`` work), starts Linux,
    opens the TCP port, then the SSH port, and ends at a login prompt that lets nobody in. A power cut stops
    everything within the call: the console falls silent and connections are reset.
    """

    def __init__(
        self,
        id_: str,
        directory: Path,
        *,
        platform: str = "j721e",
        host: str = "127.0.0.1",
        ssh_port: int = 0,
        tcp_port: int = 0,
        boot_seconds: float = 4.0,
        seed: int = 0,
    ) -> None:
        """Describe a board without power; its console and ports exist once its context is entered.

        Args:
            id_: the board's id; its console is ``<directory>/<id>-console``.
            directory: where the console is put.
            platform: one of :data:`console.FLAVOURS`.
            host: address of its ports.
            ssh_port: port of the SSH banner, 0 for a free one.
            tcp_port: port that only accepts, 0 for a free one.
            boot_seconds: from power-on to the login prompt, give or take a twentieth.
            seed: equal seeds and ids give boots of equal length.
        """
        self.id, self.host = id_, host
        self.flavour = FLAVOURS[platform]
        self.boot_seconds = boot_seconds
        self.powered = False
        self.stage = Stage.DARK
        self.boots = 0
        """How often it came up."""
        self.faults: set[Fault] = set()
        self._ssh = BoardPort(host, ssh_port, SSH_GREETING)
        self._tcp = BoardPort(host, tcp_port)
        self._serving: list[BoardPort] = []
        """The ports whose services run."""
        self._serial = SerialLine(directory / f"{id_}-console", self._typed)
        self._input = LineInput(self._send)
        self._lines: asyncio.Queue[str] = asyncio.Queue()
        self._key = asyncio.Event()
        self._random = random.Random(f"{seed}:{id_}")
        self._share_s = boot_seconds
        self._kernel_started = 0.0
        self._background = Background()
        self._cpu: asyncio.Task[None] | None = None
        self._opened = ExitStack()

    async def __aenter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._serial)
            stack.enter_context(self._ssh)
            stack.enter_context(self._tcp)
            await self._background.__aenter__()
            self._opened = stack.pop_all()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        with self._opened:
            self.power(on=False)
            await self._background.__aexit__(exc_type, exc, tb)

    @property
    def console_path(self) -> Path:
        """Where the console can be opened; stays the same from life to life."""
        return self._serial.path

    @property
    def ssh_port(self) -> int:
        """The port that greets like an SSH server when the board is up."""
        return self._ssh.port

    @property
    def tcp_port(self) -> int:
        """The port that accepts connections when the board's network is up."""
        return self._tcp.port

    @property
    def up(self) -> bool:
        """True from the login prompt on, until power or health is lost."""
        return self.stage is Stage.UP

    def power(self, *, on: bool) -> None:
        """Give or take power; takes effect within the call, and does nothing if it is so already."""
        if on == self.powered:
            return
        self.powered = on
        self.faults -= _ENDED_BY_POWER_CYCLE
        if on:
            self._reset()
        else:
            self._stop(Stage.DARK)
            self._serial.discard()
            self._vanish()

    def fail(self, fault: Fault) -> None:
        """Let something be wrong from now on; raises NoPower where only a powered board can have it."""
        if fault in _ENDED_BY_POWER_CYCLE and not self.powered:
            raise NoPower(f"{self.id} has no power, so it cannot {fault}")
        if fault in self.faults:
            return
        self.faults.add(fault)
        match fault:
            case Fault.PANIC:
                self._print(console.PANIC)
                self._die(Stage.PANICKED)
            case Fault.HANG:
                self._die(Stage.HUNG)
            case Fault.NO_NETWORK:
                self._link_changed(console.LINK_DOWN)
                self._freeze()
            case Fault.NO_CONSOLE:
                self._serial.pull()

    def heal(self) -> None:
        """End every fault; a board that one of them stopped boots afresh."""
        cured, self.faults = self.faults, set()
        if Fault.NO_CONSOLE in cured:
            self._serial.plug()
        if self.stage in _DEFECT_STAGES:
            self._reset()
        elif Fault.NO_NETWORK in cured:
            self._link_changed(console.LINK_UP)
            for port in self._serving:
                port.answer()

    def _die(self, stage: Stage) -> None:
        self._stop(stage)
        self._freeze()

    def _freeze(self) -> None:
        self._ssh.freeze()
        self._tcp.freeze()

    def _link_changed(self, text: str) -> None:
        """Say what the kernel says of the network link, if it runs."""
        if self.stage in {Stage.LINUX, Stage.UP}:
            self._print(text)

    def _reset(self) -> None:
        """Begin again, as the reset button and power-on do."""
        self._stop(Stage.SPL)
        self._vanish()
        self._cpu = self._background.start(self._run(), f"cpu of {self.id}")

    def _stop(self, stage: Stage) -> None:
        if self._cpu is not None:
            self._cpu.cancel()
            self._cpu = None
        self.stage = stage

    def _vanish(self) -> None:
        self._serving.clear()
        self._ssh.vanish()
        self._tcp.vanish()

    async def _run(self) -> None:
        """Do what the CPU does from reset on, until it is stopped."""
        while await self._boot():
            self._print(console.U_BOOT_RESET)

    async def _boot(self) -> bool:
        """Boot as far as it goes; returns True when a reset is asked for, False when there is no more to do."""
        self._kernel_started = asyncio.get_running_loop().time()
        self._share_s = self.boot_seconds * self._random.uniform(1 - _JITTER, 1 + _JITTER)
        self.stage = Stage.SPL
        await self._play(console.SPL)
        if Fault.NO_BOOT in self.faults:
            self._print(console.NO_BOOT)
            self.stage = Stage.STUCK
            return False
        self.stage = Stage.U_BOOT
        await self._play(console.U_BOOT)
        if await self._key_stops_countdown() and await self._u_boot_prompt() == "reset":
            return True
        self.stage = Stage.LINUX
        self._kernel_started = asyncio.get_running_loop().time()
        await self._play(console.LINUX)
        await self._login_prompt()
        return False

    async def _play(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            await asyncio.sleep(self._seconds(step.after))
            if step.opens:
                self._serve(self._ssh if step.opens == "ssh" else self._tcp)
            self._print(step.text)

    def _serve(self, port: BoardPort) -> None:
        """Begin a network service; without a cable nobody notices."""
        self._serving.append(port)
        if Fault.NO_NETWORK not in self.faults:
            port.answer()

    async def _key_stops_countdown(self) -> bool:
        self._key.clear()
        self.stage = Stage.COUNTDOWN
        for text in console.COUNTDOWN:
            self._print(text)
            try:
                async with asyncio.timeout(self._seconds(console.COUNT_SHARE)):
                    await self._key.wait()
            except TimeoutError:
                continue
            self._print("\n")
            return True
        self._print(console.COUNTDOWN_END)
        return False

    async def _u_boot_prompt(self) -> str:
        """Serve the prompt until a command ends it, and return that command: boot or reset."""
        self._start_prompt(Stage.PROMPT, console.U_BOOT_PROMPT)
        while True:
            line = (await self._lines.get()).strip()
            if line in {"boot", "reset"}:
                return line
            if line:
                known = console.U_BOOT_HELP if line == "help" else console.U_BOOT_UNKNOWN
                self._print(known, command=line)
            self._print(console.U_BOOT_PROMPT)

    async def _login_prompt(self) -> None:
        """Ask for a name, for ever."""
        self.boots += 1
        self._start_prompt(Stage.UP, console.LOGIN + console.LOGIN_PROMPT)
        while True:
            if (await self._lines.get()).strip():
                self._print(console.LOGIN_REFUSED)
            self._print(console.LOGIN_PROMPT)

    def _start_prompt(self, stage: Stage, text: str) -> None:
        self._input.clear()
        self._lines = asyncio.Queue()
        self.stage = stage
        self._print(text)

    def _typed(self, data: bytes) -> None:
        if self.stage is Stage.COUNTDOWN:
            self._key.set()
        elif self.stage in {Stage.PROMPT, Stage.UP}:
            for line in self._input.feed(data):
                self._lines.put_nowait(line)

    def _print(self, text: str, **values: str) -> None:
        """Send a text to the console, with the flavour's fields, the kernel's clock and ``values`` in it."""
        clock = f"[{asyncio.get_running_loop().time() - self._kernel_started:12.6f}]"
        self._send(text.format(clock=clock, **vars(self.flavour), **values))

    def _send(self, text: str) -> None:
        self._serial.write(text.replace("\n", "\r\n").encode())

    def _seconds(self, share: float) -> float:
        """Return how long a share of the boot takes at the moment."""
        return share * self._share_s * (SLOWNESS if Fault.SLOW in self.faults else 1.0)
