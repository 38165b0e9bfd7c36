"""What the collector answers about the past, as rows of words. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from boardherd.holding import lock_on
from boardherd.tables import Cell, Row, Table, Tone, ago, moment
from boardherd_shared.records import Wiring
from boardherd_shared.views import BoardView

Answer = Mapping[str, Any]
"""An object of the JSON API."""

_TONES: dict[str, Tone] = {
    "alive": "good",
    "degraded": "warn",
    "booting": "warn",
    "silent": "bad",
    "unknown": "warn",
    "powered_off": "quiet",
    "succeeded": "good",
    "failed": "bad",
    "interrupted": "bad",
}
_FACTS = (
    ("platform", "platform"), ("test farm", "test_farm"), ("project", "project"), ("type", "device_type"),
    ("serial", "hardware_serial_number"), ("SDK", "sdk_version"), ("silicon", "pg_version"),
    ("engine", "execution_engine"), ("test PC", "test_pc"), ("address", "board_ip"), ("console", "serial_port"),
    ("place", "location"), ("about", "description"), ("notes", "notes"),
)  # fmt: skip


def boards(rows: Sequence[Answer]) -> Table:
    """Return boards with who holds them, and the part to blame."""
    now = time.time()
    headings = (
        "BOARD",
        "NAME",
        "PLATFORM",
        "PC",
        "VERDICT",
        "FOR",
        "BLAME",
        "LOCKED BY",
        "FOR WHAT",
        "UNTIL",
        "WHY",
    )
    cells = tuple(
        (
            Cell(row["id"], "strong"),
            Cell(row["name"] or ""),
            Cell(row["platform"] or "", "quiet"),
            Cell(row["test_pc"] or "", "quiet"),
            _state(row["verdict"]),
            Cell(ago(now - row["since"]) if row["since"] else ""),
            Cell(row["blame"] if row["blame"] not in {None, "nobody"} else "", "bad"),
            Cell(row["lock_owner"] or ""),
            Cell(row["lock_purpose"] or ""),
            Cell(_when(row["lock_deadline"])),
            Cell(row["reason"] or "", "quiet"),
        )
        for row in rows
    )
    return Table(headings, cells, ("PLATFORM", "NAME", "PC"))


def disks(rows: Sequence[Answer]) -> Table:
    """Return PCs whose disk fills."""
    now = time.time()
    cells = tuple(
        (
            Cell(row["pc"], "strong"),
            Cell(f"{row['free_gb']:.1f} GB"),
            Cell(f"{row['gb_per_day']:.2f} GB"),
            Cell(ago(row["full_at"] - now), "bad"),
            Cell(_when(row["full_at"])),
        )
        for row in rows
    )
    return Table(("PC", "FREE", "A DAY", "FULL IN", "AT"), cells)


def facts(detail: Answer, board: BoardView) -> Table:
    """Return what a board is, a line for each thing that is known; ``detail`` is empty without the collector."""
    now = time.time()
    rows = [(Cell(label, "quiet"), Cell(str(detail[key]))) for label, key in _FACTS if detail.get(key)]
    if not detail and board.pc:
        rows.append((Cell("test PC", "quiet"), Cell(board.pc)))
    if able := detail.get("capabilities") or board.capabilities:
        rows.append((Cell("can", "quiet"), Cell(", ".join(able))))
    if held := _held(detail, board, now):
        rows.append((Cell("locked by", "quiet"), Cell(held, "warn")))
    for label, text in (("in error", board.fault), ("out of use", board.deactivated)):
        rows += [(Cell(label, "quiet"), Cell(text, "bad"))] if text else []
    if board.state and board.state.wiring:
        rows.append((Cell("wiring", "quiet"), _wiring(board.state.wiring, now)))
    if board.state and board.state.slow:
        rows.append((Cell("slow boot", "quiet"), Cell(board.state.slow, "warn")))
    return Table(("", ""), tuple(rows))


def _held(detail: Answer, board: BoardView, now: float) -> str:
    if detail.get("is_locked"):
        return f"{detail['lock_owner']} ({detail['lock_purpose']}) until {_when(detail['lock_deadline'])}"
    lock = None if detail else lock_on(board, now)
    return f"{lock.owner} ({lock.use}) until {_when(lock.until)}" if lock else ""


def _wiring(wiring: Wiring, now: float) -> Cell:
    tones: dict[str, Tone] = {"proved": "good", "suspect": "bad"}
    when = f" {ago(now - wiring.at / 1e6)} ago" if wiring.at is not None else ""
    text = f": {wiring.text}" if wiring.text else ""
    return Cell(f"{wiring.state}{when}{text}", tones.get(wiring.state, "quiet"))


_STAGES = ("console_s", "spl_s", "uboot_s", "kernel_s", "login_s", "ping_s", "tcp_s", "ssh_s")


def boots(rows: Sequence[Answer], usual: Answer | None = None) -> Table:
    """Return boots with the seconds to each stage, and last what is usual, if that is told."""
    cells = [_boot(_when(row["at"]), row["times"], row["times"].get("slow") or "") for row in rows]
    if usual and rows:
        cells.append(_boot("usually", usual, ""))
    headings = ("WHEN", *(stage.removesuffix("_s").upper() for stage in _STAGES), "SLOW")
    return Table(headings, tuple(cells), ("TCP", "SPL", "KERNEL"))


def _boot(when: str, times: Answer, slow: str) -> Row:
    stages = (times.get(stage) for stage in _STAGES)
    figures = (Cell("" if took is None else f"{took:.1f} s") for took in stages)
    return (Cell(when, "quiet"), *figures, Cell(slow, "warn"))


def uses(rows: Sequence[Answer]) -> Table:
    """Return who used a board."""
    now = time.time()
    cells = tuple(
        (
            Cell(_when(row["started_at"]), "quiet"),
            Cell(_when(row["ended_at"]) if row["ended_at"] else f"until {_when(row['deadline'])}"),
            Cell(ago((row["ended_at"] or now) - row["started_at"])),
            Cell(row["who"], "strong"),
            Cell(row["purpose"]),
        )
        for row in rows
    )
    return Table(("FROM", "TO", "FOR", "WHO", "WHAT FOR"), cells)


def port_states(rows: Sequence[Answer]) -> Table:
    """Return the states of relay ports."""
    cells = tuple(
        (
            Cell(_when(row["timestamp"]), "quiet"),
            Cell(f"{row['relay']}:{row['port']}", "strong"),
            Cell(row["observed"].upper(), _POWER_TONES[row["observed"]]),
            Cell("" if row["change"] else "still", "quiet"),
            Cell(row["asked"].upper() if row["asked"] != "unknown" else ""),
            Cell(row["switched_by"] or ""),
            Cell(_when(row["switched_at"]), "quiet"),
            Cell("drift" if row["drift"] else "", "bad"),
            Cell(row["reason"]),
        )
        for row in rows
    )
    headings = ("WHEN", "PORT", "STATE", "", "ASKED", "LAST BY", "AT", "", "WHY")
    return Table(headings, cells, ("AT", "LAST BY"))


_POWER_TONES: dict[str, Tone] = {"on": "good", "off": "quiet", "unknown": "warn"}


def liveness(rows: Sequence[Answer]) -> Table:
    """Return the history of a board."""
    cells = tuple(
        (
            Cell(_when(row["timestamp"]), "quiet"),
            _state(row["verdict"]),
            Cell(row["blame"] if row["blame"] != "nobody" else ""),
            Cell("" if row["change"] else "still", "quiet"),
            Cell(f"{row['pc']} (contested)" if row["contested"] else "", "warn"),
            Cell(row["reason"]),
        )
        for row in rows
    )
    return Table(("WHEN", "VERDICT", "BLAME", "", "SAID BY", "WHY"), cells)


def commands(rows: Sequence[Answer]) -> Table:
    """Return commands: who asked for what, why, and what came of it."""
    cells = tuple(
        (
            Cell(_when(row["began_at"]), "quiet"),
            Cell(row["action"], "strong"),
            Cell(row["operator"] + (f" for {row['on_behalf_of']}" if row["on_behalf_of"] else "")),
            Cell(row["target"], "quiet"),
            Cell(row["state"], _TONES.get(row["state"], "warn")),
            Cell(" -> ".join(state for state in (row["before"], row["observed"]) if state)),
            Cell(row["reason"] or ""),
            Cell(row["text"], "quiet"),
        )
        for row in rows
    )
    return Table(
        ("WHEN", "WHAT", "WHO", "TARGET", "OUTCOME", "STATE", "REASON", "SAID"), cells, ("SAID", "TARGET")
    )


def events(rows: Sequence[Answer]) -> Table:
    """Return events; the last words of a console go with the event that they came before."""
    cells = tuple(
        (Cell(_when(row["at"]), "quiet"), Cell(row["subject"], "strong"), Cell(_with_words(row)))
        for row in rows
    )
    return Table(("WHEN", "WHAT", "EVENT"), cells)


def _with_words(row: Answer) -> str:
    words = row.get("words")
    text = str(row["text"])
    return f'{text}; last words "{words[-1]}"' if words and words[-1] not in text else text


def samples(rows: Sequence[Answer]) -> Table:
    """Return single samples of a PC."""
    names = ("cpu_percent", "memory_percent", "disk_percent", "load_1m", "process_count", "temperature_c")
    cells = tuple(
        (
            Cell(_when(row["timestamp"]), "quiet"),
            *(Cell(_figure(row.get(name))) for name in names),
            Cell(row["status"]),
        )
        for row in rows
    )
    return Table(("WHEN", "CPU %", "MEM %", "DISK %", "LOAD", "TESTS", "TEMP", "STATUS"), cells)


def trend(rows: Sequence[Answer]) -> Table:
    """Return rollups of a PC: averages, and the highest where it says more."""
    cells = tuple(
        (
            Cell(_when(row["timestamp"]), "quiet"),
            Cell(str(row["samples"]), "quiet"),
            *(
                Cell(_figure(row["gauges"].get(gauge, {}).get(kind)))
                for gauge, kind in (
                    ("cpu_percent", "avg"),
                    ("cpu_percent", "max"),
                    ("memory_percent", "avg"),
                    ("memory_percent", "max"),
                    ("disk_percent", "max"),
                    ("load_1m", "avg"),
                    ("temperature_c", "max"),
                )
            ),
            Cell(_ill(row), "warn"),
        )
        for row in rows
    )
    headings = ("WHEN", "SAMPLES", "CPU %", "MAX", "MEM %", "MAX", "DISK %", "LOAD", "TEMP", "NOT WELL")
    return Table(headings, cells, ("TEMP", "SAMPLES"))


def report(rows: Iterable[Answer], by: str) -> Table:
    """Return hours and power cycles, a line for each group."""
    headings = (
        by.upper().replace("_", " "),
        "BOARDS",
        "USED h",
        "IDLE h",
        "ALIVE h",
        "DEAD h",
        "OFF h",
        "CYCLES",
        "GOOD",
    )
    cells = tuple(
        (
            Cell(row["name"], "strong"),
            Cell("" if by == "board" else str(row["boards"])),
            *(Cell(f"{row[key]:.1f}") for key in ("used_h", "idle_h", "alive_h", "dead_h", "off_h")),
            Cell(str(row["cycles"])),
            Cell("" if row["success_percent"] is None else f"{row['success_percent']:.0f} %"),
        )
        for row in rows
    )
    return Table(headings, cells)


_SUMS = ("used_h", "idle_h", "alive_h", "dead_h", "off_h", "other_h", "cycles", "cycles_succeeded")


def grouped(rows: Iterable[Answer], by: str) -> list[dict[str, Any]]:
    """Return the sums of a report by ``board``, ``platform``, ``test_farm`` or ``pc``, by the name of the group."""
    groups: dict[str, dict[str, Any]] = {}
    for row in rows:
        name = row[by] or "(none)"
        group = groups.setdefault(name, {"name": name, "boards": 0} | dict.fromkeys(_SUMS, 0))
        group["boards"] += 1
        for key in _SUMS:
            group[key] += row[key]
    for group in groups.values():
        cycles = group["cycles"]
        group["success_percent"] = 100 * group["cycles_succeeded"] / cycles if cycles else None
    return [groups[name] for name in sorted(groups)]


def heading(*parts: tuple[str | None, Tone]) -> Row:
    """Return what stands above the parts of an answer."""
    return tuple(Cell(text, tone) for text, tone in parts if text)


def _state(word: str) -> Cell:
    return Cell(f"● {word.replace('_', ' ')}", _TONES.get(word, ""))


def _when(at: float | None) -> str:
    return "" if at is None else moment(int(at * 1e6), time.time())


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.1f}"


def _ill(row: Answer) -> str:
    counts = ((row["warning"], "warning"), (row["critical"], "critical"))
    return ", ".join(f"{count} {word}" for count, word in counts if count)
