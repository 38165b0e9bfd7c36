"""Commands and the steps of their life."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from boardherd_shared.ids import CommandId, HexId, Operator, Slug
from boardherd_shared.values import Text

DEFAULT_VALIDITY_S = 30.0


class Action(StrEnum):
    """What a command asks for."""

    ON = "on"
    OFF = "off"
    TOGGLE = "toggle"
    CYCLE = "cycle"
    RESET = "reset"
    """Pulse the board's ``reset`` line."""
    LINE = "line"
    """Put a named line of the board to a level, or pulse it."""
    ALL_OFF = "all-off"
    """Switch everything off that this agent powers; ends what is under way."""
    RESTORE = "restore"
    """Bring a port back to what was last asked of it."""
    ACCEPT = "accept"
    """Take the measured state of a port for the one that is wanted, and suspect wiring of its board for right."""
    TRACE = "trace"
    """Switch each port of a relay off and on in turn, to see which board hangs on it."""
    LOCK = "lock"
    """Take a board for oneself, or extend that."""
    UNLOCK = "unlock"
    SET = "set"
    """Write down a fact about a board: its SDK version, a note."""
    PROBE = "probe"
    """Look at a board now."""
    REPORT = "report"
    """Say everything that is known now, once more."""
    DRAIN = "drain"
    """Take no more commands, finish what is under way and deliver what is spooled; a restart ends it."""


class State(StrEnum):
    """Where a command is in its life."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    UNANSWERED = "unanswered"
    """Written by the collector: no agent said anything. What an agent says later overrides it."""
    REFUSED = "refused"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        """True when nothing follows."""
        return self not in {State.ACCEPTED, State.RUNNING}


class Refusal(StrEnum):
    """Why a command was not carried out."""

    INVALID = "invalid"
    RETAINED = "retained"
    EXPIRED = "expired"
    STALE = "stale"
    UNKNOWN_TARGET = "unknown_target"
    DUPLICATE_CONFLICT = "duplicate_conflict"
    UNKNOWN_STATE = "unknown_state"
    UNEXPECTED_STATE = "unexpected_state"
    BUSY = "busy"
    UNSUPPORTED = "unsupported"
    NO_JOURNAL = "no_journal"
    LOCKED = "locked"
    NOT_LOCKED = "not_locked"
    IN_USE = "in_use"
    CONTESTED = "contested"
    INTERLOCK = "interlock"
    RATE = "rate"
    FORBIDDEN = "forbidden"
    DRAINING = "draining"
    MAINTENANCE = "maintenance"
    WIRING = "wiring"


_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|min|h|d)?")
_UNIT = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(value: object) -> object:
    """Return seconds for ``"5s"``, ``"300ms"``, ``"20m"``, ``"8h"``, ``"7d"``; numbers are seconds already.

    Raises ValueError with the accepted forms for any other text.
    """
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise ValueError(f'"{value}" is no duration; write for example "5s", "300ms", "20m" or "8h"')
    return float(match[1]) * _UNIT[match[2] or "s"]


Duration = Annotated[float, BeforeValidator(parse_duration), Field(ge=0, le=366 * 86400)]
"""Seconds; also written as text with a unit, "5s"."""


class Command(BaseModel):
    """One command, as an operator sends it.

    The target is a board (all its feeds, in order) or one relay port; on a board's alias topic it may be
    left out. Unknown keys are refused here, unlike everywhere else on the wire: a misspelt ``off_time`` must
    not cycle a board with the wrong one.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_by_name=True, serialize_by_alias=True
    )

    v: Literal[1] = Field(1, description="version of the wire contract")
    id: CommandId | None = Field(None, description="identity of the command; made by the agent if absent")
    action: Action
    board: Slug | None = Field(None, description="the board to act on")
    relay: Slug | None = Field(None, description="the relay to act on, with port; alone for trace")
    port: Annotated[int, Field(ge=1, le=100)] | None = Field(None, description="port of the relay, from 1")
    off_time: Duration | None = Field(None, description="cycle: how long to stay off; board's own by default")
    wait_alive: Duration | None = Field(
        None, description="on, cycle: wait this long for the board to come alive, and fail if it does not"
    )
    expires_at: float | None = Field(None, description="do not act after this moment, Unix seconds")
    valid_for: Duration | None = Field(None, description="do not act later than this after sending; 30 s")
    sent_at: float | None = Field(
        None, description="when it was sent, Unix seconds; valid_for counts from here"
    )
    line: Slug | None = Field(
        None, description="line: which of the board's lines; reset means its reset line"
    )
    level: Literal["on", "off", "pulse"] | None = Field(
        None, description="line: what to do with it; pulse lasts as long as the inventory says"
    )
    lock: HexId | None = Field(None, description="id of the lock that the sender holds")
    for_: Duration | None = Field(
        None, alias="for", description="lock: for how long; an hour unless the inventory's max_lock is less"
    )
    use: Slug | None = Field(None, description='lock: what for: "busy", "updating-sdk" or a word of the lab')
    fenced: bool = Field(
        False,
        description="lock: whoever acts must name the lock's id; else the owner's name is enough. For services"
        " that run several jobs under one name",
    )
    sdk_version: Text | None = Field(None, description="set: the SDK that is installed on the board now")
    note: Text | None = Field(None, description="set: what people should know about the board")
    force: bool = Field(
        False, description="act though somebody else holds or uses the board; needs a reason, leaves a trace"
    )
    expect: Literal["on", "off"] | None = Field(None, description="refuse unless this is the state now")
    reason: Text | None = Field(None, description="why; goes to the audit trail")
    on_behalf_of: Text | None = Field(None, description="the person a service acts for")

    @model_validator(mode="after")
    def _one_target(self) -> Command:
        if self.action is Action.TRACE:
            if self.relay is None or self.port is not None:
                raise ValueError("trace names a relay, and no port: it is about all of them")
        elif (self.relay is None) != (self.port is None):
            raise ValueError("relay and port go together")
        if self.board is not None and self.relay is not None:
            raise ValueError("name a board, or a relay and a port, not both")
        return self

    def deadline(self, received_at: float) -> float:
        """Return the last moment to act, in Unix seconds of the server's clock."""
        if self.expires_at is not None:
            return self.expires_at
        validity = DEFAULT_VALIDITY_S if self.valid_for is None else self.valid_for
        return (received_at if self.sent_at is None else self.sent_at) + validity


