"""Programs of the lab: found in one directory only, run without a shell, and ended with all that they started.

An inventory may come from outside, so it names a program and never says where programs are: that is the word of
whoever administers the test PC.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from boardherd_agent.devices.device import DeviceOffline, DeviceRefused

DIRECTORY = Path("/etc/boardherd/commands")
"""Where programs are looked for, unless the agent's environment says otherwise."""
VARIABLE = "BOARDHERD_COMMANDS"
"""The variable of the agent's environment that names another directory."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MOST_KEPT = 64 * 1024
_LAST_WORDS_S = 0.2
"""How long to wait for the end of the output of a program that has ended: what it left running may hold it."""


@dataclass(frozen=True)
class Ended:
    """What a program said, and how it ended."""

    code: int
    """Its exit status; the negative number of a signal that killed it."""
    output: bytes
    """The end of its standard output, 64 KiB at most."""
    errors: bytes
    """The end of its standard error, 64 KiB at most."""


def directory() -> Path:
    """Return where programs are looked for."""
    return Path(os.environ.get(VARIABLE) or DIRECTORY)


def find(name: str) -> Path:
    """Return where the program ``name`` is; raises DeviceRefused, in words, when it may not or cannot be run.

    A link that leads out of the directory is no program of the directory, and one that anybody could have
    changed is nobody's.
    """
    place = directory()
    path = place / name
    try:
        found = path.resolve(strict=True)
        modes = [found.stat().st_mode, place.stat().st_mode]
    except (OSError, ValueError) as error:
        raise DeviceRefused(f"there is no program {path} on this PC") from error
    if found.parent != place.resolve():
        raise DeviceRefused(f"{path} leads out of {place}; put the program itself there")
    if not stat.S_ISREG(modes[0]) or not os.access(found, os.X_OK):
        raise DeviceRefused(f"{path} is not executable for the agent")
    if any(mode & stat.S_IWOTH for mode in modes):
        raise DeviceRefused(
            f"anybody may change {path}, so it is not run; take the right to write from others"
        )
    return found


async def run(
    program: Path, arguments: Sequence[str], environment: Mapping[str, str], timeout: float
) -> Ended:
    """Run a program to its end, with nothing on its standard input, and return what came of it.

    It gets ``environment``, PATH and LANG, and nothing of the agent's own environment. When it takes longer than
    ``timeout`` seconds, or the caller is cancelled, it is killed with every process of its group.

    Raises:
        DeviceOffline: it took too long.
        DeviceRefused: it could not be started.
    """
    if sys.platform == "win32":
        raise DeviceRefused("programs are run on Linux and macOS only")
    variables = {"PATH": _PATH, "LANG": "C.UTF-8", **environment}
    async with _pipe() as (output, output_end), _pipe() as (errors, errors_end):
        try:
            process = await asyncio.create_subprocess_exec(
                program,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output_end,
                stderr=errors_end,
                env=variables,
                cwd="/",
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise DeviceRefused(f"{program} cannot be started: {why}") from error
        for end in (output_end, errors_end):
            end.close()
        code = await _end_of(process, program, timeout)
        await _silence(output, errors)
        return Ended(code, bytes(output.kept), bytes(errors.kept))


async def _end_of(process: asyncio.subprocess.Process, program: Path, timeout: float) -> int:
    try:
        async with asyncio.timeout(timeout):
            return await process.wait()
    except TimeoutError as error:
        raise DeviceOffline(f"{program.name} did not end within {timeout:g} s and was killed") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


class _Said(asyncio.Protocol):
    """Keeps the end of what comes out of a pipe."""

    def __init__(self) -> None:
        self.kept = bytearray()
        self.over = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.kept += data
        del self.kept[:-_MOST_KEPT]

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.over.set()


@contextlib.asynccontextmanager
async def _pipe() -> AsyncIterator[tuple[_Said, FileIO]]:
    """Make a pipe for what a program says; ours to close, whoever else still holds its other end."""
    reading, writing = os.pipe()
    end = FileIO(writing, "wb")
    try:
        transport, said = await asyncio.get_running_loop().connect_read_pipe(_Said, FileIO(reading, "rb"))
        try:
            yield said, end
        finally:
            transport.close()
            await said.over.wait()
    finally:
        end.close()


async def _silence(*streams: _Said) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LAST_WORDS_S):
            for stream in streams:
                await stream.over.wait()
