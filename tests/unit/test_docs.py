"""The documentation tells the truth: what is generated is current, what exists is described."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _generator() -> object:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATED = list(_generator().generated())  # type: ignore[attr-defined]


@pytest.mark.parametrize(("path", "content"), GENERATED, ids=[str(path) for path, _ in GENERATED])
def test_generated_documents_are_current(path: Path, content: str) -> None:
    assert (ROOT / "docs" / path).read_text() == content, "run `make docs` and commit the result"


def test_the_asyncapi_document_satisfies_the_reference_parser() -> None:
    node = ROOT / ".venv" / "bin" / "node"
    check = ROOT / "tests" / "asyncapi"
    assert (check / "node_modules").is_dir(), "run `make setup-test`, which installs the parser"
    run = subprocess.run(
        [str(node), "check.js", str(ROOT / "docs/mqtt/asyncapi.json")],
        cwd=check, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_reference_parser_would_notice_a_fault(tmp_path: Path) -> None:
    broken = json.loads((ROOT / "docs/mqtt/asyncapi.json").read_text())
    broken["operations"]["telemetry"]["action"] = "shout"
    (tmp_path / "broken.json").write_text(json.dumps(broken))
    node = ROOT / ".venv" / "bin" / "node"
    run = subprocess.run(
        [str(node), "check.js", str(tmp_path / "broken.json")],
        cwd=ROOT / "tests" / "asyncapi", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 1
