"""What really is in the rack, for whoever wants to compare it with what is reported."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from boardherd.rack.board import Fault, Stage


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True)


class BoardTruth(_Fact):
    """One board."""

    powered: bool = Field(description="all ports that really feed it are energised")
    up: bool = Field(description="it has reached its login prompt and nothing has stopped it since")
    stage: Stage = Field(description="what it is doing")
    faults: tuple[Fault, ...] = Field(description="what is wrong with it")
    boots: int = Field(description="how often it reached its login prompt")
    feeds: tuple[str, ...] = Field(description="the ports that really feed it")


class PortTruth(_Fact):
    """One port of a relay module."""

    energised: bool = Field(description="the contact is closed")
    board: str | None = Field(description="the board that it really feeds")


class ModuleTruth(_Fact):
    """One relay module."""

    fault: Literal["hang", "dead"] | None = Field(description="what is wrong with it")
    connections: int = Field(description="TCP connections open now")
    connections_max: int = Field(description="the most TCP connections that were open at once")


class Switching(_Fact):
    """One movement of one contact."""

    port: str = Field(description="the port, as in eth-1:3")
    energised: bool = Field(description="what it became")
    at: int = Field(description="when, microseconds since 1970-01-01 UTC")
    cause: Literal["command", "pulse", "reboot", "outside"] = Field(
        description="what moved it: a client's command, the end of a pulse, a reboot, or nobody's command"
    )


class Truth(_Fact):
    """The whole rack at one moment."""

    boards: dict[str, BoardTruth] = Field(description="by board id")
    ports: dict[str, PortTruth] = Field(description="by port, as in eth-1:3")
    modules: dict[str, ModuleTruth] = Field(description="by relay id")
    transitions: tuple[Switching, ...] = Field(description="every movement of a contact, oldest first")
