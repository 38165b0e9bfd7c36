"""A lock on a board, as it is kept by the agent and mirrored to everybody."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from boardherd_shared.ids import HexId, Operator, Slug
from boardherd_shared.values import Micros, Text

BUSY = "busy"
UPDATING_SDK = "updating-sdk"
"""The two uses that the domain's board status knows; a lab's own words count as busy."""


class Lock(BaseModel):
    """Somebody has a board to himself until a deadline.

    The id is random and new with every lock; whoever acts under a lock must name it, so that the holder of
    an earlier one cannot act (fencing by equality). Times are the server's, microseconds since 1970 UTC.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: HexId
    owner: Operator = Field(description="broker user name of the holder")
    use: Slug = Field(BUSY, description="what for: busy, updating-sdk, or a word of the lab")
    fenced: bool = Field(False, description="true when the owner's name is not enough: the id must be named")
    since: Micros = Field(description="when it was taken")
    until: Micros = Field(description="when it ends by itself")
    reason: Text | None = Field(None, description="why, in the holder's words")
    on_behalf_of: Text | None = Field(None, description="the person a service locks for")
