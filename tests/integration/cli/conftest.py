"""What tests of the command line have at hand: a played agent, or a whole demo."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from support.broker import Mosquitto
from support.operator import Operator, running_demo
from support.played_agent import (
    Agent,
    Shell,
)


@pytest.fixture
def site(request: pytest.FixtureRequest) -> str:
    return f"cli-{abs(hash(request.node.name)) % 10**8}"


@pytest.fixture
async def agent(mosquitto: Mosquitto, site: str) -> AsyncIterator[Agent]:
    async with Agent(mosquitto.url, site).at_work() as it:
        yield it


@pytest.fixture
def shell(mosquitto: Mosquitto, site: str, tmp_path: Path) -> Shell:
    return Shell(mosquitto.url, site, tmp_path)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """Somebody in front of a demo of two boards, shared by the whole run; ``tidy_up`` it after each test."""
    directory = tmp_path_factory.mktemp("demo")
    with Mosquitto(tmp_path_factory.mktemp("broker")) as broker, running_demo(directory, broker.url, 2) as it:
        yield it
