"""What ``boardherd-collector`` does besides collecting: backup, restore, migrate."""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from boardherd_collector import backup
from boardherd_collector.settings import CollectorSettings
from boardherd_collector.stores.base import StoreError
from boardherd_collector.stores.migrations import applied_numbers, migrations
from boardherd_shared.inventory import Inventory

_WIDTH = 24


def run(options: argparse.Namespace, settings: CollectorSettings, inventory: Inventory) -> int:
    """Do what ``options.work`` says; return the exit code, 1 with a sentence when it could not be done."""
    meter = Meter()
    try:
        match options.work:
            case "backup":
                target = _backup(settings, options.target, meter)
                done = f"{target}: {target.stat().st_size / 1e6:.1f} MB, checked"
            case "restore":
                done = _restore(settings, inventory, options.source, meter)
            case _ if options.check:
                missing = _missing(settings)
                done = f"missing: {', '.join(missing)}" if missing else "up to date"
                sys.stdout.write(f"{done}\n")
                return 1 if missing else 0
            case _:
                done = asyncio.run(_migrate(settings))
    except (StoreError, OSError) as error:
        meter.clear()
        sys.stderr.write(f"{error}\n")
        return 1
    meter.clear()
    sys.stdout.write(f"{done}\n")
    return 0


class Meter:
    """Shows how far the work is, on a terminal only."""

    def __init__(self) -> None:
        """Begin with nothing shown."""
        self._shown = ""

    def __call__(self, what: str, share: float) -> None:
        """Show what is being done and which share of it is."""
        if not sys.stderr.isatty():
            return
        bar = ("#" * round(share * _WIDTH)).ljust(_WIDTH, ".")
        line = f"{what:<14} [{bar}] {share:4.0%}"
        if line != self._shown:
            sys.stderr.write(f"\r{line}")
            sys.stderr.flush()
            self._shown = line

    def clear(self) -> None:
        """Make the line empty again."""
        if self._shown:
            sys.stderr.write(f"\r{' ' * len(self._shown)}\r")
            self._shown = ""


def _backup(settings: CollectorSettings, target: Path, meter: Meter) -> Path:
    address = settings.store.address
    if address is not None:
        from boardherd_collector import backup_postgres

        return backup_postgres.backup(address, target, meter)
    return backup.backup(_database(settings), target, migrations(), meter)


def _restore(settings: CollectorSettings, inventory: Inventory, source: Path, meter: Meter) -> str:
    site, address = inventory.lab.site, settings.store.address
    aside: Path | str | None
    if address is not None:
        from boardherd_collector import backup_postgres

        steps = migrations("timescale")
        aside = backup_postgres.restore(source, address, steps, site, meter)
    else:
        aside = backup.restore(source, _database(settings), migrations(), site, meter)
    kept = f"; the database before it is kept as {aside}" if aside else ""
    return f"restored from {source}{kept}; agents send what it lacks when the collector starts"


def _database(settings: CollectorSettings) -> Path:
    if settings.store.path is None:
        raise StoreError("the store is in memory; there is nothing to copy")
    return settings.store.path


async def _migrate(settings: CollectorSettings) -> str:
    from boardherd_collector.app import open_store

    async with open_store(settings) as store:
        return f"{store.name}: up to date"


def _missing(settings: CollectorSettings) -> list[str]:
    """Return the names of the migrations that the database lacks; StoreError when it is not ours."""
    address = settings.store.address
    steps = migrations("sqlite" if address is None else "timescale")
    if address is not None:
        from boardherd_collector import backup_postgres

        applied = backup_postgres.applied(address, steps)
    else:
        applied = _applied(_database(settings))
    return [step.name for step in steps if step.number not in applied]


def _applied(database: Path) -> set[int]:
    if not database.exists():
        return set()
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as db:
            rows = db.execute("SELECT number, name, sha256 FROM schema_migrations").fetchall()
    except sqlite3.Error as error:
        raise StoreError(f"{database}: {error}") from error
    return applied_numbers(rows, migrations())
