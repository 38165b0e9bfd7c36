"""Writes the inventory, and what agents say of their PCs, into the PostgreSQL tables."""

# ruff: noqa: S608 - every name in these statements is a literal of this program

from __future__ import annotations

from collections.abc import Collection, Mapping

from boardherd_collector.freshness import sample_interval
from boardherd_collector.stores.base import MAX_UNDECLARED, StoreError
from boardherd_collector.stores.inventory_events import Row, happenings, renamed
from boardherd_collector.stores.postgres import Db
from boardherd_collector.times import TimeQuality
from boardherd_shared.inventory import BoardConfig, Inventory, Lab
from boardherd_shared.messages import Hello, encode
from boardherd_shared.model import Capability

Columns = Mapping[str, object]

_PCS = "SELECT id, id AS pc, retired_at FROM test_pcs WHERE declared"
_BOARDS = (
    "SELECT boards.id, test_pcs.id AS pc, boards.retired_at FROM boards"
    " LEFT JOIN test_pcs ON test_pcs.uuid = boards.test_pc WHERE boards.declared"
)


async def sync_inventory(db: Db, inventory: Inventory, now: int) -> None:
    """Make the inventory tables those of ``inventory``, within the caller's transaction.

    Raises StoreError when the database belongs to another site.
    """
    await _claim_site(db, inventory.lab.site)
    if await _setting(db, "inventory") == inventory.hash:
        return
    lab = inventory.lab
    for table, present in (("test_pcs", lab.pc), ("relays", lab.relay), ("boards", lab.board)):
        await _rename(db, table, {id_: thing.uuid for id_, thing in present.items()}, now)
    told = list(happenings(await _rows(db, _PCS), await _rows(db, _BOARDS), lab))
    for table, present in (("test_pcs", lab.pc), ("relays", lab.relay), ("boards", lab.board)):
        await _retire(db, table, present, now)
    await _free_unique_values(db)
    await _sync_capabilities(db, inventory.lab, now)
    await _sync_pcs(db, inventory.lab, now)
    await _sync_relays(db, inventory.lab, now)
    await _sync_boards(db, inventory.lab, now)
    await _give_names(db)
    for happening in told:
        numbers = await _numbers(db, "test_pcs", [happening.pc])
        await _tell(db, numbers[happening.pc], happening.subject, happening.text, now)
    await set_setting(db, "inventory", inventory.hash)


async def ensure(db: Db, table: str, things: Mapping[str, str | None], now: int) -> dict[str, int]:
    """Return the numbers of PCs, relays or boards, giving a row to those that the inventory does not name.

    Those that are too many are left out. ``things`` tells who speaks of each first.
    """
    found = await _numbers(db, table, things)
    new = [id_ for id_ in things if id_ not in found]
    if not new:
        return found
    strangers = await db.fetchval(f"SELECT count(*) FROM {table} WHERE NOT declared")
    new = sorted(new[: max(0, MAX_UNDECLARED - strangers)])
    for id_ in new:
        columns: dict[str, object] = {"declared": False}
        if table == "relays":
            columns["relay_name"] = f"{id_} (not in lab.toml)"
        if table == "boards":
            columns["test_pc"] = await _uuid_of(db, "test_pcs", things[id_])
        await _put(db, table, id_, columns, now)
    return found | await _numbers(db, table, new)


async def _numbers(db: Db, table: str, ids: Collection[str]) -> dict[str, int]:
    rows = await db.fetch(f"SELECT id, number FROM {table} WHERE id = ANY($1)", list(ids))
    return {row["id"]: row["number"] for row in rows}


async def hear(db: Db, number: int, agent: str, hello: Hello, now: int) -> None:
    """Keep an agent's introduction: the observed columns of its PC, which has this ``number``."""
    facts = hello.host
    if facts.ip_address:
        await _move_address(db, number, agent, facts.ip_address, now)
    hostname = facts.hostname[:255] or None
    clash = await db.fetchval(
        "SELECT EXISTS (SELECT 1 FROM test_pcs WHERE hostname = $1 AND number <> $2 AND retired_at IS NULL)",
        hostname,
        number,
    )
    await db.execute(
        "UPDATE test_pcs SET hello = $1, hello_at = $2, last_heartbeat_at = greatest(last_heartbeat_at, $2),"
        " hostname = $3, hostname_clash = $4, observed_ip_address = $5, domain_name = $6, os_version = $7,"
        " sample_interval_s = $9, updated_at = $2 WHERE number = $8",
        encode(_storable(hello)).decode(),
        now,
        hostname,
        clash,
        facts.ip_address or None,
        facts.domain_name,
        facts.os_version.lower() or None,
        number,
        sample_interval(hello.sample_interval_s),
    )


