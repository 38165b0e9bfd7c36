"""What each table, column, index and trigger of the database is for: the words of ``docs/database.md``."""

from __future__ import annotations

from boardherd_collector.stores.answers import BoardRow, CommandRow, SummaryRow
from boardherd_collector.stores.units import HOST_COLUMNS
from boardherd_shared.records import BootTimes, HostRecord

SECTIONS: dict[str, tuple[str, ...]] = {
    "What there is": (
        "capabilities", "test_pcs", "relays", "boards", "board_capabilities", "board_feeds", "board_lines",
    ),
    "What is so now": ("pc_current", "board_current", "relay_port_current"),
    "What happened": (
        "pc_stats", "board_liveness", "relay_states", "events", "commands", "boots", "board_usage", "losses",
    ),
    "Rollups": ("pc_stats_5m", "pc_stats_1h", "board_verdict_hours", "board_minutes", "rollup_queue"),
    "The ledger": ("streams", "stream_digests", "boot_clocks", "dead_letters"),
    "The database's own": ("settings", "tombstones", "schema_migrations"),
    "Views": (
        "pc_overview", "relay_overview", "relay_port_overview", "board_overview", "board_summary_by_test_farm",
        "board_summary_by_platform", "pc_stats_1d", "pc_silence", "clock",
    ),
}  # fmt: skip
"""Tables and views in the order of the page."""

TABLES = {
    "capabilities": "What boards can be used for: the codes of the product and those that `lab.toml` adds.",
    "test_pcs": "Test PCs: configured columns from `lab.toml`, observed ones from the agent's hello.",
    "relays": "Relay modules and power strips.",
    "boards": "Boards. Configured columns come from `lab.toml`; use, notes and administration belong to people and CI.",
    "board_capabilities": "Which board has which capability.",
    "board_feeds": "The relay ports that power a board, in the order of switching on; the first is the primary one.",
    "board_lines": "Relay ports of a board that are not power: reset, boot mode. Nothing writes it yet.",
    "pc_current": "The newest sample of each PC, by the time when it was taken, whatever arrived last.",
    "board_current": "The newest verdict on each board, by the PC that controls it.",
    "relay_port_current": "The newest state of each relay port, by the PC whose board hangs on it.",
    "pc_stats": (
        "Samples of test PCs, one row each. GB are 10⁹ and MB 10⁶ bytes. How many envelopes an agent has sent, sent"
        " once more or seen acknowledged is counted from its start: that is in the metrics, what was lost in `losses`."
    ),
    "board_liveness": "Verdicts on boards: changes, and a keyframe an hour that says what still holds.",
    "relay_states": "States of relay ports: changes, and a keyframe an hour.",
    "events": "What happened once: transitions, steps of commands, losses, boots, faults.",
    "commands": "One row a command with its whole life; its steps are among the events.",
    "boots": "How long boards took to boot after they were powered.",
    "board_usage": "Who used which board, from when to when, and what for. Nothing writes it yet: uses follow locks.",
    "losses": "Envelopes that agents accepted and could not keep until they were stored.",
    "pc_stats_5m": "Samples rolled up by five minutes.",
    "pc_stats_1h": "Samples rolled up by the hour; kept for ever.",
    "board_verdict_hours": (
        "For how many seconds of an hour each verdict held, as far as somebody confirmed it; kept for ever. What is"
        " missing to 3600 s nobody knows."
    ),
    "board_minutes": "In which minutes of an hour somebody confirmed the verdict on a board.",
    "rollup_queue": "Hours whose rollups are due, noted in the transaction that brought the records.",
    "streams": "One row for each spool of an agent: which envelopes are in, and how many records came from it.",
    "stream_digests": "Fingerprints of the newest 1000 envelopes of each stream: other content is noticed.",
    "boot_clocks": "The offset of each boot's clock, learned once: a resent record gets the same time.",
    "dead_letters": "Records that could not be stored, with the reason; the newest 10 000.",
    "settings": "Single values: the site, the hash of the inventory, when the store was last opened again.",
    "tombstones": "What a person deleted from its table, until all that carries its number is gone.",
    "schema_migrations": "The migrations that made this schema.",
    "pc_overview": "Test PCs as they are now.",
    "relay_overview": "Relays as they are now.",
    "relay_port_overview": "Relay ports as they are now.",
    "board_overview": "Boards as they are now: the one status that people see, and everything it is made of.",
    "board_summary_by_test_farm": "How many boards each test farm has, and how they are.",
    "board_summary_by_platform": "How many boards of each platform there are, and how they are.",
    "pc_stats_1d": "Samples rolled up by the day (UTC), from the hours; averages weigh by the samples of each hour.",
    "pc_silence": (
        "From when on each PC counts as silent, unless it is heard before: three of its own sample intervals after it"
        " was last heard, and 5 s at least."
    ),
    "clock": "What time it is.",
}


