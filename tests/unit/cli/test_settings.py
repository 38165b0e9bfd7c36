"""Where the lab is: the order of the sources, and what is said when one makes no sense."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from boardherd.settings import config_file, demo_connection_file, login_name, resolve
from boardherd_shared.ids import is_slug
from boardherd_shared.settings import ConfigError


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment without a configuration file and without a demo."""
    return {"XDG_RUNTIME_DIR": str(tmp_path / "run"), "XDG_CONFIG_HOME": str(tmp_path / "etc")}


def write_config(env: dict[str, str], text: str) -> None:
    path = config_file(env)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_demo(env: dict[str, str], **keys: object) -> Path:
    path = demo_connection_file(env)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(keys))
    return path


DEMO = {
    "broker": "mqtt://127.0.0.1:40001",
    "api": "http://127.0.0.1:40002",
    "site": "demo",
    "operator": "you",
}


def test_the_defaults_are_this_machine_and_the_login_name(env: dict[str, str]) -> None:
    settings = resolve({}, env)
    assert (settings.broker.url, settings.api) == ("mqtt://127.0.0.1:1883", "http://127.0.0.1:8080")
    assert (settings.site, settings.operator) == (None, login_name())
    assert settings.origin == "by default"


def test_flags_beat_environment_beats_file_beats_demo(env: dict[str, str]) -> None:
    write_demo(env, **DEMO)
    write_config(env, 'broker = "mqtt://file:1"\napi = "http://file:2"\nsite = "file"\noperator = "file"\n')
    assert resolve({}, env).site == "file"
    env["BOARDHERD_SITE"] = "env"
    env["BOARDHERD_OPERATOR"] = "env"
    assert resolve({}, env).site == "env"
    settings = resolve({"site": "flag", "broker": "mqtt://flag:3"}, env)
    assert (settings.site, settings.operator) == ("flag", "env")
    assert (settings.broker.url, settings.api) == ("mqtt://flag:3", "http://file:2")


def test_a_running_demo_is_found(env: dict[str, str]) -> None:
    path = write_demo(env, **DEMO, pid=1234)
    settings = resolve({}, env)
    assert (settings.broker.url, settings.api) == (DEMO["broker"], DEMO["api"])
    assert (settings.site, settings.operator) == ("demo", "you")
    assert settings.origin == f"from the demo's file {path}"


def test_a_demo_counts_for_nothing_when_a_lab_is_named(env: dict[str, str]) -> None:
    write_demo(env, **DEMO)
    settings = resolve({"broker": "mqtt://lab.example:1883"}, env)
    assert settings.site is None
    assert settings.api == "http://lab.example:8080"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_demo_file_of_somebody_else_is_not_believed(env: dict[str, str]) -> None:
    os.chown(write_demo(env, **DEMO), 12345, 12345)
    assert resolve({}, env).site is None


def test_a_half_written_demo_file_is_no_demo(env: dict[str, str]) -> None:
    write_demo(env, broker="nonsense")
    assert resolve({}, env).origin == "by default"


def test_each_address_is_looked_for_beside_the_other(env: dict[str, str]) -> None:
    assert resolve({"api": "http://[::1]:9"}, env).broker.url == "mqtt://[::1]:1883"
    assert resolve({"broker": "mqtts://lab:8883"}, env).api == "http://lab:8080"


def test_the_broker_user_is_the_operator_since_the_acl_allows_no_other(env: dict[str, str]) -> None:
    write_config(env, '[broker]\nurl = "mqtt://lab"\nusername = "ops1"\npassword = "x"\n')
    assert resolve({}, env).operator == "ops1"
    assert resolve({"operator": "ops2"}, env).operator == "ops2"


def test_a_flag_brings_no_password_of_another_broker(env: dict[str, str]) -> None:
    write_config(env, '[broker]\nurl = "mqtt://lab"\nusername = "ops1"\npassword = "x"\n')
    broker = resolve({"broker": "mqtt://elsewhere"}, env).broker
    assert (broker.user, broker.read_password()) == (None, None)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('brocker = "mqtt://x"', "config.toml:1 brocker: is not a known key here"),
        ('\nbroker = "http://x"', 'config.toml:2 broker: "http://x" is no broker address'),
        ('api = "10.0.0.1:8080"', 'config.toml:1 api: "10.0.0.1:8080" is no address of the collector'),
        ("site = 3", "config.toml:1 site: "),
        ("site = ", "this is no TOML"),
    ],
)
def test_a_bad_file_is_told_with_line_and_key(env: dict[str, str], text: str, sentence: str) -> None:
    """OPS-4"""
    write_config(env, text)
    with pytest.raises(ConfigError) as told:
        resolve({}, env)
    assert sentence in str(told.value)


def test_bad_flags_and_variables_are_told(env: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"the command line: broker.*write mqtt://host:1883"):
        resolve({"broker": "lab"}, env)
    with pytest.raises(ConfigError, match="the environment: operator"):
        resolve({}, env | {"BOARDHERD_OPERATOR": "a/b"})


def test_a_named_file_must_exist(env: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        resolve({}, env | {"BOARDHERD_CONFIG": "/nowhere/config.toml"})


def test_without_a_runtime_directory_the_demo_file_is_among_the_users_temporary_files() -> None:
    path = demo_connection_file({})
    assert path.parts[-3:] == (f"boardherd-{os.getuid()}", "boardherd", "demo.json")
    assert is_slug(path.parts[-3])
