"""A spreadsheet with a line for each board, as lab.toml. Pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping

from boardherd.inventory.draft import Draft, capability, platform
from boardherd_shared.near import did_you_mean
from boardherd_shared.settings import ConfigError

COLUMNS: Mapping[str, str] = {
    "board": "name of the board; the only column that must be there",
    "uuid": "its key in another database",
    "pc": "host name of the test PC that controls it",
    "pc_ip": "address of that PC",
    "rack": "rack of that PC",
    "relay": "name of the relay that powers it",
    "port": "port of the relay, from 1",
    "relay_model": "POWER_EXTENSION, ETH_008_A, ETH_008_B, ETH_016 or CUSTOM",
    "relay_kind": "the driver, where the model does not tell",
    "relay_address": "host name or IP address of the relay",
    "relay_mac": "hardware address of the relay",
    "relay_ports": "how many ports it has",
    "board_ip": "address of the board",
    "serial_port": "its console",
    "hardware_serial_number": "serial number",
    "platform": "platform code",
    "device_type": "EVM, SOCKET_BOARD, BREAKOUT_BOARD or CUSTOM",
    "test_farm": "HLOS, RTOS, BAREMETAL, STAGING or INTEGRATION",
    "project": "project using it",
    "pg_version": "silicon revision",
    "execution_engine": "what runs tests on it",
    "capabilities": "codes with spaces, commas, semicolons or | between them",
    "location": "where it is",
    "description": "what it is, at length",
}
"""Every column that is understood, with its meaning. Order, case, spaces and underscores do not matter."""

_ALIASES = {
    "name": "board",
    "boardname": "board",
    "ip": "board_ip",
    "serial": "hardware_serial_number",
    "console": "serial_port",
    "relaynumber": "port",
    "relayport": "port",
    "hostname": "pc",
    "testpc": "pc",
}
_BOARD = ("board_ip", "serial_port", "hardware_serial_number", "project", "pg_version", "execution_engine",
          "location", "description", "uuid")  # fmt: skip


def from_csv(text: str, source: str) -> Draft:
    """Return what a spreadsheet says; columns may be separated by commas, semicolons or tabs.

    Raises ConfigError in words for a text that has no column for boards.
    """
    text = text.removeprefix("\ufeff")
    draft = Draft(source)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    header = [name.strip() for name in next(reader, [])]
    columns = [_column(name) for name in header]
    if "board" not in columns:
        raise ConfigError(f'{source}: there is no column "board"; known columns are {", ".join(COLUMNS)}')
    for name, column in zip(header, columns, strict=True):
        if column is None and name:
            draft.notes.append(f'the column "{name}" is not known{did_you_mean(name, COLUMNS)}')
    for number, row in _rows(reader):
        _add(draft, number, {key: cell.strip() for key, cell in zip(columns, row, strict=False) if key})
    return draft


def _rows(reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    for number, row in enumerate(reader, 2):
        if any(cell.strip() for cell in row):
            yield number, row


def _delimiter(text: str) -> str:
    header = text.split("\n", 1)[0]
    return max(",;\t", key=header.count)


def _column(name: str) -> str | None:
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    known = {column.replace("_", ""): column for column in COLUMNS}
    return known.get(plain) or _ALIASES.get(plain)


def _add(draft: Draft, number: int, row: Mapping[str, str]) -> None:
    if not row.get("board"):
        draft.notes.append(f"line {number} names no board: {', '.join(filter(None, row.values()))}")
        return
    keys: dict[str, object] = {key: row.get(key) for key in _BOARD}
    pc = draft.once("pc", row["pc"], ip=row.get("pc_ip"), rack=row.get("rack")) if row.get("pc") else None
    keys["pc"] = pc.id if pc else None
    keys["platform"] = platform(row.get("platform"))
    keys["device_type"] = (row.get("device_type") or "").upper().replace(" ", "_")
    keys["test_farm"] = (row.get("test_farm") or "").upper()
    words = re.split(r"[\s,;|]+", row.get("capabilities") or "")
    keys["capabilities"] = list(dict.fromkeys(capability(word) for word in words if word))
    if row.get("relay"):
        relay = _relay(draft, row)
        keys["power"] = [f"{relay}:{row['port']}"] if row.get("port") else None
    board = draft.add("board", row["board"], **keys)
    if row.get("relay") and not row.get("port"):
        board.notes.append(f"line {number} names the relay {row['relay']} and no port of it")


def _relay(draft: Draft, row: Mapping[str, str]) -> str:
    ports = row.get("relay_ports") or ""
    return draft.once(
        "relay",
        row["relay"],
        kind=row.get("relay_kind"),
        model_type=(row.get("relay_model") or "").upper().replace(" ", "_"),
        address=row.get("relay_address"),
        mac=row.get("relay_mac"),
        port_count=int(ports) if ports.isascii() and ports.isdigit() else None,
    ).id
