"""The doctor as somebody calls it: a whole lab, real accounts and rights, and the agent of this very PC."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.accounts import COLLECTOR, WORD, broker_with, rights_of_operator, rights_of_pc
from support.operator import BOARDHERD, Operator
from support.ports import free_port


def run(*words: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BOARDHERD, *words], check=False, capture_output=True, text=True, timeout=60, env=env
    )


def doctor(directory: Path, *words: str) -> tuple[int, Any]:
    """Run the doctor of somebody without any configuration; return exit code and document."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BOARD")}
    own = {"XDG_RUNTIME_DIR": str(directory), "XDG_CONFIG_HOME": str(directory), "NO_COLOR": "1"}
    nowhere = ["--api", f"http://127.0.0.1:{free_port()}", "--site", "lab", "--json"]
    done = run("doctor", *nowhere, *words, env=kept | own)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def whats(document: Any) -> list[str]:
    return [finding["what"] for finding in document["findings"]]


def test_a_lab_that_runs_has_nothing_wrong_but_its_missing_accounts(demo: Operator) -> None:
    """Nothing but what this machine does not permit, and a broker that lets everybody in."""
    done = run("doctor", "--json", env=demo.env)
    document = json.loads(done.stdout)
    forged = "the account of everybody may acknowledge for the collector and command in another's name"
    no_ping = "test PCs that may not ping"
    assert {it["what"] for it in document["findings"] if it["level"] == "fail"} <= {no_ping}
    assert forged in whats(document)
    assert document["seat"]["collector"]["version"] == document["seat"]["version"]
    assert done.returncode == (no_ping in whats(document))
    text = run("doctor", env=demo.env)
    assert "by the word of the collector" in text.stdout
    assert f"WARN  {forged}\n  ->  docs/install.md" in text.stdout
    assert text.returncode == done.returncode


def test_rights_are_told_as_the_broker_grants_them(tmp_path: Path) -> None:
    """SEC-1: an operator with his own block of rights, and others with too few and too many."""
    accounts = {
        "ops1": rights_of_operator("ops1"),
        "ops2": ["read boardherd/v1/lab/#"],
        "ops3": ["readwrite #"],
        "collector": COLLECTOR,
    }
    with broker_with(tmp_path, accounts) as broker:
        found = {
            who: whats(doctor(tmp_path, "--broker", f"mqtt://{who}:{WORD}@127.0.0.1:{broker.port}")[1])
            for who in ("ops1", "ops2", "ops3")
        }
    rights = {
        who: [it for it in said if "not let through" in it or "may " in it] for who, said in found.items()
    }
    assert rights == {
        "ops1": [],
        "ops2": ["commands of ops2 are not let through"],
        "ops3": ["the account ops3 may acknowledge for the collector and command in another's name"],
    }


def test_a_wrong_password_is_told_and_nothing_is_guessed_beyond_it(tmp_path: Path) -> None:
    with broker_with(tmp_path, {"ops1": rights_of_operator("ops1")}) as broker:
        code, document = doctor(tmp_path, "--broker", f"mqtt://ops1:pear@127.0.0.1:{broker.port}")
    assert code == 1
    assert any("check user name and password" in it for it in whats(document))


def test_the_agent_of_this_pc_tests_itself_beside(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text(
        'site = "lab"\npc.pc-01 = {}\n'
        f'relay.eth-1 = {{ kind = "devantech", address = "127.0.0.1", tcp_port = {free_port()} }}\n'
        'board.evm-07 = { pc = "pc-01", power = ["eth-1:3"] }\n'
    )
    config = tmp_path / "agent.toml"
    with broker_with(
        tmp_path, {"pc-01": rights_of_pc("pc-01"), "ops1": rights_of_operator("ops1")}
    ) as broker:
        config.write_text(
            f'pc = "pc-01"\ninventory = "{tmp_path}/lab.toml"\nstate_dir = "{tmp_path}"\nsocket = "{tmp_path}/s"\n'
            f'[broker]\nurl = "mqtt://127.0.0.1:{broker.port}"\nusername = "pc-01"\npassword = "{WORD}"\n'
        )
        code, document = doctor(
            tmp_path, "--broker", f"mqtt://ops1:{WORD}@127.0.0.1:{broker.port}", "--agent-config", str(config)
        )
    assert code == 1
    own = [it for it in document["findings"] if it["about"] == ["pc-01, this PC"]]
    assert [it["what"] for it in own if it["level"] == "fail" and "icmp" not in it["what"]] == [
        next(it["what"] for it in own if it["what"].startswith("relay eth-1: "))
    ]


def test_a_configuration_that_makes_no_sense_is_told_in_the_agents_words(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text('pc = "pc-01"\ninventry = "x"\n')
    _, document = doctor(
        tmp_path, "--broker", f"mqtt://127.0.0.1:{free_port()}", "--agent-config", str(config)
    )
    [finding] = [it for it in document["findings"] if "cannot test itself" in it["what"]]
    assert "inventry" in finding["what"]
    assert "--check-config" in finding["remedy"]
