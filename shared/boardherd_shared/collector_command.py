"""Commands to the collector: what people decide about things, and what a dead PC cannot hear."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from boardherd_shared.command import DEFAULT_VALIDITY_S, Duration
from boardherd_shared.ids import CommandId, Slug
from boardherd_shared.values import Text

ThingKind = Literal["pc", "board", "relay"]


class CollectorAction(StrEnum):
    """What a command to the collector asks for."""

    MAINTENANCE = "maintenance"
    """Put a test PC or a relay into maintenance, or take it out."""
    DEACTIVATE = "deactivate"
    """Take a board out of use."""
    ACTIVATE = "activate"
    """Take a board into use again."""
    RETIRE = "retire"
    """Show something no more that has left the inventory."""
    UNRETIRE = "unretire"
    RENAME = "rename"
    """Give a name that goes before that of the inventory; without one, that of the inventory holds again."""
    NOTE = "note"
    """Write down what people should know; without words the note goes."""


NEEDS_NO_REASON = frozenset({CollectorAction.RENAME, CollectorAction.NOTE})
FOR_ADMINS = frozenset(
    {
        CollectorAction.DEACTIVATE,
        CollectorAction.ACTIVATE,
        CollectorAction.RETIRE,
        CollectorAction.UNRETIRE,
    }
)
"""What only ``admins`` of lab.toml may do, if it names any."""
_BOARDS_ONLY = frozenset({CollectorAction.DEACTIVATE, CollectorAction.ACTIVATE})


class CollectorCommand(BaseModel):
    """One command to the collector. Unknown keys are refused, as in every command."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    v: Literal[1] = Field(1, description="version of the wire contract")
    id: CommandId | None = Field(None, description="identity of the command; made by the collector if absent")
    action: CollectorAction
    pc: Slug | None = Field(None, description="the test PC that it is about")
    board: Slug | None = Field(None, description="the board that it is about")
    relay: Slug | None = Field(None, description="the relay that it is about")
    on: bool | None = Field(None, description="maintenance: whether it begins or ends; true by default")
    name: Text | None = Field(None, description="rename: the name to show")
    note: Text | None = Field(None, description="note: what people should know")
    reason: Text | None = Field(None, description="why; needed for all but rename and note")
    sent_at: float | None = Field(
        None, description="when it was sent, Unix seconds; valid_for counts from here"
    )
    valid_for: Duration | None = Field(None, description="do not act later than this after sending; 30 s")
    expires_at: float | None = Field(None, description="do not act after this moment, Unix seconds")
    on_behalf_of: Text | None = Field(None, description="the person a service acts for")

    @model_validator(mode="after")
    def _makes_sense(self) -> CollectorCommand:
        if sum(id_ is not None for id_ in (self.pc, self.board, self.relay)) != 1:
            raise ValueError("name one test PC, board or relay")
        if not self.reason and self.action not in NEEDS_NO_REASON:
            raise ValueError(f"{self.action} needs a reason")
        if self.action in _BOARDS_ONLY and self.board is None:
            raise ValueError(f"{self.action} is for boards; a test PC or a relay is put into maintenance")
        if self.action is CollectorAction.MAINTENANCE and self.board is not None:
            raise ValueError("maintenance is for test PCs and relays; a board is deactivated")
        return self

    @property
    def kind(self) -> ThingKind:
        """What it is about."""
        if self.pc is not None:
            return "pc"
        return "board" if self.board is not None else "relay"

    @property
    def thing(self) -> str:
        """The id of what it is about."""
        return self.pc or self.board or self.relay or ""

    @property
    def target(self) -> str:
        """What it is about, as steps and events name it: ``relay/eth-1``."""
        return f"{self.kind}/{self.thing}"

    def deadline(self, received_at: float) -> float:
        """Return the last moment to act, in Unix seconds of the collector's clock."""
        if self.expires_at is not None:
            return self.expires_at
        validity = DEFAULT_VALIDITY_S if self.valid_for is None else self.valid_for
        return (received_at if self.sent_at is None else self.sent_at) + validity


def fingerprint(command: CollectorCommand) -> str:
    """Return what makes two commands the same request, whatever their id and time of sending."""
    body: dict[str, Any] = command.model_dump(mode="json", exclude={"id", "sent_at", "expires_at"})
    return json.dumps(body, sort_keys=True)
