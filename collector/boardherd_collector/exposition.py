"""The current state as Prometheus reads it: made anew for each scrape, never kept in gauges.

A measurement is said only while it is fresh: three intervals after the last one its series are gone, and
Prometheus marks them stale. What names a silent PC (``agent_up``, ``last_seen``, ``info``) stays. Whatever
agents send, the number of series is bounded for each PC and in total, and what is left out is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from boardherd_collector.counters import Counters
from boardherd_collector.fleet_view import REFRESH_S, STALE_INTERVALS
from boardherd_collector.health import BROKER, STORE, Health
from boardherd_collector.metrics import METRICS, Metric
from boardherd_shared.drift import is_drifting
from boardherd_shared.model import PcStatus
from boardherd_shared.records import Health as HostHealth
from boardherd_shared.records import HostRecord, Power, RelayRecord, Verdict
from boardherd_shared.topics import Kind
from boardherd_shared.views import BoardView, FleetView, PcView, PortView, RelayView

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_SERIES = 50_000
MAX_SERIES_PER_PC = 5_000
"""More than a PC with two hundred boards needs; keeps one confused agent from crowding out the others."""

_LABEL_LENGTH = 120

_HOST_FIELDS: dict[str, tuple[str, float]] = {
    "boardherd_host_cpu_usage_ratio": ("cpu_percent", 0.01),
    "boardherd_host_load1": ("load_1m", 1),
    "boardherd_host_load5": ("load_5m", 1),
    "boardherd_host_load15": ("load_15m", 1),
    "boardherd_host_memory_total_bytes": ("memory_total", 1),
    "boardherd_host_memory_used_bytes": ("memory_used", 1),
    "boardherd_host_memory_free_bytes": ("memory_free", 1),
    "boardherd_host_swap_total_bytes": ("swap_total", 1),
    "boardherd_host_swap_used_bytes": ("swap_used", 1),
    "boardherd_host_disk_total_bytes": ("disk_total", 1),
    "boardherd_host_disk_used_bytes": ("disk_used", 1),
    "boardherd_host_disk_free_bytes": ("disk_free", 1),
    "boardherd_host_disk_read_bytes_total": ("disk_read", 1),
    "boardherd_host_disk_written_bytes_total": ("disk_written", 1),
    "boardherd_host_network_receive_bytes_total": ("network_received", 1),
    "boardherd_host_network_transmit_bytes_total": ("network_sent", 1),
    "boardherd_host_test_processes": ("process_count", 1),
    "boardherd_host_test_threads": ("thread_count", 1),
    "boardherd_host_uptime_seconds": ("uptime_s", 1),
    "boardherd_host_temperature_celsius": ("temperature_c", 1),
    "boardherd_agent_spool_bytes": ("spool_bytes", 1),
    "boardherd_agent_spool_pending_envelopes": ("spool_pending", 1),
    "boardherd_agent_spool_parked_envelopes": ("spool_parked", 1),
    "boardherd_agent_spool_oldest_seconds": ("spool_oldest_s", 1),
    "boardherd_agent_spool_volatile": ("spool_volatile", 1),
    "boardherd_agent_envelopes_sent_total": ("envelopes_sent", 1),
    "boardherd_agent_envelopes_resent_total": ("envelopes_resent", 1),
    "boardherd_agent_envelopes_acknowledged_total": ("envelopes_acknowledged", 1),
    "boardherd_agent_envelopes_refused_total": ("envelopes_refused", 1),
    "boardherd_agent_envelopes_lost_total": ("envelopes_lost", 1),
    "boardherd_agent_records_dropped_total": ("records_dropped", 1),
    "boardherd_agent_memory_bytes": ("agent_memory", 1),
    "boardherd_agent_cpu_ratio": ("agent_cpu_percent", 0.01),
}
"""Metric, field of the sample, factor to the base unit."""

_FAILED = frozenset({"failed", "interrupted", "unanswered"})
_REFUSED = frozenset({"refused", "expired"})


_FROM_AGENTS = (
    Kind.STATUS,
    Kind.HELLO,
    Kind.TELEMETRY,
    Kind.RELAY_STATE,
    Kind.BOARD_STATE,
    Kind.RESULT,
    Kind.COMMAND,
    Kind.BOARD_COMMAND,
    Kind.COLLECTOR_COMMAND,
)
_RECORDS = ("host", "board", "relay", "event")


def _from_zero(kinds: Iterable[str], counts: Mapping[str, int]) -> dict[str, int]:
    """Return ``counts`` with zeros for ``kinds`` not seen yet: a rate can only be had of a series that is there."""
    return {str(kind): 0 for kind in kinds} | {str(kind): count for kind, count in counts.items()}


@dataclass(frozen=True)
class Snapshot:
    """Everything a scrape tells, taken at one moment on the event loop, so that a thread may render it."""

    fleet: FleetView
    version: str
    broker_connected: bool
    store_up: bool
    totals: Mapping[str, float]
    """Collector metrics without labels, by metric name."""
    by_kind: Mapping[str, Mapping[str, int]]
    """Collector metrics with the label ``kind``: metric name, kind, count."""
    commands: Mapping[tuple[str, str], int]
    """Finished commands by PC and outcome."""

    @classmethod
    def take(cls, fleet: FleetView, counters: Counters, health: Health, version: str) -> Snapshot:
        """Copy what is needed of objects that go on changing."""
        prefix = "boardherd_collector_"
        totals: dict[str, float] = {
            "envelopes_stored_total": counters.envelopes_stored,
            "envelopes_duplicate_total": counters.envelopes_duplicate,
            "envelopes_refused_total": counters.envelopes_refused,
            "envelopes_deferred_total": counters.envelopes_deferred,
            "envelopes_lost_total": counters.envelopes_lost,
            "dead_letters_total": counters.dead_letters,
            "commits_total": counters.commits,
            "commit_seconds_total": counters.commit_seconds_total,
            "commit_failures_total": counters.commit_failures,
            "ingest_lag_seconds": counters.ingest_lag_s,
        }
        if counters.last_commit_at:
            totals["last_commit_timestamp_seconds"] = counters.last_commit_at
        by_kind = {
            "messages_total": _from_zero(_FROM_AGENTS, counters.messages),
            "messages_rejected_total": _from_zero((*_FROM_AGENTS, "unknown"), counters.rejected),
            "records_stored_total": _from_zero(_RECORDS, counters.records_stored),
        }
        return cls(
            fleet=fleet,
            version=version,
            broker_connected=health.ok(BROKER),
            store_up=health.ok(STORE),
            totals={prefix + name: total for name, total in totals.items()},
            by_kind={prefix + name: counts for name, counts in by_kind.items()},
            commands=dict(counters.commands),
        )


class Exposition:
    """Renders snapshots, and remembers how many series it had to leave out so far."""

    def __init__(self, max_series: int = MAX_SERIES, max_series_per_pc: int = MAX_SERIES_PER_PC) -> None:
        self._max_series = max_series
        self._max_series_per_pc = max_series_per_pc
        self._dropped = 0

    def render(self, snapshot: Snapshot) -> bytes:
        """Return the scrape's body in the text format 0.0.4 (see :data:`CONTENT_TYPE`); a pure CPU matter."""
        sheet = _Sheet(self._max_series, self._max_series_per_pc)
        heard = _agents(sheet, snapshot.fleet)
        _commands(sheet, [pc.id for pc in snapshot.fleet.pcs], snapshot.commands)
        for pc in snapshot.fleet.pcs:
            if pc.sample is not None:  # the view forgets it after three intervals of the PC's own
                _host(sheet, pc, pc.sample)
        for board in snapshot.fleet.boards:
            _board(sheet, board, heard)
        for relay in snapshot.fleet.relays:
            _relay(sheet, relay, heard)
        self._dropped += sheet.dropped
        _collector(sheet, snapshot, self._dropped)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(sheet)
        return generate_latest(registry)


