"""What the collector stored about a board, in the form that :mod:`boardherd_shared.why` wants. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict

from boardherd_shared.records import BootTimes


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Done(_Row):
    """A command with what became of it."""

    action: str
    operator: str
    state: str
    began_at: float
    on_behalf_of: str | None = None


class Happened(_Row):
    """An event."""

    at: float
    words: tuple[str, ...] = ()


class Booted(_Row):
    """A boot."""

    at: float
    times: BootTimes


class Used(_Row):
    """A use under one lock."""

    who: str
    ended_at: float | None = None


@dataclass(frozen=True)
class Past:
    """All of it; empty where nobody knows."""

    commands: Sequence[Done] = ()
    events: Sequence[Happened] = ()
    boots: Sequence[Booted] = ()
    uses: Sequence[Used] | None = field(default=None)

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Past:
        """Return what an answer of ``/api/v1/boards/{id}`` tells; what a collector of before lacks stays unknown."""
        uses = answer.get("uses")
        return cls(
            commands=[Done.model_validate(row) for row in answer.get("commands") or ()],
            events=[Happened.model_validate(row) for row in answer.get("events") or ()],
            boots=[Booted.model_validate(row) for row in answer.get("boots") or ()],
            uses=None if uses is None else [Used.model_validate(row) for row in uses],
        )