def _storable(hello: Hello) -> Hello:
    """Return ``hello`` without the one thing in it that may hold a NUL, which no JSON of a database takes."""
    versions = {name.replace("\0", "?"): text for name, text in hello.versions.items()}
    return hello.model_copy(update={"versions": versions})


async def _move_address(db: Db, number: int, agent: str, address: str, now: int) -> None:
    """Take an observed address from whoever had it before, and say so in an event."""
    before = await db.fetch(
        "UPDATE test_pcs SET observed_ip_address = NULL WHERE observed_ip_address = $1 AND number <> $2 RETURNING id",
        address,
        number,
    )
    for (other,) in before:
        await _tell(db, number, f"pc/{agent}", f"address {address} moved here from {other}", now)


async def _tell(db: Db, number: int, subject: str, text: str, now: int) -> None:
    """Write an event of our own, kept with the test PC ``number``."""
    await db.execute(
        "INSERT INTO events (test_pc, timestamp, received_at, time_quality, event, subject, text)"
        " VALUES ($1, $2, $2, $3, 'transition', $4, $5)",
        number,
        now,
        TimeQuality.AGENT.value,
        subject,
        text,
    )


async def _claim_site(db: Db, site: str) -> None:
    present = await _setting(db, "site")
    if present is None:
        await set_setting(db, "site", site)
    elif present != site:
        raise StoreError(f'the database belongs to the site "{present}", the inventory to "{site}"')


async def _setting(db: Db, name: str) -> str | None:
    value: str | None = await db.fetchval("SELECT value FROM settings WHERE name = $1", name)
    return value


async def set_setting(db: Db, name: str, value: str) -> None:
    """Keep a value under a name."""
    await db.execute(
        "INSERT INTO settings (name, value) VALUES ($1, $2)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        name,
        value,
    )


async def _free_unique_values(db: Db) -> None:
    """Let go of every value that must be unique, so that things can swap theirs or come back.

    What was configured is written anew at once, what was observed with the next hello.
    """
    present = "WHERE declared AND retired_at IS NULL"
    await db.execute(f"UPDATE test_pcs SET ip_address = NULL {present}")
    await db.execute(
        "UPDATE test_pcs SET hostname_clash = true, observed_ip_address = NULL WHERE retired_at IS NOT NULL"
    )
    await db.execute(
        f"UPDATE relays SET relay_name = uuid::text, ip_address = NULL, mac_address = NULL {present}"
    )
    await db.execute(f"UPDATE boards SET hardware_serial_number = NULL {present}")
    await db.execute("DELETE FROM board_feeds")
    await db.execute("DELETE FROM board_lines")
    await db.execute("DELETE FROM board_capabilities")


async def _sync_capabilities(db: Db, lab: Lab, now: int) -> None:
    wanted = {code.value: code.label for code in Capability}
    wanted |= {code: code for code in lab.codes.capability}
    wanted |= {
        code: code for board in lab.board.values() for code in board.capabilities if code not in wanted
    }
    await db.executemany(
        "INSERT INTO capabilities (name, description, created_at, updated_at) VALUES ($1, $2, $3, $3)"
        " ON CONFLICT (name) DO NOTHING",
        [(name, description, now) for name, description in wanted.items()],
    )


async def _sync_pcs(db: Db, lab: Lab, now: int) -> None:
    for id_, pc in lab.pc.items():
        columns: dict[str, object] = {
            "name": pc.name,
            "ip_address": pc.ip,
            "rack": pc.rack,
            "location": pc.location,
            "comment": pc.comment,
            "disk_mountpoint": pc.disk_mountpoint,
        }
        await _put(db, "test_pcs", id_, columns | {"declared": True}, now, pc.uuid)
    for id_, pc in lab.pc.items():
        watcher = await _uuid_of(db, "test_pcs", pc.watched_by)
        await db.execute("UPDATE test_pcs SET watched_by = $1 WHERE id = $2", watcher, id_)


