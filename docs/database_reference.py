"""Makes ``database.md`` from the live schema: what stands there is what the database has."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing

from boardherd_collector.rollups import GAUGES, TOPS
from boardherd_collector.settings import RetentionSettings, RollupSettings
from boardherd_collector.stores.migrations import migrate, migrations
from database_texts import COLUMNS, INDEXES, OWN, SECTIONS, TABLES, TRIGGERS

_TOP = """\
# The database

<!-- Made from the schema by `make docs`; change the migrations or docs/database_texts.py, not this page. -->

One schema in two dialects: the embedded SQLite file, shown here, and PostgreSQL with or without TimescaleDB. Names
are the same. The migrations are in `collector/boardherd_collector/stores/sql/<dialect>`: numbered, forward only,
never changed once released, each in one transaction. A database of a newer program is refused.

Times are microseconds since 1970 UTC in SQLite and `timestamptz` in PostgreSQL; a UUID is text of 36 characters there
and `uuid` here; 0 and 1 are `boolean`, REAL is `double precision`, JSON is text in both. An absent value is NULL. No
series has a foreign key: rows outlive what they are about. Read the views: whatever ages is worked out there, at the
moment of reading.
"""

_POLICIES = """\
## What is kept, and for how long

| what | how long | set by |
| --- | --- | --- |
| samples, verdicts with minutes, states, dead letters | {raw} d | `retention.raw` |
| commands, events, boots, losses | {audit} d | `retention.audit` |
| `pc_stats_5m` | {five} d | `retention.five_minutes` |
| `pc_stats_1h`, `board_verdict_hours`, `board_usage` | for ever | |
| `stream_digests` | the newest 1000 of each stream | |
| everything about what a person deleted | at once, in slices; what has no index for it, with age | |

Rollups are brought up to date every {every:g} s. A record notes the hour it falls into in `rollup_queue`, in the same
transaction; that hour is then worked out anew from all its rows, so late records count. It is done for hours of the
last {window} d (`rollup.window`): longer than agents keep a record ({spool} d, `rollup.spool_age`), and shorter than
raw rows are kept, so that every hour is whole when it is worked out. The collector checks this order at its start. An
hour older than that gets a rollup only if it has none. No rollup is ever deleted because its rows are gone.

On SQLite and on PostgreSQL without TimescaleDB the collector does all this in slices of about 20 ms, with a rest after
each; `/readyz` says so, and how far it is. With TimescaleDB, `pc_stats`, `board_liveness`, `relay_states` and `events`
are hypertables with a columnstore, `pc_stats_5m` and `pc_stats_1h` are continuous aggregates, and policies do the work;
they are compared with the configuration at each start and made anew where they differ.

## Backup and restore

`boardherd-collector backup TARGET` copies the database while the collector runs; `boardherd-collector restore SOURCE`
puts a copy back while it does not, and keeps the database that it replaces under a name with the date. A copy is
checked before it gets its name. What agents have sent since comes back by itself: when the collector starts, they are
asked for every envelope that they still hold and the ledger lacks. `boardherd-collector migrate --check` says which
migrations a database lacks. SQLite copies are gzip files that `gunzip` and `sqlite3` can open; copies of PostgreSQL
are made by its own `pg_dump`.
"""
_DAY = 86400


def database() -> str:
    """Return the page; KeyError for anything of the schema that the texts leave out."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        migrate(db, migrations(), 0)
        parts = [_TOP]
        for section, tables in SECTIONS.items():
            parts.append(f"## {section}\n")
            for table in tables:
                parts += _table(db, table)
        parts.append(_policies())
        parts.append(_triggers(db))
    return "\n".join(parts).rstrip() + "\n"


