"""`boardherd inventory`: check, diff and apply as people type them, with a real collector and a real agent."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from boardherd_agent.devices import drivers
from boardherd_shared.inventory import Inventory
from support.agent import AgentProcess
from support.broker import Mosquitto
from support.collector import CollectorProcess
from support.telemetry import LAB

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

GOOD = 'site = "lab"\npc.pc-01 = {}\nrelay.eth-1 = { model_type = "ETH_008_B", address = "10.0.5.21" }\n'
MORE = '[board.evm-09]\npc = "pc-01"\npower = ["eth-1:5"]\n'


def boardherd(
    *words: str, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BOARD")}
    own = {"XDG_RUNTIME_DIR": str(cwd), "XDG_CONFIG_HOME": str(cwd), "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-m", "boardherd", "inventory", *words],
        cwd=cwd, env=kept | own | dict(env or {}), stdin=subprocess.DEVNULL,
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_a_good_file_is_summed_up_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text(GOOD)
    done = boardherd("check", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "lab.toml: good; site lab: 1 PCs, 1 relays, 0 boards\n",
        "",
    )
    answer = json.loads(boardherd("check", "--json", cwd=tmp_path).stdout)
    assert answer["hash"] == Inventory.parse(GOOD).hash
    assert (answer["good"], answer["faults"], answer["unchecked"]) == (True, [], "")


def test_every_fault_is_a_line_on_standard_error_and_the_exit_code_is_2(tmp_path: Path) -> None:
    """OPS-4: the keys of relay drivers are checked too, without any secret and without a board on the relay."""
    (tmp_path / "bad.toml").write_text(
        GOOD
        + 'relay.strip-1 = { kind = "shely", address = "10.0.5.22" }\n'
        + 'relay.strip-2 = { kind = "shelly", address = "10.0.5.23", pasword = "secret:x" }\n'
        + 'relay.apc-1 = { kind = "snmp", profile = "apc", address = "10.0.5.24", community = "secret:y" }\n'
        + 'relay.apc-2 = { kind = "snmp", profile = "apc-rpdu2", address = "10.0.5.25", community = "secret:y" }\n'
        + 'relay.supply = { kind = "command", program = "../../bin/sh" }\n'
        + 'relay.nothing = { model_type = "CUSTOM" }\n'
        + '[board.evm-07]\npc = "pc-01"\npower = ["nothing:1"]\n'
    )
    done = boardherd("check", "bad.toml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    kinds = ", ".join(drivers.kinds())
    lines = done.stderr.splitlines()
    assert lines[0] == (
        f'bad.toml:4 relay.strip-1.kind: there is no driver "shely"; known kinds are {kinds}; did you mean "shelly"?'
    )
    assert lines[1] == 'bad.toml:5 relay.strip-2.pasword: is not a known key here; did you mean "password"?'
    assert lines[2].startswith("bad.toml:6 relay.apc-1.profile: should be 'generic', 'apc-spdu'")
    assert lines[3] == (
        'bad.toml:8 relay.supply.program: "../../bin/sh" does not have the right form: '
        "file name of the program; where it is, the agent knows"
    )
    assert lines[4] == f"bad.toml:9 relay.nothing: kind is required; known kinds are {kinds}"
    assert len(lines) == 5
    answer = boardherd("check", "bad.toml", "--json", cwd=tmp_path)
    assert answer.returncode == 2
    assert json.loads(answer.stdout)["faults"] == lines


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    done = boardherd("check", "no.toml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "no.toml: cannot be read: No such file or directory\n")
    nowhere = ("--agent-config", "a.toml", "--collector-config", "c.toml")
    done = boardherd("apply", *nowhere, cwd=tmp_path)
    assert done.returncode == 2
    assert "neither a.toml nor c.toml is here" in done.stderr


def test_two_files_are_compared(tmp_path: Path) -> None:
    (tmp_path / "old.toml").write_text(GOOD)
    (tmp_path / "lab.toml").write_text(GOOD + MORE)
    done = boardherd("diff", "--against", "old.toml", cwd=tmp_path)
    assert done.stdout == "+ board evm-09 (pc-01, eth-1:5)\n1 added\n"
    (tmp_path / "lab.toml").write_text(GOOD + "# nothing else\n")
    done = boardherd("diff", "--against", "old.toml", cwd=tmp_path)
    assert done.stdout == "nothing that is shown differs: comments, the order, or a value that is not shown\n"
    (tmp_path / "lab.toml").write_text(GOOD + MORE)
    [change] = json.loads(boardherd("diff", "--against", "old.toml", "--json", cwd=tmp_path).stdout)[
        "changes"
    ]
    assert (change["kind"], change["id"], change["what"]) == ("board", "evm-09", "added")


class Machine:
    """A machine with a collector and an agent, and a systemctl that knows how to reload them."""

    def __init__(self, directory: Path, broker: str, site: str) -> None:
        self.directory, self.site = directory, site
        self.lab = LAB.replace('site = "lab"', f'site = "{site}"')
        self.collector = CollectorProcess(directory, broker, site)
        self.agent = AgentProcess(directory, broker)
        self.in_force = directory / "lab.toml"
        self._broker = broker
        self._bin = directory / "bin"

    def install_systemctl(self) -> None:
        """Put a stand-in for systemd's own program onto the path: it does what the units say."""
        self._bin.mkdir()
        pids = {
            "boardherd-collector.service": self.collector.process,
            "boardherd-agent.service": self.agent.process,
        }
        cases = "\n".join(f"    {unit}) kill -HUP {it.pid} ;;" for unit, it in pids.items() if it)
        script = self._bin / "systemctl"
        script.write_text(
            f'#!/bin/sh\ncase "$1" in\n  is-active) exit 0 ;;\n  reload) case "$2" in\n{cases}\n  esac ;;\nesac\n'
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)

    def __call__(self, *words: str, agent: bool = True) -> subprocess.CompletedProcess[str]:
        places = ["--collector-config", str(self.collector.config), "--agent-config"]
        places.append(str(self.directory / ("agent.toml" if agent else "none.toml")))
        api = f"http://127.0.0.1:{self.collector.port}"
        env = {
            "BOARDHERD_API": api,
            "BOARDHERD_BROKER": self._broker,
            "PATH": f"{self._bin}:{os.environ['PATH']}",
        }
        return boardherd(*words, *(places if words[0] == "apply" else []), cwd=self.directory, env=env)


