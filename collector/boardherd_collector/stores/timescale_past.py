"""The past of ports and boards in PostgreSQL: which state a port had, who used a board. One indexed query each."""

# ruff: noqa: S608 - every name in these statements is a literal of this program

from __future__ import annotations

import time
from collections.abc import Sequence

from boardherd_collector.stores.answers import PortStateRow, UsageRow
from boardherd_collector.stores.past_rows import PORT_COLUMNS, USAGE_COLUMNS, port_row, usage_row
from boardherd_collector.stores.postgres import Db
from boardherd_collector.times import SECOND

_PORTS = f"""
SELECT pc.id, wanted.id, {", ".join(f"said.{column}" for column in PORT_COLUMNS)}
FROM unnest($1::text[], $2::integer[]) AS wanted (id, port)
JOIN relays ON relays.id = wanted.id
CROSS JOIN LATERAL (
    SELECT * FROM relay_states
    WHERE relay = relays.number AND port = wanted.port AND timestamp >= coalesce((
        SELECT max(timestamp) FROM relay_states AS held
        WHERE held.relay = relays.number AND held.port = wanted.port AND held.timestamp <= $3
    ), $3)
    ORDER BY timestamp DESC LIMIT $4
) AS said
JOIN test_pcs AS pc ON pc.number = said.test_pc
ORDER BY said.timestamp DESC LIMIT $4
"""


async def port_history(
    db: Db, ports: Sequence[tuple[str, int]], since: int, limit: int = 1000
) -> list[PortStateRow]:
    """Return the states of relay ports, and before them what held at the beginning."""
    relays, numbers = [relay for relay, _ in ports], [port for _, port in ports]
    rows = await db.fetch(_PORTS, relays, numbers, since, limit)
    return [port_row(*row) for row in reversed(rows)]


async def usage(db: Db, board: str, since: int, limit: int = 1000) -> list[UsageRow]:
    """Return who used a board, oldest first."""
    rows = await db.fetch(
        f"SELECT {', '.join(USAGE_COLUMNS)} FROM board_usage"
        " WHERE board = (SELECT number FROM boards WHERE id = $1)"
        " AND (coalesce(ended_at, deadline) > $2 OR coalesce(ended_at, deadline) IS NULL)"
        " ORDER BY started_at DESC LIMIT $3",
        board,
        since,
        limit,
    )
    now = round(time.time() * SECOND)
    return [usage_row(now, board, *row) for row in reversed(rows)]