def _plain(text: str | None) -> str:
    return (text or "").replace(", bytes", "").replace(" on disk", "")


COLUMNS: dict[str, str] = {
    # keys and times
    "number": "small number by which series refer to it; never given out twice",
    "uuid": "key by which other tables refer to it",
    "id": "slug that topics and `lab.toml` use",
    "name": "free text for people",
    "created_at": "when the row was made",
    "updated_at": "when the row was last changed",
    "retired_at": "when it left `lab.toml`; retired things stay",
    "sample_interval_s": "how often the agent samples, by its hello, seconds; for how long it may be silent follows",
    "silent_at": "from when on it is silent unless it is heard before; NULL when it never was",
    "declared": "1 when `lab.toml` names it, 0 when only an agent reported it",
    "timestamp": "when it was true, by corrected time",
    "received_at": "when the collector received it",
    "time_quality": "what the time rests on: the PC's clock, its correction, or a clock nobody verified",
    "age_s": "seconds since it was last confirmed",
    "now": "microseconds since 1970 UTC",
    # things
    "test_pc": "the test PC",
    "board": "the board",
    "relay": "the relay",
    "port": "port of the relay, from 1",
    "relay_number": "port of the relay, from 1",
    "capability": "the capability",
    "description": "what it is, at length",
    "location": "where it is",
    "rack": "what alerts are grouped by",
    "comment": "anything else",
    "notes": "what people note",
    "is_active": "inactive ones do not count as available",
    # PCs
    "hostname": "host name that the PC gives itself; unique unless flagged",
    "hostname_clash": "1 when another PC had that host name first",
    "ip_address": "address as configured",
    "observed_ip_address": "address as the agent sees it; moves to its newest reporter, with an event",
    "domain_name": "fully qualified domain name",
    "os_version": "code of the operating system: ubuntu_24_04, windows_11, ...",
    "disk_mountpoint": "the disk that the statistics are about",
    "watched_by": "the PC that watches the boards of a PC without an agent",
    "maintenance_since": "since when a person keeps it in maintenance",
    "maintenance_by": "who",
    "maintenance_reason": "why",
    "hello": "the newest introduction of the agent, as JSON",
    "hello_at": "when that came",
    "last_heartbeat_at": "when it was last heard of, or last confirmed",
    # relays
    "relay_name": "name for people; unique",
    "model_type": "what it is in the lab's words",
    "kind": "the driver",
    "after_outage": "what happens when the module comes back with other states than were asked for",
    "tcp_port": "TCP port, where it is not the driver's own",
    "unit": "unit behind a gateway",
    "mac_address": "hardware address, six pairs of hexadecimal digits",
    "port_count": "how many ports it has",
    "module": "what the module says it is",
    "last_checked_at": "when the module last answered",
    # feeds and lines
    "position": "place in the order of switching on, from 1",
    "polarity": "NC when the board hangs on the normally closed contact",
    "after_s": "switch on this long after the feed before it, seconds",
    "off_time_s": "stay off at least this long, seconds; the board's own when empty",
    "pulse_s": "length of a pulse, seconds",
    "line": "the line that the port is, when it is no power",
    # boards
    "hardware_serial_number": "serial number; unique",
    "project": "project using it",
    "platform": "TI platform code, or one that the lab added",
    "device_type": "kind of hardware",
    "pg_version": "silicon revision",
    "execution_engine": "what runs tests on it",
    "sdk_version": "the SDK on it",
    "test_farm": "the farm it belongs to",
    "board_ip": "its address",
    "serial_port": "its console",
    "console": "whether the console is watched",
    "normally": "the state its power should be in",
    "use_status": "use: idle, busy or updating its SDK; other than idle only with a lock",
    "lock_id": "the lock; none when empty",
    "lock_owner": "who holds the lock",
    "lock_purpose": "what for",
    "lock_deadline": "when the lock ends by itself",
    "is_locked": "whether it is locked",
    "error_since": "health: since when it is in error",
    "error_reason": "why",
    "deactivated_at": "administration: since when a person has deactivated it",
    "deactivated_by": "who",
    "deactivated_reason": "why",
    "last_sdk_update_at": "when its SDK was last updated",
    "last_used_at": "when it was last used",
    # verdicts
    "verdict": "what is known of the board",
    "blame": "the part that keeps it from being alive",
    "reason": "why, in words",
    "since": "when that began",
    "probes": "what each probe saw, as JSON",
    "change": "0 when it says what held before",
    "contested": "1 when told by a PC that does not control the board: kept, and believed nowhere",
    # ports
    "observed": "what the module said",
    "asked": "what boardherd last asked for",
    "expected": "what the inventory calls normal",
    "drift": "1 when it is other than asked for or normal",
    "drift_since": "when that began",
    "switch_count": "switches by the agent, ever",
    "switched_at": "when the agent last switched it",
    "switched_by": "who asked for that",
    "wiring_proved_at": "when a power cycle proved what hangs on the port; nothing writes it yet",
    "last_confirmed_at": "when the state was last confirmed",
    # events
    "event": "what kind of thing happened",
    "subject": "what it is about: `board/evm-07`, `relay/eth-1/3`, `agent`",
    "text": "what happened, in one sentence",
    "command": "id of the command that it is a step of",
    "detail": "the step, loss or boot that came with it, as JSON",
    # usage
    "started_at": "when it began",
    "ended_at": "when it ended; empty while it goes on",
    "who": "who used it",
    "purpose": "what for",
    # rollups
    "bucket": "when it begins; a whole multiple of its length since 1970 UTC",
    "samples": "how many samples it is made of",
    "healthy": "how many of them were HEALTHY",
    "warning": "how many of them were WARNING",
    "critical": "how many of them were CRITICAL",
    "hour": "when the hour begins",
    "seconds": "for how long the verdict held in it",
    "confirmed": "a bit for each minute; bit 0 is the first",
    "series": "the series whose rollup is due",
    "thing": "number of the PC or of the board",
    # ledger
    "stream": "the stream: 128 random bits made with a spool file",
    "watermark": "every envelope up to here is stored or declared lost",
    "ranges": "numbers above it that are, too, as JSON: `[[first, last], ...]`",
    "envelopes": "how many envelopes",
    "lost_envelopes": "envelopes declared lost",
    "host_records": "samples of the PC taken from it",
    "board_records": "verdicts taken from it, refreshes included",
    "relay_records": "states of ports taken from it, refreshes included",
    "event_records": "events taken from it",
    "dead_letters": "records set aside",
    "seq": "number of the envelope in its stream",
    "digest": "SHA-256 of the envelope",
    "boot": "identity of the PC's boot",
    "offset_us": "what to add to the time since boot to get the time, microseconds",
    "learned_at": "when it was learned",
    "first": "first number",
    "last": "last number",
    "records": "how many records were in them",
    "oldest": "time of the oldest record",
    "newest": "time of the newest record",
    "payload": "the record as it came, shortened when it is long",
    # the database's own
    "value": "its value",
    "entity": "the table it was in",
    "deleted_at": "when it was deleted",
    "sha256": "fingerprint of the migration, by which a later change is noticed",
    "applied_at": "when it was applied",
    # current and views
    "status": "the one status that people see",
    "record": "the whole record, as JSON",
    "is_final": "1 when nothing follows",
    "is_healthy": "1 when it is well: a PC HEALTHY, a relay ACTIVE, a board alive and not in error",
    "memory_available_gb": "total minus used memory, GB",
    "is_online": "1 when ONLINE",
    "is_available_for_testing": "1 when ONLINE or INITIALIZING",
    "sampled_at": "when the newest sample was taken",
    "health": "its status by the thresholds: HEALTHY, WARNING, CRITICAL or UNKNOWN",
    "sample": "the newest sample, as JSON",
    "is_alive": "1 when the verdict says that it responds, and is confirmed",
    "can_execute_test": BoardRow.model_fields["can_execute_test"].description or "",
    "capabilities": "its active capabilities, as a JSON list",
    "boards": "how many there are",
    "idle": "with this status",
    "busy": "with this status",
    "updating_sdk": "with this status",
    "offline": "with this status",
    "deactivated": "with this status",
    "error": "with this status",
    "alive": "that are alive",
    "locked": "that are locked",
    "available": SummaryRow.model_fields["available"].description or "",
    "active": SummaryRow.model_fields["active"].description or "",
}
"""Meaning of a column, wherever it stands unless :data:`OWN` says otherwise."""

