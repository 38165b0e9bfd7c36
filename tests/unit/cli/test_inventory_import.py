"""lab.toml out of a spreadsheet, a Django database and labgrid's places: what is taken over, and what is said."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from boardherd.inventory.draft import Draft, Result, render
from boardherd.inventory.from_csv import COLUMNS, from_csv
from boardherd.inventory.from_django import read_database
from boardherd.inventory.from_labgrid import from_labgrid
from boardherd_shared.inventory import Inventory, Lab
from boardherd_shared.settings import ConfigError


def taken(draft: Draft) -> tuple[Lab, Result]:
    """Return the lab that a draft makes, which is good by itself, and what was said."""
    result = render(draft, "lab")
    return Inventory.parse(result.text).lab, result


SHEET = """\
Board;PC;Relay;Port;Board IP;Platform;Capabilities;relay_address;Relay Model;HARDWARE_SERIAL_NUMBER;Colour;Test Farm
J721E #7;PC-01.lab;ETH 1;3;10.0.6.7;J721E;CMD Camera, lidar;10.0.5.21;eth_008_b;S7;red;hlos
J721E #8;pc-01.lab;eth 1;3;10.0.6.8;j721e;;;;S8;;
am68;;;;999.0.0.1;AM68x;;;;S7;;
;pc-02;;;;;;;;;;

Spare;pc-02;eth 1;;;;;;;;;
"""


def test_a_spreadsheet_is_taken_over_whatever_its_columns_look_like() -> None:
    lab, result = taken(from_csv("\ufeff" + SHEET, "boards.csv"))
    assert list(lab.pc) == ["pc-01.lab", "pc-02"]
    assert lab.relay["eth-1"].name == "ETH 1"
    assert (lab.relay["eth-1"].address, lab.relay["eth-1"].driver) == ("10.0.5.21", "devantech")
    first = lab.board["j721e-7"]
    assert (first.name, first.pc, first.platform, first.test_farm) == (
        "J721E #7",
        "pc-01.lab",
        "j721e",
        "HLOS",
    )
    assert first.capabilities == ("CMD", "CAMERA", "lidar")
    assert [feed.name for feed in first.power] == ["eth-1:3"]
    assert lab.codes.capability == ("lidar",)
    assert lab.codes.platform == ("am68x",)
    assert 'the column "Colour" is not known' in result.text
    assert "line 5 names no board: pc-02" in result.text
    assert "# line 7 names the relay eth 1 and no port of it" in result.text


def test_what_collides_is_told_and_stands_as_a_comment() -> None:
    lab, result = taken(from_csv(SHEET, "boards.csv"))
    assert [problem.partition(" (line")[0] for problem in sorted(result.problems)] == [
        'board.am68.board_ip: "999.0.0.1" is no host name and no IP address',
        "board.am68.hardware_serial_number: the serial number S7 is also claimed by j721e-7",
        "board.j721e-8.power.0: eth-1:3 is also claimed by j721e-7",
    ]
    assert lab.board["j721e-8"].power == ()
    assert '# power = ["eth-1:3"]  # eth-1:3 is also claimed by j721e-7 (line ' in result.text
    claimed = next(line for line in result.text.splitlines() if "is also claimed by j721e-7 (line " in line)
    number = int(claimed.rpartition("line ")[2].rstrip(")"))
    assert result.text.splitlines()[number - 1] in {'power = ["eth-1:3"]', 'hardware_serial_number = "S7"'}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_separators_are_found(delimiter: str) -> None:
    text = f"pc{delimiter}NAME\npc-01{delimiter}evm-07\n"
    assert taken(from_csv(text, "x.csv"))[0].board["evm-07"].pc == "pc-01"


def test_a_sheet_without_boards_is_refused_with_the_columns_that_are_known() -> None:
    with pytest.raises(
        ConfigError, match=r'x\.csv: there is no column "board"; known columns are board, uuid, pc'
    ):
        from_csv("colour\nred\n", "x.csv")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.fixed_dictionaries({key: st.text(max_size=12) for key in COLUMNS}), max_size=4))
def test_whatever_the_cells_hold_the_result_is_good(rows: list[dict[str, str]]) -> None:
    import csv
    import io

    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(COLUMNS))
    writer.writeheader()
    writer.writerows([{key: value.replace("\0", "") for key, value in row.items()} for row in rows])
    lab, _ = taken(from_csv(out.getvalue(), "x.csv"))
    assert len(lab.board) <= len(rows)


BOARD, OTHER, PC, RELAY, TWIN = (f"0b6b5f3e8a524ef19f2c2a6f0f6c8a{number}" for number in range(11, 16))
DJANGO = f"""
CREATE TABLE farm_capability (id char(32) PRIMARY KEY, name varchar(50), description text, is_active bool);
CREATE TABLE farm_testpc (id char(32) PRIMARY KEY, hostname varchar(255), ip_address char(39), domain_name varchar(255),
    status varchar(20), os_version varchar(50), location varchar(200), comment text, created_at datetime);