def test_a_file_is_put_in_force_and_the_daemons_say_so(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """OPS-4: what was there stays as it was until everything is in order, and is kept beside the new file."""
    machine = Machine(tmp_path, mosquitto.url, "apply")
    with machine.collector, machine.agent:
        machine.install_systemctl()
        new = tmp_path / "new.toml"
        new.write_text(machine.lab + MORE)
        assert machine("diff", "new.toml").stdout == "+ board evm-09 (pc-01, eth-1:5)\n1 added\n"

        asked = machine("apply", "new.toml")
        assert (asked.returncode, asked.stderr) == (2, "boardherd: nobody can be asked here; say --yes\n")
        assert machine.in_force.read_text() == machine.lab

        machine.in_force.chmod(0o640)
        done = machine("apply", "new.toml", "--yes")
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines[:3] == ["+ board evm-09 (pc-01, eth-1:5)", "1 added", f"written: {machine.in_force}"]
        hash_ = Inventory.read(new).hash
        assert sorted(line.partition(" after ")[0] for line in lines[3:]) == [
            f"collector: acts on {hash_}",
            f"pc-01: acts on {hash_}",
        ]
        assert machine.in_force.read_text() == new.read_text()
        assert stat.S_IMODE(machine.in_force.stat().st_mode) == 0o640
        assert (tmp_path / "lab.toml.bak").read_text() == machine.lab
        assert (tmp_path / "lab.toml.log").read_text().endswith(f"-> {hash_}\n")
        assert not list(tmp_path.glob(".lab.toml.*"))
        assert machine("diff", "new.toml").stdout == "no difference\n"

        again = machine("apply", "new.toml", "--yes", "--json")
        assert json.loads(again.stdout)["written"] == []

        new.write_text(new.read_text() + "colour = 1\n")
        refused = machine("apply", "new.toml", "--yes")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "board.evm-09.colour: is not a known key here" in refused.stderr


def test_a_file_that_takes_a_locked_board_away_is_refused_unless_by_force(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """CMD-4: whoever has a board to himself does not lose it to an edit; by force it leaves a trace."""
    machine = Machine(tmp_path, mosquitto.url, "apply-locked")
    with machine.collector, machine.agent:
        machine.install_systemctl()
        (tmp_path / "new.toml").write_text(machine.lab.replace('pc = "pc-01"', 'pc = "pc-02"'))
        machine.collector.until_online("pc-01")
        kept = {key: value for key, value in os.environ.items() if not key.startswith("BOARD")}
        locked = subprocess.run(
            [sys.executable, "-m", "boardherd", "lock", "evm-07", "--for", "1h", "--as", "ops1",
             "--api", f"http://127.0.0.1:{machine.collector.port}", "--broker", mosquitto.url],
            env=kept | {"XDG_RUNTIME_DIR": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)},
            check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert locked.returncode == 0, locked.stderr
        refused = machine("apply", "new.toml", "--yes")
        assert refused.returncode == 4
        assert refused.stderr == (
            "boardherd: boards that are locked would leave this PC: evm-07 (locked by ops1);"
            " wait, or --force with --reason\n"
        )
        assert machine.in_force.read_text() == machine.lab
        assert machine("apply", "new.toml", "--yes", "--force").returncode == 2
        done = machine("apply", "new.toml", "--yes", "--force", "--reason", "pc-01 burns")
        assert done.returncode == 0, done.stderr
        assert "> board evm-07 moves from pc-01 to pc-02" in done.stdout
        assert (tmp_path / "lab.toml.log").read_text().endswith(", by force: pc-01 burns\n")


def test_a_file_of_another_lab_and_boards_that_nobody_can_ask_about_are_refused(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    machine = Machine(tmp_path, mosquitto.url, "apply-blind")
    (tmp_path / "new.toml").write_text(machine.lab.replace("apply-blind", "elsewhere"))
    refused = machine("apply", "new.toml", "--yes")
    assert refused.returncode == 4
    assert 'the file is of the site "elsewhere", this machine of "apply-blind"' in refused.stderr
    (tmp_path / "new.toml").write_text(machine.lab.replace('pc = "pc-01"', 'pc = "pc-02"'))
    refused = machine("apply", "new.toml", "--yes")
    assert refused.returncode == 4, refused
    assert "evm-07 would leave this PC, and who holds them is not known" in refused.stderr
    assert machine.in_force.read_text() == machine.lab
