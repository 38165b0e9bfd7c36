"""Every probe keeps the contract: three answers, no exceptions, an end in about the time given."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from boardherd_agent.watch.probes import Probe, build_probes
from boardherd_shared.ids import is_slug
from boardherd_shared.records import ProbeResult

NETWORK_PROBES = ["ping", "ssh", "tcp"]


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that stays closed: taken, but not listened on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def probe_for(kind: str, host: str, port: int) -> Probe:
    name = kind if kind == "ping" else f"{kind}:{port}"
    return build_probes([name], host)[0]


@pytest.mark.parametrize("kind", NETWORK_PROBES)
async def test_its_name_can_stand_in_a_record(kind: str) -> None:
    assert is_slug(probe_for(kind, "127.0.0.1", 2222).name)


@pytest.mark.parametrize("kind", NETWORK_PROBES)
async def test_an_outcome_can_stand_in_a_record(kind: str, closed_port: int) -> None:
    probe = probe_for(kind, "127.0.0.1", closed_port)
    outcome = await probe.check(2)
    result = ProbeResult(
        probe=probe.name, answer=outcome.answer, at=1, text=outcome.text, duration_s=outcome.duration_s
    )
    assert result.text


@pytest.mark.parametrize("kind", NETWORK_PROBES)
async def test_a_name_that_does_not_exist_is_no_evidence_against_the_board(kind: str) -> None:
    """A fault of the name service is not the board's: OPS-1 wants it named, not hidden."""
    async with asyncio.timeout(30):
        outcome = await probe_for(kind, "no-such-board.invalid", 22).check(5)
    assert outcome.answer in {"unavailable", "no"}
    assert outcome.answer == "unavailable" or "no answer" in outcome.text


@pytest.mark.parametrize("kind", NETWORK_PROBES)
async def test_it_can_be_cancelled_at_any_moment(kind: str, closed_port: int) -> None:
    probe = probe_for(kind, "127.0.0.1", closed_port)
    for turns in range(6):
        task = asyncio.create_task(probe.check(5), name="probe to cancel")
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.done()
