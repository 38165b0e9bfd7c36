"""What a store answers to questions about history; also the bodies of the JSON API.

Times are Unix seconds, names are those of the domain model.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from boardherd_shared.command import State
from boardherd_shared.records import BootTimes


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class EventRow(_Answer):
    """Something that happened once."""

    at: float = Field(description="when, Unix seconds")
    pc: str = Field(description="the test PC that reported it")
    event: str = Field(description="transition, command, loss, boot, fault or lifecycle")
    subject: str = Field(description='what it is about: "board/evm-07"')
    text: str = Field(description="what happened, in one sentence")
    command: str | None = Field(None, description="id of the command that it is a step of")


class CommandRow(_Answer):
    """A command with its whole life."""

    id: str
    pc: str = Field(description="the test PC that carried it out or refused it")
    action: str
    target: str = Field(description='"board/evm-07" or "relay/eth-1/3"')
    operator: str
    on_behalf_of: str | None = None
    reason: str | None = None
    state: State = Field(description="the newest, or the final one")
    code: str | None = Field(None, description="why it was refused")
    text: str = Field(description="the newest step in one sentence")
    before: str | None = Field(None, description="measured state before")
    asked: str | None = Field(None, description="state asked of the device")
    observed: str | None = Field(None, description="measured state after")
    began_at: float = Field(description="time of its first step")
    changed_at: float = Field(description="time of its newest step")
    times: dict[str, float] = Field(
        default_factory=dict, description="seconds of each phase and sign of life"
    )


class BootRow(_Answer):
    """How long a board took to boot."""

    at: float
    board: str
    pc: str
    times: BootTimes


class LossRow(_Answer):
    """Envelopes that an agent accepted and could not keep until they were stored."""

    at: float = Field(description="when the loss was reported")
    pc: str
    stream: str
    first: int
    last: int
    envelopes: int = Field(description="how many of the range the database does not hold")
    records: int = Field(description="how many records were in the range")
    reason: str


class PcStatsRow(_Answer):
    """One sample of a test PC. GB and MB are decimal (10**9 and 10**6 bytes)."""

    timestamp: float
    status: str
    cpu_percent: float | None = None
    memory_total_gb: float | None = None
    memory_used_gb: float | None = None
    memory_free_gb: float | None = None
    memory_percent: float | None = None
    disk_total_gb: float | None = None
    disk_used_gb: float | None = None
    disk_free_gb: float | None = None
    disk_percent: float | None = None
    network_io_read_mb: float | None = None
    network_io_write_mb: float | None = None
    process_count: int | None = None
    thread_count: int | None = None
    load_1m: float | None = None
    load_5m: float | None = None
    load_15m: float | None = None
    swap_total_gb: float | None = None
    swap_used_gb: float | None = None
    disk_read_mb: float | None = None
    disk_written_mb: float | None = None
    uptime_s: float | None = None
    temperature_c: float | None = None
    agent_cpu_percent: float | None = None
    agent_memory_mb: float | None = None
    spool_mb: float | None = None
    spool_pending: int | None = None


class DeadLetterRow(_Answer):
    """A record that could not be stored, and why."""

    at: float = Field(description="when it was received")
    pc: str
    stream: str
    seq: int
    position: int = Field(description="its place in the envelope, from 0")
    reason: str
    payload: str = Field(description="the record as it came, shortened when it is long")


class StreamCounts(_Answer):
    """What the ledger knows of one stream."""

    stream: str
    pc: str
    watermark: int = Field(description="every number up to here is stored or declared lost")
    ranges: tuple[tuple[int, int], ...] = Field((), description="numbers above it that are, too")
    envelopes: int = Field(description="envelopes stored")
    lost_envelopes: int = Field(description="envelopes declared lost")
    records: dict[str, int] = Field(
        default_factory=dict,
        description="records taken from it by kind, with the refreshes that history leaves out",
    )
    dead_letters: int = 0


class Counts(_Answer):
    """How much is stored, counted by the database."""

    rows: dict[str, int] = Field(description="rows by table")
    streams: tuple[StreamCounts, ...] = ()
