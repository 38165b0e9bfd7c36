"""Has a task of this process fail at the very place where it waits, as if its next step had a fault of our own."""

from __future__ import annotations

import asyncio
from asyncio import taskgroups
from collections.abc import Iterable
from typing import Any


class Injected(Exception):  # noqa: N818 - thrown into tasks on purpose
    """A fault of our own making."""


def tasks_named(name: str) -> list[asyncio.Task[Any]]:
    """Return the tasks of that name which have not ended."""
    return [task for task in asyncio.all_tasks() if task.get_name() == name and not task.done()]


def only_waits_for_others(task: asyncio.Task[Any]) -> bool:
    """Tell whether a task is at the end of a task group: none of its own code can fail there."""
    inner: Any = task.get_coro()
    while (waited_for := getattr(inner, "cr_await", None)) is not None and hasattr(waited_for, "cr_code"):
        inner = waited_for
    return bool(inner.cr_code.co_filename == taskgroups.__file__)


async def fail(task: asyncio.Task[Any]) -> None:
    """Have what ``task`` waits for end with :class:`Injected`; returns when that has been thrown.

    A task that is just running, or about to, is waited for: it can only be hit where it waits.
    """
    while not task.done():
        waiter = _innermost(task)
        if waiter is not None and not waiter.done():
            waiter.set_exception(Injected(task.get_name()))
            return
        await asyncio.sleep(0)


def _innermost(task: asyncio.Task[Any]) -> asyncio.Future[Any] | None:
    """Return the plain future at the end of what a task waits for: another task cannot be given a result."""
    waiter: Any = task
    while isinstance(waiter, asyncio.Task):
        # The interpreter's own field: nothing else tells what a task waits for.
        waiter = waiter._fut_waiter  # type: ignore[attr-defined]
    return waiter if isinstance(waiter, asyncio.Future) else None


def blames_injected(error: BaseException | None) -> bool:
    """Tell whether an exception, or one inside its group or behind it, is the injected one."""
    if error is None:
        return False
    if isinstance(error, Injected):
        return True
    inner: Iterable[BaseException] = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return any(map(blames_injected, (*inner, error.__cause__, error.__context__)))
