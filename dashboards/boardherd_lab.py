"""The dashboard "boardherd: the lab". Run this file after each change: ``python dashboards/boardherd_lab.py``.

It writes boardherd-lab.json beside itself, which is what Grafana reads.
"""  # noqa: INP001 - a script, not part of a package

from __future__ import annotations

import json
from pathlib import Path

from grafana import RED_WHEN_ANY, RED_WHEN_NONE, Panel, dashboard, series, stat, timeline

OUTPUT = Path(__file__).with_name("boardherd-lab.json")
PC = 'pc=~"$pc"'
ON_OFF = (("0", "off", "dark-blue"), ("1", "on", "green"))
YES_NO = (("0", "no", "red"), ("1", "yes", "green"))
NO_YES = (("0", "no", "green"), ("1", "yes", "orange"))
VERDICT_COLOURS = {
    "alive": "green",
    "booting": "blue",
    "degraded": "yellow",
    "silent": "red",
    "powered_off": "dark-blue",
    "unknown": "text",
}


def of(name: str) -> str:
    """Return a metric of the chosen PCs."""
    return f"boardherd_{name}{{{PC}}}"


def rate(name: str) -> str:
    """Return the rate of a counter of the chosen PCs, per second."""
    return f"rate({of(name)}[$__rate_interval])"


def own(name: str) -> str:
    """Return the rate of a counter of the collector, per second."""
    return f"rate(boardherd_collector_{name}[$__rate_interval])"


def verdicts() -> Panel:
    """Return the table of boards with their verdicts."""
    labels = "board, pc, platform, test_farm, verdict"
    info = "on (board, pc) group_left (platform, test_farm) boardherd_board_info"
    queries = [
        (f"max by ({labels}) (({of('board_verdict')} == 1) * {info})", ""),
        (f"max by (board, pc) (time() - {of('board_verdict_since_timestamp_seconds')})", ""),
    ]
    colours = {
        verdict: {"text": verdict.replace("_", " "), "color": colour, "index": index}
        for index, (verdict, colour) in enumerate(VERDICT_COLOURS.items())
    }
    coloured = {
        "matcher": {"id": "byName", "options": "Verdict"},
        "properties": [
            {"id": "mappings", "value": [{"type": "value", "options": colours}]},
            {"id": "custom.cellOptions", "value": {"type": "color-background", "mode": "basic"}},
        ],
    }
    names = {
        "board": "Board",
        "verdict": "Verdict",
        "Value #B": "For",
        "pc": "Test PC",
        "platform": "Platform",
        "test_farm": "Test farm",
    }
    organize = {
        "excludeByName": {"Time": True, "Value #A": True},
        "indexByName": {name: index for index, name in enumerate(names)},
        "renameByName": names,
    }
    return Panel(
        "table",
        "Boards and their verdicts",
        "What is known of each board now, and for how long. Silent means: powered, past its boot time, and no answer."
        " Powered off means: silent because its power was cut.",
        "s",
        queries,
        12,
        11,
        {"custom": {"filterable": True, "align": "left"}},
        [coloured],
        {"showHeader": True, "cellHeight": "sm", "sortBy": [{"displayName": "Verdict", "desc": True}]},
        [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}],
    )


FLEET = (
    stat("Agents up", "Test PCs whose agent is connected and heard.", f"sum({of('agent_up')})"),
    stat(
        "Agents silent",
        "Test PCs in the inventory whose agent is not heard.",
        f"count({of('agent_up')} == 0) or vector(0)",
        thresholds=RED_WHEN_ANY,
    ),
    stat("Boards alive", "Boards that answer.", f"sum({of('board_alive')})"),
    stat(
        "Boards silent",
        "Boards that have power, had time to boot, and do not answer.",
        f'sum(boardherd_board_verdict{{{PC}, verdict="silent"}})',
        thresholds=RED_WHEN_ANY,
    ),
    stat(
        "Ports drifting",
        "Relay ports whose measured state is not what was asked for, or not what is normal for them.",
        f"sum({of('relay_port_drift')})",
        thresholds=RED_WHEN_ANY,
    ),
    stat(
        "Commands failed, 24 h",
        "Commands of the last 24 hours that failed, were interrupted or went unanswered.",
        f"sum(increase({of('commands_failed_total')}[24h]))",
        thresholds=RED_WHEN_ANY,
    ),
    stat(
        "PCs unwell",
        "Test PCs beyond one of their thresholds: WARNING or CRITICAL.",
        f"count({of('host_healthy')} == 0) or vector(0)",
        thresholds=RED_WHEN_ANY,
    ),
    stat(
        "Collector whole",
        "1 while the collector is connected to the broker and its database takes what is written.",
        "min(boardherd_collector_broker_connected * boardherd_collector_store_up)",
        thresholds=RED_WHEN_NONE,
    ),
)

BOARDS = (
    verdicts(),
    timeline(
        "Boards alive over time",
        "Green while a board answers. Gaps: nobody could tell.",
        (f"max by (board) ({of('board_alive')})", "{{board}}"),
        YES_NO,
        height=11,
    ),
    series(
        "Boards by verdict",
        "How many boards have each verdict.",
        "none",
        (f"sum by (verdict) ({of('board_verdict')})", "{{verdict}}"),
        stack=True,
    ),
    series(
        "Probes that fail",
        "How many boards do not answer each kind of probe.",
        "none",
        (
            f"count by (probe) ({of('board_probe_success')}) - sum by (probe) ({of('board_probe_success')})",
            "{{probe}}",
        ),
    ),
    series(
        "Slowest answers",
        "The ten slowest probes: how long their last answer took.",
        "s",
        (f"topk(10, max by (board, probe) ({of('board_probe_duration_seconds')}))", "{{board}} {{probe}}"),
    ),
)

