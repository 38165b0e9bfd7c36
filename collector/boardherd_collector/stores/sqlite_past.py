"""The past of ports and boards in SQLite: which state a port had, who used a board. One indexed query each."""

# ruff: noqa: S608 - every name in these statements is a literal of this program

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence

from boardherd_collector.stores.answers import PortStateRow, UsageRow
from boardherd_collector.stores.past_rows import PORT_COLUMNS, USAGE_COLUMNS, port_row, usage_row
from boardherd_collector.times import SECOND

# CROSS JOIN keeps the order of the tables: the few ports that are wanted, not all states that there ever were.
_PORTS = f"""
WITH wanted AS (
    SELECT relays.number AS relay, relays.id, json_extract(pair.value, '$[1]') AS port
    FROM json_each(?1) AS pair JOIN relays ON relays.id = json_extract(pair.value, '$[0]')
)
SELECT pc.id, wanted.id, {", ".join(f"said.{column}" for column in PORT_COLUMNS)}
FROM wanted CROSS JOIN relay_states AS said
JOIN test_pcs AS pc ON pc.number = said.test_pc
WHERE said.relay = wanted.relay AND said.port = wanted.port AND said.timestamp >= ifnull((
    SELECT max(timestamp) FROM relay_states AS held
    WHERE held.relay = wanted.relay AND held.port = wanted.port AND held.timestamp <= ?2
), ?2)
ORDER BY said.timestamp DESC, said.rowid DESC LIMIT ?3
"""


def port_history(
    db: sqlite3.Connection, ports: Sequence[tuple[str, int]], since: int, limit: int = 1000
) -> list[PortStateRow]:
    """Return the states of relay ports, and before them what held at the beginning."""
    rows = db.execute(_PORTS, (json.dumps(ports), since, limit)).fetchall()
    return [port_row(*row) for row in reversed(rows)]


def usage(db: sqlite3.Connection, board: str, since: int, limit: int = 1000) -> list[UsageRow]:
    """Return who used a board, oldest first."""
    rows = db.execute(
        f"SELECT {', '.join(USAGE_COLUMNS)} FROM board_usage"
        " WHERE board = (SELECT number FROM boards WHERE id = ?1)"
        " AND coalesce(ended_at, deadline, ?2 + 1) > ?2 ORDER BY started_at DESC LIMIT ?3",
        (board, since, limit),
    ).fetchall()
    now = round(time.time() * SECOND)
    return [usage_row(now, board, *row) for row in reversed(rows)]
