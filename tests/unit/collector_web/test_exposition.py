"""What Prometheus is told, for every state a fleet can be in."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections import Counter
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from boardherd_collector.counters import Counters
from boardherd_collector.exposition import MAX_SERIES, Exposition, Snapshot
from boardherd_collector.health import STORE
from boardherd_collector.metrics import METRICS
from boardherd_shared.drift import is_drifting
from boardherd_shared.model import PcStatus
from boardherd_shared.records import Health, HostRecord, Power, Verdict, Wiring
from boardherd_shared.views import FleetView
from support import shown

HOSTILE = 'x"} 1\n# HELP evil \\ \N{ZERO WIDTH SPACE}\ud800<script>' + "y" * 500


def counters() -> Counters:
    """Return counters in which nothing is zero."""
    return Counters(
        messages=Counter(telemetry=90, hello=2),
        rejected=Counter(unknown=3),
        envelopes_stored=41,
        envelopes_duplicate=5,
        envelopes_refused=1,
        envelopes_deferred=2,
        records_stored=Counter(host=40, event=7),
        dead_letters=1,
        commits=12,
        commit_seconds_total=0.75,
        commit_failures=1,
        last_commit_at=shown.NOW - 1,
        ingest_lag_s=0.02,
        commands=Counter(
            {
                ("pc-01", "succeeded"): 5,
                ("pc-01", "failed"): 2,
                ("pc-01", "interrupted"): 1,
                ("pc-01", "refused"): 3,
                ("pc-02", "expired"): 4,
            }
        ),
    )


def render(fleet: FleetView, exposition: Exposition | None = None, **changes: Any) -> str:
    health = shown.healthy()
    if changes.get("store_down"):
        health.set(STORE, ok=False, text="disk full")
    snapshot = Snapshot.take(fleet, changes.get("counters") or counters(), health, "0.1.0")
    return (exposition or Exposition()).render(snapshot).decode()


def samples(text: str) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """Return every sample by name and labels; fails when a series is there twice."""
    found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series = found.setdefault(sample.name, {})
            labels = frozenset(sample.labels.items())
            assert labels not in series, f"{sample.name} {sample.labels} is there twice"
            series[labels] = sample.value
    return found


def value(text: str, name: str, **labels: str) -> float | None:
    return samples(text).get(name, {}).get(frozenset(labels.items()))


def of(text: str, name: str, **labels: str) -> list[float]:
    """Return the values of all series of ``name`` that have ``labels`` among theirs."""
    return [v for key, v in samples(text).get(name, {}).items() if labels.items() <= dict(key).items()]


def promtool(text: str) -> None:
    program = shutil.which("promtool")
    assert program, "promtool is missing; `make test` installs it: sudo apt-get install prometheus"
    result = subprocess.run(
        [program, "check", "metrics"], input=text.encode(), capture_output=True, timeout=30, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


def hostile_fleet() -> FleetView:
    """Return a fleet in which every free text is an attack."""
    probe = shown.probe("ssh", text=HOSTILE.replace("\n", "").replace("\ud800", "")[:400])
    return shown.fleet(
        pcs=(shown.pc("pc-01", os_version=HOSTILE, versions={"boardherd": HOSTILE}, name=HOSTILE),),
        boards=(shown.board("evm-01", platform=HOSTILE, test_farm=HOSTILE, probes=(probe, probe)),),
        relays=(shown.relay("eth-1", shown.port("eth-1", 1), shown.port("eth-1", 1)),),
    )


EXTREME = HostRecord(
    at=0, up=0, status=Health.UNKNOWN, load_1m=1e300, network_received=2**63 - 1, disk_read=0, cpu_percent=100
)
FLEETS = {
    "small lab": shown.fleet(),
    "empty": shown.fleet(pcs=(), boards=(), relays=()),
    "hostile": hostile_fleet(),
    "extreme": shown.fleet(pcs=(shown.pc("pc-01", sample=EXTREME),)),
    "never heard": shown.fleet(
        pcs=(shown.pc("pc-01", status=PcStatus.OFFLINE, last_seen_s=None, sample=None, versions={}),)
    ),
}


@pytest.mark.parametrize("name", FLEETS)
def test_promtool_finds_nothing_to_say(name: str) -> None:
    promtool(render(FLEETS[name]))


def test_every_metric_of_the_catalogue_is_told_and_no_other() -> None:
    told = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(render(shown.fleet()))
    }
    assert told == set(METRICS)


def test_type_labels_and_help_are_those_of_the_catalogue() -> None:
    for family in text_string_to_metric_families(render(shown.fleet())):
        name = family.name + ("_total" if family.type == "counter" else "")
        metric = METRICS[name]
        assert family.type == metric.kind
        assert family.documentation == metric.help
        assert metric.help.endswith(".")
        for sample in family.samples:
            assert set(sample.labels) == set(metric.labels)


def test_units_are_base_units() -> None:
    text = render(shown.fleet())
    assert value(text, "boardherd_host_cpu_usage_ratio", pc="pc-01") == pytest.approx(0.375)
    assert value(text, "boardherd_agent_cpu_ratio", pc="pc-01") == pytest.approx(0.008)
    assert value(text, "boardherd_host_memory_total_bytes", pc="pc-01") == 16e9
    assert value(text, "boardherd_host_network_receive_bytes_total", pc="pc-01") == 2**40
    since = value(text, "boardherd_board_verdict_since_timestamp_seconds", board="evm-01", pc="pc-01")
    assert since == pytest.approx(shown.NOW - 7200)


def test_a_silent_pc_keeps_its_name_and_loses_its_measurements() -> None:
    """OPS-1: that an agent is silent shows, and what it measured last is not shown for ever."""
    silent = shown.pc("pc-02", status=PcStatus.OFFLINE, last_seen_s=840.0, sample=None)
    text = render(shown.fleet(pcs=(shown.pc("pc-01"), silent)))
    assert value(text, "boardherd_agent_up", pc="pc-02") == 0
    assert value(text, "boardherd_agent_last_seen_timestamp_seconds", pc="pc-02") == shown.NOW - 840
    assert of(text, "boardherd_agent_info", pc="pc-02") == [1]
    lasting = {name for name, metric in METRICS.items() if metric.lasting}
    told = {name for name, series in samples(text).items() if any(("pc", "pc-02") in key for key in series)}
    assert told <= lasting
    assert value(text, "boardherd_agent_up", pc="pc-01") == 1
    assert of(text, "boardherd_host_load1", pc="pc-01")


def test_a_sample_that_lacks_a_value_lacks_its_series() -> None:
    bare = HostRecord(at=1, up=1, status=Health.WARNING, cpu_percent=0.0)
    text = render(shown.fleet(pcs=(shown.pc("pc-01", sample=bare),)))
    assert value(text, "boardherd_host_cpu_usage_ratio", pc="pc-01") == 0
    assert of(text, "boardherd_host_memory_used_bytes") == []
    assert value(text, "boardherd_host_healthy", pc="pc-01") == 0


@pytest.mark.parametrize(
    ("health", "told"),
    [(Health.HEALTHY, 1), (Health.WARNING, 0), (Health.CRITICAL, 0), (Health.UNKNOWN, None)],
)
def test_health_of_a_pc(health: Health, told: float | None) -> None:
    text = render(shown.fleet(pcs=(shown.pc("pc-01", sample=shown.sample(status=health)),)))
    assert value(text, "boardherd_host_healthy", pc="pc-01") == told


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_verdict_is_one_among_all(verdict: Verdict) -> None:
    text = render(shown.fleet(boards=(shown.board("evm-01", verdict),)))
    told = {dict(key)["verdict"]: value_ for key, value_ in samples(text)["boardherd_board_verdict"].items()}
    assert told == {other: float(other is verdict) for other in Verdict}


def test_nobody_is_told_dead_because_nobody_can_tell() -> None:
    text = render(shown.fleet())
    assert value(text, "boardherd_board_alive", board="evm-02", pc="pc-01") == 0
    assert of(text, "boardherd_board_alive", board="evm-05") == []


def test_probes() -> None:
    text = render(shown.fleet())
    labels = {"board": "evm-01", "pc": "pc-01", "probe": "ssh"}
    assert value(text, "boardherd_board_probe_success", **labels) == 1
    assert value(text, "boardherd_board_probe_duration_seconds", **labels) == 0.012
    assert of(text, "boardherd_board_probe_success", board="evm-02") == [0, 0]
    assert of(text, "boardherd_board_probe_success", probe="ping") == []  # it could not look


def test_of_two_answers_of_one_probe_the_first_counts() -> None:
    """SEC-2: a series that came twice would spoil the whole scrape."""
    twice = (shown.probe("ssh"), shown.probe("ssh", "no"))
    text = render(shown.fleet(boards=(shown.board("evm-01", probes=twice),)))
    assert of(text, "boardherd_board_probe_success") == [1]


def test_a_port_that_is_not_known_is_neither_on_nor_off() -> None:
    text = render(shown.fleet())
    assert of(text, "boardherd_relay_port_on", relay="pdu-1", port="3") == []
    assert of(text, "boardherd_relay_port_drift", relay="pdu-1", port="3") == []
    assert of(text, "boardherd_relay_port_on", relay="eth-1", port="3") == [0]
    assert of(text, "boardherd_relay_port_on", relay="eth-1", port="1") == [1]
    assert of(text, "boardherd_relay_port_switches_total", relay="eth-1", port="1") == [12]
    assert of(text, "boardherd_relay_port_watts", relay="pdu-1", port="12") == [11.5]
    assert of(text, "boardherd_relay_port_watts", relay="eth-1", port="1") == []


@pytest.mark.parametrize(
    ("observed", "asked", "expected", "drifts"),
    [
        ("on", "on", "any", False),
        ("on", "unknown", "any", False),
        ("on", "unknown", "on", False),
        ("off", "unknown", "on", True),
        ("off", "on", "any", True),
        ("off", "off", "on", True),
        ("unknown", "on", "on", False),
    ],
)
def test_drift(observed: str, asked: str, expected: str, drifts: bool) -> None:
    port = shown.port("eth-1", 1, Power(observed), asked=Power(asked), expected=expected)
    assert port.state is not None
    assert is_drifting(port.state) is drifts


def test_a_relay_is_up_when_one_of_its_ports_can_be_read() -> None:
    dead = shown.relay("eth-2", shown.port("eth-2", 1, Power.UNKNOWN))
    text = render(shown.fleet(relays=(*shown.fleet().relays, dead)))
    assert value(text, "boardherd_relay_up", relay="eth-1", pc="pc-01") == 1
    assert value(text, "boardherd_relay_up", relay="eth-2", pc="pc-01") == 0


def test_what_was_not_confirmed_for_three_refreshes_is_gone() -> None:
    old = shown.relay("eth-1", shown.port("eth-1", 1, age_s=181.0))
    board = shown.board("evm-01", probes=(shown.probe("ssh"),), age_s=181.0)
    text = render(shown.fleet(relays=(old,), boards=(board,)))
    assert of(text, "boardherd_relay_up") == []
    assert of(text, "boardherd_relay_port_on") == []
    assert of(text, "boardherd_board_probe_success") == []
    assert of(text, "boardherd_board_info", board="evm-01") == [1]


def test_commands_by_their_end() -> None:
    text = render(shown.fleet())
    assert value(text, "boardherd_commands_total", pc="pc-01") == 11
    assert value(text, "boardherd_commands_failed_total", pc="pc-01") == 3
    assert value(text, "boardherd_commands_refused_total", pc="pc-01") == 3
    assert value(text, "boardherd_commands_refused_total", pc="pc-02") == 4
    assert value(text, "boardherd_commands_failed_total", pc="pc-02") == 0


def test_counts_begin_at_zero() -> None:
    """A first failure shows as an increase only if the series was there before."""
    text = render(shown.fleet(), counters=Counters())
    assert value(text, "boardherd_commands_failed_total", pc="pc-03") == 0
    assert value(text, "boardherd_collector_messages_rejected_total", kind="telemetry") == 0
    assert value(text, "boardherd_collector_records_stored_total", kind="event") == 0


def test_the_collector_tells_of_itself() -> None:
    """OPS-1: a database that is away shows in the metrics."""
    text = render(shown.fleet(), store_down=True)
    assert value(text, "boardherd_collector_store_up") == 0
    assert value(text, "boardherd_collector_broker_connected") == 1
    assert value(text, "boardherd_collector_messages_total", kind="telemetry") == 90
    assert value(text, "boardherd_collector_records_stored_total", kind="host") == 40
    assert value(text, "boardherd_collector_info", version="0.1.0") == 1
    fresh = render(shown.fleet(), counters=Counters())
    assert of(fresh, "boardherd_collector_last_commit_timestamp_seconds") == []


def test_labels_are_bounded_and_printable() -> None:
    """SEC-2: nothing an agent says can break the exposition."""
    text = render(hostile_fleet())
    (labels,) = samples(text)["boardherd_agent_info"]
    version = dict(labels)["version"]
    assert len(version) <= 120
    assert version.isprintable()
    assert "evil" not in {family.name for family in text_string_to_metric_families(text)}


def test_series_are_bounded_for_each_pc() -> None:
    """SEC-3: a PC that reports without end neither fills the exposition nor crowds out another."""
    probes = tuple(shown.probe(f"p{number}") for number in range(400))
    flood = tuple(shown.board(f"b{number}", pc="pc-02", probes=probes) for number in range(200))
    honest = shown.board("evm-01", probes=(shown.probe("ssh"),))
    fleet = shown.fleet(pcs=(shown.pc("pc-01"), shown.pc("pc-02")), boards=(*flood, honest))
    exposition = Exposition(max_series=9_000, max_series_per_pc=1_000)
    first = render(fleet, exposition)
    series = [key for found in samples(first).values() for key in found]
    assert len(series) < 2_500
    assert sum(("pc", "pc-02") in key for key in series) == 1_000
    assert of(first, "boardherd_board_probe_success", board="evm-01") == [1]
    dropped = value(first, "boardherd_collector_series_dropped_total")
    assert dropped is not None
    assert dropped > 80_000
    assert value(render(fleet, exposition), "boardherd_collector_series_dropped_total") == 2 * dropped


def test_series_are_bounded_in_total() -> None:
    """SEC-3: however many PCs there are."""
    fleet = shown.fleet(pcs=tuple(shown.pc(f"pc-{number}") for number in range(100)), boards=(), relays=())
    text = render(fleet, Exposition(max_series=500))
    own = {name for name in METRICS if name.startswith("boardherd_collector_")}
    bounded = [key for name, found in samples(text).items() if name not in own for key in found]
    assert len(bounded) == 500
    assert len(of(text, "boardherd_agent_up")) == 100  # who is silent is told before how the others are
    assert of(text, "boardherd_collector_broker_connected") == [1]
    assert MAX_SERIES == 50_000


def test_numbers_are_finite() -> None:
    text = render(FLEETS["extreme"])
    assert all(math.isfinite(v) for found in samples(text).values() for v in found.values())


def test_suspect_wiring_and_a_slow_boot_are_told_as_long_as_the_agent_is_heard() -> None:
    told = shown.fleet()
    first, second = told.boards[:2]
    assert first.state is not None
    assert second.state is not None
    suspect = first.state.model_copy(update={"wiring": Wiring(state="suspect"), "slow": "login took 41 s"})
    proved = second.state.model_copy(update={"wiring": Wiring(state="proved")})
    boards = (
        first.model_copy(update={"state": suspect}),
        second.model_copy(update={"state": proved}),
        *told.boards[2:],
    )
    text = render(told.model_copy(update={"boards": boards}))
    names = {"pc": "pc-01"}
    wiring, slow = "boardherd_board_wiring_suspect", "boardherd_board_boot_slow"
    assert [value(text, wiring, board=board, **names) for board in ("evm-01", "evm-02")] == [1, 0]
    assert [value(text, slow, board=board, **names) for board in ("evm-01", "evm-02")] == [1, 0]
    assert value(text, wiring, board="evm-03", **names) is None  # nobody told of its wiring
    assert value(text, slow, board="evm-05", pc="pc-02") is None  # its agent is silent
