"""agent.toml: connection, credentials and local options. What is wired to what stands in lab.toml."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from boardherd_agent.delivery.store import Limits
from boardherd_agent.watch.probing.prober import Pace
from boardherd_agent.watch.sampling import SamplingSettings
from boardherd_shared.command import Duration
from boardherd_shared.ids import Slug
from boardherd_shared.link import BrokerSettings
from boardherd_shared.logs import LogFormat

_SIZES = {"K": 1024, "M": 1024**2, "G": 1024**3}


def parse_size(value: object) -> object:
    """Return bytes for ``"512M"`` or ``"1G"``; numbers are bytes already. Raises ValueError in words."""
    if not isinstance(value, str):
        return value
    number, unit = value.strip().removesuffix("iB").removesuffix("B"), 1
    if number[-1:].upper() in _SIZES:
        number, unit = number[:-1], _SIZES[number[-1].upper()]
    if not number.strip().isdigit():
        raise ValueError(f'"{value}" is no size; write for example "512M" or "1G"')
    return int(number) * unit


def _host_name() -> str:
    return socket.gethostname().split(".")[0].lower()


class SpoolSettings(BaseModel):
    """How much is kept while the collector is away, and afterwards for a restored database."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_bytes: Annotated[int, BeforeValidator(parse_size), Field(ge=4 * 1024**2, le=1024**4)] = Field(
        Limits.max_bytes, description='size of the spool on disk in bytes, or as text, "512M"'
    )
    max_age: Duration = Field(Limits.max_age_s, ge=60, description="how long anything is kept")

    @property
    def limits(self) -> Limits:
        """The same for the spool."""
        return Limits(max_bytes=self.max_bytes, max_age_s=self.max_age)


class AgentSettings(BaseModel):
    """The whole of agent.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pc: Slug = Field(
        default_factory=_host_name,
        validate_default=True,
        description="id of this test PC in lab.toml; its host name in lower case unless given",
    )
    inventory: Path = Field(Path("/etc/boardherd/lab.toml"), description="the lab.toml")
    state_dir: Path = Field(Path("/var/lib/boardherd-agent"), description="where spool and journal are kept")
    socket: Path = Field(
        Path("/run/boardherd/agent.sock"),
        description="Unix socket that takes commands on this machine, for the group boardherd",
    )
    secrets_dir: Path = Field(
        Path("/etc/boardherd/secrets"), description='files that "secret:NAME" in lab.toml stands for'
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="what to log")
    log_format: LogFormat = Field("auto", description="text, json, or auto: text")
    broker: BrokerSettings = Field(default_factory=BrokerSettings, description="the MQTT broker")
    sampling: SamplingSettings = Field(default_factory=SamplingSettings, description="how the PC is sampled")
    probing: Pace = Field(default_factory=Pace, description="how often boards are looked at")
    spool: SpoolSettings = Field(default_factory=SpoolSettings, description="what is kept until it is stored")
