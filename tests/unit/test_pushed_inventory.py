"""SEC-4: a pushed inventory cannot run code.

Whoever can change lab.toml decides what is switched, and nothing more: it can name no program outside the directory of
root, no path, no shell, no environment that an interpreter heeds, and no module.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from boardherd_agent.checking import check_relays
from boardherd_agent.devices import drivers, programs
from boardherd_agent.devices.device import DeviceError
from boardherd_shared.inventory import Inventory, RelayConfig
from boardherd_shared.probes import parse_probe
from boardherd_shared.secrets import SecretMissing, is_reference, resolve
from boardherd_shared.settings import ConfigError

HOSTILE = (
    "/bin/sh",
    "../../bin/sh",
    "sh -c id",
    "$(id)",
    "`id`",
    "x; id",
    "x\n[board.evil]",
    "os:system",
    "boardherd_agent.app",
    "file:///etc/shadow",
    "-oProxyCommand=id",
    "~/evil",
    "LD_PRELOAD=/tmp/x",
)
_RUNS = {
    "subprocess.Popen",
    "os.exec",
    "os.posix_spawn",
    "os.system",
    "os.fork",
    "os.forkpty",
    "pty.spawn",
    "os.startfile",
}


class Watch:
    """Hears of every program that this interpreter starts, while it listens."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.listening = False
        sys.addaudithook(self._hear)  # there is no taking it away again

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.listening and event in _RUNS:
            self.heard.append(f"{event} {arguments}")


WATCH = Watch()


@contextmanager
def nothing_runs() -> Iterator[None]:
    """Fail when the interpreter starts a program, whoever asks it to."""
    WATCH.heard.clear()
    WATCH.listening = True
    try:
        yield
    finally:
        WATCH.listening = False
    assert WATCH.heard == []


@pytest.mark.parametrize("kind", drivers.kinds())
@pytest.mark.parametrize("value", HOSTILE)
def test_no_key_of_any_driver_runs_anything_when_it_is_read(kind: str, value: str) -> None:
    """SEC-4: every text of every driver, with what a shell, a loader or an importer would like to see."""
    options = drivers.load(kind).Options
    texts = [name for name in options.model_fields if name != "program"]
    keys = dict.fromkeys(texts, value)
    lab = {"site": "lab", "relay": {"r": {"kind": kind, "address": "127.0.0.1", **keys}}}
    with nothing_runs():
        check_relays(Inventory.parse(_toml(lab)))
        for name in texts:
            one = {"site": "lab", "relay": {"r": {"kind": kind, "address": "127.0.0.1", name: value}}}
            check_relays(Inventory.parse(_toml(one)))


@pytest.mark.parametrize("value", [value for value in HOSTILE if value != "boardherd_agent.app"])
def test_a_program_is_a_plain_file_name(value: str) -> None:
    """SEC-4: of the driver and of the probe alike."""
    with pytest.raises(ValidationError):
        drivers.load("command").Options.model_validate({"program": value})
    with pytest.raises(ValueError, match="is no probe"):
        parse_probe(f"command:{value}")


@pytest.mark.parametrize("name", ["sh", "python3", "env", "evil", "outside"])
def test_a_plain_name_is_looked_for_among_the_programs_of_root_and_nowhere_else(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SEC-4: neither on the path nor behind a link that leads out."""
    place = tmp_path / "commands"
    place.mkdir()
    (tmp_path / "evil.sh").write_text("#!/bin/sh\n")
    (tmp_path / "evil.sh").chmod(0o755)
    (place / "outside").symlink_to(tmp_path / "evil.sh")
    monkeypatch.setenv("BOARDHERD_COMMANDS", str(place))
    monkeypatch.chdir(tmp_path)
    with nothing_runs(), pytest.raises(DeviceError):
        programs.find(name)


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "LD_PRELOAD",
        "PYTHONPATH",
        "BASH_ENV",
        "ENV",
        "IFS",
        "BOARDHERD_COMMANDS",
        "relay_x",
        "RELAY_x",
        "RELAY_",
    ],
)
def test_the_environment_of_a_program_holds_only_names_that_nobody_heeds(name: str) -> None:
    """SEC-4."""
    with pytest.raises(ValidationError):
        drivers.load("command").Options.model_validate({"program": "p", "environment": {name: "x"}})


@pytest.mark.parametrize(
    "kind", ["os", "subprocess", "_serial", "_http", "boardherd_agent.app", "..command", "__init__"]
)
def test_a_kind_is_a_driver_and_no_other_module(kind: str) -> None:
    """SEC-4: neither a private module beside the drivers nor anything else that can be imported."""
    before = set(sys.modules)
    with pytest.raises(ValueError, match="there is no driver"):
        drivers.load(kind)
    assert set(sys.modules) == before


@settings(deadline=None)
@given(st.text(max_size=40))
def test_whatever_a_secret_is_called_it_is_a_file_beside_the_others(name: str) -> None:
    """SEC-4: a reference leads to no other directory; anything else is no reference at all."""
    if is_reference(f"secret:{name}"):
        assert Path(name).name == name not in {".", ".."}
        with pytest.raises(SecretMissing, match="there is no secret"):
            resolve(f"secret:{name}", [Path("/nonexistent")])
    else:
        assert resolve(f"secret:{name}", [Path("/nonexistent")]) == f"secret:{name}"


@settings(deadline=None)
@given(
    st.recursive(
        st.one_of(st.booleans(), st.integers(), st.sampled_from(HOSTILE), st.text(max_size=20)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=10), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    st.sampled_from(["pc", "relay", "board", "defaults", "codes", "admins"]),
)
def test_whatever_stands_in_the_file_is_refused_in_words_or_is_data(value: Any, part: str) -> None:
    """SEC-4, OPS-4: no input makes the check fail otherwise, or run anything."""
    with nothing_runs():
        assert _sentences_or_lab(_toml({"site": "lab", part: value}))


def _sentences_or_lab(text: str) -> object:
    try:
        return Inventory.parse(text).lab
    except ConfigError as refused:
        return str(refused)


def test_the_hook_would_notice() -> None:
    with pytest.raises(AssertionError), nothing_runs():
        programs_run_by_hand()


def programs_run_by_hand() -> None:
    import subprocess

    subprocess.run(["true"], check=True)


def test_a_relay_is_data_only() -> None:
    """SEC-4: no key of the common ones is a program, a module or a path."""
    assert set(RelayConfig.model_fields) == {
        "name", "uuid", "kind", "model_type", "address", "tcp_port", "unit", "mac", "port_count", "after_outage",
        "stagger", "supply", "location", "rack", "poll", "options",
    }  # fmt: skip


def _toml(value: dict[str, Any]) -> str:
    """Return a document as TOML, with every table inline."""
    return "".join(f"{_text(key)} = {_value(inner)}\n" for key, inner in value.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(key)} = {_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return str(value).lower() if isinstance(value, bool | int) else _text(str(value))


def _text(text: str) -> str:
    escaped = "".join(
        char if char.isprintable() and char not in '"\\' else f"\\U{ord(char):08x}" for char in text
    )
    return f'"{escaped}"'