def undescribed() -> list[str]:
    """Return what the schema has and the texts leave out, and what the texts describe that does not exist."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        migrate(db, migrations(), 0)
        there = {(kind, name) for kind, name in db.execute("SELECT type, name FROM sqlite_master")}
        there = {(kind, name) for kind, name in there if not name.startswith("sqlite_")}
        placed = [table for tables in SECTIONS.values() for table in tables]
        columns = {(table, name) for table in placed for name, *_ in _columns(db, table)}
    wrong = [f"twice on the page: {table}" for table in placed if placed.count(table) > 1]
    tables = {name for kind, name in there if kind in {"table", "view"}}
    for what, real, told in (
        ("table", tables, set(placed)),
        ("table", tables, set(TABLES)),
        ("index", {name for kind, name in there if kind == "index"}, set(INDEXES)),
        ("trigger", {name for kind, name in there if kind == "trigger"}, set(TRIGGERS)),
    ):
        wrong += [f"{what} without a text: {name}" for name in sorted(real - told)]
        wrong += [f"text of no {what}: {name}" for name in sorted(told - real)]
    wrong += [
        f"column without a text: {table}.{name}"
        for table, name in sorted(columns)
        if not _meaning(table, name)
    ]
    used = {name for _, name in columns}
    wrong += [f"text of no column: {name}" for name in sorted(set(COLUMNS) - used)]
    own = {(table, name) for table, texts in OWN.items() for name in texts}
    wrong += [
        f"text of no column: {table}.{name}" for table, name in sorted(own - columns) if table != "commands"
    ]
    return wrong


def _table(db: sqlite3.Connection, table: str) -> Iterator[str]:
    (kind, sql) = db.execute("SELECT type, sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    yield f"### `{table}`\n"
    yield f"{TABLES[table]}\n"
    yield "| column | type | meaning |\n| --- | --- | --- |"
    rolled = {f"{gauge}_{end}" for gauge in GAUGES for end in ("avg", "min", "max")}
    for name, type_, flags in _columns(db, table):
        if table.startswith("pc_stats_") and name in rolled:
            if name.endswith("_avg"):
                gauge = name.removesuffix("_avg")
                names = f"`{name}`, `{gauge}_min`, `{gauge}_max`"
                yield f"| {names} | {type_} | average, lowest and highest: {COLUMNS[gauge]} |"
            continue
        yield f"| `{name}` | {', '.join(part for part in (type_, *flags) if part)} | {_meaning(table, name)} |"
    yield ""
    if kind == "table":
        yield from _rules(db, table, sql)


def _columns(db: sqlite3.Connection, table: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield name, type and properties of each column, generated ones included."""
    for _, name, type_, needed, default, key, hidden in db.execute(f"PRAGMA table_xinfo({table})"):
        flags = [
            "key" if key else "",
            "required" if needed and not key else "",
            f"default `{default}`" if default is not None else "",
            "derived" if hidden else "",
        ]
        yield name, type_.removesuffix(" GENERATED ALWAYS").lower(), flags


def _meaning(table: str, name: str) -> str:
    own = OWN.get(table, {}).get(name) or COLUMNS.get(name)
    if own:
        return own
    for gauge in GAUGES:
        if name in {f"{gauge}_avg", f"{gauge}_min", f"{gauge}_max"}:
            return COLUMNS[gauge]
    for top in TOPS:
        if name == f"{top}_max":
            return f"the highest: {COLUMNS[top]}"
    return ""


def _rules(db: sqlite3.Connection, table: str, sql: str) -> Iterator[str]:
    lines = [f"* `CHECK {check}`" for check in _checks(sql)]
    for _, _, other, column, to, _, on_delete, _ in db.execute(f"PRAGMA foreign_key_list({table})"):
        lines.append(f"* `{column}` refers to `{other}.{to}`; on delete: {on_delete.lower()}")
    for _, name, unique, origin, _ in db.execute(f"PRAGMA index_list({table})").fetchall():
        columns = ", ".join(
            f"{column or 'expression'}{' desc' if desc else ''}"
            for _, _, column, desc, _, is_key in db.execute(f"PRAGMA index_xinfo({name})")
            if is_key
        )
        if origin == "u":
            lines.append(f"* unique: ({columns})")
        elif origin == "c":
            lines.append(
                f"* {'unique ' if unique else ''}index `{name}` {_on(db, name, columns)}: {INDEXES[name]}"
            )
    if lines:
        yield "\n".join(lines) + "\n"


def _on(db: sqlite3.Connection, index: str, columns: str) -> str:
    """Return what an index is on, with expressions and its condition as they were written."""
    (sql,) = db.execute("SELECT sql FROM sqlite_master WHERE name = ?", (index,)).fetchone()
    written = re.sub(r"\s+", " ", sql)
    _, _, condition = written.partition(" WHERE ")
    if "expression" in columns:
        columns = written.split(" ON ", 1)[1].partition(" WHERE ")[0].split("(", 1)[1].removesuffix(")")
    return f"on ({columns})" + (f" where `{condition}`" if condition else "")


def _checks(sql: str) -> Iterator[str]:
    """Yield the conditions of all CHECK constraints in ``sql``, each with its parentheses."""
    for match in re.finditer(r"\bCHECK \(", sql):
        depth = 0
        for place in range(match.end() - 1, len(sql)):
            depth += {"(": 1, ")": -1}.get(sql[place], 0)
            if depth == 0:
                text = re.sub(r"\s+", " ", sql[match.end() - 1 : place + 1])
                if text != "(length(uuid) = 36)":
                    yield text
                break


def _policies() -> str:
    retention, rollup = RetentionSettings(), RollupSettings()
    return _POLICIES.format(
        raw=round(retention.raw / _DAY),
        audit=round(retention.audit / _DAY),
        five=round(retention.five_minutes / _DAY),
        window=round(rollup.window / _DAY),
        spool=round(rollup.spool_age / _DAY),
        every=rollup.every,
    )


def _triggers(db: sqlite3.Connection) -> str:
    rows = db.execute("SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger' ORDER BY rowid")
    lines = [f"| `{name}` | `{table}` | {TRIGGERS[name]} |" for name, table in rows]
    return "\n".join(["## Triggers\n", "| trigger | table | what it does |", "| --- | --- | --- |", *lines])
