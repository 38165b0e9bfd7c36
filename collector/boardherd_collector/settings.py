"""collector.toml: where the inventory, the broker and the database are, and where to listen."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from boardherd_shared.link import BrokerSettings
from boardherd_shared.logs import LogFormat

_SQLITE = "sqlite:///"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StoreSettings(_Part):
    """Where history is kept."""

    url: str = Field(
        "sqlite:///var/lib/boardherd-collector/boardherd.db",
        description="sqlite:/// and the path of the file (always from the root), or memory: for trials",
    )

    @field_validator("url")
    @classmethod
    def _url(cls, url: str) -> str:
        if url != "memory:" and not (url.startswith(_SQLITE) and len(url) > len(_SQLITE)):
            shown = f"{urlsplit(url).scheme}:" if urlsplit(url).password else url
            raise ValueError(f'"{shown}" is no database; write sqlite:///var/lib/boardherd/boardherd.db')
        return url

    @property
    def path(self) -> Path | None:
        """The database file; None for a store in memory."""
        if not self.url.startswith(_SQLITE):
            return None
        return Path("/" + self.url.removeprefix(_SQLITE).lstrip("/"))


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
    http: HttpSettings = Field(default_factory=HttpSettings, description="the web side")
