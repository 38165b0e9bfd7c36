"""The Ansible roles: linted, run into a folder of their own, and what they write used by the real programs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import metadata
from pathlib import Path

import pytest
import yaml

from boardherd_agent.devices import programs
from boardherd_agent.devices.drivers import kinds, load
from boardherd_collector.settings import RetentionSettings, RollupSettings, StoreSettings
from boardherd_collector.stores.postgres_address import Address
from support.ansible_lab import ANSIBLE, BIN, LAB, ROOT, Controller, run_ansible

pytestmark = pytest.mark.timeout(300)  # playbooks take their time on a busy machine


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Controller:
    controller = Controller(tmp_path_factory.mktemp("ansible"))
    (controller.home / "programs").mkdir()
    (controller.home / "programs" / "bench-supply").write_text("#!/bin/sh\n")
    variables = controller.home / "host_vars" / "PC-02.yml"
    variables.parent.mkdir()
    variables.write_text('agent_commands_dir: "{{ inventory_dir }}/programs"\nagent_command_line: false\n')
    return controller


@pytest.fixture(scope="module")
def installed(controller: Controller) -> Controller:
    """The whole lab, installed once."""
    first = controller.play("site.yml")
    assert first.code == 0, first.text
    assert set(first.count("changed")) == {"server.example", "pc-01.example", "PC-02"}, first.text
    assert all(first.count("changed").values()), first.text
    return controller


def test_playbook_and_roles_pass_the_strictest_profile_of_ansible_lint(tmp_path: Path) -> None:
    lint = run_ansible(
        [str(BIN / "ansible-lint"), "--offline", "--profile", "production", "--strict"], tmp_path
    )
    assert lint.code == 0, lint.text


def test_the_example_inventory_fits_the_playbook(controller: Controller) -> None:
    example = str(ANSIBLE / "inventory.example.yml")
    syntax = run_ansible(
        [str(BIN / "ansible-playbook"), "--syntax-check", "-i", example, "site.yml"], controller.home
    )
    assert syntax.code == 0, syntax.text
    assert "WARNING" not in syntax.text
    groups = yaml.safe_load(Path(example).read_text())["all"]["children"]
    plays = yaml.safe_load((ANSIBLE / "site.yml").read_text())
    assert {play["hosts"] for play in plays} == set(groups)


def test_a_second_run_changes_nothing(installed: Controller) -> None:
    second = installed.play("site.yml")
    assert second.code == 0, second.text
    assert set(second.count("changed").values()) == {0}, second.text
    assert set(second.count("failed").values()) == {0}


def test_a_check_run_is_possible_before_the_first_real_one_and_writes_nothing(
    installed: Controller, tmp_path: Path
) -> None:
    """Services are to be managed here, though there is no user, no unit and no program to link to yet."""
    nowhere = tmp_path / "nowhere"
    fresh = {
        "boardherd_prefix": str(nowhere),
        "boardherd_manage_services": True,
        "programs_manage_packages": False,
    }
    where = ["--tags", "collector,agent", "--limit", "server.example,pc-01.example"]
    check = installed.play("site.yml", *where, "--check", "--diff", "-e", json.dumps(fresh))
    assert check.code == 0, check.text
    assert set(check.count("failed").values()) == {0}
    assert not nowhere.exists()
    assert installed.password("collector") not in check.text


def test_the_agent_is_told_what_the_inventory_says(installed: Controller) -> None:
    etc = installed.etc("pc-01") / "boardherd"
    config = tomllib.loads((etc / "agent.toml").read_text())
    assert config["pc"] == "pc-01"
    assert config["inventory"] == str(etc / "lab.toml")
    assert (etc / "lab.toml").read_text() == LAB
    assert config["socket"] == str(etc.parents[1] / "run" / "boardherd" / "agent.sock")
    assert config["broker"] == {
        "url": f"mqtt://127.0.0.1:{installed.listener}",
        "username": "pc-01",
        "password_file": str(etc / "agent.password"),
    }
    assert (etc / "agent.password").read_text().strip() == installed.password("pc-01")
    assert (etc / "agent.password").stat().st_mode & 0o777 == 0o600
    secret = Path(config["secrets_dir"]) / "eth-1"
    assert secret.read_text() == "let me in\n"
    assert secret.stat().st_mode & 0o777 == 0o640
    other = tomllib.loads((installed.etc("PC-02") / "boardherd" / "agent.toml").read_text())
    assert other["pc"] == "pc-02"
    assert other["sampling"]["process_patterns"] == ['say "hi"']


@pytest.mark.parametrize(
    ("program", "host"), [("agent", "pc-01"), ("agent", "PC-02"), ("collector", "server")]
)
def test_the_real_programs_accept_their_configuration(installed: Controller, program: str, host: str) -> None:
    config = installed.etc(host) / "boardherd" / f"{program}.toml"
    done = subprocess.run(
        [BIN / f"boardherd-{program}", "--config", config, "--check-config"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_programs_that_switch_relays_may_be_run(
    installed: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is there on each PC, with nothing in it unless the lab has programs."""
    nothing, one = (installed.etc(host) / "boardherd" / "commands" for host in ("pc-01", "PC-02"))
    assert {place.stat().st_mode & 0o777 for place in (nothing, one)} == {0o755}
    assert not list(nothing.iterdir())
    monkeypatch.setenv(programs.VARIABLE, str(one))
    assert programs.find("bench-supply").read_text() == "#!/bin/sh\n"