CREATE TABLE farm_relay (id char(32) PRIMARY KEY, relay_name varchar(100), model_type varchar(50), status varchar(20),
    location varchar(200), ip_address char(39), mac_address varchar(17), port_count integer);
CREATE TABLE farm_board (id char(32) PRIMARY KEY, name varchar(100), hardware_serial_number varchar(100),
    project varchar(50), platform varchar(50), device_type varchar(50), pg_version varchar(100),
    execution_engine varchar(100), sdk_version varchar(100), test_farm varchar(50), status varchar(20), is_alive bool,
    is_locked bool, board_ip char(39), relay_id char(32), relay_number integer, test_pc_id char(32),
    location varchar(200), description text, notes text, created_at datetime, updated_at datetime);
CREATE TABLE farm_board_capabilities (id integer PRIMARY KEY, board_id char(32), capability_id char(32));
CREATE TABLE auth_user (id integer PRIMARY KEY, username text);
INSERT INTO farm_capability VALUES ('c1', 'CAMERA', 'Camera Testing', true), ('c2', 'CMD', '', false);
INSERT INTO farm_testpc VALUES ('{PC}', 'pc-01', '10.0.4.1', 'pc-01.lab', 'ONLINE', 'ubuntu_22_04', 'b 3', '', NULL);
INSERT INTO farm_relay VALUES
    ('{RELAY}', 'Relay 1', 'ETH_008_B', 'ACTIVE', '', '10.0.5.21', '00:04:A3:12:34:56', 8),
    ('{TWIN}', 'Relay 2', 'CUSTOM', 'INACTIVE', NULL, '10.0.5.21', NULL, 8);
