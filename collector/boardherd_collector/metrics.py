"""The catalogue of metrics: every name that ``/metrics`` can show, with its type, labels and meaning.

Plain data: :mod:`boardherd_collector.exposition` is filled from it, documentation and dashboards are checked
against it. Units are base units (seconds, bytes, ratios from 0 to 1). The label ``pc`` is a test PC's id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from boardherd_shared.records import Verdict

PC = ("pc",)
BOARD = ("board", "pc")
PORT = ("relay", "port", "board", "pc")


@dataclass(frozen=True)
class Metric:
    """One metric family.

    ``lasting`` ones are said for as long as the thing is known; the others are measurements and vanish when
    nothing new has been measured for three intervals.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()
    kind: Literal["gauge", "counter"] = "gauge"
    lasting: bool = False


_VERDICTS = ", ".join(Verdict)

_AGENT = (
    Metric("boardherd_agent_up", "1 while the agent is connected and heard, else 0.", PC, lasting=True),
    Metric(
        "boardherd_agent_info",
        "Always 1; the labels tell the version of the agent and the operating system of its PC.",
        ("pc", "version", "os"),
        lasting=True,
    ),
    Metric(
        "boardherd_agent_last_seen_timestamp_seconds",
        "When the agent was last heard, Unix time by the collector's clock.",
        PC,
        lasting=True,
    ),
    Metric("boardherd_agent_spool_bytes", "Size of the agent's spool on disk.", PC),
    Metric(
        "boardherd_agent_spool_pending_envelopes", "Envelopes in the spool that wait for acknowledgement.", PC
    ),
    Metric(
        "boardherd_agent_spool_parked_envelopes",
        "Envelopes put aside: refused by the collector, or never acknowledged.",
        PC,
    ),
    Metric(
        "boardherd_agent_spool_oldest_seconds",
        "How long the oldest envelope without acknowledgement has waited.",
        PC,
    ),
    Metric(
        "boardherd_agent_spool_volatile",
        "1 while the agent keeps records in memory only, because its disk cannot be written; else 0.",
        PC,
    ),
    Metric("boardherd_agent_envelopes_sent_total", "Envelopes sent since the agent started.", PC, "counter"),
    Metric(
        "boardherd_agent_envelopes_resent_total",
        "Envelopes sent once more since the agent started.",
        PC,
        "counter",
    ),
    Metric(
        "boardherd_agent_envelopes_acknowledged_total",
        "Envelopes acknowledged since the agent started.",
        PC,
        "counter",
    ),
    Metric(
        "boardherd_agent_envelopes_refused_total",
        "Envelopes refused, or given up as unanswered, since the agent started.",
        PC,
        "counter",
    ),
    Metric(
        "boardherd_agent_envelopes_lost_total",
        "Envelopes that the agent declared lost since it started.",
        PC,
        "counter",
    ),
    Metric(
        "boardherd_agent_records_dropped_total",
        "Records given up since the agent started, because its disk stalled.",
        PC,
        "counter",
    ),
    Metric(
        "boardherd_agent_clock_ahead_seconds",
        "By how much the PC's clock is ahead of the collector's; beyond 5 s its times are corrected.",
        PC,
    ),
    Metric("boardherd_agent_memory_bytes", "Resident memory of the agent itself.", PC),
    Metric(
        "boardherd_agent_cpu_ratio", "Share of one core that the agent itself uses, 1 is a full core.", PC
    ),
)

_HOST = (
    Metric("boardherd_host_cpu_usage_ratio", "Busy share of all cores, 0 to 1.", PC),
    Metric("boardherd_host_load1", "Load average over one minute.", PC),
    Metric("boardherd_host_load5", "Load average over five minutes.", PC),
    Metric("boardherd_host_load15", "Load average over fifteen minutes.", PC),
    Metric("boardherd_host_memory_total_bytes", "Physical memory.", PC),
    Metric("boardherd_host_memory_used_bytes", "Memory that is not available to programs.", PC),
    Metric("boardherd_host_memory_free_bytes", "Memory that programs can still get.", PC),
    Metric("boardherd_host_swap_total_bytes", "Swap space.", PC),
    Metric("boardherd_host_swap_used_bytes", "Swap space in use.", PC),
    Metric("boardherd_host_disk_total_bytes", "Size of the watched disk.", PC),
    Metric("boardherd_host_disk_used_bytes", "Used space on the watched disk.", PC),
    Metric(
        "boardherd_host_disk_free_bytes", "Space that ordinary users can still get on the watched disk.", PC
    ),
    Metric(
        "boardherd_host_disk_read_bytes_total",
        "Bytes read from all disks since the PC booted.",
        PC,
        "counter",
    ),
    Metric(
        "boardherd_host_disk_written_bytes_total",
        "Bytes written to all disks since the PC booted.",
        PC,
        "counter",
    ),
    Metric(
        "boardherd_host_network_receive_bytes_total",
        "Bytes received on all interfaces since the PC booted.",
        PC,
        "counter",
    ),
    Metric(
        "boardherd_host_network_transmit_bytes_total",
        "Bytes sent on all interfaces since the PC booted.",
        PC,
        "counter",
    ),
    Metric(
        "boardherd_host_test_processes",
        "Processes that match the PC's test patterns; all processes where there are no patterns.",
        PC,
    ),
    Metric("boardherd_host_test_threads", "Threads of those processes.", PC),
    Metric("boardherd_host_uptime_seconds", "Time since the PC booted.", PC),
    Metric("boardherd_host_temperature_celsius", "The PC's hottest sensor.", PC),
    Metric(
        "boardherd_host_healthy",
        "1 when all thresholds of the PC are kept, 0 for WARNING and CRITICAL, absent when not known.",
        PC,
    ),
)