async def _sync_relays(db: Db, lab: Lab, now: int) -> None:
    for id_, relay in lab.relay.items():
        columns: dict[str, object] = {
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
        await _put(db, "relays", id_, columns | {"declared": True}, now, relay.uuid)


async def _sync_boards(db: Db, lab: Lab, now: int) -> None:
    for id_, board in lab.board.items():
        columns: dict[str, object] = {
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
            "test_pc": await _uuid_of(db, "test_pcs", board.pc),
            "console": board.console,
            "normally": board.normally,
            "location": board.location,
            "description": board.description,
        }
        await _put(db, "boards", id_, columns | {"declared": True}, now, board.uuid)
        await _wire(db, id_, board, now)


async def _wire(db: Db, id_: str, board: BoardConfig, now: int) -> None:
    key = await _uuid_of(db, "boards", id_)
    await db.execute(
        "INSERT INTO board_capabilities (board, capability)"
        " SELECT $1, uuid FROM capabilities WHERE name = ANY($2) ON CONFLICT DO NOTHING",
        key,
        list(board.capabilities),
    )
    for position, feed in enumerate(board.power, 1):
        await db.execute(
            "INSERT INTO board_feeds (board, position, relay, relay_number, polarity, after_s, off_time_s,"
            " created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
            key,
            position,
            await _uuid_of(db, "relays", feed.relay),
            feed.port,
            feed.polarity,
            feed.after,
            feed.off_time,
            now,
        )

    for name, line in board.lines.items():
        await db.execute(
            "INSERT INTO board_lines (board, name, relay, relay_number, polarity, kind, pulse_s,"
            " created_at, updated_at) VALUES ($1, $2, $3, $4, $5, 'pulse', $6, $7, $7)",
            key,
            name,
            await _uuid_of(db, "relays", line.relay),
            line.port,
            line.polarity,
            line.pulse,
            now,
        )


async def _give_names(db: Db) -> None:
    """Let the names that people gave go before those of the inventory; no two relays get the same."""
    await db.execute("UPDATE test_pcs SET name = given_name WHERE given_name IS NOT NULL")
    await db.execute("UPDATE boards SET name = given_name WHERE given_name IS NOT NULL")
    await db.execute(
        "UPDATE relays SET relay_name = given_name WHERE given_name IS NOT NULL AND NOT EXISTS ("
        "SELECT 1 FROM relays AS other WHERE other.number <> relays.number AND other.retired_at IS NULL"
        " AND coalesce(other.given_name, other.relay_name) = relays.given_name)"
    )


async def _put(db: Db, table: str, id_: str, columns: Columns, now: int, key: str | None = None) -> None:
    """Insert the row of ``id_``, or update it; what is in the inventory again is no longer retired.

    A new row gets the UUID ``key``, unless that is another's.
    """
    names = list(columns)
    places = "".join(f", ${number}" for number in range(4, len(names) + 4))
    updates = "".join(f", {name} = excluded.{name}" for name in names)
    taken = f"SELECT 1 FROM {table} WHERE uuid = $3::uuid"
    await db.execute(
        f"INSERT INTO {table} (id, created_at, updated_at, uuid, {', '.join(names)})"
        f" VALUES ($1, $2, $2, CASE WHEN $3::uuid IS NULL OR EXISTS ({taken}) THEN gen_random_uuid()"
        f" ELSE $3::uuid END{places})"
        f" ON CONFLICT (id) DO UPDATE SET retired_at = NULL, updated_at = excluded.updated_at{updates}",
        id_,
        now,
        key,
        *columns.values(),
    )


async def _rows(db: Db, query: str) -> list[Row]:
    return [Row(id_, pc, retired is not None) for id_, pc, retired in await db.fetch(query)]


async def _rename(db: Db, table: str, wanted: Mapping[str, str | None], now: int) -> None:
    """Let what has another id in the inventory, and its UUID, keep its row and its history."""
    known = {row["id"]: str(row["uuid"]) for row in await db.fetch(f"SELECT id, uuid FROM {table}")}
    for old, new in renamed(wanted, known).items():
        await db.execute(f"UPDATE {table} SET id = $1, updated_at = $2 WHERE id = $3", new, now, old)


async def _retire(db: Db, table: str, present: Collection[str], now: int) -> None:
    await db.execute(
        f"UPDATE {table} SET retired_at = $1, updated_at = $1"
        " WHERE declared AND retired_at IS NULL AND id <> ALL($2)",
        now,
        list(present),
    )


async def _uuid_of(db: Db, table: str, id_: str | None) -> object:
    if id_ is None:
        return None
    return await db.fetchval(f"SELECT uuid FROM {table} WHERE id = $1", id_)
