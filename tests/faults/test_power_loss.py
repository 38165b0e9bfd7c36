"""D25: the power goes in the middle of writing; what the disks may hold then is made up and opened again.

Each program's writes and syncs are recorded as the kernel saw them. From the recording images are made of what
a power cut may leave: before a sync, right after a promise, and anywhere between. Five hundred
images are tried; ``BOARDHERD_POWER_CUTS=5000`` tries so many of each database.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from boardherd_agent.control.control_file import ControlFile
from boardherd_agent.control.journal import Journal
from boardherd_collector.stores.base import Outcome
from boardherd_collector.stores.sqlite import SqliteStore
from boardherd_shared.command import State
from faults.power import HOWS, Disk, cuts
from faults.spools import Pc
from faults.syscalls import Create, Event, Rename, Said, Sync, Truncate, Unlink, Write, record
from faults.writers import GROUPS, SPOOL_LIMITS, command_of, group_of, step_of
from support.delivery import Database, HandClock
from support.telemetry import NOW, lab

CUTS = {"spool": 250, "journal": 180, "history": 80}
"""Images of each; those of the collector's database take the longest to look through."""
if _wanted := os.environ.get("BOARDHERD_POWER_CUTS"):
    CUTS = dict.fromkeys(CUTS, int(_wanted))
SEED = 20261120
LAB = lab()

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(100 + max(CUTS.values()) // 5),
    pytest.mark.skipif(
        shutil.which("strace") is None, reason="needs strace to see what is written and synced"
    ),
]

Words = dict[str, Any]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory in memory where there is one: syncing the images is not what is tried."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="boardherd-power-", dir=memory if os.access(memory, os.W_OK) else None
    ) as directory:
        yield Path(directory)


def recorded(what: str, place: Path) -> list[Event]:
    """Return what a writer does to its files."""
    files, witness = place / "recorded", place / "witness"
    files.mkdir()
    command = [sys.executable, "-m", "faults.writers", what, str(files), str(witness)]
    events = record(command, files, witness, place / "strace.log")
    disk = Disk()
    for number, event in enumerate(events):
        disk.take(number, event)
    there = {file.name: file.read_bytes() for file in files.iterdir()}
    assert disk.after("everything owed", 0) == there, "a call was overlooked"
    return events


async def every_image(what: str, place: Path, trial: Callable[[Path, list[Words]], Awaitable[None]]) -> None:
    """Open what each cut leaves, and see whether what had been promised until then holds."""
    bad: list[str] = []
    for cut in cuts(recorded(what, place), CUTS[what], SEED):
        image = place / "image"
        image.mkdir()
        for name, content in cut.files.items():
            (image / name).write_bytes(content)
        try:
            await trial(image, [json.loads(line) for line in cut.said])
        except AssertionError as error:
            bad.append(f"{what}, {cut}: {error!s:.300}")
        shutil.rmtree(image)
    assert not bad, "\n".join([f"{len(bad)} of {CUTS[what]}", *bad[:20]])


async def test_the_spool(place: Path) -> None:
    """DEL-1 (D25): what append returned for is there or was evicted with a loss record; no number comes twice."""
    await every_image("spool", place, _spool)


async def _spool(image: Path, said: list[Words]) -> None:
    pc = Pc(image, Database(), SPOOL_LIMITS)
    pc.clock = HandClock("boot-2", 5_000_000)
    promised = {tag: tuple(word["key"]) for word in said for tag in word.get("accepted", ())}
    for word in said:
        if "stored" in word:
            pc.database.take(word["stored"].encode())
    store = pc.open()
    pc.write(store, 3)
    assert not {*pc.accepted.values()} & {*promised.values()}, "a number was given out twice"
    pc.accepted |= promised
    pc.meet(store)
    assert not store.figures().volatile
    store.close()
    assert pc.unaccounted(reason="the spool was full") == []
    assert pc.doubled() == {}
    assert not promised or not pc.said("the spool was damaged", "the spool has forgotten"), (
        "it is no sound file"
    )


async def test_the_journal(place: Path) -> None:
    """CMD-1, CMD-3 (D25): an intent and the moment of off are known after the cut, the rest up to the last of them."""
    await every_image("journal", place, _journal)


async def _journal(image: Path, said: list[Words]) -> None:
    intended = [word["intended"] for word in said if "intended" in word]
    off = {word["off"] for word in said if "off" in word}
    synced = max((at for at, word in enumerate(said) if {"intended", "off"} & word.keys()), default=0)
    finished = {word["finished"] for word in said[:synced] if "finished" in word}
    sure = max((word["switched"] for word in said[:synced] if "switched" in word), default=0)
    switched = max((word["switched"] for word in said if "switched" in word), default=0)
    async with ControlFile(image / "control.db") as file:
        book = Journal(file, HandClock("boot-2"))
        open_ = {entry.last_step.id for entry in await book.unfinished()}
        for number in intended:
            entry = await book.find(f"c-{number}")
            assert entry is not None, f"command {number} is forgotten"
            assert entry.command == command_of(number)
            assert entry.off or number not in off
            # The step after the last that was promised may have reached the disk as well.
            done = f"c-{number}" not in open_
            assert done or number not in finished
            assert not done or entry.last_step.state is State.SUCCEEDED
        ports = await book.ports()
        count = ports["eth-1", 3].switch_count if ports else 0
        assert sure <= count <= switched + 1
        await book.intend(command_of(999), step_of(999, State.ACCEPTED), named=True)
        assert await book.find("c-999")
    assert not intended or not file.unsettled, "it began anew, and nobody knows the locks"
    assert not _put_aside(image)


