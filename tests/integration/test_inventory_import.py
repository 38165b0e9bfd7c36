"""`boardherd inventory import` as typed, and out of a real PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from boardherd_shared.inventory import Inventory
from support.postgres import execute, schema

DJANGO = """
CREATE TABLE farm_capability (id uuid PRIMARY KEY, name text, is_active boolean);
CREATE TABLE farm_testpc (id uuid PRIMARY KEY, hostname text, ip_address inet, location text);
CREATE TABLE farm_relay (id uuid PRIMARY KEY, relay_name text, model_type text, ip_address inet, port_count integer);
CREATE TABLE farm_board (id uuid PRIMARY KEY, name text, platform text, is_locked boolean, board_ip inet,
    relay_id uuid, relay_number integer, test_pc_id uuid);
CREATE TABLE farm_board_capabilities (id serial PRIMARY KEY, board_id uuid, capability_id uuid);
INSERT INTO farm_testpc VALUES ('00000000-0000-0000-0000-000000000001', 'pc-01', '10.0.4.1', NULL);
INSERT INTO farm_relay VALUES ('00000000-0000-0000-0000-000000000002', 'eth-1', 'ETH_016', '10.0.5.21', 16);
INSERT INTO farm_board VALUES ('00000000-0000-0000-0000-000000000003', 'EVM 7', 'j721e', true, '10.0.6.7',
    '00000000-0000-0000-0000-000000000002', 11, '00000000-0000-0000-0000-000000000001');
INSERT INTO farm_capability VALUES ('00000000-0000-0000-0000-000000000004', 'CMD', true);
INSERT INTO farm_board_capabilities (board_id, capability_id)
    VALUES ('00000000-0000-0000-0000-000000000003', '00000000-0000-0000-0000-000000000004');
"""


def boardherd(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "boardherd", "inventory", "import", *words],
        cwd=cwd, check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


async def test_postgresql_is_taken_over_with_its_uuids(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server = request.getfixturevalue("postgres_server")
    async with schema(server) as url:
        await execute(url, *filter(str.strip, DJANGO.split(";\n")))
        done = boardherd("django", "--database", url, "--site", "north", "-o", "lab.toml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr.endswith("lab.toml: 1 PCs, 1 relays, 1 boards\n")
    lab = Inventory.read(tmp_path / "lab.toml").lab
    board = lab.board["evm-7"]
    assert (lab.site, board.uuid, board.pc) == ("north", "00000000-0000-0000-0000-000000000003", "pc-01")
    assert [feed.name for feed in board.power] == ["eth-1:11"]
    assert (board.capabilities, board.board_ip) == (("CMD",), "10.0.6.7")
    assert lab.pc["pc-01"].ip == "10.0.4.1"


def test_a_database_that_is_away_is_said_without_its_password(tmp_path: Path) -> None:
    done = boardherd("django", "--database", "postgresql://me:apple@127.0.0.1:1/lab", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("postgresql://127.0.0.1:1/lab cannot be reached: ")
    assert "apple" not in done.stderr


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "boards.csv").write_text("board,pc\nevm-07,pc-01\n")
    done = boardherd("csv", "boards.csv", cwd=tmp_path)
    assert done.returncode == 0
    assert "[board.evm-07]" in done.stdout
    (tmp_path / "lab.toml").write_text("mine")
    done = boardherd("csv", "boards.csv", "-o", "lab.toml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (74, "boardherd: lab.toml cannot be written: File exists\n")
    assert (tmp_path / "lab.toml").read_text() == "mine"


def test_what_is_no_yaml_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "places.yaml").write_text("a: [1\n")
    done = boardherd("labgrid", "places.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("places.yaml: this is no YAML: ")
    assert len(done.stderr.splitlines()) == 1
