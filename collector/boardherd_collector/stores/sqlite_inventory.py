"""Writes the inventory, and what agents say of their PCs, into the SQLite tables."""

# ruff: noqa: S608 - every name in these statements is a literal of this program

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterable, Mapping

from boardherd_collector.freshness import sample_interval
from boardherd_collector.stores.base import MAX_UNDECLARED, StoreError
from boardherd_collector.stores.inventory_events import Row, happenings, renamed
from boardherd_collector.times import TimeQuality
from boardherd_shared.inventory import BoardConfig, Inventory, Lab
from boardherd_shared.messages import Hello, encode
from boardherd_shared.model import Capability

Columns = Mapping[str, str | int | float | None]

_PCS = "SELECT id, id, retired_at FROM test_pcs WHERE declared = 1"
_BOARDS = (
    "SELECT boards.id, test_pcs.id, boards.retired_at FROM boards"
    " LEFT JOIN test_pcs ON test_pcs.uuid = boards.test_pc WHERE boards.declared = 1"
)


def sync_inventory(db: sqlite3.Connection, inventory: Inventory, now: int) -> None:
    """Make the inventory tables those of ``inventory``, within the caller's transaction.

    Raises StoreError when the database belongs to another site.
    """
    _claim_site(db, inventory.lab.site)
    if _setting(db, "inventory") == inventory.hash:
        return
    lab = inventory.lab
    for table, present in (("test_pcs", lab.pc), ("relays", lab.relay), ("boards", lab.board)):
        _rename(db, table, {id_: thing.uuid for id_, thing in present.items()}, now)
    told = list(happenings(_rows(db, _PCS), _rows(db, _BOARDS), lab))
    for table, present in (("test_pcs", lab.pc), ("relays", lab.relay), ("boards", lab.board)):
        _retire(db, table, present, now)
    _free_unique_values(db)
    _sync_capabilities(db, inventory.lab, now)
    _sync_pcs(db, inventory.lab, now)
    _sync_relays(db, inventory.lab, now)
    _sync_boards(db, inventory.lab, now)
    _give_names(db)
    for happening in told:
        number = _number_of(db, "test_pcs", happening.pc)
        _tell(db, number, happening.subject, happening.text, now)
    set_setting(db, "inventory", inventory.hash)


def ensure(db: sqlite3.Connection, table: str, id_: str, now: int, test_pc: str | None = None) -> int | None:
    """Return the number of a PC, relay or board, giving it a row when the inventory does not name it.

    None when there are too many such already. ``test_pc`` is who speaks of it first.
    """
    row = db.execute(f"SELECT number FROM {table} WHERE id = ?", (id_,)).fetchone()
    if row is not None:
        return int(row[0])
    strangers = db.execute(f"SELECT count(*) FROM {table} WHERE declared = 0").fetchone()[0]
    if strangers >= MAX_UNDECLARED:
        return None
    columns: dict[str, str | int | float | None] = {"declared": 0}
    if table == "relays":
        columns["relay_name"] = f"{id_} (not in lab.toml)"
    if table == "boards":
        columns["test_pc"] = _uuid_of(db, "test_pcs", test_pc)
    _put(db, table, id_, columns, now)
    return ensure(db, table, id_, now)


def hear(db: sqlite3.Connection, agent: str, hello: Hello, now: int) -> None:
    """Keep an agent's introduction: the observed columns of its PC."""
    number = ensure(db, "test_pcs", agent, now)
    if number is None:
        return
    facts = hello.host
    if facts.ip_address:
        _move_address(db, number, agent, facts.ip_address, now)
    hostname = facts.hostname[:255] or None
    clash = db.execute(
        "SELECT 1 FROM test_pcs WHERE hostname = ? AND number <> ? AND retired_at IS NULL", (hostname, number)
    ).fetchone()
    db.execute(
        "UPDATE test_pcs SET hello = ?, hello_at = ?, last_heartbeat_at = max(ifnull(last_heartbeat_at, 0), ?),"
        " hostname = ?, hostname_clash = ?, observed_ip_address = ?, domain_name = ?, os_version = ?,"
        " sample_interval_s = ?, updated_at = ? WHERE number = ?",
        (
            encode(hello).decode(),
            now,
            now,
            hostname,
            clash is not None,
            facts.ip_address or None,
            facts.domain_name,
            facts.os_version.lower() or None,
            sample_interval(hello.sample_interval_s),
            now,
            number,
        ),
    )


