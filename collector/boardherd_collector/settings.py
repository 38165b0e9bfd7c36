"""collector.toml: where the inventory, the broker and the database are, and where to listen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from boardherd_collector.stores.postgres_address import SCHEMES, Address
from boardherd_shared.command import Duration, parse_duration
from boardherd_shared.link import BrokerSettings
from boardherd_shared.logs import LogFormat

_SQLITE = "sqlite:///"
DAY_S = 86400.0

LongDuration = Annotated[float, BeforeValidator(parse_duration), Field(ge=3600, le=36600 * DAY_S)]
"""Seconds, also written as text with a unit, "30d"; for what is kept."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StoreSettings(_Part):
    """Where history is kept."""

    url: str = Field(
        "sqlite:///var/lib/boardherd-collector/boardherd.db",
        description="sqlite:/// and the path of the file (always from the root),"
        " postgresql://user@host/database, or memory: for trials",
    )
    password_file: Path | None = Field(
        None,
        description="file with the password of the PostgreSQL user; without it the one in the URL counts,"
        " or what PGPASSFILE or ~/.pgpass say",
    )

    @field_validator("url")
    @classmethod
    def _url(cls, url: str) -> str:
        if url == "memory:" or (url.startswith(_SQLITE) and len(url) > len(_SQLITE)) or _is_postgres(url):
            return url
        # The text may hold a password: only what cannot be one is repeated.
        shown = url if "@" not in url and "?" not in url else f"{urlsplit(url).scheme}:"
        raise ValueError(
            f'"{shown}" is no database; write sqlite:///var/lib/boardherd/boardherd.db'
            " or postgresql://user@host/database"
        )

    @property
    def path(self) -> Path | None:
        """The database file; None for a store in memory."""
        if not self.url.startswith(_SQLITE):
            return None
        return Path("/" + self.url.removeprefix(_SQLITE).lstrip("/"))

    @property
    def address(self) -> Address | None:
        """The PostgreSQL database; None for another store."""
        return Address(self.url, self.password_file) if _is_postgres(self.url) else None


def _is_postgres(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in SCHEMES and len(parts.path) > 1 and bool(parts.netloc or "host=" in parts.query)


class RetentionSettings(_Part):
    """How long what is kept. Hourly rollups and hours by verdict are kept for ever."""

    raw: LongDuration = Field(30 * DAY_S, description="every sample of a PC, every verdict and port state")
    audit: LongDuration = Field(
        400 * DAY_S, description="who did what and what happened: commands, events, boots, reported losses"
    )
    five_minutes: LongDuration = Field(400 * DAY_S, description="rollups of samples over five minutes")


class RollupSettings(_Part):
    """How rollups are made."""

    every: Duration = Field(60.0, ge=1, le=3600, description="how often rollups are brought up to date")
    window: LongDuration = Field(
        10 * DAY_S, description="rollups of this age and younger are made anew when records come late"
    )
    spool_age: LongDuration = Field(
        7 * DAY_S, description="the longest `spool.max_age` of the agents: nothing comes later than this"
    )


class HttpSettings(_Part):
    """Where metrics, health, API and page are served."""

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="TCP port to listen on; 0 takes a free one")
    token_file: Path | None = Field(
        None, description="file with the bearer token that is required when host is not a loopback address"
    )


class CollectorSettings(_Part):
    """The whole of collector.toml."""

    inventory: Path = Field(description="the lab.toml")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="what to log")
    log_format: LogFormat = Field("auto", description="text, json, or auto: text")
    broker: BrokerSettings = Field(default_factory=BrokerSettings, description="the MQTT broker")
    store: StoreSettings = Field(default_factory=StoreSettings, description="the database")
    retention: RetentionSettings = Field(
        default_factory=RetentionSettings, description="how long what is kept"
    )
    rollup: RollupSettings = Field(default_factory=RollupSettings, description="how rollups are made")
    http: HttpSettings = Field(default_factory=HttpSettings, description="the web side")