def parse_command(payload: bytes) -> Command:
    """Return the command in ``payload``: JSON, or a bare word such as ``cycle``.

    Raises ValueError (pydantic's ValidationError is one) in words for the operator.
    """
    word = payload.strip().decode("ascii", "replace").lower()
    if word in set(Action):
        return Command(action=Action(word))
    if not payload.lstrip().startswith(b"{"):
        known = ", ".join(Action)
        raise ValueError(f"neither a JSON object nor one of the words {known}")
    return Command.model_validate_json(payload)


class CommandStep(BaseModel):
    """One step in the life of a command: published as a result, and kept as an audit event."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    v: Literal[1] = 1
    id: CommandId
    state: State
    action: Text = Field(description="what was asked for; free text when the command could not be read")
    target: Text = Field("", description='"board/evm-07" or "relay/eth-1/3"')
    agent: Slug
    operator: Operator = Field(description="broker user name of the sender")
    on_behalf_of: Text | None = None
    reason: Text | None = Field(None, description="why it was asked for, in the operator's words")
    at: float = Field(description="when this step was taken, Unix seconds")
    phase: Text = Field("", description="running: off, dwell, on, waiting")
    code: Refusal | None = Field(None, description="why it was refused or expired")
    text: Text = Field(description="the step in one sentence")
    before: Text | None = Field(None, description="measured state before: on, off or unknown")
    asked: Text | None = Field(None, description="state asked of the device")
    observed: Text | None = Field(None, description="measured state after")
    facts: dict[str, Text] = Field(
        default_factory=dict, description="set: what was written down: sdk_version, note"
    )
    lock: HexId | None = Field(None, description="lock: the id to send with whatever needs the lock")
    until: float | None = Field(None, description="lock: when it ends by itself, Unix seconds")
    times: dict[str, float] = Field(
        default_factory=dict, description="seconds of each phase and sign of life"
    )

    @property
    def final(self) -> bool:
        """True when nothing follows."""
        return self.state.final


def fingerprint(command: Command) -> str:
    """Return what makes two commands the same request, whatever their id and time of sending."""
    body: dict[str, Any] = command.model_dump(mode="json", exclude={"id", "sent_at", "expires_at"})
    return json.dumps(body, sort_keys=True)