def _move_address(db: sqlite3.Connection, number: int, agent: str, address: str, now: int) -> None:
    """Take an observed address from whoever had it before, and say so in an event."""
    before = db.execute(
        "UPDATE test_pcs SET observed_ip_address = NULL WHERE observed_ip_address = ? AND number <> ? RETURNING id",
        (address, number),
    ).fetchall()
    for (other,) in before:
        _tell(db, number, f"pc/{agent}", f"address {address} moved here from {other}", now)


def _tell(db: sqlite3.Connection, number: int, subject: str, text: str, now: int) -> None:
    """Write an event of our own, kept with the test PC ``number``."""
    db.execute(
        "INSERT INTO events (test_pc, timestamp, received_at, time_quality, event, subject, text)"
        " VALUES (?, ?, ?, ?, 'transition', ?, ?)",
        (number, now, now, TimeQuality.AGENT, subject, text),
    )


def _claim_site(db: sqlite3.Connection, site: str) -> None:
    present = _setting(db, "site")
    if present is None:
        set_setting(db, "site", site)
    elif present != site:
        raise StoreError(f'the database belongs to the site "{present}", the inventory to "{site}"')


def _setting(db: sqlite3.Connection, name: str) -> str | None:
    row = db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def set_setting(db: sqlite3.Connection, name: str, value: str) -> None:
    """Keep a value under a name."""
    db.execute("INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)", (name, value))


def _free_unique_values(db: sqlite3.Connection) -> None:
    """Let go of every value that must be unique, so that things can swap theirs or come back.

    What was configured is written anew at once, what was observed with the next hello.
    """
    present = "WHERE declared = 1 AND retired_at IS NULL"
    db.execute(f"UPDATE test_pcs SET ip_address = NULL {present}")
    db.execute("UPDATE test_pcs SET hostname_clash = 1, observed_ip_address = NULL WHERE retired_at NOT NULL")
    db.execute(f"UPDATE relays SET relay_name = uuid, ip_address = NULL, mac_address = NULL {present}")
    db.execute(f"UPDATE boards SET hardware_serial_number = NULL {present}")
    db.execute("DELETE FROM board_feeds")
    db.execute("DELETE FROM board_lines")
    db.execute("DELETE FROM board_capabilities")


def _sync_capabilities(db: sqlite3.Connection, lab: Lab, now: int) -> None:
    wanted = {code.value: code.label for code in Capability}
    wanted |= {code: code for code in lab.codes.capability}
    wanted |= {
        code: code for board in lab.board.values() for code in board.capabilities if code not in wanted
    }
    for name, description in wanted.items():
        db.execute(
            "INSERT INTO capabilities (uuid, name, description, created_at, updated_at) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (name) DO NOTHING",
            (str(uuid.uuid4()), name, description, now, now),
        )


def _sync_pcs(db: sqlite3.Connection, lab: Lab, now: int) -> None:
    for id_, pc in lab.pc.items():
        columns: dict[str, str | int | float | None] = {
            "name": pc.name,
            "ip_address": pc.ip,
            "rack": pc.rack,
            "location": pc.location,
            "comment": pc.comment,
            "disk_mountpoint": pc.disk_mountpoint,
        }
        _put(db, "test_pcs", id_, columns | {"declared": 1}, now, pc.uuid)
    for id_, pc in lab.pc.items():
        watcher = _uuid_of(db, "test_pcs", pc.watched_by)
        db.execute("UPDATE test_pcs SET watched_by = ? WHERE id = ?", (watcher, id_))


def _sync_relays(db: sqlite3.Connection, lab: Lab, now: int) -> None:
    for id_, relay in lab.relay.items():
        columns: dict[str, str | int | float | None] = {
            "relay_name": relay.name or id_,
            "model_type": relay.model_type.value,
            "kind": relay.driver,
            "after_outage": relay.after_outage,
            "location": relay.location,
            "rack": relay.rack,
            "ip_address": relay.address,
            "tcp_port": relay.tcp_port,
            "unit": relay.unit,
            "mac_address": relay.mac,
            "port_count": relay.port_count,
        }
        _put(db, "relays", id_, columns | {"declared": 1}, now, relay.uuid)


def _sync_boards(db: sqlite3.Connection, lab: Lab, now: int) -> None:
    for id_, board in lab.board.items():
        columns: dict[str, str | int | float | None] = {
            "name": board.name,
            "hardware_serial_number": board.hardware_serial_number,
            "project": board.project,
            "platform": board.platform,
            "device_type": board.device_type.value,
            "pg_version": board.pg_version,
            "execution_engine": board.execution_engine,
            "test_farm": board.test_farm.value if board.test_farm else None,
            "board_ip": board.board_ip,
            "serial_port": board.serial_port,
            "test_pc": _uuid_of(db, "test_pcs", board.pc),
            "console": board.console,
            "normally": board.normally,
            "location": board.location,
            "description": board.description,
        }
        _put(db, "boards", id_, columns | {"declared": 1}, now, board.uuid)
        _wire(db, id_, board, now)