class _Sheet(Collector):
    """The samples of one scrape: known names only, no series twice, no more than the bounds."""

    def __init__(self, max_series: int, max_series_per_pc: int) -> None:
        self._samples: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in METRICS}
        self._room = max_series
        self._room_of_pc: Counter[str] = Counter()
        self._max_series_per_pc = max_series_per_pc
        self.dropped = 0

    def add(self, name: str, value: float, **labels: str) -> None:
        """Enter one sample; the first of two with the same labels counts."""
        key = tuple(_label(labels[label]) for label in METRICS[name].labels)
        samples = self._samples[name]
        if key in samples:
            return
        if not self._has_room(labels.get("pc")):
            self.dropped += 1
            return
        samples[key] = float(value)

    def add_own(self, name: str, value: float, **labels: str) -> None:
        """Enter a sample about the collector itself: few by nature, and never left out."""
        self._samples[name][tuple(_label(labels[label]) for label in METRICS[name].labels)] = float(value)

    def _has_room(self, pc: str | None) -> bool:
        if pc is not None and self._room_of_pc[pc] >= self._max_series_per_pc:
            return False
        if self._room <= 0:
            return False
        self._room -= 1
        if pc is not None:
            self._room_of_pc[pc] += 1
        return True

    def collect(self) -> Iterable[Family]:
        """Yield the families that have samples."""
        for name, samples in self._samples.items():
            if samples:
                yield _family(METRICS[name], samples)


def _family(metric: Metric, samples: Mapping[tuple[str, ...], float]) -> Family:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples.items():
        family.add_metric(labels, value)
    return family


def _label(value: str) -> str:
    """Return ``value`` fit for a label: bounded, and free of what cannot be encoded or breaks lines."""
    clipped = value[:_LABEL_LENGTH]
    return clipped if clipped.isprintable() else "".join(c if c.isprintable() else "?" for c in clipped)


