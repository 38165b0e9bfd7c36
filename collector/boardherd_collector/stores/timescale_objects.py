"""What TimescaleDB does for the store: hypertables, columnstore, continuous aggregates, and their policies.

None of it belongs to the migrations. The extension may be added later, its licence may leave parts out, and the
intervals are configuration; so at every opening what is there is compared with what should be. A policy that
differs is removed and added anew, since ``if_not_exists`` would keep the old one.

The jobs of the extension do the work. Their ``last_run_status`` alone proves nothing: PostgreSQL 15.20 marks jobs
of TimescaleDB 2.28 as failed although their work is done and kept. What counts is the effect: the age of the
oldest chunk, the newest bucket.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from boardherd_collector.rollups import HOUR
from boardherd_collector.stores.base import StoreError
from boardherd_collector.stores.postgres import LONG_S, Db, transaction
from boardherd_collector.stores.timescale_aggregates import fill, is_unfilled, lags, make_aggregates

_DAY = 86_400_000_000
_OLDEST = (2, 20)
"""The first version whose dedupe into compressed chunks is cheap and whose names are those used here."""
HYPERTABLES = {
    "pc_stats": ("1 day", "test_pc", "timestamp"),
    "board_liveness": ("7 days", "", "board, timestamp"),
    "relay_states": ("7 days", "", "relay, port, timestamp"),
    "events": ("7 days", "", "timestamp, number"),
}
"""Table: span of a chunk, what segments it, what orders it. A chunk of the sparse ones has too few rows to segment."""
AUDIT = frozenset({"events"})
"""Those of them that tell what happened and who did it: kept for longer."""


class Edition(StrEnum):
    """What of TimescaleDB there is."""

    NONE = "none"
    """Plain PostgreSQL: the collector rolls up and prunes."""
    APACHE = "apache"
    """Hypertables only: the collector rolls up and prunes, by whole chunks where it can."""
    COMMUNITY = "community"
    """Everything: the database rolls samples up, compresses and prunes."""


@dataclass(frozen=True)
class Found:
    """The extension as it was found."""

    edition: Edition
    version: str = ""

    @property
    def short(self) -> str:
        """What it is."""
        match self.edition:
            case Edition.COMMUNITY:
                return f"TimescaleDB {self.version}"
            case Edition.APACHE:
                return f"TimescaleDB {self.version} under the Apache licence"
            case _:
                return f"TimescaleDB {self.version} too old to be used" if self.version else "no TimescaleDB"

    @property
    def upkeep(self) -> str:
        """Who rolls up and deletes."""
        if self.edition is Edition.COMMUNITY:
            return "TimescaleDB rolls samples up, compresses and deletes; the collector rolls verdicts up"
        return f"{self.short}: the collector rolls up and deletes what is old"


@dataclass(frozen=True)
class Policies:
    """How long what is kept; times in microseconds."""

    raw: int = 30 * _DAY
    """Samples, verdicts and states."""
    audit: int = 400 * _DAY
    """Events; commands, boots and losses are no hypertables and go row by row."""
    five_minutes: int = 400 * _DAY
    """Rollups over five minutes."""
    window: int = 8 * _DAY
    """How far back rollups are worked out anew for late records; less than ``raw``, or they would be deleted."""
    columnstore_after: int = 3 * _DAY
    """After what time chunks are compressed."""

    def kept(self, table: str) -> int:
        """Return how long the rows of a hypertable are kept."""
        return self.audit if table in AUDIT else self.raw


async def find(db: Db) -> Found:
    """Return what of the extension is in the database."""
    version: str | None = await db.fetchval(
        "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
    )
    if version is None:
        return Found(Edition.NONE)
    if tuple(int(part) for part in version.split("-")[0].split(".")[:2]) < _OLDEST:
        return Found(Edition.NONE, version)
    licence = await db.fetchval("SELECT current_setting('timescaledb.license', true)")
    return Found(Edition.COMMUNITY if licence == "timescale" else Edition.APACHE, version)


async def apply(db: Db, found: Found, policies: Policies) -> None:
    """Make everything that the edition has what it should be; the caller is in no transaction."""
    if found.edition is Edition.NONE:
        return
    async with transaction(db):
        await _make_hypertables(db, columnstore=found.edition is Edition.COMMUNITY)
        if found.edition is Edition.COMMUNITY:
            await make_aggregates(db)
            await _reconcile(db, policies)
    if found.edition is Edition.COMMUNITY and await is_unfilled(db):
        await fill(db)


async def present(db: Db, found: Found) -> frozenset[str]:
    """Return which tables are hypertables."""
    if found.edition is Edition.NONE:
        return frozenset()
    rows = await db.fetch(
        "SELECT hypertable_name FROM timescaledb_information.hypertables WHERE hypertable_schema = current_schema()"
    )
    return frozenset(row[0] for row in rows) & HYPERTABLES.keys()


async def _make_hypertables(db: Db, *, columnstore: bool) -> None:
    rows = await db.fetch(
        "SELECT hypertable_name, compression_enabled FROM timescaledb_information.hypertables"
        " WHERE hypertable_schema = current_schema()"
    )
    state = {row[0]: row[1] for row in rows}
    for table, (chunk, segment, order) in HYPERTABLES.items():
        if table not in state:
            await db.execute(
                f"SELECT create_hypertable('{table}', by_range('timestamp', interval '{chunk}'),"
                " create_default_indexes => false, migrate_data => true)",
                timeout=LONG_S,
            )
        if columnstore and not state.get(table):
            await db.execute(
                f"ALTER TABLE {table} SET (timescaledb.enable_columnstore,"
                f" timescaledb.segmentby = '{segment}', timescaledb.orderby = '{order}')"
            )


@dataclass(frozen=True)
class _Policy:
    """A job as it should be."""

    proc: str
    table: str
    add: str
    """The statement that adds it, with its intervals in microseconds as $1, $2."""
    remove: str
    keys: tuple[str, ...]
    """Of its configuration, those that hold the intervals."""
    intervals: tuple[int, ...]


def _policies(policies: Policies) -> list[_Policy]:
    us = "interval '1 us'"
    retained = [
        *((table, policies.kept(table)) for table in HYPERTABLES),
        ("pc_stats_5m_auto", policies.five_minutes),
    ]
    return [
        *(
            _Policy(
                "policy_retention",
                table,
                f"SELECT add_retention_policy('{table}', $1::bigint * {us})",
                f"SELECT remove_retention_policy('{table}')",
                ("drop_after",),
                (age,),
            )
            for table, age in retained
        ),
        *(
            _Policy(
                "policy_compression",
                table,
                f"CALL add_columnstore_policy('{table}', after => $1::bigint * {us})",
                f"CALL remove_columnstore_policy('{table}')",
                ("compress_after",),
                (policies.columnstore_after,),
            )
            for table in HYPERTABLES
        ),
        *(
            _Policy(
                "policy_refresh_continuous_aggregate",
                f"pc_stats_{name}_auto",
                f"SELECT add_continuous_aggregate_policy('pc_stats_{name}_auto', start_offset => $1::bigint * {us},"
                f" end_offset => $2::bigint * {us}, schedule_interval => interval '{every}')",
                f"SELECT remove_continuous_aggregate_policy('pc_stats_{name}_auto')",
                ("start_offset", "end_offset"),
                (policies.window, end),
            )
            for name, end, every in (("5m", HOUR // 6, "10 minutes"), ("1h", HOUR, "1 hour"))
        ),
    ]


async def _reconcile(db: Db, policies: Policies) -> None:
    """Make every policy what the configuration says."""
    for policy in _policies(policies):
        job = await db.fetchrow(
            "SELECT config FROM timescaledb_information.jobs WHERE hypertable_schema = current_schema()"
            " AND hypertable_name = $1 AND proc_name = $2",
            policy.table,
            policy.proc,
        )
        if job is not None:
            if await _is_as_wanted(db, job["config"], policy):
                continue
            await db.execute(policy.remove)
        await db.execute(policy.add, *policy.intervals)


async def _is_as_wanted(db: Db, config: str, policy: _Policy) -> bool:
    for key, interval in zip(policy.keys, policy.intervals, strict=True):
        if not await db.fetchval(
            "SELECT ($1::jsonb ->> $2)::interval = $3::bigint * interval '1 us'", config, key, interval
        ):
            return False
    return True


_OVERDUE = """
SELECT EXISTS (
    SELECT 1 FROM timescaledb_information.chunks AS chunk
    JOIN unnest($1::text[], $2::bigint[]) AS kept (name, age) ON kept.name = chunk.hypertable_name
    WHERE hypertable_schema = current_schema()
        AND range_end < now() - age * interval '1 us' - interval '3 days'
)
"""


async def check_effects(db: Db, policies: Policies) -> None:
    """See that the jobs of the extension do their work; StoreError when they are behind.

    What they say of themselves is not asked: see the top of this module.
    """
    if await lags(db):
        raise StoreError(
            "the hourly aggregate lacks yesterday: are TimescaleDB's background workers running?"
        )
    if await db.fetchval(_OVERDUE, list(HYPERTABLES), [policies.kept(table) for table in HYPERTABLES]):
        raise StoreError("chunks that should be gone for days are there: are TimescaleDB's jobs running?")
