"""The control file: what is asked for happens in order, whether or not somebody waits for it."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from boardherd_agent.control.control_file import ControlFile, JournalAway

_INSERT = "INSERT INTO locks VALUES (?, ?)"


def _fail(away: JournalAway) -> None:
    raise AssertionError(away)


def _put_aside(directory: Path) -> list[Path]:
    return list(directory.glob("control.db.corrupt-*"))


async def test_whoever_reads_sees_what_nobody_has_waited_for(tmp_path: Path) -> None:
    async with ControlFile(tmp_path / "control.db") as file:
        for number in range(50):
            file.jot_later(_INSERT, (f"evm-{number}", "{}"), _fail)
            assert await file.rows("SELECT count(*) FROM locks") == [(number + 1,)]


async def test_what_nobody_has_waited_for_is_there_after_the_end(tmp_path: Path) -> None:
    async with ControlFile(tmp_path / "control.db") as file:
        for number in range(50):
            file.jot_later(_INSERT, (f"evm-{number}", "{}"), _fail)
    async with ControlFile(tmp_path / "control.db") as file:
        assert await file.rows("SELECT count(*) FROM locks") == [(50,)]


async def test_what_could_not_be_written_is_told(tmp_path: Path) -> None:
    told: list[JournalAway] = []
    async with ControlFile(tmp_path / "control.db") as file:
        await file.write(_INSERT, ("evm-07", "{}"))
        file.jot_later(_INSERT, ("evm-07", "{}"), told.append)
        await file.rows("SELECT 1")
        with pytest.raises(JournalAway, match="cannot be used: UNIQUE constraint failed"):
            await file.jot(_INSERT, ("evm-07", "{}"))
    assert len(told) == 1


async def test_a_write_tells_how_many_rows_it_changed(tmp_path: Path) -> None:
    async with ControlFile(tmp_path / "control.db") as file:
        assert await file.write(_INSERT, ("evm-07", "{}")) == 1
        assert await file.write("DELETE FROM locks WHERE board = ?", ("evm-08",)) == 0


async def test_a_caller_that_is_cancelled_leaves_nothing_half_done(tmp_path: Path) -> None:
    async with ControlFile(tmp_path / "control.db") as file:
        writing = asyncio.create_task(file.write(_INSERT, ("evm-07", "{}")), name="writing")
        await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert await file.rows("SELECT board FROM locks") == [("evm-07",)]


async def test_only_what_is_written_waits_for_the_disk(tmp_path: Path) -> None:
    """What is jotted is synced by the next write, and no file is begun anew with less."""
    async with ControlFile(tmp_path / "control.db") as file:
        level = "PRAGMA synchronous"
        await file.jot(_INSERT, ("evm-07", "{}"))
        assert await file.rows(level) == [(1,)]
        await file.write(_INSERT, ("evm-08", "{}"))
        assert await file.rows(level) == [(2,)]


async def test_a_file_that_is_no_database_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    path.write_bytes(b"no database" * 1000)
    async with ControlFile(path) as file:
        assert file.unsettled
        await file.settle()
    assert len(_put_aside(tmp_path)) == 1
    async with ControlFile(path) as file:
        assert not file.unsettled


async def test_a_file_that_cannot_be_opened_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "control.db").mkdir()
    async with ControlFile(tmp_path / "control.db") as file:
        with pytest.raises(JournalAway, match="unable to open database file"):
            await file.rows("SELECT 1")
        (tmp_path / "control.db").rmdir()
        assert await file.rows("SELECT 1") == [(1,)]


async def test_a_stop_while_it_is_opened_leaves_no_thread_behind(tmp_path: Path) -> None:
    """OPS-2: a thread that waits for more would keep the process from ending."""
    before = threading.active_count()
    opening = asyncio.create_task(ControlFile(tmp_path / "control.db").__aenter__(), name="opening")
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert threading.active_count() == before
