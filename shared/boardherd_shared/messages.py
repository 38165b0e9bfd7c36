"""Every payload that is not a command: status, hello, envelopes, acknowledgements, states.

Unknown fields are ignored, so that a newer sender can be understood; an unknown major version is refused in
words (:func:`decode`).
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from boardherd_shared.ids import HexId, Slug
from boardherd_shared.records import BoardRecord, EventRecord, HostRecord, Record, RelayRecord
from boardherd_shared.values import MAX_INT, Count, Micros, Text

MAX_PAYLOAD = 256 * 1024
"""The largest payload anybody may send, in bytes."""

Seq = Annotated[int, Field(ge=1, le=MAX_INT)]
Range = tuple[Seq, Seq]
"""A closed range of sequence numbers, first and last."""


_WAIT = "whether the backlog waits for its turn, and only what is new may be sent, one envelope at a time"


class ProtocolError(ValueError):
    """A payload makes no sense; the message says why in words for the sender."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    v: Literal[1] = Field(1, description="version of the wire contract")


class Status(_Message):
    """Whether an agent or the collector is there. Retained; the will says ``offline``."""

    state: Literal["online", "stopping", "offline"]
    session: HexId = Field(description="the connection this is said of; an older session's will is ignored")
    at: float = Field(description="when it was said, Unix seconds; for a will, when the session began")
    text: Text = Field("", description="the same for a person")
    connection: HexId | None = Field(
        None,
        description="the connection's own session, where a later one was taken over it; the will names this one",
    )


class StreamInfo(BaseModel):
    """A spool, and what it still holds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    stream: HexId
    retained: tuple[Range, ...] = Field(
        (), description="sequence numbers still in the spool, acknowledged or not"
    )
    last: Annotated[int, Field(ge=0, le=MAX_INT)] = Field(0, description="the highest number ever given out")
    volatile: bool = Field(False, description="kept in memory only, because no disk could be written")


class HostFacts(BaseModel):
    """What an agent found out about its PC."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    hostname: Text
    domain_name: Text = ""
    ip_address: Text | None = None
    os_version: Text = Field("", description="ubuntu_24_04, windows_11, ... or what the system calls itself")
    os_text: Text = Field("", description="the system's own pretty name")
    cpu_count: Count = 0
    memory_total: Count = 0


class Hello(_Message):
    """An agent introduces itself after each connect. Retained."""

    session: HexId
    boot: Text = Field(description="identity of the PC's boot")
    wall: Micros = Field(description="wall clock when this was said")
    up: Micros = Field(description="time since boot when this was said")
    versions: dict[str, Text] = Field(default_factory=dict, description="boardherd, python, sqlite, ...")
    inventory: Text = Field("", description="hash of the lab.toml it acts on")
    host: HostFacts
    boards: tuple[Slug, ...] = ()
    relays: tuple[Slug, ...] = ()
    streams: tuple[StreamInfo, ...] = ()
    sample_interval_s: float = Field(10.0, gt=0, description="so that the collector knows when data is late")


class Standing(BaseModel):
    """What an agent must heed and cannot know: what others decided about its boards and relays."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    contested: dict[Slug, Slug] = Field(
        default_factory=dict,
        description="boards that it declares and another agent owns, each with that agent",
    )
    maintenance: dict[Slug, Text] = Field(
        default_factory=dict,
        description="relays that a person has taken out of service, each with who and why",
    )


_STANDING = (
    "what others decided about its boards and relays, as a whole; none when nothing is said about that"
)


class Resume(_Message):
    """The collector's answer to hello: send what is missing."""

    session: HexId = Field(description="the session of the hello that is answered")
    missing: dict[str, tuple[Range, ...]] = Field(
        default_factory=dict, description="by stream: which of the numbers given out the database lacks"
    )
    window: Annotated[int, Field(ge=1, le=1000)] = Field(
        description="envelopes that may be unacknowledged at once"
    )
    wait: bool = Field(False, description=_WAIT)
    standing: Standing | None = Field(None, description=_STANDING)
    server_time: float = Field(description="the collector's clock, Unix seconds")


class RefusedEnvelope(BaseModel):
    """An envelope the collector will never store."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    seq: Seq
    digest: HexId
    code: Literal["conflict", "invalid", "unsupported", "too_large"]
    text: Text = ""


class Ack(_Message):
    """What the database holds, said after the commit. Duplicates are acknowledged too."""

    stream: HexId
    committed: tuple[Range, ...] = ()
    refused: tuple[RefusedEnvelope, ...] = ()
    window: Annotated[int, Field(ge=1, le=1000)] = 1
    wait: bool = Field(False, description=_WAIT)
    standing: Standing | None = Field(None, description=_STANDING)
    server_time: float = Field(description="the collector's clock, Unix seconds")


class Envelope(_Message):
    """Records under one sequence number; its bytes never change once they are in the spool."""

    agent: Slug
    stream: HexId
    seq: Seq
    class_: Literal["samples", "events"] = Field(alias="class")
    boot: Text = Field(description="identity of the boot that the records' ``up`` counts from")
    records: tuple[Record, ...] = Field(min_length=1, max_length=2000)

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, populate_by_name=True)


class EnvelopeHeader(_Message):
    """An envelope whose records have not been looked at yet: one bad record must not cost its neighbours."""

    agent: Slug
    stream: HexId
    seq: Seq
    class_: Literal["samples", "events"] = Field(alias="class")
    boot: Text
    records: list[Any] = Field(min_length=1, max_length=2000)


class PortState(_Message):
    """The current state of one relay port. Retained; cleared when the port is gone."""

    record: RelayRecord
    text: Text = Field(description='for a person: "ON since 09:14:03, asked ON by ci-nightly"')


class BoardState(_Message):
    """The current verdict on one board. Retained; cleared when the board is gone."""

    record: BoardRecord
    text: Text = Field(description='for a person: "alive since 09:14:30"')


M = TypeVar("M", bound=BaseModel)


def encode(message: BaseModel) -> bytes:
    """Return the payload of ``message``: compact JSON, absent fields left out."""
    return message.model_dump_json(by_alias=True, exclude_none=True).encode()


def decode(model: type[M], payload: bytes) -> M:
    """Return the ``model`` in ``payload``.

    Raises ProtocolError with one sentence: too large, not JSON, another version, or the first wrong field.
    """
    if len(payload) > MAX_PAYLOAD:
        raise ProtocolError(f"{len(payload)} bytes are more than the {MAX_PAYLOAD} that a payload may have")
    try:
        return model.model_validate_json(payload)
    except ValidationError as error:
        raise ProtocolError(explain(error)) from error
    except RecursionError as error:
        raise ProtocolError("nested too deeply") from error


def explain(error: ValidationError) -> str:
    """Return the first fault of a validation as one sentence that names the field."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    if where == "v":
        return f"version {json.dumps(fault['input'], default=str)} of the contract is not understood here, only 1"
    message = fault["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return f"{where}: {message}" if where else message


def digest(payload: bytes) -> str:
    """Return the fingerprint of an envelope's bytes: SHA-256 in hexadecimal."""
    return hashlib.sha256(payload).hexdigest()


__all__ = [
    "MAX_PAYLOAD",
    "Ack",
    "BoardRecord",
    "BoardState",
    "Envelope",
    "EnvelopeHeader",
    "EventRecord",
    "Hello",
    "HostFacts",
    "HostRecord",
    "PortState",
    "ProtocolError",
    "Range",
    "RefusedEnvelope",
    "RelayRecord",
    "Resume",
    "Standing",
    "Status",
    "StreamInfo",
    "decode",
    "digest",
    "encode",
    "explain",
]