def _wire(db: sqlite3.Connection, id_: str, board: BoardConfig, now: int) -> None:
    key = _uuid_of(db, "boards", id_)
    db.executemany(
        "INSERT OR IGNORE INTO board_capabilities (board, capability)"
        " SELECT ?, uuid FROM capabilities WHERE name = ?",
        [(key, name) for name in board.capabilities],
    )
    db.executemany(
        "INSERT INTO board_feeds (uuid, board, position, relay, relay_number, polarity, after_s, off_time_s,"
        " created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                str(uuid.uuid4()),
                key,
                position,
                _uuid_of(db, "relays", feed.relay),
                feed.port,
                feed.polarity,
                feed.after,
                feed.off_time,
                now,
                now,
            )
            for position, feed in enumerate(board.power, 1)
        ],
    )

    db.executemany(
        "INSERT INTO board_lines (uuid, board, name, relay, relay_number, polarity, kind, pulse_s,"
        " created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, 'pulse', ?, ?, ?)",
        [
            (
                str(uuid.uuid4()),
                key,
                name,
                _uuid_of(db, "relays", line.relay),
                line.port,
                line.polarity,
                line.pulse,
                now,
                now,
            )
            for name, line in board.lines.items()
        ],
    )


def _give_names(db: sqlite3.Connection) -> None:
    """Let the names that people gave go before those of the inventory; no two relays get the same."""
    db.execute("UPDATE test_pcs SET name = given_name WHERE given_name IS NOT NULL")
    db.execute("UPDATE boards SET name = given_name WHERE given_name IS NOT NULL")
    db.execute("UPDATE OR IGNORE relays SET relay_name = given_name WHERE given_name IS NOT NULL")


def _put(
    db: sqlite3.Connection, table: str, id_: str, columns: Columns, now: int, key: str | None = None
) -> None:
    """Insert the row of ``id_``, or update it; what is in the inventory again is no longer retired.

    A new row gets the UUID ``key``, unless that is another's.
    """
    if key is None or db.execute(f"SELECT 1 FROM {table} WHERE uuid = ?", (key,)).fetchone():
        key = str(uuid.uuid4())
    names = list(columns)
    places = ", ".join("?" * (len(names) + 4))
    updates = ", ".join(f"{name} = excluded.{name}" for name in names)
    # SQLite would give the number of what was deleted last to the next one, and its history with it.
    number = (
        f"(SELECT max(number) + 1 FROM (SELECT 0 AS number UNION ALL SELECT number FROM {table}"
        f" UNION ALL SELECT number FROM tombstones WHERE entity = '{table}'))"
    )
    db.execute(
        f"INSERT INTO {table} (number, uuid, id, created_at, updated_at, {', '.join(names)})"
        f" VALUES ({number}, {places})"
        f" ON CONFLICT (id) DO UPDATE SET retired_at = NULL, updated_at = excluded.updated_at, {updates}",
        (key, id_, now, now, *columns.values()),
    )


def _rows(db: sqlite3.Connection, query: str) -> list[Row]:
    return [Row(id_, pc, retired is not None) for id_, pc, retired in db.execute(query)]


def _number_of(db: sqlite3.Connection, table: str, id_: str) -> int:
    return int(db.execute(f"SELECT number FROM {table} WHERE id = ?", (id_,)).fetchone()[0])


def _rename(db: sqlite3.Connection, table: str, wanted: Mapping[str, str | None], now: int) -> None:
    """Let what has another id in the inventory, and its UUID, keep its row and its history."""
    known = dict(db.execute(f"SELECT id, uuid FROM {table}").fetchall())
    for old, new in renamed(wanted, known).items():
        db.execute(f"UPDATE {table} SET id = ?, updated_at = ? WHERE id = ?", (new, now, old))


def _retire(db: sqlite3.Connection, table: str, present: Iterable[str], now: int) -> None:
    known = set(present)
    rows = db.execute(f"SELECT id FROM {table} WHERE declared = 1 AND retired_at IS NULL").fetchall()
    gone = [(now, now, id_) for (id_,) in rows if id_ not in known]
    db.executemany(f"UPDATE {table} SET retired_at = ?, updated_at = ? WHERE id = ?", gone)


def _uuid_of(db: sqlite3.Connection, table: str, id_: str | None) -> str | None:
    row = db.execute(f"SELECT uuid FROM {table} WHERE id = ?", (id_,)).fetchone()
    return None if row is None else str(row[0])
