"""What a store answers to questions about history; also the bodies of the JSON API.

Times are Unix seconds, names are those of the domain model.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from boardherd_shared.command import State
from boardherd_shared.model import BoardStatus
from boardherd_shared.records import Blame, BootTimes, Power, Verdict

Step = Literal["5m", "1h", "1d"]
"""How long one rollup is."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class EventRow(_Answer):
    """Something that happened once."""

    at: float = Field(description="when, Unix seconds")
    pc: str = Field(description="the test PC that reported it, or collector")
    event: str = Field(description="transition, command, lock, loss, boot, fault or lifecycle")
    subject: str = Field(description='what it is about: "board/evm-07"')
    text: str = Field(description="what happened, in one sentence")
    command: str | None = Field(None, description="id of the command that it is a step of")
    words: tuple[str, ...] = Field(
        (), description="the last lines of the board's console before it, oldest first"
    )


class CommandRow(_Answer):
    """A command with its whole life."""

    id: str
    pc: str = Field(description="the test PC that carried it out, refused it or said nothing; or collector")
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
    spool_parked: int | None = None
    spool_oldest_s: float | None = None
    spool_volatile: bool | None = None


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


class BoardRow(_Answer):
    """Everything that is stored about a board, as it is now."""

    id: str
    name: str | None = None
    hardware_serial_number: str | None = None
    project: str | None = None
    platform: str | None = None
    device_type: str = "EVM"
    pg_version: str | None = None
    execution_engine: str | None = None
    sdk_version: str | None = None
    test_farm: str | None = None
    board_ip: str | None = None
    serial_port: str | None = None
    console: str = "when-idle"
    normally: str = "any"
    location: str | None = None
    description: str | None = None
    notes: str | None = None
    test_pc: str | None = Field(None, description="the test PC that controls it")
    relay: str | None = Field(None, description="relay of its primary power feed")
    relay_number: int | None = Field(None, description="port of that relay")
    capabilities: tuple[str, ...] = Field((), description="what it can be used for, the active ones")
    status: BoardStatus
    verdict: Verdict
    blame: Blame | None = Field(None, description="the part that keeps it from being alive")
    reason: str | None = Field(None, description="why, in words")
    since: float | None = Field(None, description="when the verdict began, Unix seconds")
    last_heartbeat_at: float | None = Field(None, description="when the verdict was last confirmed")
    age_s: float | None = Field(None, description="seconds since then")
    is_alive: bool
    is_healthy: bool = Field(description="alive, and not in error")
    can_execute_test: bool = Field(description="alive, idle, not locked, and its PC is available for testing")
    is_locked: bool
    lock_owner: str | None = None
    lock_purpose: str | None = None
    lock_deadline: float | None = Field(None, description="when the lock ends, Unix seconds")
    error_since: float | None = None
    error_reason: str | None = None
    deactivated_at: float | None = None
    deactivated_by: str | None = None
    deactivated_reason: str | None = None
    last_sdk_update_at: float | None = None
    last_used_at: float | None = None
    wiring: Literal["unproved", "proved", "suspect"] | None = Field(
        None, description="whether power cycles proved its power ports; null where nobody said"
    )
    wiring_at: float | None = Field(None, description="when they did, or made it suspect, Unix seconds")
    wiring_text: str | None = Field(None, description="what was seen, in words")
    slow: str | None = Field(
        None, description="how its last boot was slower than its own past; null when it was not"
    )


class LivenessRow(_Answer):
    """A verdict on a board, from its history: a change, or what was still so an hour after the entry before."""

    timestamp: float
    pc: str = Field(description="the test PC that said it")
    verdict: Verdict
    blame: Blame
    reason: str
    since: float = Field(description="when the verdict began")
    change: bool = Field(description="false when it says what held before")
    contested: bool = Field(
        description="told by a PC that does not control the board, and believed nowhere else"
    )


class PortStateRow(_Answer):
    """A state of a relay port, from its history: a change, or what was still so an hour after the entry before."""

    timestamp: float
    relay: str
    port: int
    pc: str = Field(description="the test PC that said it")
    observed: Power = Field(description="what the module said")
    asked: Power = Field(description="what boardherd last asked for")
    expected: str = Field(description="what the inventory calls normal: on, off or any")
    drift: bool = Field(description="whether it is not what was asked for, or not what is normal")
    since: float = Field(description="when the observed state began")
    switched_at: float | None = Field(None, description="when it was last switched by an agent")
    switched_by: str | None = Field(None, description="who asked for that")
    reason: str = Field("", description="why it is unknown, or what is odd about it")
    change: bool = Field(description="false when it says what held before")


class UsageRow(_Answer):
    """The use of a board under one lock."""

    board: str
    who: str
    purpose: str
    started_at: float
    ended_at: float | None = Field(
        None, description="when it ended, or the latest that it can have; null while it goes on"
    )
    deadline: float | None = Field(None, description="when it ends by itself, or would have")
    end_reported: bool = Field(description="whether an agent told when it ended")


class Spread(_Answer):
    """What a measured value was in one rollup."""

    avg: float
    min: float
    max: float


class TrendRow(_Answer):
    """The samples of a test PC over five minutes, an hour or a day, rolled up."""

    timestamp: float = Field(description="when it begins; a whole multiple of its length since 1970 UTC")
    samples: int = Field(description="how many samples it is made of")
    healthy: int = Field(description="how many of them were HEALTHY")
    warning: int = Field(description="how many of them were WARNING")
    critical: int = Field(description="how many of them were CRITICAL")
    gauges: dict[str, Spread] = Field(description="average, lowest and highest by column of the samples")
    tops: dict[str, float] = Field(
        description="the highest, of sizes and of counters since boot, by column of the samples"
    )


class SummaryRow(_Answer):
    """How the boards of a test farm, or of a platform, are."""

    name: str | None = Field(description="the test farm or the platform; null for boards without one")
    boards: int
    active: int = Field(description="neither deactivated nor in error")
    idle: int
    busy: int
    updating_sdk: int
    offline: int
    deactivated: int
    error: int
    alive: int
    locked: int
    available: int = Field(description="can run a test now")


class ReportRow(_Answer):
    """What a board did over a span of time; hours are decimal."""

    board: str
    name: str | None = None
    pc: str | None = None
    platform: str | None = None
    test_farm: str | None = None
    used_h: float = Field(description="in use, by its locks")
    idle_h: float = Field(description="alive and not in use")
    alive_h: float = Field(description="alive, or alive in part")
    dead_h: float = Field(description="silent")
    off_h: float = Field(description="without power")
    other_h: float = Field(description="booting, or nobody could tell")
    cycles: int = Field(description="power cycles that came to an end")
    cycles_succeeded: int


class DiskRow(_Answer):
    """A test PC whose disk fills."""

    pc: str
    free_gb: float = Field(description="free now")
    gb_per_day: float = Field(description="how fast it fills")
    full_at: float = Field(description="when it is full if it goes on like this, Unix seconds")
