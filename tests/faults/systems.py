"""boardherd itself, as the laboratory starts it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from faults.databases import Database, PostgresDatabase, SqliteDatabase
from faults.processes import python
from support.ports import free_port

SITE = "faults"


@dataclass(frozen=True)
class Boardherd:
    """The generator in place of the agent's hardware side, and the real collector."""

    name: str = "boardherd"
    broker_extra: str = "persistence false\n"
    max_bytes: int = 1024**3
    """Bound of each spool."""

    def agent(self, place: Path, agent: str, broker: str, rate: float) -> list[str]:
        """Return the command of a test PC that keeps its files in ``place``."""
        return python(
            "faults.generator",
            *("--agent", agent, "--site", SITE, "--broker", broker, "--rate", rate),
            *("--state", place / "state", "--ledger", place / "ledger.txt", "--max-bytes", self.max_bytes),
        )

    def collector(self, place: Path, broker: str, agents: list[str]) -> list[str]:
        """Return the command of the collector, and write its configuration."""
        lab = "".join(f"pc.{agent} = {{}}\n" for agent in agents)
        (place / "lab.toml").write_text(f'site = "{SITE}"\n{lab}')
        config = place / "collector.toml"
        config.write_text(
            f'inventory = "{place}/lab.toml"\n[broker]\nurl = "{broker}"\nkeepalive_s = 5\n'
            f'[store]\nurl = "{self.url(place)}"\n[http]\nport = {free_port()}\n'
        )
        return python("boardherd_collector", "--config", config)

    def ready(self, place: Path) -> bool:
        """Tell that agents may begin: they may at any time."""
        del place
        return True

    def url(self, place: Path) -> str:
        """Return what the collector is told about its database."""
        return f"sqlite://{place}/history.db"

    def database(self, place: Path) -> Database:
        """Return the database."""
        return SqliteDatabase(place / "history.db")


@dataclass(frozen=True)
class BoardherdOnPostgres(Boardherd):
    """The same with PostgreSQL, and TimescaleDB where that is installed."""

    name: str = "boardherd-postgres"
    server: PostgresDatabase = field(default_factory=PostgresDatabase)

    def url(self, place: Path) -> str:
        """Return what the collector is told about its database."""
        del place
        return self.server.url

    def database(self, place: Path) -> Database:
        """Return the database."""
        del place
        return self.server
