"""The JSON Schema of lab.toml agrees with what really is accepted, by a validator that knows nothing of us."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from boardherd.rack.layout import BoardPlace, lab_board, lab_head, lab_module, plan
from boardherd_agent.devices import drivers
from boardherd_shared.inventory import Inventory
from boardherd_shared.lab import BoardConfig, Codes, Feed, Lab, Line, PcConfig, RelayConfig

ROOT = Path(__file__).parents[2]
SCHEMA: dict[str, Any] = json.loads((ROOT / "docs" / "lab.schema.json").read_text())
BAD = ROOT / "tests" / "bad_configs" / "lab"
OF_ONE_KEY = (
    "bad-id", "bad-mac", "feed-with-a-misspelt-key", "misspelt-choice", "misspelt-table",
    "no-list", "no-relay-port", "no-table", "site-missing", "too-many-ports",
    "unknown-key", "wrong-type", "defaults-unknown-key", "code-in-capitals", "empty-text",
    "admin-with-a-space", "bad-duration",
)  # fmt: skip
"""Files in which one key is wrong by itself. No schema can tell what needs the whole file, nor bounds of "5s"."""


def faults(text: str) -> list[str]:
    return [error.message for error in Draft7Validator(SCHEMA).iter_errors(tomllib.loads(text))]


def test_the_schema_is_one() -> None:
    Draft7Validator.check_schema(SCHEMA)


def test_the_demo_rack_fits() -> None:
    layout = plan()
    place = BoardPlace("127.0.0.2", 2201, 8001, Path("/dev/pts/9"), 4.0)
    text = lab_head("demo", "pc-01") + "".join(
        lab_module(module, "127.0.0.1", 17494 + number) for number, module in enumerate(layout.modules)
    )
    text += lab_board(layout.boards[-1], "pc-01", place)
    Inventory.parse(text)
    assert faults(text) == []


@pytest.mark.parametrize("kind", drivers.kinds())
def test_the_example_of_each_driver_fits(kind: str) -> None:
    assert faults('site = "lab"\n' + drivers.load(kind).ABOUT.example) == []


@pytest.mark.parametrize("name", OF_ONE_KEY)
def test_what_is_wrong_with_one_key_is_marked(name: str) -> None:
    assert faults((BAD / f"{name}.toml").read_text()) != []


def test_every_key_has_its_place_and_its_words() -> None:
    whole = SCHEMA["definitions"]
    models = {"pc": PcConfig, "board": BoardConfig, "relay": RelayConfig}
    for name, model in models.items():
        assert set(model.model_fields) - {"options"} <= set(whole[name]["properties"])
        assert not [key for key, it in whole[name]["properties"].items() if not it.get("description")]
    for kind in drivers.kinds():
        assert set(drivers.load(kind).Options.model_fields) <= set(whole["relay"]["properties"])
    assert set(SCHEMA["properties"]) == set(Lab.model_fields)
    assert set(SCHEMA["properties"]["codes"]["properties"]) == set(Codes.model_fields)
    feed = whole["board"]["properties"]["power"]["items"]["anyOf"][1]["properties"]
    line = whole["board"]["properties"]["lines"]["additionalProperties"]["anyOf"][1]["properties"]
    assert set(feed) == set(Feed.model_fields) - {"relay"}
    assert set(line) == set(Line.model_fields) - {"relay"}


def test_nothing_is_said_that_only_python_understands() -> None:
    text = json.dumps(SCHEMA)
    assert '"null"' not in text
    assert '"$defs"' not in text
    assert '"ge"' not in text
