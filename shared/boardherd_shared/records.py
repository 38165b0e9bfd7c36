"""What is recorded: one sample of a PC, of a board, of a relay port, or one event.

Records travel inside an envelope (:mod:`boardherd_shared.messages`) and end as rows in the database. Times
are microseconds: ``at`` is the wall clock of the PC when the thing was true, ``up`` its time since boot, by
which the collector corrects a wall clock that was wrong.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from boardherd_shared.command import CommandStep
from boardherd_shared.ids import HexId, Slug
from boardherd_shared.locks import Lock
from boardherd_shared.values import MAX_INT, Count, Micros, Percent, Port, Text


class Power(StrEnum):
    """What is known of a relay port, in the sense of the board: on means powered."""

    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"


class Verdict(StrEnum):
    """What is known of a board."""

    ALIVE = "alive"
    BOOTING = "booting"
    DEGRADED = "degraded"
    SILENT = "silent"
    POWERED_OFF = "powered_off"
    UNKNOWN = "unknown"


class Blame(StrEnum):
    """The part that keeps a board from being alive."""

    NOBODY = "nobody"
    BOARD = "board"
    RELAY = "relay"
    WIRING = "wiring"
    NETWORK = "network"
    AGENT = "agent"


class Health(StrEnum):
    """How a test PC feels, by configurable thresholds."""

    HEALTHY = "HEALTHY"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"
    UNKNOWN = "UNKNOWN"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    at: Micros = Field(description="wall clock of the PC when this was true, microseconds since 1970 UTC")
    up: Micros = Field(description="time since the PC's boot, microseconds of CLOCK_BOOTTIME")


class HostRecord(_Record):
    """One sample of a test PC. An absent value was not measured; sizes are bytes, rates are not derived."""

    kind: Literal["host"] = "host"
    status: Health = Field(description="HEALTHY, WARNING or CRITICAL by the configured thresholds")
    cpu_percent: Percent | None = Field(None, description="busy share of all cores since the sample before")
    load_1m: float | None = Field(None, ge=0, description="load average over one minute")
    load_5m: float | None = Field(None, ge=0, description="load average over five minutes")
    load_15m: float | None = Field(None, ge=0, description="load average over fifteen minutes")
    memory_total: Count | None = Field(None, description="physical memory, bytes")
    memory_used: Count | None = Field(None, description="memory that is not available to programs, bytes")
    memory_free: Count | None = Field(None, description="memory that programs can still get, bytes")
    memory_percent: Percent | None = Field(None, description="used share of the physical memory")
    swap_total: Count | None = Field(None, description="swap space, bytes")
    swap_used: Count | None = Field(None, description="swap space in use, bytes")
    disk_total: Count | None = Field(None, description="size of the watched disk, bytes")
    disk_used: Count | None = Field(None, description="used on the watched disk, bytes")
    disk_free: Count | None = Field(None, description="free for ordinary users on the watched disk, bytes")
    disk_percent: Percent | None = Field(None, description="used share of what ordinary users can use")
    disk_read: Count | None = Field(None, description="read from all disks since boot, bytes")
    disk_written: Count | None = Field(None, description="written to all disks since boot, bytes")
    network_received: Count | None = Field(None, description="received on all interfaces since boot, bytes")
    network_sent: Count | None = Field(None, description="sent on all interfaces since boot, bytes")
    process_count: Count | None = Field(
        None, description="test processes (by the configured patterns), or all processes without patterns"
    )
    thread_count: Count | None = Field(None, description="threads of those processes")
    uptime_s: float | None = Field(None, ge=0, description="seconds since the PC booted")
    temperature_c: float | None = Field(None, description="hottest sensor, degrees Celsius")
    agent_cpu_percent: float | None = Field(None, ge=0, description="the agent's own share of one core")
    agent_memory: Count | None = Field(None, description="the agent's own resident memory, bytes")
    spool_bytes: Count | None = Field(None, description="size of the spool on disk")
    spool_pending: Count | None = Field(None, description="envelopes that wait for an acknowledgement")
    spool_parked: Count | None = Field(
        None, description="envelopes put aside: refused by the collector, or never acknowledged"
    )
    spool_oldest_s: float | None = Field(
        None, ge=0, description="how long the oldest envelope without acknowledgement has waited, seconds"
    )
    spool_volatile: bool | None = Field(
        None, description="true while records are kept in memory only, because no disk can be written"
    )
    envelopes_sent: Count | None = Field(None, description="envelopes sent since the agent started")
    envelopes_resent: Count | None = Field(None, description="sent once more since the agent started")
    envelopes_acknowledged: Count | None = Field(None, description="acknowledged since the agent started")
    envelopes_refused: Count | None = Field(
        None, description="refused by the collector, or given up as unanswered, since the agent started"
    )
    envelopes_lost: Count | None = Field(
        None, description="envelopes that the spool declared lost since the agent started"
    )
    records_dropped: Count | None = Field(
        None,
        description="records given up before the spool had them since the agent started: the disk stalled",
    )


class ProbeResult(BaseModel):
    """What one probe saw last, and when."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    probe: Slug = Field(description="the kind of probe: ping, tcp, ssh, console, ...")
    answer: Literal["yes", "no", "unavailable"] = Field(
        description="yes and no are about the board; unavailable means that the probe itself could not look"
    )
    at: Micros = Field(description="when it looked, wall clock")
    text: Text = Field("", description="what it saw: the SSH banner, the last console line, the error")
    duration_s: float | None = Field(None, ge=0, description="how long the answer took")


