"""A lab that Ansible installs on this machine: each host is a folder, nothing outside of it is touched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from support.ports import free_port

ROOT = Path(__file__).parents[2]
ANSIBLE = ROOT / "ansible"
BIN = Path(sys.executable).parent

LAB = """
site = "lab"
defaults.board = { pc = "pc-01" }
pc.pc-01 = { rack = "r1" }
pc.pc-02 = {}
relay.eth-1 = { model_type = "ETH_008_B", address = "127.0.0.1", password = "secret:eth-1" }

[board.evm-07]
power = ["eth-1:3"]

[board.evm-09]
pc = "pc-02"
power = ["eth-1:4"]
"""


@dataclass(frozen=True)
class Run:
    """What a playbook run said: its text, and the counts of its recap by host."""

    code: int
    text: str

    def count(self, what: str) -> dict[str, int]:
        return {
            host: int(number)
            for host, number in re.findall(rf"^(\S+)\s+: ok=.*\b{what}=(\d+)", self.text, re.MULTILINE)
        }


class Controller:
    """A machine that runs Ansible: an inventory, a lab.toml, and hosts that are folders of this machine."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.listener = free_port()
        (home / "lab.toml").write_text(LAB)
        (home / "inventory.yml").write_text(yaml.safe_dump(self._inventory()))

    def _inventory(self) -> dict[str, object]:
        places = {
            "boardherd_prefix": f"{self.home}/hosts/{{{{ inventory_hostname_short }}}}",
            "boardherd_manage_services": "false",  # as text, which is what "-e" on the command line gives
            "boardherd_become": "false",
            "boardherd_venv": sys.prefix,
            "boardherd_lab_file": "{{ inventory_dir }}/lab.toml",
            "boardherd_broker_url": f"mqtt://127.0.0.1:{self.listener}",
            "agent_relay_passwords": {"eth-1": "let me in"},
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
        }
        broker = {
            "mosquitto_listeners": [{"port": self.listener, "address": "127.0.0.1"}],
            "mosquitto_operators": ["alice", "bob"],
        }
        groups = {
            "brokers": {"hosts": {"server.example": broker}},
            "collectors": {"hosts": {"server.example": None}},
            "test_pcs": {"hosts": {"pc-01.example": None, "PC-02": {"agent_process_patterns": ['say "hi"']}}},
        }
        return {"all": {"vars": places, "children": groups}}

    def etc(self, host: str) -> Path:
        return self.home / "hosts" / host / "etc"

    def password(self, account: str) -> str:
        return (self.home / "secrets" / account).read_text().strip()

    def play(self, *arguments: str) -> Run:
        command = [str(BIN / "ansible-playbook"), "-i", str(self.home / "inventory.yml"), *arguments]
        return run_ansible(command, self.home)


def run_ansible(command: list[str], home: Path) -> Run:
    """Run a program of Ansible in the project's folder; everything it keeps goes below ``home``."""
    environment = os.environ | {
        "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
        "ANSIBLE_HOME": str(home / ".ansible"),
        "ANSIBLE_NOCOLOR": "1",
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        command, cwd=ANSIBLE, env=environment, capture_output=True, text=True, check=False, timeout=110
    )
    return Run(done.returncode, done.stdout + done.stderr)
