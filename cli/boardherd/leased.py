"""A program that runs while a board is ours, and no longer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from boardherd.acquiring import Acquirer, Held
from boardherd.exit_codes import Exit, Failure
from boardherd.processes import tied_to_us
from boardherd.tables import ago

_RENEWALS = 3
"""How often a lease is renewed before it would end."""

_RETRY_S = 5.0
_STOP_WITHIN_S = 10.0
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
_FROM_KEYS = ("SIGINT", "SIGQUIT")
"""What a terminal sends to the program by itself."""


async def run_leased(
    acquirer: Acquirer,
    held: Held,
    words: Sequence[str],
    environment: Mapping[str, str],
    longest: float | None,
    tell: Callable[[str], None],
) -> int:
    """Run a program under a short lock that is renewed while it lives, then free the board.

    Should this process be killed, the program ends with it where the system can do that, and the lock runs out.

    Args:
        acquirer: has taken the board.
        held: the board.
        words: the program and its arguments.
        environment: the program's.
        longest: seconds after which the program is ended.
        tell: hears of trouble in words.

    Returns:
        The program's exit code; 128 plus the signal that ended it.

    Raises:
        Failure: the board was lost, or the time was over, and the program was ended.
    """
    process = await asyncio.create_subprocess_exec(*tied_to_us(), *words, env=dict(environment))
    ended = asyncio.create_task(process.wait(), name="program under a lease")
    kept = asyncio.create_task(_keep(acquirer, held, longest, tell), name=f"lease on {held.target.board}")
    with _passing_signals(process):
        try:
            await asyncio.wait({ended, kept}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                raise await _lost(kept, process, ended)
            return _code(ended.result())
        finally:
            kept.cancel()
            await asyncio.gather(kept, return_exceptions=True)
            await _give_back(acquirer, held, tell)


async def _keep(
    acquirer: Acquirer, held: Held, longest: float | None, tell: Callable[[str], None]
) -> Failure:
    """Renew the lease until that is refused, fails for too long, or the time is over; return which."""
    over = time.monotonic() + longest if longest else float("inf")
    usual = (held.sure_until - time.monotonic()) / _RENEWALS
    pause = usual
    lost = Failure(
        Exit.REFUSED, f"{held.target.board} is lost: nobody could be asked to renew its lock in time"
    )
    while True:
        await asyncio.sleep(max(0.0, min(pause, min(over, held.sure_until) - time.monotonic())))
        if time.monotonic() >= over:
            return Failure(Exit.REFUSED, f"the time of {ago(longest or 0)} is over (--for)")
        if (left := held.sure_until - time.monotonic()) <= 0:
            return lost
        try:
            async with asyncio.timeout(left):
                held = await acquirer.renew(held)
            pause = usual
        except TimeoutError:
            return lost
        except Failure as failure:
            if failure.exit_code == Exit.REFUSED:
                return Failure(Exit.REFUSED, f"{held.target.board} is lost: {failure.message}")
            tell(f"the lock on {held.target.board} could not be renewed, trying again: {failure.message}")
            pause = min(usual, _RETRY_S)


async def _lost(
    kept: asyncio.Task[Failure], process: asyncio.subprocess.Process, ended: asyncio.Task[int]
) -> Failure:
    """End the program; return why."""
    failure = await kept
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    await asyncio.wait({ended}, timeout=_STOP_WITHIN_S)
    if not ended.done():
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await ended
    return Failure(Exit.REFUSED, f"{failure.message}; the program was ended")


async def _give_back(acquirer: Acquirer, held: Held, tell: Callable[[str], None]) -> None:
    try:
        await acquirer.release(held)
    except Failure as failure:
        tell(f"{held.target.board} could not be freed, its lock ends by itself soon: {failure.message}")


@contextlib.contextmanager
def _passing_signals(process: asyncio.subprocess.Process) -> Iterator[None]:
    """Pass signals on to the program instead of dying of them; keys of its own terminal reach it anyway."""
    loop, by_keys = asyncio.get_running_loop(), _in_foreground()

    def pass_on(number: signal.Signals) -> None:
        if not (by_keys and number.name in _FROM_KEYS):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    numbers = [signal.Signals[name] for name in _SIGNALS if hasattr(signal, name)]
    for number in numbers:
        loop.add_signal_handler(number, pass_on, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _in_foreground() -> bool:
    """Tell whether this process gets what is typed at its terminal."""
    try:
        with Path("/dev/tty").open("rb", buffering=0) as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


def _code(code: int) -> int:
    """Return an exit code as shells count it."""
    return 128 - code if code < 0 else code