def test_the_command_line_is_where_people_look_for_it(installed: Controller) -> None:
    here, none = (installed.etc(host).parent / "usr/local/bin/boardherd" for host in ("pc-01", "PC-02"))
    told = subprocess.run([here, "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.startswith("boardherd ")
    assert not none.exists()


def test_there_is_an_extra_for_each_relay_that_needs_a_library() -> None:
    described = yaml.safe_load((ANSIBLE / "roles/agent/meta/argument_specs.yml").read_text())
    extras = described["argument_specs"]["main"]["options"]["agent_extras"]
    there = metadata("boardherd-agent")
    assert extras["choices"] == sorted(there.get_all("Provides-Extra", []))
    assert extras["default"] == ["all"]
    (everything,) = [need for need in there.get_all("Requires-Dist", []) if "extra == 'all'" in need]
    needed = {load(kind).ABOUT.extra for kind in kinds()} - {""}
    assert needed <= set(re.findall(r"\w+", everything.partition("[")[2].partition("]")[0]))


def test_the_collector_keeps_what_the_variables_say(installed: Controller, tmp_path: Path) -> None:
    """By default what the program would; and one variable tells both sides how late data may come."""
    written = tomllib.loads((installed.etc("server") / "boardherd" / "collector.toml").read_text())
    assert RetentionSettings.model_validate(written["retention"]) == RetentionSettings()
    assert RollupSettings.model_validate(written["rollup"]) == RollupSettings()
    longer = {
        "boardherd_prefix": str(tmp_path),
        "boardherd_spool_max_age": "14d",
        "collector_rollup_window": "20d",
        "collector_retention_audit": "1000d",
        "collector_store_url": "postgresql://boardherd@127.0.0.1/boardherd",
        "collector_store_password": "pear tree",
    }
    run = installed.play("site.yml", "--tags", "collector,agent", "--diff", "-e", json.dumps(longer))
    assert run.code == 0, run.text
    assert "pear tree" not in run.text
    etc = tmp_path / "etc" / "boardherd"
    written = tomllib.loads((etc / "collector.toml").read_text())
    assert (written["rollup"]["spool_age"], written["retention"]["audit"]) == ("14d", "1000d")
    store = StoreSettings.model_validate(written["store"])
    assert store.url == longer["collector_store_url"]
    assert store.password_file == etc / "database.password"
    assert Address(store.url, store.password_file).password() == "pear tree"
    assert store.password_file.stat().st_mode & 0o777 == 0o600
    assert tomllib.loads((etc / "agent.toml").read_text())["spool"]["max_age"] == "14d"


def test_ages_in_a_wrong_order_do_not_replace_those_that_work(installed: Controller) -> None:
    """OPS-4: the program's own sentence reaches the person who runs the playbook."""
    config = installed.etc("server") / "boardherd" / "collector.toml"
    before = config.read_text()
    run = installed.play("site.yml", "--tags", "collector", "-e", "collector_retention_audit=20d")
    assert run.code != 0
    assert "retention.audit: 20 d must not be shorter than retention.raw (30 d)" in run.text
    assert config.read_text() == before


def test_the_units_and_rules_are_those_of_the_repository(installed: Controller) -> None:
    rules = "60-boardherd-relays.rules"
    there = installed.etc("pc-01") / "udev" / "rules.d" / rules
    assert there.read_bytes() == (ROOT / "systemd" / rules).read_bytes()
    for program, host in (("agent", "pc-01"), ("collector", "server")):
        name = f"boardherd-{program}.service"
        there = installed.etc(host) / "systemd" / "system" / name
        assert there.read_bytes() == (ROOT / "systemd" / name).read_bytes()


def test_passwords_reach_a_managed_service_as_credentials_of_systemd(
    installed: Controller, tmp_path: Path
) -> None:
    """What a real host gets; services cannot be managed here, so the templates are rendered alone."""
    tasks = [
        {
            "ansible.builtin.template": {
                "src": str(ANSIBLE / f"roles/{program}/templates/{program}.toml.j2"),
                "dest": str(tmp_path / f"{program}.toml"),
                "mode": "0600",
            }
        }
        for program in ("agent", "collector")
    ]
    defaults = [str(ANSIBLE / f"roles/{program}/defaults/main.yml") for program in ("agent", "collector")]
    play = tmp_path / "render.yml"
    play.write_text(
        yaml.safe_dump(
            [{"hosts": "collectors", "gather_facts": False, "vars_files": defaults, "tasks": tasks}]
        )
    )
    run = installed.play(str(play), "-e", '{"boardherd_manage_services": true}')
    assert run.code == 0, run.text
    for program in ("agent", "collector"):
        config = tomllib.loads((tmp_path / f"{program}.toml").read_text())
        service = f"boardherd-{program}.service"
        assert config["broker"]["password_file"] == f"/run/credentials/{service}/broker-password"
        assert (
            f"LoadCredential=broker-password:/etc/boardherd/{program}.password"
            in (ROOT / "systemd" / service).read_text()
        )


def test_a_page_beyond_the_loopback_interface_gets_a_token(installed: Controller, tmp_path: Path) -> None:
    """And a password of a database that is used no longer does not stay."""
    old = tmp_path / "etc" / "boardherd" / "database.password"
    old.parent.mkdir(parents=True)
    old.write_text("pear tree\n")
    place = {"boardherd_prefix": str(tmp_path), "collector_http_host": "0.0.0.0"}
    run = installed.play("site.yml", "--tags", "collector", "-e", json.dumps(place))
    assert run.code == 0, run.text
    assert not old.exists()
    etc = tmp_path / "etc" / "boardherd"
    token_file = tomllib.loads((etc / "collector.toml").read_text())["http"]["token_file"]
    assert Path(token_file) == etc / "collector.token"
    assert Path(token_file).read_text().strip() == installed.password("http-token")
    assert Path(token_file).stat().st_mode & 0o777 == 0o640


def test_a_wrong_lab_file_does_not_replace_the_one_that_works(installed: Controller, tmp_path: Path) -> None:
    """OPS-4: the sentence of the inventory check reaches the person who runs the playbook."""
    broken = tmp_path / "lab.toml"
    broken.write_text(LAB.replace('"eth-1:4"', '"eth-1:3"'))
    run = installed.play("site.yml", "--limit", "PC-02", "-e", f"boardherd_lab_file={broken}")
    assert run.code != 0
    assert "eth-1:3 is also claimed by evm-07" in run.text
    assert (installed.etc("PC-02") / "boardherd" / "lab.toml").read_text() == LAB


def test_a_wrong_variable_is_refused_before_anything_is_done(installed: Controller, tmp_path: Path) -> None:
    place = tmp_path / "place"
    run = installed.play(
        "site.yml",
        "--limit",
        "PC-02",
        "-e",
        f'{{"agent_log_level": "loud", "boardherd_prefix": "{place}"}}',
    )
    assert run.code != 0
    assert "value of agent_log_level must be one of: debug, info, warning, error, got: loud" in run.text
    assert not place.exists()


def test_a_name_that_would_become_a_rule_is_refused(installed: Controller, tmp_path: Path) -> None:
    """SEC-4: what stands in lab.toml stays a name."""
    evil = tmp_path / "lab.toml"
    evil.write_text(LAB + '\n[pc."x\\nuser alice\\ntopic write #"]\n')
    run = installed.play("site.yml", "--tags", "broker", "-e", f"boardherd_lab_file={evil}")
    assert run.code != 0
    assert "have ids of a-z, 0-9, dot, dash and underscore" in run.text
    assert "topic write #" not in (installed.etc("server") / "mosquitto" / "boardherd.acl").read_text()


def test_programs_come_from_a_folder_of_wheels(controller: Controller, tmp_path: Path) -> None:
    pytest.importorskip("ensurepip", reason="this Python cannot make virtual environments with pip")
    uv = os.environ.get("UV") or shutil.which("uv")
    assert uv, "uv is missing; run the tests with `make test`"
    wheels, venv = tmp_path / "wheels", tmp_path / "venv"
    for package in ("boardherd-shared", "boardherd-agent", "boardherd"):
        subprocess.run(
            [uv, "build", "--quiet", "--wheel", "--package", package, "--out-dir", wheels],
            cwd=ROOT,
            check=True,
        )
    play = tmp_path / "play.yml"
    variables = {
        "programs_package": "boardherd-agent",
        "programs_requirements": ["boardherd-agent[hid,snmp]", "boardherd"],
        "programs_venv": str(venv),
        "programs_wheelhouse": str(wheels),
        "programs_wheel_cache": str(tmp_path / "cache"),
        "programs_python": sys.executable,
        "programs_pip_arguments": "--no-deps",
        "programs_manage_packages": False,
    }
    handler = {"name": "Boardherd programs changed", "ansible.builtin.debug": {"msg": "restarted"}}
    play.write_text(
        yaml.safe_dump(
            [
                {
                    "hosts": "PC-02",
                    "vars": variables,
                    "roles": [str(ANSIBLE / "roles" / "programs")],
                    "handlers": [handler],
                }
            ]
        )
    )
    first = controller.play(str(play))
    assert first.code == 0, first.text
    assert "restarted" in first.text
    assert all((venv / "bin" / program).exists() for program in ("boardherd-agent", "boardherd"))
    assert "does not provide the extra" not in first.text
    second = controller.play(str(play))
    assert second.count("changed") == {"PC-02": 0}, second.text


def test_without_wheels_and_program_the_role_says_what_to_do(installed: Controller, tmp_path: Path) -> None:
    run = installed.play("site.yml", "--limit", "PC-02", "-e", f"boardherd_venv={tmp_path}/none")
    assert run.code != 0
    assert f"There is no {tmp_path}/none/bin/boardherd-agent. Set boardherd_wheelhouse" in run.text