COLUMNS |= {
    column: _plain(HostRecord.model_fields[field].description)
    + ("" if unit is None else f", {'GB' if unit == 1e9 else 'MB'}")
    for column, (field, unit) in HOST_COLUMNS.items()
    if column != "status"
}
COLUMNS |= {
    name: f"{field.description}, seconds after power" for name, field in BootTimes.model_fields.items()
}

OWN: dict[str, dict[str, str]] = {
    "capabilities": {"name": "code: CAMERA", "description": "what it means"},
    "pc_stats": {"status": "how the PC feels, by the configured thresholds"},
    "pc_current": {"status": "how the PC feels, by the configured thresholds"},
    "board_lines": {"name": "what it does: reset", "kind": "pulse or level"},
    "commands": {
        name: field.description or "" for name, field in CommandRow.model_fields.items() if field.description
    }
    | {
        "id": "identity of the command",
        "action": "what was asked for",
        "operator": "broker user name of the sender",
        "on_behalf_of": "the person a service acts for",
        "reason": "why it was asked for, in the operator's words",
    },
    "losses": {
        "envelopes": "how many of the range the database does not hold",
        "reason": "why they were lost",
    },
    "dead_letters": {"position": "its place in the envelope, from 0", "test_pc": "id of the test PC"},
    "streams": {"test_pc": "the agent that the stream belongs to", "envelopes": "envelopes stored"},
    "settings": {"name": "its name"},
    "tombstones": {"number": "its number", "id": "its slug"},
    "schema_migrations": {"number": "its number", "name": "name of its file"},
    "events": {"number": "order of writing"},
    "pc_overview": {"ip_address": "observed address, else the configured one", "watched_by": "id of that PC"},
    "relay_port_overview": {
        "observed": "what the module said; unknown once its agent is silent or has not confirmed it for 3 min",
        "is_confirmed": "1 as long as the agent stands by what it said, if only that the module does not answer",
    },
    "board_overview": {
        "verdict": "what is known of the board; unknown once its agent is silent or has not confirmed it for 3 min",
        "use_status": "use; idle again when the lock's deadline is over",
        "is_locked": "1 when locked and the deadline is to come",
        "since": "when the verdict began, or when it was no longer confirmed",
    },
}
"""Meanings of columns in one table."""
for _table in ("board_usage", "losses", "dead_letters", "streams"):
    OWN.setdefault(_table, {})["number"] = "order of writing"

