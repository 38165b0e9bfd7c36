"""Copies of a PostgreSQL database, made and put back by PostgreSQL's own programs.

A copy is pg_dump's custom format, compressed. Putting one back makes a new database beside the present one
and then changes names, so the one before stays; PostgreSQL allows that only while nobody is connected.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg  # type: ignore[import-untyped]

from boardherd_collector.backup import Progress
from boardherd_collector.stores.base import StoreError
from boardherd_collector.stores.migrations import Migration, applied_numbers
from boardherd_collector.stores.postgres_address import Address

_ADMIN_DATABASES = ("postgres", "template1")
_TIMESCALE = "EXTENSION - timescaledb"


def backup(address: Address, target: Path, progress: Progress) -> Path:
    """Dump the database to ``target``, or into it under a name with the date when it is a directory.

    Return where the dump is. Raises StoreError in words; then ``target`` is what it was before.
    """
    if target.is_dir():
        target /= f"{_database(address)}-{_stamp()}.dump"
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        asyncio.run(_dump(address, partial, progress))
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        raise StoreError(f"{error.filename or target}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    return target


async def _dump(address: Address, target: Path, progress: Progress) -> None:
    progress("dumping", 0.0)
    schema = await _own_schema(address)
    of = [f"--schema={schema}"] if schema else []
    await _call(address, "pg_dump", "--format=custom", *of, f"--file={target}", f"--dbname={address.url}")
    progress("checking", 0.0)
    if "schema_migrations" not in await _contents(address, target):
        raise StoreError(f"{address.display} is no database of boardherd")


def restore(source: Path, address: Address, steps: list[Migration], site: str, progress: Progress) -> str:
    """Make the dump in ``source`` the database; return the name under which the one before is kept.

    Raises StoreError in words, and then nothing was changed: when somebody is connected to the database, such
    as a collector, when the dump is damaged or belongs to another site, or when the user may not make databases.
    """
    if not source.is_file():
        raise StoreError(f"there is no file {source}")
    return asyncio.run(_restore(source, address, steps, site, progress))


async def _restore(
    source: Path, address: Address, steps: list[Migration], site: str, progress: Progress
) -> str:
    if await _own_schema(address):
        raise StoreError(
            "this site shares its database with others, which a restore would replace as well; rename its schema"
            f" and use pg_restore on {source}"
        )
    name = _database(address)
    fresh, aside = f"{name}_restored_{_stamp().lower()}", f"{name}_replaced_{_stamp().lower()}"
    contents = await _contents(address, source)
    async with _admin(address) as admin:
        await _refuse_company(admin, name)
        await admin.execute(f"CREATE DATABASE {_quoted(fresh)} TEMPLATE template0")
        try:
            await _fill(_with_database(address, fresh), source, contents, progress)
            await _check(_with_database(address, fresh), steps, site)
            async with admin.transaction():
                await admin.execute(f"ALTER DATABASE {_quoted(name)} RENAME TO {_quoted(aside)}")
                await admin.execute(f"ALTER DATABASE {_quoted(fresh)} RENAME TO {_quoted(name)}")
        except BaseException:
            await admin.execute(f"DROP DATABASE IF EXISTS {_quoted(fresh)}")
            raise
    return aside


def applied(address: Address, steps: list[Migration]) -> set[int]:
    """Return the numbers of the migrations that the database has; StoreError when they are not these ``steps``."""
    return asyncio.run(_applied(address, steps))


async def _applied(address: Address, steps: list[Migration]) -> set[int]:
    async with _connected(address) as db:
        if await db.fetchval("SELECT to_regclass('schema_migrations')") is None:
            return set()
        rows = await db.fetch("SELECT number, name, sha256 FROM schema_migrations")
    return applied_numbers([(row[0], row[1], row[2]) for row in rows], steps)


async def _fill(address: Address, source: Path, contents: str, progress: Progress) -> None:
    """Put the dump into a new database; TimescaleDB wants to be told before and after."""
    timescale = _TIMESCALE in contents
    if timescale:
        async with _connected(address) as db:
            await db.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
            await db.execute("SELECT timescaledb_pre_restore()")
    progress("restoring", 0.0)
    # Never in one transaction or in parallel with TimescaleDB: its catalogue is filled before its tables.
    how = [] if timescale else ["--single-transaction"]
    await _call(
        address, "pg_restore", "--exit-on-error", "--no-owner", *how, f"--dbname={address.url}", str(source)
    )
    if timescale:
        async with _connected(address) as db:
            await db.execute("SELECT timescaledb_post_restore()")
    async with _connected(address) as db:
        await db.execute("ANALYZE")
    progress("restoring", 1.0)


async def _check(address: Address, steps: list[Migration], site: str) -> None:
    await _applied(address, steps)
    async with _connected(address) as db:
        found = await db.fetchval("SELECT value FROM settings WHERE name = 'site'")
    if found not in {None, site}:
        raise StoreError(f'the copy belongs to the site "{found}", the inventory to "{site}"')


async def _refuse_company(admin: Any, name: str) -> None:
    others = await admin.fetch(
        "SELECT DISTINCT coalesce(nullif(application_name, ''), 'a program without a name') AS name"
        " FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend' ORDER BY 1",
        name,
    )
    if others:
        told = ", ".join(row["name"] for row in others)
        raise StoreError(f"the database {name} is in use by {told}; stop it first")


async def _own_schema(address: Address) -> str | None:
    """Return the schema of a site that shares its database with others, None for one that has it alone."""
    if address.options is None:
        return None
    async with _connected(address) as db:
        return str(await db.fetchval("SELECT current_schema()"))


async def _contents(address: Address, dump: Path) -> str:
    return await _call(address, "pg_restore", "--list", str(dump))


@asynccontextmanager
async def _admin(address: Address) -> AsyncIterator[Any]:
    """Connect to a database of the server that is not the one in question."""
    name = next(name for name in _ADMIN_DATABASES if name != _database(address))
    async with _connected(_with_database(address, name)) as db:
        yield db


@asynccontextmanager
async def _connected(address: Address) -> AsyncIterator[Any]:
    try:
        db = await asyncpg.connect(address.full_url, password=address.password(), timeout=10)
        try:
            yield db
        finally:
            await db.close(timeout=3)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise StoreError(f"{address.display}: {error or 'no answer in time'}") from error


async def _call(address: Address, program: str, *arguments: str) -> str:
    """Run one of PostgreSQL's programs and return what it prints; the password goes through its environment."""
    path = shutil.which(program)
    if path is None:
        raise StoreError(
            f"{program} is missing; it comes with PostgreSQL's client, postgresql-client on Debian"
        )
    process = await asyncio.create_subprocess_exec(
        path,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | address.environment() | {"LC_ALL": "C"},
    )
    try:
        out, err = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        lines = err.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise StoreError(f"{program} failed: {lines[0].removeprefix(f'{program}: ')}")
    return out.decode(errors="replace")


def _database(address: Address) -> str:
    name = urlsplit(address.full_url).path.lstrip("/")
    if not name:
        raise StoreError(f"{address.display} names no database; write postgresql://host/database")
    return name


def _with_database(address: Address, name: str) -> Address:
    return Address(urlunsplit(urlsplit(address.full_url)._replace(path=f"/{name}")), address.password_file)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _stamp() -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
