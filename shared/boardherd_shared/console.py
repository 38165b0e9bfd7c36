"""How a console is asked for at the agent's local socket: one line each way, then the console itself.

The client writes a :class:`ConsoleRequest` as one line of JSON, the agent answers with a
:class:`ConsoleAnswer`. If that grants it, bytes follow in both directions until one side closes.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from boardherd_shared.values import Text

MOST_LINES = 100_000
"""Lines of scrollback that can be asked for; what is kept are bytes, and fewer lines as a rule."""


class ConsoleRequest(BaseModel):
    """What is wanted of a console."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    console: str = Field(max_length=63, description="id of the board")
    want: Literal["share", "admit", "where"] = Field(
        "share",
        description="share: the console itself; where: only what a program opens, and whether it may write;"
        " admit: besides, what this user opens over TCP may write while the lock named lasts",
    )
    lock: str | None = Field(None, max_length=64, description="id of the lock that gives the right to write")
    write: bool = Field(False, description="whether what follows from the client is to be written")
    scrollback: int = Field(0, ge=0, le=MOST_LINES, description="how many lines of the past come first")
    lines: bool = Field(
        False, description="whether the console comes as JSON, a line each, instead of as bytes"
    )


class ConsoleAnswer(BaseModel):
    """What the agent says to it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    granted: bool = Field(description="whether the console follows; for other wants, whether it is as wanted")
    text: Text = Field(description="for a person: why not, or why only reading")
    known: bool = Field(True, description="false when this agent has no such board")
    mode: Literal["off", "when-idle", "tap"] | None = None
    open: Text | None = Field(
        None,
        description="what a program opens on this machine: a device, or socket://127.0.0.1:port; none: nothing",
    )
    write: bool = Field(False, description="whether the client may write now")


class ConsoleLine(BaseModel):
    """A line of a console, or a word of the agent about it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: float | None = Field(None, description="when the line began, Unix seconds")
    text: str = Field(description="the line without its end and without terminal sequences")
    notice: bool = Field(False, description="true when the agent says it and not the board")