INDEXES = {
    "test_pcs_hostname": "two PCs that are not retired never share a host name, unless flagged",
    "test_pcs_ip_address": "a configured address belongs to one PC",
    "test_pcs_observed_ip": "an observed address belongs to its newest reporter",
    "test_pcs_created_at": "PCs by age",
    "test_pcs_os_version": "PCs by operating system",
    "test_pcs_last_heartbeat_at": "PCs by status: ONLINE and OFFLINE follow from it",
    "test_pcs_maintenance": "PCs in maintenance",
    "relays_name": "names of relays are unique",
    "relays_endpoint": "one relay at an address, TCP port and unit",
    "relays_mac_address": "hardware addresses are unique",
    "boards_serial": "serial numbers are unique",
    "boards_test_farm": "boards of a test farm",
    "boards_project": "boards of a project",
    "boards_platform": "boards of a platform",
    "boards_test_pc": "boards of a PC",
    "boards_is_locked": "locked boards",
    "boards_use_status": "boards by use",
    "boards_created_at": "newest boards",
    "boards_error": "boards in error",
    "boards_deactivated": "deactivated boards",
    "boards_lock_deadline": "locks by their end",
    "board_capabilities_capability": "boards that have a capability",
    "board_current_verdict": "boards by verdict, and for how long: alive ones, dead ones",
    "board_liveness_board": "history of a board",
    "board_liveness_timestamp": "retention",
    "board_minutes_hour": "retention",
    "board_usage_board": "uses of a board",
    "board_usage_ended_at": "uses within a span of time",
    "board_usage_open": "a board has one use at a time",
    "board_verdict_hours_hour": "all boards over a span of time",
    "boots_board": "boots of a board",
    "boots_timestamp": "newest boots, retention",
    "commands_began_at": "newest commands, retention",
    "commands_target": "commands for a board or a port",
    "commands_open": "commands that are not finished",
    "commands_action": "power cycles over a span of time",
    "dead_letters_received_at": "retention",
    "events_timestamp": "newest events, retention",
    "events_subject": "events about a thing",
    "events_test_pc": "events that a PC reported",
    "events_command": "steps of a command",
    "losses_timestamp": "newest losses, retention",
    "pc_stats_test_pc": "samples of a PC over a span of time",
    "pc_stats_status": "PCs that were not well",
    "pc_stats_timestamp": "retention",
    "pc_stats_5m_bucket": "retention",
    "pc_stats_1h_bucket": "all PCs over a span of time",
    "relay_states_port": "history of a port",
    "relay_states_timestamp": "retention",
}
"""What an index is there for."""

TRIGGERS = {
    "relays_mac_address_new": "refuses a `mac_address` that is none",
    "relays_mac_address_set": "refuses a `mac_address` that is none",
    "relay_port_current_new": "dates the drift of a new port",
    "relay_port_current_changed": "dates the beginning of a drift, and forgets it at its end",
    "board_lines_port_taken": "a port that feeds a board is no line",
    "board_lines_port_moved": "a port that feeds a board is no line",
    "board_feeds_port_taken": "a port that is a line feeds no board",
    "board_feeds_port_moved": "a port that is a line feeds no board",
    "test_pcs_deleted": "streams, clocks and current state of a deleted PC go at once; its agent begins anew",
    "relays_deleted": "the current state of its ports goes at once",
    "boards_deleted": "its current state goes at once",
}
"""What a trigger does."""
