"""Fixtures that every test has at hand."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from support.broker import Mosquitto

pytest_plugins = ["support.postgres"]


def pytest_configure() -> None:
    """Let programs under test hear Ctrl-C: what a shell starts in the background inherits that it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
async def no_task_outlives_its_test(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Fail a test that leaves an asyncio task behind."""
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    left = {task for task in asyncio.all_tasks() if task not in before and not task.done()}
    left.discard(asyncio.current_task())
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    assert not left, f"tasks that outlived the test: {sorted(task.get_name() for task in left)}"


@pytest.fixture(autouse=True)
def no_logging_outlives_its_test() -> Iterator[None]:
    """Forget how a program under test has set up its log: its stream is closed with the test."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """A real Mosquitto on a free loopback port, shared by the whole run; use a site of your own."""
    with Mosquitto(tmp_path_factory.mktemp("mosquitto")) as broker:
        yield broker


@pytest.fixture
def own_mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A real Mosquitto for one test, which may stop, kill and start it."""
    with Mosquitto(tmp_path) as broker:
        yield broker
