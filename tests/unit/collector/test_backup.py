"""Copies of the embedded database: whole or not at all, and put back without losing the one before."""

from __future__ import annotations

import gzip
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from boardherd_collector import backup
from boardherd_collector.__main__ import main
from boardherd_collector.stores.base import StoreError
from boardherd_collector.stores.filelock import FileLock
from boardherd_collector.stores.migrations import Migration, migrations
from boardherd_collector.stores.sqlite import SqliteStore
from support.telemetry import LAB, NOW, event, host, lab, received

STEPS = migrations()


def quiet(what: str, share: float) -> None:
    assert 0 <= share <= 1, what


async def filled(path: Path, envelopes: int = 3) -> None:
    async with SqliteStore(path) as store:
        await store.sync_inventory(lab(), NOW)
        for seq in range(1, envelopes + 1):
            await store.commit([received(seq, host(NOW + seq), event(NOW + seq))])


def samples(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT count(*) FROM pc_stats").fetchone()[0])


def unpacked(copy: Path) -> Path:
    plain = copy.with_suffix(".plain")
    plain.write_bytes(gzip.decompress(copy.read_bytes()))
    return plain


def write(path: Path, content: bytes | str) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def read(path: Path) -> bytes:
    return path.read_bytes()


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "db").mkdir()
    return tmp_path / "db" / "history.db"


async def test_a_copy_of_a_store_in_use_holds_everything_committed(path: Path, tmp_path: Path) -> None:
    """The store goes on writing meanwhile, and what it has not checkpointed is in the copy."""
    target = tmp_path / "copy.db.gz"
    async with SqliteStore(path) as store:
        await store.sync_inventory(lab(), NOW)
        await store.commit([received(1, host())])
        assert backup.backup(path, target, STEPS, quiet) == target
        await store.commit([received(2, host())])
    assert samples(unpacked(target)) == 1
    assert names(tmp_path) == ["copy.db.gz", "copy.db.plain", "db"]


async def test_a_copy_made_under_constant_writing_is_of_one_moment(path: Path, tmp_path: Path) -> None:
    """Ledger and rows agree in it: it was read in one transaction, and did not begin again and again."""
    await filled(path, 2)
    _fill(path)
    stop, wrote = threading.Event(), threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            while not stop.is_set():
                db.execute("BEGIN IMMEDIATE")
                db.execute("UPDATE streams SET envelopes = envelopes + 1")
                db.execute(
                    "INSERT INTO events (test_pc, timestamp, received_at, time_quality, event, subject, text)"
                    " VALUES (1, 1, 1, 'agent', 'fault', 'x', ?)",
                    ("y" * 400,),
                )
                db.execute("COMMIT")
                wrote.set()

    shares: list[float] = []

    def watch(what: str, share: float) -> None:
        if what == "copying":
            shares.append(share)
            wrote.clear()
            assert wrote.wait(10), "the copy holds the writer up"

    before = _figures(path)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        wrote.wait(10)
        for number in range(3):
            shares.clear()
            backup.backup(path, tmp_path / f"{number}.gz", STEPS, watch)
            assert len(set(shares)) == len(shares) > 1, "it began again"
    finally:
        stop.set()
        writer.join()
    for number in range(3):
        envelopes, events = _figures(unpacked(tmp_path / f"{number}.gz"))
        assert envelopes - before[0] == events - before[1] > 0


def _fill(path: Path) -> None:
    """Make it so large that it is copied in several steps."""
    with closing(sqlite3.connect(path)) as db, db:
        db.executemany(
            "INSERT INTO dead_letters (received_at, test_pc, stream, seq, position, reason, payload)"
            " VALUES (1, 'pc-01', 's', ?, 0, 'x', ?)",
            [(number, "z" * 4000) for number in range(5000)],
        )


def _figures(path: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(path)) as db:
        found: tuple[int, int] = db.execute(
            "SELECT (SELECT envelopes FROM streams), (SELECT count(*) FROM events)"
        ).fetchone()
    return found


async def test_a_directory_gets_a_name_with_the_date(path: Path, tmp_path: Path) -> None:
    await filled(path)
    copy = backup.backup(path, tmp_path, STEPS, quiet)
    assert copy.parent == tmp_path
    assert copy.name.startswith("history-20")
    assert copy.name.endswith("Z.db.gz")