HOSTS = (
    series(
        "CPU",
        "Busy share of all cores.",
        "percentunit",
        (of("host_cpu_usage_ratio"), "{{pc}}"),
        top=1,
    ),
    series(
        "Memory",
        "Share of the physical memory that is not available to programs.",
        "percentunit",
        (f"{of('host_memory_used_bytes')} / {of('host_memory_total_bytes')}", "{{pc}}"),
        top=1,
    ),
    series(
        "Disk",
        "Used share of the watched disk.",
        "percentunit",
        (f"{of('host_disk_used_bytes')} / {of('host_disk_total_bytes')}", "{{pc}}"),
        top=1,
    ),
    series(
        "Network",
        "Bytes per second over all interfaces.",
        "Bps",
        (rate("host_network_receive_bytes_total"), "{{pc}} received"),
        (rate("host_network_transmit_bytes_total"), "{{pc}} sent"),
    ),
    series(
        "Disk traffic",
        "Bytes per second over all disks.",
        "Bps",
        (rate("host_disk_read_bytes_total"), "{{pc}} read"),
        (rate("host_disk_written_bytes_total"), "{{pc}} written"),
    ),
    series("Load", "Load average over five minutes.", "none", (of("host_load5"), "{{pc}}")),
    series(
        "Test processes",
        "Processes that match the PC's patterns of tests; all processes where there are no patterns.",
        "none",
        (of("host_test_processes"), "{{pc}}"),
    ),
    series(
        "Free disk", "What ordinary users can still use.", "bytes", (of("host_disk_free_bytes"), "{{pc}}")
    ),
    series(
        "Temperature",
        "The hottest sensor of each PC that has sensors.",
        "celsius",
        (of("host_temperature_celsius"), "{{pc}}"),
    ),
)

RELAYS = (
    timeline(
        "Relay ports",
        "The measured state of each port, in the sense of the board: on means powered. Gaps: not known.",
        (f"max by (relay, port, board) ({of('relay_port_on')})", "{{relay}}:{{port}} {{board}}"),
        ON_OFF,
    ),
    timeline(
        "Ports that drift",
        "Orange while a port is not what was asked for, or not what is normal for it.",
        (f"max by (relay, port, board) ({of('relay_port_drift')})", "{{relay}}:{{port}} {{board}}"),
        NO_YES,
    ),
    timeline(
        "Relay modules that answer",
        "Green while a test PC reaches the module.",
        (f"max by (relay) ({of('relay_up')})", "{{relay}}"),
        YES_NO,
        width=8,
        height=8,
    ),
    series(
        "Switches",
        "Switches per relay module, by agents.",
        "none",
        (f"sum by (relay) (increase({of('relay_port_switches_total')}[$__rate_interval]))", "{{relay}}"),
    ),
    series(
        "Commands",
        "Commands that came to their end, and how many of them failed or were refused.",
        "none",
        (f"sum(increase({of('commands_total')}[$__rate_interval]))", "all"),
        (f"sum(increase({of('commands_failed_total')}[$__rate_interval]))", "failed"),
        (f"sum(increase({of('commands_refused_total')}[$__rate_interval]))", "refused"),
    ),
)

AGENTS = (
    series(
        "Time since last heard",
        "How long ago each agent was last heard.",
        "s",
        (f"time() - {of('agent_last_seen_timestamp_seconds')}", "{{pc}}"),
    ),
    series(
        "Unsent data",
        "Envelopes in each agent's spool that the collector has not acknowledged.",
        "none",
        (of("agent_spool_pending_envelopes"), "{{pc}}"),
    ),
    series(
        "Memory of the agents",
        "Resident memory of each agent.",
        "bytes",
        (of("agent_memory_bytes"), "{{pc}}"),
    ),
)

COLLECTOR = (
    series(
        "Lag",
        "Age of the newest sample when it was committed, and how long a commit takes on average.",
        "s",
        ("boardherd_collector_ingest_lag_seconds", "age of the newest sample"),
        (f"{own('commit_seconds_total')} / {own('commits_total')}", "one commit"),
    ),
    series(
        "Commits",
        "Transactions per second, and those that failed.",
        "cps",
        (own("commits_total"), "committed"),
        (own("commit_failures_total"), "failed"),
    ),
    series(
        "Envelopes",
        "Envelopes per second: stored for the first time, known already, refused.",
        "cps",
        (own("envelopes_stored_total"), "stored"),
        (own("envelopes_duplicate_total"), "known already"),
        (own("envelopes_refused_total"), "refused"),
    ),
    series(
        "Messages",
        "MQTT messages per second, by what they carry.",
        "cps",
        (f"sum by (kind) ({own('messages_total')})", "{{kind}}"),
    ),
    series(
        "Records stored",
        "Records per second, by kind.",
        "cps",
        (f"sum by (kind) ({own('records_stored_total')})", "{{kind}}"),
    ),
    series(
        "What was not taken",
        "Per second: messages that made no sense, records set aside, series left out of a scrape.",
        "cps",
        (f"sum({own('messages_rejected_total')}) or vector(0)", "messages"),
        (own("dead_letters_total"), "records"),
        (own("series_dropped_total"), "series"),
    ),
)

ROWS = (
    ("The fleet", FLEET),
    ("Boards", BOARDS),
    ("Relays and commands", RELAYS),
    ("Test PCs", HOSTS),
    ("Agents", AGENTS),
    ("Collector", COLLECTOR),
)


def text() -> str:
    """Return the content of the file."""
    board = dashboard(
        "boardherd-lab",
        "boardherd: the lab",
        "Test PCs, boards, relays and the collector of a hardware lab.",
        ROWS,
    )
    return json.dumps(board, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    OUTPUT.write_text(text(), encoding="utf-8")
