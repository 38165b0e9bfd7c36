"""Copies of the embedded database: made while a collector runs, and put back while none does.

A copy is one gzip file that holds a SQLite database. It is made by SQLite's online backup from one read
transaction, opened and checked, and only then given its name, so that a file of that name is always whole.
What agents sent since comes back by itself: they still hold it, and are asked for what the ledger lacks.
"""

from __future__ import annotations

import gzip
import os
import shutil
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from boardherd_collector.stores.base import StoreError
from boardherd_collector.stores.filelock import FileLock
from boardherd_collector.stores.migrations import Migration, applied_numbers

Progress = Callable[[str, float], None]
"""Told what is being done, and which share of it is."""

_PAGES = 2000
_CHUNK = 1 << 20
_GZIP, _SQLITE = b"\x1f\x8b", b"SQLite format 3\x00"
_LEVEL = 4
"""Of gzip: beyond this, times grow faster than sizes shrink."""


def backup(database: Path, target: Path, steps: list[Migration], progress: Progress) -> Path:
    """Copy ``database`` to ``target``, or into it under a name with the date when it is a directory.

    Return where the copy is. A collector may run meanwhile, and its commits are not held up. Raises StoreError
    in words; then ``target`` is what it was before.
    """
    if not database.is_file():
        raise StoreError(f"there is no database at {database}")
    if target.is_dir():
        target /= f"{database.stem}-{_stamp()}.db.gz"
    with _in_words(target), _vanishing(target, ".copy") as copy, _vanishing(target, ".partial") as packed:
        _copy(database, copy, progress)
        check(copy, steps, progress)
        _pack(copy, packed, progress)
        packed.replace(target)
        _sync_directory(target.parent)
    return target


def restore(
    source: Path, database: Path, steps: list[Migration], site: str, progress: Progress
) -> Path | None:
    """Make the copy in ``source`` the ``database``; return where the one before is kept, None without one.

    Raises StoreError in words, and then nothing was changed: when a collector runs on the database, when the
    copy is damaged, was made by a newer program, or belongs to another site than ``site``.
    """
    lock = FileLock(database.with_name(database.name + ".lock"))
    lock.acquire()
    try:
        with _in_words(database), _vanishing(database, ".restored") as copy:
            _unpack(source, copy, progress)
            check(copy, steps, progress)
            _check_site(copy, site)
            _give_to_owner(copy, database)
            aside = _set_aside(database)
            copy.replace(database)
            _sync_directory(database.parent)
            return aside
    finally:
        lock.release()


def check(copy: Path, steps: list[Migration], progress: Progress) -> None:
    """See that ``copy`` is a whole database that a program with the migrations ``steps`` can use; StoreError."""
    progress("checking", 0.0)
    with closing(sqlite3.connect(copy)) as db:
        (verdict,) = db.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise StoreError(f"the copy is damaged: {verdict}")
        if (broken := db.execute("PRAGMA foreign_key_check").fetchone()) is not None:
            raise StoreError(f"the copy is damaged: a row of {broken[0]} refers to nothing in {broken[2]}")
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "schema_migrations" not in tables:
            raise StoreError("it is no database of boardherd")
        applied_numbers(db.execute("SELECT number, name, sha256 FROM schema_migrations"), steps)
    progress("checking", 1.0)


def _copy(database: Path, copy: Path, progress: Progress) -> None:
    def told(status: int, remaining: int, total: int) -> None:
        del status
        progress("copying", 1 - remaining / total if total else 1.0)

    with (
        closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        # Within one read transaction: a collector that commits meanwhile would make the copy begin again and again.
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        source.backup(target, pages=_PAGES, progress=told)
        target.execute("PRAGMA journal_mode = DELETE")


def _pack(copy: Path, packed: Path, progress: Progress) -> None:
    size = copy.stat().st_size
    with copy.open("rb") as plain, packed.open("wb") as file:
        with gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=file) as target:
            _pour(plain, target, "compressing", size, progress)
        file.flush()
        os.fsync(file.fileno())
    # Read again, because what was checked is not what is in the file; gzip carries a checksum of it.
    with gzip.open(packed, "rb") as again:
        _pour(again, None, "reading again", size, progress)


def _unpack(source: Path, copy: Path, progress: Progress) -> None:
    try:
        with source.open("rb") as file, copy.open("wb") as target:
            head = file.read(len(_SQLITE))
            file.seek(0)
            if head.startswith(_GZIP):
                with gzip.GzipFile(fileobj=file) as plain:
                    _pour(plain, target, "unpacking", 0, progress)
            elif head == _SQLITE:
                _pour(file, target, "unpacking", 0, progress)
            else:
                raise StoreError(f"{source} is no backup of boardherd")
            target.flush()
            os.fsync(target.fileno())
    except EOFError as error:
        raise StoreError(f"{source} is damaged: it ends too early") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise StoreError(f"{source} is damaged: {error}") from error
    except FileNotFoundError as error:
        raise StoreError(f"there is no file {source}") from error


def _pour(
    source: BinaryIO | gzip.GzipFile,
    target: BinaryIO | gzip.GzipFile | None,
    what: str,
    size: int,
    progress: Progress,
) -> None:
    done = 0
    while chunk := source.read(_CHUNK):
        if target is not None:
            target.write(chunk)
        done += len(chunk)
        progress(what, min(1.0, done / size) if size else 0.0)
    progress(what, 1.0)


def _check_site(copy: Path, site: str) -> None:
    with closing(sqlite3.connect(copy)) as db:
        row = db.execute("SELECT value FROM settings WHERE name = 'site'").fetchone()
    if row is not None and row[0] != site:
        raise StoreError(f'the copy belongs to the site "{row[0]}", the inventory to "{site}"')


def _give_to_owner(copy: Path, database: Path) -> None:
    """Let the copy belong to whom the database belongs to: restoring is done by root, collecting is not."""
    like = (database if database.exists() else database.parent).stat()
    copy.chmod(like.st_mode & 0o666)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        os.chown(copy, like.st_uid, like.st_gid)


def _set_aside(database: Path) -> Path | None:
    """Give the present database a second name, under which it stays when its own is taken.

    At every instant there is a whole database under its name: a collector that starts after a crash in here
    finds the old one or the new one. The log beside it must go first, or it would be applied to the new one.
    """
    aside = database.with_name(f"{database.name}.replaced-{_stamp()}")
    present = database.exists()
    if present:
        _fold_log(database)
    for suffix in ("-wal", "-shm"):
        log = database.with_name(database.name + suffix)
        if log.exists():  # of a database that is lost, or too damaged to be opened
            log.rename(aside.with_name(aside.name + suffix))
    if not present:
        return None
    try:
        aside.hardlink_to(database)
    except OSError:  # a file system without links
        shutil.copy2(database, aside)
    return aside


def _fold_log(database: Path) -> None:
    try:
        with closing(sqlite3.connect(database)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error:
        return  # it is kept as it is


@contextmanager
def _vanishing(beside: Path, suffix: str) -> Iterator[Path]:
    """Give a name beside ``beside`` for a file that is not there any more afterwards."""
    path = beside.with_name(f".{beside.name}.{os.getpid()}{suffix}")
    try:
        yield path
    finally:
        for end in ("", "-wal", "-shm", "-journal"):
            path.with_name(path.name + end).unlink(missing_ok=True)


@contextmanager
def _in_words(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{error.filename or place}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise StoreError(f"{place}: {error}") from error


def _sync_directory(directory: Path) -> None:
    if os.name == "posix":
        file = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def _stamp() -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
