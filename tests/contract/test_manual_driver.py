"""The manual driver: what lies on the desk, and what counts as an answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from boardherd.rack.devices.manual import Person
from boardherd_agent.devices import desk
from boardherd_agent.devices.device import DeviceGarbled, DeviceOffline, DeviceRefused
from boardherd_agent.devices.drivers.manual import Driver, Options
from boardherd_agent.devices.worker import PortUse, RelayWorker, Timing
from boardherd_shared.clock import SystemClock
from boardherd_shared.inventory import RelayConfig
from boardherd_shared.records import Power
from support.terminal import until


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The desk bench-1, as soon as a driver has opened it."""
    monkeypatch.setenv(desk.VARIABLE, str(tmp_path))
    return tmp_path / "by-hand-bench-1"


def driver(deadline: float = 20.0) -> Driver:
    return Driver(RelayConfig(port_count=3), Options(desk="bench-1", deadline=deadline))


@contextlib.asynccontextmanager
async def asked(
    it: Driver, place: Path, port: int = 2, energised: bool = True
) -> AsyncIterator[asyncio.Task[None]]:
    """Ask for a switch, and go on when the request lies on the desk."""
    async with it:
        task = asyncio.create_task(it.set(port, energised), name="a switch by hand")
        await until((place / f"{port}.ask").exists)
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def lying_on(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def leave_an_answer(place: Path) -> None:
    place.mkdir()
    (place / "2.answer").write_text("done")


def take_away(place: Path) -> None:
    shutil.rmtree(place)


async def test_a_request_says_what_to_do_until_when_and_how_to_answer(place: Path) -> None:
    async with asked(driver(60), place, 2, energised=False):
        request = json.loads((place / "2.ask").read_text())
        assert (request["port"], request["state"]) == (2, "off")
        assert request["text"] == f"switch port 2 OFF by hand, then say so: echo done > {place}/2.answer"
        assert 50 < (datetime.fromisoformat(request["until"]) - datetime.now(UTC)).total_seconds() < 61
        assert mode(place) == 0o2770
        assert mode(place / "2.ask") == 0o660


@pytest.mark.parametrize("answer", ["done\n", "Done.", " done, took me a while "])
async def test_done_is_done(place: Path, answer: str) -> None:
    async with asked(driver(), place) as switch:
        (place / "2.answer").write_text(answer)
        await switch
        assert lying_on(place) == []


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ("no\n", DeviceRefused, "says no: without a reason"),
        ("No: the knob is broken", DeviceRefused, "says no: the knob is broken"),
        ("which board?", DeviceGarbled, '"which board\\?", neither done nor no'),
        ("\x1b[31mred", DeviceGarbled, r'"\[31mred"'),
    ],
)
async def test_any_other_answer_is_an_error_in_words(
    place: Path, answer: str, error: type[Exception], words: str
) -> None:
    async with asked(driver(), place) as switch:
        (place / "2.answer").write_text(answer)
        with pytest.raises(error, match=words):
            await switch
        assert lying_on(place) == []


async def test_an_answer_that_is_just_being_written_is_waited_for(place: Path) -> None:
    async with asked(driver(), place) as switch:
        (place / "2.answer").touch()
        await asyncio.sleep(0.15)
        assert not switch.done()
        (place / "2.answer").write_text("done")
        await switch


async def test_what_nobody_does_in_time_is_withdrawn(place: Path) -> None:
    """CMD-2: a person who comes late finds nothing to do."""
    async with driver(0.2) as it:
        with pytest.raises(DeviceOffline, match=r"nobody answered at the desk bench-1 within 0\.2 s"):
            await it.set(1, True)
    assert lying_on(place) == []


async def test_a_cancelled_request_is_withdrawn(place: Path) -> None:
    async with asked(driver(), place) as switch:
        switch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await switch
        assert lying_on(place) == []


async def test_an_old_answer_is_not_taken_for_a_new_one(place: Path) -> None:
    leave_an_answer(place)
    async with asked(driver(), place) as switch:
        await asyncio.sleep(0.15)
        assert not switch.done()


async def test_the_word_may_come_through_the_agent(place: Path) -> None:
    it = driver()
    assert not it.say_done(2)
    async with asked(it, place) as switch:
        assert not it.say_done(1)
        assert it.say_done(2)
        await switch


async def test_a_desk_that_goes_away_is_said(place: Path) -> None:
    async with asked(driver(), place) as switch:
        take_away(place)
        with pytest.raises(DeviceOffline, match="no desk"):
            await switch


async def test_a_person_does_what_is_asked_and_nothing_twice(tmp_path: Path, place: Path) -> None:
    async with Person(directory=tmp_path) as person, driver() as it:
        await it.set(1, True)
        await it.set(1, False)
        await it.set(3, True)
        assert [(change.port, change.energised) for change in person.transitions] == [
            (1, True), (1, False), (3, True),
        ]  # fmt: skip
        assert [request["state"] for request in person.requests] == ["on", "off", "on"]


@pytest.mark.parametrize("keys", [{"desk": "../etc"}, {"desk": "a/b"}, {"desk": ".."}, {"desk": ""}])
def test_a_desk_is_a_name_and_no_path(keys: dict[str, Any]) -> None:
    """SEC-4: an inventory does not say where the agent writes."""
    with pytest.raises(ValueError, match="desk"):
        Options.model_validate(keys)


def test_a_desk_needs_a_name() -> None:
    with pytest.raises(ValueError, match='needs "desk"'):
        Driver(RelayConfig(), Options())


async def test_accept_is_the_word_that_it_is_done(place: Path) -> None:
    """OPS-1: while somebody is asked, the port says so; who accepts it ends the wait."""
    config = RelayConfig.model_validate({"kind": "manual", "desk": "bench-1", "port_count": 3, "poll": 60})
    told: list[str] = []
    worker = RelayWorker(
        "by-hand",
        config,
        driver,
        {2: PortUse("evm-02")},
        SystemClock(),
        tell=lambda _event, _port, text: told.append(text),
        timing=Timing(operation=0.3),
    )
    running = asyncio.create_task(worker.run(), name="worker under test")
    switch = asyncio.create_task(worker.switch(2, Power.ON, by="ops1"), name="a switch by hand")
    await until((place / "2.ask").exists)
    assert worker.status(2).reason == "a person is asked to switch it ON"
    await asyncio.sleep(0.5)  # longer than a worker waits for a device
    assert await worker.accept(2, by="ops2") is Power.UNKNOWN
    assert not (await switch).confirmed
    assert worker.status(2).asked is Power.ON
    assert told[:2] == [
        "by-hand:2: a person is asked to switch it ON", "by-hand:2 was switched by hand, says ops2",
    ]  # fmt: skip
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