INSERT INTO farm_board VALUES
    ('{BOARD}', 'J721E #7', 'S7', 'perception', 'j721e', 'EVM', 'PG2.0', '', '10.01', 'HLOS', 'IDLE', true, true,
     '10.0.6.7', '{RELAY}', 3, '{PC}', '', 'line one
line two', 'fan "loud"', NULL, NULL),
    ('{OTHER}', 'J721E #7', '', '', 'j721e', 'EVM', '', '', '', '', 'DEACTIVATED', false, false,
     NULL, '{RELAY}', 3, NULL, '', '', '', NULL, NULL);
INSERT INTO farm_board_capabilities VALUES (1, '{BOARD}', 'c1'), (2, '{BOARD}', 'c2');
"""


def as_uuid(text: str) -> str:
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "db.sqlite3"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(DJANGO)
    return path


def check_django(lab: Lab, result: Result) -> None:
    first, second = lab.board["j721e-7"], lab.board["j721e-7-2"]
    assert (first.uuid, second.uuid) == (as_uuid(BOARD), as_uuid(OTHER))
    assert (lab.pc["pc-01"].uuid, lab.pc["pc-01"].ip) == (as_uuid(PC), "10.0.4.1")
    assert (lab.relay["relay-1"].uuid, lab.relay["relay-1"].mac) == (as_uuid(RELAY), "00:04:A3:12:34:56")
    assert (first.pc, first.test_farm, first.project, first.board_ip) == (
        "pc-01",
        "HLOS",
        "perception",
        "10.0.6.7",
    )
    assert first.capabilities == ("CAMERA", "CMD")
    assert first.description == "line one\nline two"
    assert [feed.name for feed in first.power] == ["relay-1:3"]
    assert (second.name, second.power) == (None, ())
    assert [problem.partition(" (line")[0] for problem in sorted(result.problems)] == [
        'board.j721e-7-2.name: the name "J721E #7" is also claimed by j721e-7',
        "board.j721e-7-2.power.0: relay-1:3 is also claimed by j721e-7",
        "relay.relay-2.address: the address 10.0.5.21 is also claimed by relay-1",
    ]
    for words in (
        "sdk_version is 10.01; set with: boardherd set j721e-7 --sdk-version",
        'notes is fan "loud"; set with: boardherd set j721e-7 --note',
        "it is locked there; locks are not taken over",
        "it is deactivated there; deactivate it with: boardherd deactivate j721e-7-2",
        "os_version was ubuntu_22_04; the agent finds it out",
        "the capability CMD is not active there",
    ):
        assert f"# {words}" in result.text or f"# not taken over: {words}" in result.text, words


def test_a_django_database_is_taken_over_with_its_uuids(database: Path) -> None:
    before = database.read_bytes()
    check_django(*taken(read_database(str(database))))
    assert database.read_bytes() == before


def test_the_app_is_found_by_inspection_and_asked_for_when_there_are_several(database: Path) -> None:
    with closing(sqlite3.connect(database)) as db:
        for table in ("board", "relay", "testpc"):
            db.execute(f"CREATE TABLE other_{table} AS SELECT * FROM farm_{table}")
    with pytest.raises(ConfigError, match=r"tables of several apps \(farm, other\); say which with --app"):
        read_database(str(database))
    assert "j721e-7" in taken(read_database(str(database), "other"))[0].board
    with pytest.raises(ConfigError, match="has no tables lab_board, lab_relay and lab_testpc"):
        read_database(str(database), "lab")


def test_what_is_no_such_database_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_database(str(tmp_path / "no.db"))
    (tmp_path / "x.db").write_text("no database at all, " * 100)
    with pytest.raises(ConfigError, match=r"x\.db: is no database of SQLite that can be read"):
        read_database(str(tmp_path / "x.db"))
    sqlite3.connect(tmp_path / "empty.db").close()
    with pytest.raises(ConfigError, match="no tables that end in _board, _relay and _testpc"):
        read_database(str(tmp_path / "empty.db"))


PLACES = """
evm-07:
  acquired: host/ops1
  acquired_resources: []
  aliases: [j7]
  allowed: []
  changed: 1700000000.0
  comment: the camera bench
  created: 1600000000.0
  matches:
  - {cls: NetworkPowerPort, exporter: pc-01, group: evm-07, name: null, rename: null}
  - {cls: NetworkSerialPort, exporter: pc-01, group: evm-07, name: null, rename: null}
  - {cls: USBVideo, exporter: pc-01, group: evm-07, name: null, rename: cam}
  reservation: null
  tags: {platform: j721e, farm: north}
evm-08:
  matches: ["*/evm-08/*", "pc-02/gone/NetworkPowerPort"]
  tags: {}
"""
RESOURCES = """
pc-01:
  evm-07:
    NetworkPowerPort:
      {acquired: evm-07, avail: true, cls: NetworkPowerPort, params: {host: 10.0.5.21, index: 3, model: eth008}}
    NetworkSerialPort: {avail: true, cls: NetworkSerialPort, params: {host: pc-01, port: 4001, speed: 9600, extra: {}}}
    USBVideo: {avail: true, cls: USBVideo, params: {busnum: 1}}
pc-02.lab.example:
  evm-08:
    main: {cls: NetworkPowerPort, avail: true, params: {host: strip, index: 0, model: shelly_gen1}}
    aux: {cls: PDUDaemonPort, avail: true, params: {host: pdud, pdu: apc-1, index: 12}}
    odd: {cls: NetworkPowerPort, avail: true, params: {host: box, index: 4, model: homemade}}
    RawSerialPort: {cls: RawSerialPort, avail: true, params: {port: /dev/serial/by-id/usb-FTDI-if00, speed: 115200}}
    NetworkService: {cls: NetworkService, avail: true, params: {address: 10.0.6.8, username: root}}
"""


def labgrid(places: str = PLACES, resources: str | None = RESOURCES) -> Draft:
    offered: Any = yaml.safe_load(resources) if resources else None
    return from_labgrid(yaml.safe_load(places), offered, "places.yaml")


def test_labgrids_places_become_boards_and_its_exporters_test_pcs() -> None:
    lab, result = taken(labgrid())
    assert result.problems == ()
    assert list(lab.pc) == ["pc-01", "pc-02"]
    first, second = lab.board["evm-07"], lab.board["evm-08"]
    assert (first.pc, first.platform, first.description) == ("pc-01", "j721e", "the camera bench")
    assert (first.serial_port, first.serial_baud) == ("rfc2217://pc-01:4001", 9600)
    assert [feed.name for feed in first.power] == ["10.0.5.21:3"]
    assert lab.relay["10.0.5.21"].driver == "devantech"
    assert (second.pc, second.board_ip, second.serial_port) == ("pc-02", "10.0.6.8", "usb-FTDI-if00")
    assert sorted(feed.name for feed in second.power) == ["apc-1:12", "box:4", "strip:1"]
    assert (lab.relay["apc-1"].kind, lab.relay["apc-1"].port_count) == ("pdudaemon", 12)
    assert lab.relay["apc-1"].options == {"pdu": "apc-1"}
    for words in (
        "tag farm = north",
        "aliases: j7",
        "acquired by host/ops1 there; locks are not taken over",
        "pc-01/evm-07/USBVideo/USBVideo has no counterpart here",
        "match pc-02/gone/NetworkPowerPort: no such resource is known",
        "labgrid calls it homemade; say with which driver it is switched",
    ):
        assert f"# {words}" in result.text, words


def test_an_exporters_configuration_will_do_in_place_of_the_coordinators_resources() -> None:
    exporter = """
evm-07:
  location: rack 3
  NetworkPowerPort: {model: gude, host: 10.0.5.42, index: 2}
  console: {cls: RawSerialPort, port: /dev/ttyUSB0}
"""
    lab, _ = taken(labgrid(PLACES.replace("cls: NetworkSerialPort", "cls: RawSerialPort"), exporter))
    assert [feed.name for feed in lab.board["evm-07"].power] == ["10.0.5.42:2"]
    assert lab.board["evm-07"].serial_port == "/dev/ttyUSB0"


def test_places_without_resources_keep_what_they_have() -> None:
    lab, result = taken(labgrid(resources=None))
    assert lab.board["evm-07"].pc == "pc-01"
    assert "# not taken over: no resources were given" in result.text


def test_what_are_no_places_is_said_so() -> None:
    for text in ("[1, 2]", "just text", "a: 1"):
        with pytest.raises(ConfigError, match=r"places\.yaml: these are no places of labgrid"):
            labgrid(text)