class Wiring(BaseModel):
    """Whether a board really hangs on the ports that the inventory names, as ordinary power cycles showed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    state: Literal["unproved", "proved", "suspect"] = Field(
        "unproved",
        description="proved: it fell silent or booted with its own ports; suspect: another board did, or none,"
        " and power is refused until a person accepts",
    )
    at: Micros | None = Field(None, description="when that was seen, wall clock; none while unproved")
    text: Text = Field("", description="what was seen, in words")


class BoardRecord(_Record):
    """The verdict on a board, with the evidence it rests on. Sent on change and refreshed every minute."""

    kind: Literal["board"] = "board"
    board: Slug
    verdict: Verdict
    blame: Blame = Blame.NOBODY
    reason: Text = Field("", description="why, in words")
    since: Micros = Field(description="when this verdict began, wall clock")
    probes: tuple[ProbeResult, ...] = ()
    lock: Lock | None = Field(None, description="who has the board to himself; none when nobody does")
    fault: Text | None = Field(
        None,
        description="why the board is taken out of use, as by the breaker; none while nothing is wrong with it",
    )
    wiring: Wiring | None = Field(
        None, description="whether its power ports are proved; none where no relay powers it"
    )
    slow: Text | None = Field(
        None, description="how its last boot was slower than its own past; none when it was not"
    )
    change: bool = Field(True, description="false when this only refreshes what was said before")


class RelayRecord(_Record):
    """The state of one relay port. Sent on change and refreshed every minute."""

    kind: Literal["relay"] = "relay"
    relay: Slug
    port: Port
    observed: Power = Field(description="what the module said when it was last read; unknown is a value")
    asked: Power = Field(Power.UNKNOWN, description="what boardherd last asked for")
    expected: Literal["on", "off", "any"] = Field("any", description="what the inventory calls normal")
    since: Micros = Field(description="when the observed state began, wall clock")
    drift_since: Micros | None = Field(
        None,
        description="since when it is not what was asked for, or else not what is normal, wall clock; none while it is",
    )
    measurable: bool = Field(True, description="false when the module cannot be asked what its ports do")
    watts: float | None = Field(
        None, description="power drawn at the last reading, where the module measures it"
    )
    board: Slug | None = Field(None, description="the board that the port feeds, or that its line belongs to")
    line: Slug | None = Field(
        None, description="which of the board's lines it is; none for a port that powers the board"
    )
    switch_count: Count = Field(0, description="switches of this port by this agent, ever")
    switched_at: Micros | None = Field(None, description="when this agent last switched it")
    switched_by: Text | None = Field(None, description="who asked for that")
    proved_at: Micros | None = Field(
        None, description="when a power cycle last proved that the board hangs on it, wall clock"
    )
    module: Text = Field("", description="what the module says it is: model, hardware and firmware")
    reason: Text = Field("", description="why the state is unknown, or what is odd about it")
    change: bool = Field(True, description="false when this only refreshes what was said before")


class LostRange(BaseModel):
    """Envelopes that were accepted into a spool and can never be stored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    stream: HexId
    first: Annotated[int, Field(ge=1, le=MAX_INT)]
    last: Annotated[int, Field(ge=1, le=MAX_INT)]
    records: Count = Field(description="how many records were in them")
    reason: Text
    oldest: Micros | None = Field(None, description="wall clock of the oldest record lost")
    newest: Micros | None = Field(None, description="wall clock of the newest record lost")


class BootTimes(BaseModel):
    """How long a board took from power-on to each sign of life, in seconds."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    console_s: float | None = Field(None, ge=0, description="first character on the console")
    spl_s: float | None = Field(None, ge=0, description="SPL banner")
    uboot_s: float | None = Field(None, ge=0, description="U-Boot banner")
    kernel_s: float | None = Field(None, ge=0, description="kernel starts")
    login_s: float | None = Field(None, ge=0, description="login prompt")
    ping_s: float | None = Field(None, ge=0, description="first answer to ping")
    tcp_s: float | None = Field(None, ge=0, description="first accepted TCP connection")
    ssh_s: float | None = Field(None, ge=0, description="SSH banner")
    slow: Text | None = Field(
        None, description="what took longer than in this board's own past, in words; none when nothing did"
    )


class EventRecord(_Record):
    """Something that happened once: a transition, a step of a command, a loss, a boot, a fault."""

    kind: Literal["event"] = "event"
    event: Literal["transition", "command", "lock", "loss", "boot", "fault", "lifecycle"]
    subject: Text = Field(description='what it is about: "board/evm-07", "relay/eth-1/3", "agent", ...')
    text: Text = Field(description="what happened, in one sentence")
    command: CommandStep | None = None
    loss: LostRange | None = None
    boot: BootTimes | None = None
    lock: Lock | None = Field(None, description="lock: the lock that was taken, extended or has ended")
    lock_ended: Text | None = Field(None, description="lock: why it has ended; none while it holds")
    words: tuple[Text, ...] | None = Field(
        None, max_length=40, description="the last lines of the board's console before this, oldest first"
    )


Record = Annotated[HostRecord | BoardRecord | RelayRecord | EventRecord, Field(discriminator="kind")]
RECORD: TypeAdapter[HostRecord | BoardRecord | RelayRecord | EventRecord] = TypeAdapter(Record)
"""Parses one record of any kind."""
