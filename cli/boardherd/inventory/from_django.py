"""A Django database with the models of this domain, as lab.toml; UUIDs are kept.

Tables are called as Django calls them: ``<app>_board``, ``<app>_relay``, ``<app>_testpc``, ``<app>_capability`` and
``<app>_board_capabilities``. Nothing is written to the database.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any

import aiosqlite

from boardherd.inventory.draft import Draft, Thing, capability, platform
from boardherd_shared.settings import ConfigError

Row = Mapping[str, Any]
Tables = Mapping[str, list[Row]]

_WANTED = ("board", "relay", "testpc", "capability", "board_capabilities")
_NEEDED = ("board", "relay", "testpc")
_PEOPLES = {
    "sdk_version": 'set with: boardherd set {id} --sdk-version "{value}"',
    "notes": 'set with: boardherd set {id} --note "{value}"',
}
"""What people own, and so cannot stand in the file."""
_BOARD = ("hardware_serial_number", "project", "device_type", "pg_version", "execution_engine", "test_farm",
          "board_ip", "location", "description")  # fmt: skip


def read_database(database: str, app: str | None = None) -> Draft:
    """Return what is in the database: a file of SQLite, or ``postgresql://user@host/name``.

    Raises ConfigError in words: it cannot be read, or holds no such tables, or those of several apps.
    """
    tables = asyncio.run(_tables(database, app))
    return from_tables(tables, _without_login(database))


def from_tables(tables: Tables, source: str) -> Draft:
    """Return what rows of the tables say. Pure."""
    draft = Draft(source)
    pcs = {row["id"]: _pc(draft, row) for row in tables["testpc"]}
    relays = {row["id"]: _relay(draft, row) for row in tables["relay"]}
    names = {row["id"]: str(row["name"]) for row in tables["capability"]}
    for row in tables["capability"]:
        if row.get("is_active") == 0:
            draft.notes.append(f"the capability {row['name']} is not active there")
    able: dict[Any, list[str]] = {}
    for link in tables["board_capabilities"]:
        if link["capability_id"] in names:
            able.setdefault(link["board_id"], []).append(capability(names[link["capability_id"]]))
    for row in tables["board"]:
        _board(draft, row, pcs, relays, able.get(row["id"], []))
    return draft


def _pc(draft: Draft, row: Row) -> str:
    thing = draft.add(
        "pc",
        _text(row, "hostname"),
        uuid=_uuid(row["id"]),
        ip=_address(row),
        **_some(row, ("location", "rack", "comment", "disk_mountpoint")),
    )
    _leave(thing, row, ("domain_name", "os_version"), "the agent finds it out")
    return thing.id


def _relay(draft: Draft, row: Row) -> str:
    thing = draft.add(
        "relay",
        _text(row, "relay_name"),
        uuid=_uuid(row["id"]),
        address=_address(row),
        mac=_text(row, "mac_address"),
        **_some(row, ("model_type", "location", "rack", "port_count")),
    )
    if _text(row, "model_type") in {"POWER_EXTENSION", "CUSTOM", ""}:
        thing.notes.append('say with which driver it is switched, for example: kind = "snmp"')
    return thing.id


def _board(
    draft: Draft, row: Row, pcs: Mapping[Any, str], relays: Mapping[Any, str], able: Iterable[str]
) -> None:
    relay, port = relays.get(row.get("relay_id")), row.get("relay_number")
    thing = draft.add(
        "board",
        _text(row, "name") or _text(row, "hardware_serial_number"),
        uuid=_uuid(row["id"]),
        pc=pcs.get(row.get("test_pc_id")),
        platform=platform(_text(row, "platform")),
        capabilities=sorted(set(able)),
        power=[f"{relay}:{port}"] if relay and port else None,
        **_some(row, _BOARD),
    )
    if relay and not port:
        thing.notes.append(f"hangs on the relay {relay}, at no port")
    for key, how in _PEOPLES.items():
        if value := _text(row, key):
            thing.notes.append(f"{key} is {value}; {how.format(id=thing.id, value=value)}")
    if _text(row, "status") == "DEACTIVATED":
        thing.notes.append(
            f'it is deactivated there; deactivate it with: boardherd deactivate {thing.id} --reason "..."'
        )
    if row.get("is_locked") == 1:
        thing.notes.append("it is locked there; locks are not taken over")


def _leave(thing: Thing, row: Row, keys: Iterable[str], why: str) -> None:
    for key in keys:
        if value := _text(row, key):
            thing.notes.append(f"{key} was {value}; {why}")


def _some(row: Row, keys: Iterable[str]) -> dict[str, Any]:
    return {key: value if isinstance(value := row.get(key), int) else _text(row, key) for key in keys}


def _address(row: Row) -> str:
    return _text(row, "ip_address").partition("/")[0]  # the inet of PostgreSQL has a network behind it


def _text(row: Row, key: str) -> str:
    value = row.get(key)
    return "" if value is None else str(value).strip()


def _uuid(value: Any) -> str | None:
    """Return a key as a UUID; None for the numbers that Django makes by default."""
    if isinstance(value, int):
        return None
    try:
        return str(uuid.UUID(str(value)))
    except ValueError:
        return None


def _pick(found: Iterable[str], app: str | None, source: str) -> dict[str, str]:
    """Return the tables of the one app that has them all, by what they hold."""
    names = set(found)
    prefixes = {name.removesuffix("_board") for name in names if name.endswith("_board")}
    apps = sorted(prefix for prefix in prefixes if all(f"{prefix}_{one}" in names for one in _NEEDED))
    if app is not None and app not in apps:
        raise ConfigError(f"{source} has no tables {app}_board, {app}_relay and {app}_testpc")
    if not apps:
        raise ConfigError(f"{source} has no tables that end in _board, _relay and _testpc")
    if app is None and len(apps) > 1:
        raise ConfigError(f"{source} has tables of several apps ({', '.join(apps)}); say which with --app")
    prefix = app or apps[0]
    return {one: f"{prefix}_{one}" for one in _WANTED if f"{prefix}_{one}" in names}


def _tables(database: str, app: str | None) -> Coroutine[None, None, Tables]:
    """Return what reads the tables of a database, named by its address or by its file."""
    if "://" in database:
        return _postgres(database, app)
    path = Path(database)
    if not path.exists():
        raise ConfigError(f"{path}: cannot be read: No such file or directory")
    return _sqlite(path, f"{path.resolve().as_uri()}?mode=ro", app)


async def _sqlite(path: Path, uri: str, app: str | None) -> Tables:
    try:
        async with aiosqlite.connect(uri, uri=True) as db:
            db.row_factory = aiosqlite.Row
            tables = await db.execute_fetchall("SELECT name FROM sqlite_master WHERE type = 'table'")
            picked = _pick([row[0] for row in tables], app, str(path))
            return {one: await _rows_of(db, picked.get(one)) for one in _WANTED}
    except aiosqlite.Error as error:
        raise ConfigError(f"{path}: is no database of SQLite that can be read: {error}") from error


async def _rows_of(db: aiosqlite.Connection, table: str | None) -> list[Row]:
    if table is None:
        return []
    rows = await db.execute_fetchall(f'SELECT * FROM "{table}" ORDER BY 1')  # noqa: S608 - from its catalogue
    return [dict(row) for row in rows]


async def _postgres(url: str, app: str | None) -> Tables:
    try:
        import asyncpg  # type: ignore[import-untyped]
    except ImportError as error:
        raise ConfigError(
            "PostgreSQL needs a library that is not installed here: install boardherd[import]"
        ) from error
    try:
        db = await asyncpg.connect(url, timeout=10)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError, TimeoutError) as error:
        raise ConfigError(
            f"{_without_login(url)} cannot be reached: {error or 'no answer in time'}"
        ) from error
    try:
        async with db.transaction(readonly=True):
            query = "SELECT c.relname FROM pg_class c WHERE c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid)"
            picked = _pick([row[0] for row in await db.fetch(query)], app, _without_login(url))
            return {
                one: [dict(row) for row in await db.fetch(f'SELECT * FROM "{picked[one]}" ORDER BY 1')]  # noqa: S608
                if one in picked
                else []
                for one in _WANTED
            }
    finally:
        await db.close()


def _without_login(database: str) -> str:
    scheme, separator, rest = database.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2].partition('?')[0]}" if separator else database