def _put_aside(image: Path) -> list[Path]:
    return list(image.glob("*.corrupt-*"))


async def test_the_collectors_database(place: Path) -> None:
    """DEL-1, DEL-3 (D25): what was acknowledged is stored, once, and what was not can be stored again."""
    await every_image("history", place, _history)


async def _history(image: Path, said: list[Words]) -> None:
    stored = [word["stored"] for word in said]
    under_way, later = GROUPS[len(stored) : len(stored) + 1], GROUPS[len(stored) + 1 :]
    async with SqliteStore(image / "history.db") as store:
        await store.sync_inventory(LAB, NOW)
        _in_order(image / "history.db")
        assert await _commit(store, stored) <= {Outcome.DUPLICATE}
        assert len(await _commit(store, under_way)) <= 1, "a group is whole or absent"
        assert await _commit(store, later) <= {Outcome.COMMITTED}
    assert _in_order(image / "history.db") == _everything()


def _in_order(path: Path) -> Counter[str]:
    """Have SQLite check a file; return how often each record of the tests is in it."""
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        samples = db.execute("SELECT process_count FROM pc_stats").fetchall()
        events = db.execute("SELECT text FROM events").fetchall()
    return Counter([f"sample {n}" for (n,) in samples] + [f"event {text.split()[0]}" for (text,) in events])


async def _commit(store: SqliteStore, numbers: Sequence[int]) -> set[Outcome]:
    """Store groups, all in one transaction; return what became of their envelopes."""
    return {*(await store.commit([envelope for number in numbers for envelope in group_of(number)])).outcomes}


@cache
def _everything() -> Counter[str]:
    return Counter(_tag(record) for n in GROUPS for envelope in group_of(n) for _, record in envelope.records)


def _tag(record: Any) -> str:
    return f"sample {record.process_count}" if record.kind == "host" else f"event {record.text.split()[0]}"


def test_an_owed_write_is_whole_absent_torn_at_a_sector_or_hollow() -> None:
    """The model itself: what was synced stays, nothing else is certain, and sectors are never mixed."""
    disk = Disk()
    story: list[Event] = [
        Create(1, "a"), Write(1, 0, b"A" * 1024), Sync(1, 2), Sync(None, 3),
        Write(1, 512, b"B" * 1024), Truncate(1, 1200), Said("x"),
    ]  # fmt: skip
    for number, event in enumerate(story):
        disk.take(number, event)
    assert disk.owes
    found = {disk.after(how, seed)["a"] for how in HOWS for seed in range(200)}
    assert b"A" * 1024 in found
    assert b"A" * 512 + b"B" * 688 in found, "everything"
    assert b"A" * 1024 + b"B" * 176 in found, "torn: the second sector alone, then cut"
    assert b"A" * 1024 + bytes(512) in found, "hollow"
    assert all(content[:512] == b"A" * 512 for content in found)
    assert all(content[512:1024] in {b"A" * 512, b"B" * 512} for content in found)


def test_names_are_certain_once_the_directory_was_synced() -> None:
    disk = Disk()
    story: list[Event] = [
        Create(1, "a"),
        Write(1, 0, b"x"),
        Sync(1, 2),
        Rename("a", "b"),
        Create(2, "c"),
        Unlink("b"),
    ]
    for number, event in enumerate(story[:5]):
        disk.take(number, event)
    assert disk.after("nothing owed", 0) == {}
    assert {tuple(disk.after("by chance", seed)) for seed in range(50)} == {(), ("a",), ("b",), ("b", "c")}
    disk.take(5, Sync(None, 5))
    disk.take(6, story[5])
    assert disk.after("nothing owed", 0) == {"b": b"x", "c": b""}
    assert disk.after("everything owed", 0) == {"c": b""}


def test_a_sync_vouches_for_nothing_that_was_written_while_it_was_under_way() -> None:
    disk = Disk()
    story: list[Event] = [Create(1, "a"), Sync(None, 1), Write(1, 0, b"x"), Write(1, 1, b"y"), Sync(1, 3)]
    for number, event in enumerate(story):
        disk.take(number, event)
    assert disk.after("nothing owed", 0) == {"a": b"x"}


def test_cuts_can_be_had_again_and_see_what_was_said_before() -> None:
    story: list[Event] = [
        Create(1, "a"),
        *(e for n in range(30) for e in (Write(1, n, b"x"), Sync(1, 0), Said(str(n)))),
    ]
    first = list(cuts(story, 50, 1))
    assert first == list(cuts(story, 50, 1))
    assert first != list(cuts(story, 50, 2))
    assert len(first) == 50
    assert {cut.how for cut in first} == {*HOWS}
    for cut in first:
        assert list(cut.said) == [event.line for event in story[: cut.at] if isinstance(event, Said)]