_BOARD = (
    Metric(
        "boardherd_board_locked", "1 while somebody has the board to himself, else 0.", BOARD, lasting=True
    ),
    Metric(
        "boardherd_board_can_execute_test",
        "1 when the board can run a test now: alive, idle, not locked, and its PC is available; else 0.",
        BOARD,
        lasting=True,
    ),
    Metric(
        "boardherd_board_alive",
        "1 when the board is alive or degraded, 0 when it is not, absent when nobody can tell.",
        BOARD,
    ),
    Metric(
        "boardherd_board_verdict",
        f"1 for the verdict that holds now, 0 for the others: {_VERDICTS}.",
        ("board", "pc", "verdict"),
        lasting=True,
    ),
    Metric(
        "boardherd_board_verdict_since_timestamp_seconds", "When the present verdict began, Unix time.", BOARD
    ),
    Metric(
        "boardherd_board_probe_success",
        "1 when the board answered this probe, 0 when it did not, absent when the probe could not look.",
        ("board", "pc", "probe"),
    ),
    Metric(
        "boardherd_board_probe_duration_seconds",
        "How long the probe's last answer took.",
        ("board", "pc", "probe"),
    ),
    Metric(
        "boardherd_board_wiring_suspect",
        "1 while power cycles show that the board hangs on other ports than the inventory says, and power is refused,"
        " else 0; absent where no relay powers it.",
        BOARD,
    ),
    Metric(
        "boardherd_board_boot_slow",
        "1 when the board's last boot was slower than its own past, else 0.",
        BOARD,
    ),
    Metric(
        "boardherd_board_info",
        "Always 1; the labels tell the platform and the test farm of the board.",
        ("board", "pc", "platform", "test_farm"),
        lasting=True,
    ),
)

_RELAY = (
    Metric(
        "boardherd_relay_up",
        "1 when the relay module answers this PC, 0 when it does not, absent when the PC is silent.",
        ("relay", "pc"),
    ),
    Metric(
        "boardherd_relay_port_on",
        "1 when the port powers its board by the module's own word, 0 when it does not, absent when unknown.",
        PORT,
    ),
    Metric(
        "boardherd_relay_port_drift",
        "1 when the port is not what was asked for, or not what the inventory calls normal; else 0.",
        PORT,
    ),
    Metric("boardherd_relay_port_switches_total", "Switches of the port by its agent.", PORT, "counter"),
    Metric(
        "boardherd_relay_port_watts",
        "Power drawn at the port at the last reading, where the relay measures it.",
        PORT,
    ),
)

_COMMANDS = (
    Metric(
        "boardherd_commands_total",
        "Commands that came to their end, whatever it was.",
        PC,
        "counter",
        lasting=True,
    ),
    Metric(
        "boardherd_commands_failed_total",
        "Commands that failed, were interrupted or went unanswered.",
        PC,
        "counter",
        lasting=True,
    ),
    Metric(
        "boardherd_commands_refused_total",
        "Commands that were refused or had expired.",
        PC,
        "counter",
        lasting=True,
    ),
)


def _collector(name: str, help_: str, labels: tuple[str, ...] = ()) -> Metric:
    kind: Literal["gauge", "counter"] = "counter" if name.endswith("_total") else "gauge"
    return Metric(f"boardherd_collector_{name}", help_, labels, kind, lasting=True)


_COLLECTOR = (
    _collector("info", "Always 1; the label tells the collector's version.", ("version",)),
    _collector("broker_connected", "1 while the collector is connected to the broker."),
    _collector("store_up", "1 while the database takes what is written to it."),
    _collector("messages_total", "MQTT messages received, by kind of topic.", ("kind",)),
    _collector("messages_rejected_total", "MQTT messages that made no sense, by kind of topic.", ("kind",)),
    _collector("envelopes_stored_total", "Envelopes committed for the first time."),
    _collector("envelopes_duplicate_total", "Envelopes that were in the database already."),
    _collector("envelopes_refused_total", "Envelopes that will never be stored."),
    _collector(
        "envelopes_deferred_total", "Envelopes not taken because the database was away; agents resend them."
    ),
    _collector(
        "envelopes_lost_total", "Envelopes declared lost because their agent lost the spool that held them."
    ),
    _collector("records_stored_total", "Records committed, by kind of record.", ("kind",)),
    _collector("dead_letters_total", "Records set aside with a reason instead of being stored."),
    _collector("commits_total", "Transactions committed."),
    _collector("commit_seconds_total", "Time spent in committing."),
    _collector("commit_failures_total", "Transactions that failed."),
    _collector("last_commit_timestamp_seconds", "When the newest transaction was committed, Unix time."),
    _collector("ingest_lag_seconds", "How long the oldest envelope of the newest commit had waited for it."),
    _collector(
        "series_dropped_total", "Series that were left out of a scrape because the bound was reached."
    ),
)

METRICS: dict[str, Metric] = {
    metric.name: metric
    for group in (_AGENT, _HOST, _BOARD, _RELAY, _COMMANDS, _COLLECTOR)
    for metric in group
}
"""Every metric by its name, in the order of the exposition."""