def _agents(sheet: _Sheet, fleet: FleetView) -> set[str]:
    """Enter what stays said of every PC; return the PCs that are being heard."""
    heard = {pc.id for pc in fleet.pcs if pc.online or pc.status in {PcStatus.ONLINE, PcStatus.INITIALIZING}}
    for pc in fleet.pcs:
        sheet.add("boardherd_agent_up", pc.id in heard, pc=pc.id)
        version = pc.versions.get("boardherd", "")
        sheet.add("boardherd_agent_info", 1, pc=pc.id, version=version, os=pc.os_version)
        if pc.last_seen_s is not None:
            seen_at = round(fleet.at - pc.last_seen_s, 3)
            sheet.add("boardherd_agent_last_seen_timestamp_seconds", seen_at, pc=pc.id)
    return heard


def _commands(sheet: _Sheet, pcs: Iterable[str], commands: Mapping[tuple[str, str], int]) -> None:
    ended: Counter[str] = Counter(dict.fromkeys(pcs, 0))
    failed: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for (pc, outcome), count in commands.items():
        ended[pc] += count
        failed[pc] += count if outcome in _FAILED else 0
        refused[pc] += count if outcome in _REFUSED else 0
    for pc, count in ended.items():
        sheet.add("boardherd_commands_total", count, pc=pc)
        sheet.add("boardherd_commands_failed_total", failed[pc], pc=pc)
        sheet.add("boardherd_commands_refused_total", refused[pc], pc=pc)


def _host(sheet: _Sheet, pc: PcView, sample: HostRecord) -> None:
    for name, (field, factor) in _HOST_FIELDS.items():
        value = getattr(sample, field)
        if value is not None:
            sheet.add(name, value * factor, pc=pc.id)
    if pc.clock_ahead_s is not None:
        sheet.add("boardherd_agent_clock_ahead_seconds", round(pc.clock_ahead_s, 3), pc=pc.id)
    if sample.status is not HostHealth.UNKNOWN:
        sheet.add("boardherd_host_healthy", sample.status is HostHealth.HEALTHY, pc=pc.id)


def _board(sheet: _Sheet, board: BoardView, heard: set[str]) -> None:
    names = {"board": board.id, "pc": board.pc or ""}
    farm = {"platform": board.platform or "", "test_farm": board.test_farm or ""}
    sheet.add("boardherd_board_info", 1, **names, **farm)
    for verdict in Verdict:
        sheet.add("boardherd_board_verdict", verdict is board.verdict, **names, verdict=verdict)
    sheet.add("boardherd_board_locked", board.lock is not None, **names)
    sheet.add("boardherd_board_can_execute_test", board.available, **names)
    if board.verdict is not Verdict.UNKNOWN:
        sheet.add("boardherd_board_alive", board.is_alive, **names)
    state = board.state
    if state is None or board.pc not in heard or not _is_fresh(board.age_s):
        return
    if state.verdict is board.verdict:
        sheet.add("boardherd_board_verdict_since_timestamp_seconds", state.since * 1e-6, **names)
    if state.wiring is not None:
        sheet.add("boardherd_board_wiring_suspect", state.wiring.state == "suspect", **names)
    sheet.add("boardherd_board_boot_slow", bool(state.slow), **names)
    for probe in state.probes:
        if probe.answer == "unavailable":
            continue
        sheet.add("boardherd_board_probe_success", probe.answer == "yes", **names, probe=probe.probe)
        if probe.duration_s is not None:
            sheet.add("boardherd_board_probe_duration_seconds", probe.duration_s, **names, probe=probe.probe)


def _relay(sheet: _Sheet, relay: RelayView, heard: set[str]) -> None:
    up: dict[str, bool] = {}
    for port in relay.ports:
        if port.state is None or port.pc not in heard or not _is_fresh(port.age_s):
            continue
        _port(sheet, port, port.state)
        up[port.pc] = up.get(port.pc, False) or port.state.observed is not Power.UNKNOWN
    for pc, answers in up.items():
        sheet.add("boardherd_relay_up", answers, relay=relay.id, pc=pc)


def _port(sheet: _Sheet, port: PortView, state: RelayRecord) -> None:
    names = {"relay": port.relay, "port": str(port.port), "board": port.board or "", "pc": port.pc or ""}
    sheet.add("boardherd_relay_port_switches_total", state.switch_count, **names)
    if state.watts is not None:
        sheet.add("boardherd_relay_port_watts", state.watts, **names)
    if state.observed is Power.UNKNOWN:
        return
    sheet.add("boardherd_relay_port_on", state.observed is Power.ON, **names)
    sheet.add("boardherd_relay_port_drift", is_drifting(state), **names)


def _is_fresh(age_s: float | None) -> bool:
    return age_s is not None and age_s <= STALE_INTERVALS * REFRESH_S


def _collector(sheet: _Sheet, snapshot: Snapshot, dropped: int) -> None:
    sheet.add_own("boardherd_collector_info", 1, version=snapshot.version)
    sheet.add_own("boardherd_collector_broker_connected", snapshot.broker_connected)
    sheet.add_own("boardherd_collector_store_up", snapshot.store_up)
    for name, total in snapshot.totals.items():
        sheet.add_own(name, total)
    for name, counts in snapshot.by_kind.items():
        for kind, count in counts.items():
            sheet.add_own(name, count, kind=kind)
    sheet.add_own("boardherd_collector_series_dropped_total", dropped)