async def test_a_failed_backup_leaves_the_one_before(path: Path, tmp_path: Path) -> None:
    await filled(path)
    target = tmp_path / "copy.db.gz"
    backup.backup(path, target, STEPS, quiet)
    before = target.read_bytes()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute("UPDATE boards SET test_pc = 'nobody'")
    with pytest.raises(StoreError, match="damaged: a row of boards refers to nothing in test_pcs"):
        backup.backup(path, target, STEPS, quiet)
    assert target.read_bytes() == before
    assert names(tmp_path) == ["copy.db.gz", "db"]


async def test_a_restored_database_is_the_copy_and_the_one_before_is_kept(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db.gz"
    await filled(path, 3)
    backup.backup(path, target, STEPS, quiet)
    await filled(path, 5)
    aside = backup.restore(target, path, STEPS, "lab", quiet)
    assert aside is not None
    assert (samples(path), samples(aside)) == (3, 5)
    assert path.with_name(path.name + "-wal").exists() is False
    async with SqliteStore(path) as store:
        assert await store.missing("pc-01", "a" * 32, [(1, 5)]) == ((4, 5),)
    assert names(path.parent) == sorted(["history.db", "history.db.lock", aside.name])


async def test_the_log_of_the_old_database_never_reaches_the_new_one(path: Path, tmp_path: Path) -> None:
    """What a killed collector left in the log belongs to the database that is set aside."""
    target = tmp_path / "copy.db.gz"
    await filled(path, 1)
    backup.backup(path, target, STEPS, quiet)
    with _left_open(path):
        assert path.with_name(path.name + "-wal").stat().st_size > 0
        aside = backup.restore(target, path, STEPS, "lab", quiet)
        assert aside is not None
        assert not read(aside.with_name(aside.name + "-wal")), "all of it is in one file"
    assert (_events(path), _events(aside)) == (1, 2)


@contextmanager
def _left_open(path: Path) -> Iterator[None]:
    """Leave a log beside the database, as a process does that was killed."""
    killed = sqlite3.connect(path, isolation_level=None)
    killed.execute("PRAGMA wal_autocheckpoint = 0")
    killed.execute(
        "INSERT INTO events (test_pc, timestamp, received_at, time_quality, event, subject, text)"
        " VALUES (1, 1, 1, 'agent', 'fault', 'x', 'y')"
    )
    with closing(killed):
        yield


def _events(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT count(*) FROM events").fetchone()[0])


async def test_a_damaged_database_can_be_replaced(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db.gz"
    await filled(path)
    backup.backup(path, target, STEPS, quiet)
    write(path, b"this is a letter to my aunt" * 100)
    aside = backup.restore(target, path, STEPS, "lab", quiet)
    assert aside is not None
    assert samples(path) == 3
    assert aside.read_bytes().startswith(b"this is a letter")


async def test_a_lost_database_comes_back(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db.gz"
    await filled(path)
    backup.backup(path, target, STEPS, quiet)
    with _left_open(path):
        os.unlink(path)  # noqa: PTH108
    write(path.with_name(path.name + "-wal"), b"the log of the lost one")
    assert backup.restore(target, path, STEPS, "lab", quiet) is None
    assert samples(path) == 3


async def test_an_uncompressed_copy_will_do(path: Path, tmp_path: Path) -> None:
    await filled(path)
    plain = tmp_path / "plain.db"
    write(plain, read(path))
    backup.restore(plain, path, STEPS, "lab", quiet)
    assert samples(path) == 3


async def test_a_collector_that_runs_is_not_robbed_of_its_database(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db.gz"
    await filled(path)
    backup.backup(path, target, STEPS, quiet)
    async with SqliteStore(path) as store:
        with pytest.raises(StoreError, match=r"history\.db is in use by another collector"):
            backup.restore(target, path, STEPS, "lab", quiet)
        assert (await store.counts()).rows["pc_stats"] == 3


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda body: body[: len(body) // 2], "is damaged: it ends too early"),
        (lambda body: body[:500] + bytes(200) + body[700:], "is damaged: "),
        (lambda body: body[:-6] + bytes(6), "is damaged: "),
        (lambda body: b"GIF89a" + body, "is no backup of boardherd"),
        (lambda body: b"", "is no backup of boardherd"),
        (lambda body: gzip.compress(b"SQLite format 3\x00" + bytes(4096)), "not a database"),
    ],
    ids=["cut", "overwritten", "checksum", "other", "empty", "no-database"],
)
async def test_a_damaged_copy_changes_nothing(path: Path, tmp_path: Path, damage: object, why: str) -> None:
    target = tmp_path / "copy.db.gz"
    await filled(path)
    backup.backup(path, target, STEPS, quiet)
    target.write_bytes(damage(target.read_bytes()))  # type: ignore[operator]
    before = read(path)
    with pytest.raises(StoreError, match=why):
        backup.restore(target, path, STEPS, "lab", quiet)
    assert read(path) == before
    assert not [name for name in names(path.parent) if name.startswith(".")]


async def test_a_copy_of_another_site_or_of_a_newer_program_is_refused(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db.gz"
    await filled(path)
    backup.backup(path, target, STEPS, quiet)
    with pytest.raises(StoreError, match='belongs to the site "lab", the inventory to "hq"'):
        backup.restore(target, path, STEPS, "hq", quiet)
    with pytest.raises(StoreError, match="newer boardherd"):
        backup.restore(target, path, STEPS[:-1], "lab", quiet)
    older = Migration(len(STEPS) + 1, f"{len(STEPS) + 1:04}_next.sql", "CREATE TABLE later (a INTEGER);")
    assert backup.restore(target, path, [*STEPS, older], "lab", quiet) is not None


async def test_the_restored_file_belongs_to_whom_the_old_one_did(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db.gz"
    await filled(path)
    backup.backup(path, target, STEPS, quiet)
    os.chmod(path, 0o640)  # noqa: PTH101
    if os.geteuid() == 0:
        os.chown(path, 12345, 12346)
    backup.restore(target, path, STEPS, "lab", quiet)
    now = os.stat(path)  # noqa: PTH116
    assert now.st_mode & 0o777 == 0o640
    if os.geteuid() == 0:
        assert (now.st_uid, now.st_gid) == (12345, 12346)


@pytest.fixture
def config(tmp_path: Path, path: Path) -> Path:
    (tmp_path / "lab.toml").write_text(LAB)
    config = tmp_path / "collector.toml"
    config.write_text(f'inventory = "{tmp_path}/lab.toml"\nstore.url = "sqlite://{path}"\n')
    return config


async def _said(capsys: pytest.CaptureFixture[str], config: Path, *words: str) -> tuple[int, str, str]:
    import asyncio

    code = await asyncio.to_thread(main, ["--config", str(config), *words])
    out, err = capsys.readouterr()
    return code, out, err


async def test_the_commands_say_in_a_sentence_what_they_did(
    config: Path, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = str(tmp_path / "copy.db.gz")
    code, out, err = await _said(capsys, config, "backup", target)
    assert (code, out, err) == (1, "", f"there is no database at {path}\n")
    code, out, _ = await _said(capsys, config, "migrate", "--check")
    assert (code, out.count(".sql")) == (1, len(STEPS))
    assert (await _said(capsys, config, "migrate"))[:2] == (0, f"sqlite {path}: up to date\n")
    assert (await _said(capsys, config, "migrate", "--check"))[:2] == (0, "up to date\n")
    await filled(path)
    code, out, err = await _said(capsys, config, "backup", target)
    assert (code, err) == (0, "")
    assert out.startswith(f"{target}: 0.")
    code, out, _ = await _said(capsys, config, "restore", target)
    assert code == 0
    assert f"restored from {target}; the database before it is kept as {path}.replaced-" in out
    assert "agents send what it lacks when the collector starts" in out
    assert await _said(capsys, config, "restore", f"{target}x") == (1, "", f"there is no file {target}x\n")
    lock = FileLock(path.with_name(path.name + ".lock"))
    lock.acquire()
    assert await _said(capsys, config, "restore", target) == (
        1,
        "",
        f"{path} is in use by another collector\n",
    )
    lock.release()


async def test_a_store_in_memory_has_nothing_to_copy(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(config, f'inventory = "{tmp_path}/lab.toml"\nstore.url = "memory:"\n')
    assert await _said(capsys, config, "backup", "x") == (
        1,
        "",
        "the store is in memory; there is nothing to copy\n",
    )
