"""The installation guide, held against what it speaks of: variables, files, configurations, headings."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from boardherd_agent.settings import AgentSettings
from boardherd_collector.settings import CollectorSettings
from support.prometheus import find_program

ROOT = Path(__file__).parents[2]
ROLES = ROOT / "ansible" / "roles"
GUIDE = (ROOT / "docs" / "install.md").read_text()
HEADINGS = re.findall(r"^#+ (.+)$", GUIDE, re.MULTILINE)


def blocks(language: str) -> list[str]:
    """Return what stands in the guide between fences of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def first_cells(prefixes: str) -> set[str]:
    """Return the names in the first column of the guide's tables that begin like this."""
    cells = re.findall(r"^\| (`.+?`) \|", GUIDE, re.MULTILINE)
    return {name for cell in cells for name in re.findall(rf"`((?:{prefixes})_\w+)`", cell)}


def options_of(roles: Iterable[str]) -> dict[str, Any]:
    """Return the described variables of roles."""
    found: dict[str, Any] = {}
    for role in roles:
        specs = yaml.safe_load((ROLES / role / "meta" / "argument_specs.yml").read_text())
        found |= specs["argument_specs"]["main"]["options"]
    return found


def test_each_variable_for_the_whole_lab_is_in_the_table_and_no_other() -> None:
    read = [ROOT / "ansible" / "site.yml", *ROLES.glob("*/defaults/main.yml")]
    code = " ".join(
        line for file in read for line in file.read_text().splitlines() if not line.startswith("#")
    )
    assert first_cells("boardherd") == set(re.findall(r"\bboardherd_[a-z_]+", code))


def test_variables_of_a_role_that_the_guide_names_are_described_there() -> None:
    named = first_cells("agent|collector|mosquitto")
    assert {"collector_store_password", "agent_extras", "agent_socket"} <= named
    everywhere = set(re.findall(r"`((?:agent|collector|mosquitto)_\w+)\b", GUIDE))
    assert named <= everywhere <= options_of(["agent", "collector", "mosquitto"]).keys()


def test_the_programs_accept_the_configurations_of_the_guide() -> None:
    agent, collector, store = (tomllib.loads(block) for block in blocks("toml"))
    assert AgentSettings.model_validate(agent).pc == "pc-01"
    settings = CollectorSettings.model_validate(collector | store)
    assert settings.store.address
    assert f"/dev/stdin {settings.store.password_file}\n" in GUIDE
    assert f"/dev/stdin {settings.http.token_file}\n" in GUIDE


def test_every_file_that_the_guide_installs_is_there() -> None:
    named = set(re.findall(r"(?<![\w/])(?:systemd|dashboards|ansible)/[\w.-]+", " ".join(blocks("sh"))))
    assert len(named) >= 5
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
    shipped = {f"systemd/{file.name}" for file in (ROOT / "systemd").iterdir()}
    assert shipped <= named


def test_prometheus_accepts_what_the_guide_tells_it(tmp_path: Path) -> None:
    (config,) = blocks("yaml")
    (tmp_path / "prometheus.yml").write_text(config)
    shutil.copy(ROOT / "dashboards" / "alerts.yml", tmp_path / "boardherd-alerts.yml")
    checked = subprocess.run(
        [find_program("promtool"), "check", "config", "prometheus.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "1 rule files found" in checked.stdout
    jobs = {job["job_name"] for job in yaml.safe_load(config)["scrape_configs"]}
    asked = set(re.findall(r'job="(\w+)"', (ROOT / "dashboards" / "alerts.yml").read_text()))
    assert asked == jobs


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)]+)\)", GUIDE))))
def test_every_link_leads_somewhere(target: str) -> None:
    if target.startswith("#"):
        assert target[1:] in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in HEADINGS}
    elif "://" not in target:
        assert (ROOT / "docs" / target.partition("#")[0]).exists()
