"""collector.toml and the program's own sentences."""

from __future__ import annotations

from pathlib import Path

import pytest

from boardherd_collector.__main__ import main
from boardherd_collector.counters import Counters
from boardherd_collector.health import BROKER, STORE, Health
from boardherd_collector.settings import StoreSettings
from support.telemetry import LAB


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "lab.toml").write_text(LAB)
    path = tmp_path / "collector.toml"
    path.write_text(f'inventory = "{tmp_path}/lab.toml"\n')
    return path


def test_a_good_configuration_is_summed_up(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(config), "--check-config"]) == 0
    assert "good; site lab: 2 PCs, 1 relays, 2 boards" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("colour = 1", "collector.toml:2 colour: is not a known key here"),
        ("http.port = 99999", "collector.toml:2 http.port: should be less than or equal to 65535"),
        ('store.url = "oracle://x"', 'collector.toml:2 store.url: "oracle://x" is no database'),
        ('broker.url = "http://x"', 'collector.toml:2 broker.url: "http://x" is no broker address'),
        ('log_level = "loud"', "collector.toml:2 log_level:"),
        ("inventory = 1", "collector.toml:2: this is no TOML: this key has a value already (column 14)"),
        ('http.host = "0.0.0.0"', "http.token_file is required"),
    ],
)
def test_a_bad_configuration_is_refused_with_its_line(
    config: Path, line: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """OPS-4."""
    config.write_text(config.read_text() + line + "\n")
    assert main(["--config", str(config), "--check-config"]) == 78
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


def test_missing_files_are_named(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """OPS-4."""
    (config.parent / "lab.toml").unlink()
    assert main(["--config", str(config)]) == 78
    assert main(["--config", str(config.parent / "nothing.toml")]) == 78
    said = capsys.readouterr().err.splitlines()
    assert [line.rpartition("/")[2] for line in said] == [
        "lab.toml: cannot be read: No such file or directory",
        "nothing.toml: cannot be read: No such file or directory",
    ]


@pytest.mark.parametrize(
    "url", ["mysql://me:secret@db/x", "postgresql://me:secret@db", "postgresql:///?password=secret"]
)
def test_a_password_is_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="no database") as caught:
        StoreSettings.model_validate({"url": url})
    assert "secret" not in caught.value.errors()[0]["msg"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("url", "shown", "bare"),
    [
        (
            "postgresql://me:se%40cret@db:5433/herd?sslmode=verify-full",
            "postgresql://db:5433/herd",
            "postgresql://me@db:5433/herd?sslmode=verify-full",
        ),
        (
            "postgres://me@db/herd?password=se%40cret&options=-csearch_path%3Dsite_a",
            "postgresql://db/herd (-csearch_path=site_a)",
            "postgresql://me@db/herd",
        ),
        (
            "postgresql:///herd?host=/run/postgresql",
            "postgresql://[/run/postgresql]/herd",
            "postgresql:///herd?host=%2Frun%2Fpostgresql",
        ),
    ],
)
def test_an_address_is_shown_without_user_and_password(url: str, shown: str, bare: str) -> None:
    address = StoreSettings(url=url).address
    assert address is not None
    assert address.display == shown
    assert address.url == bare
    assert address.password() == (None if "cret" not in url else "se@cret")
    assert "cret" not in repr(address) + shown + bare


def test_other_stores_have_no_address() -> None:
    assert StoreSettings(url="memory:").address is None
    assert StoreSettings().address is None


def test_the_database_path_begins_at_the_root() -> None:
    assert StoreSettings(url="sqlite:///var/lib/x.db").path == Path("/var/lib/x.db")
    assert StoreSettings(url="memory:").path is None


def test_health_knows_since_when() -> None:
    now = [1000.0]
    health = Health(lambda: now[0])
    assert not health.ready
    health.set(STORE, ok=True, text="sqlite")
    health.set(BROKER, ok=True, text="mqtt")
    assert health.ready
    assert health.banner() is None
    now[0] = 2000.0
    health.set(STORE, ok=False, text="disk full")
    now[0] = 3000.0
    health.set(STORE, ok=False, text="disk still full")
    assert health.since[STORE] == 2000.0
    assert "history not stored since" in (health.banner() or "")
    assert "disk still full" in (health.banner() or "")


def test_counters_begin_at_zero() -> None:
    counters = Counters()
    assert counters.messages["telemetry"] == counters.commits == 0
