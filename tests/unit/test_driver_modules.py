"""Finding drivers by the kind that stands in lab.toml."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from boardherd_agent.devices import drivers
from boardherd_shared.inventory import Inventory, RelayConfig


def test_every_kind_offers_options_and_a_driver() -> None:
    assert "devantech" in drivers.kinds()
    for kind in drivers.kinds():
        module = drivers.load(kind)
        assert issubclass(module.Options, BaseModel)
        assert callable(module.Driver)


@pytest.mark.parametrize("kind", drivers.kinds())
def test_the_example_of_every_kind_is_right(kind: str) -> None:
    module = drivers.load(kind)
    inventory = Inventory.parse('site = "lab"\n' + module.ABOUT.example)
    assert inventory.lab.relay
    for relay, config in inventory.lab.relay.items():
        assert config.driver == kind
        options = module.Options.model_validate(config.options)
        assert module.Driver(config, options).reads_back in {True, False}, relay


@pytest.mark.parametrize(
    "kind", ["", "_hidden", "__init__", "os", "..codecs", "Devantech", "devantech.codec"]
)
def test_nothing_but_a_driver_can_be_loaded(kind: str) -> None:
    """SEC-4: an inventory names drivers, not code."""
    with pytest.raises(ValueError, match=r"known kinds are .*devantech"):
        drivers.load(kind)


@pytest.mark.parametrize("kind", drivers.kinds())
def test_options_refuse_unknown_keys_and_explain_every_known_one(kind: str) -> None:
    options = drivers.load(kind).Options
    with pytest.raises(ValidationError):
        options.model_validate({"no_such_key": 1})
    assert all(field.description for field in options.model_fields.values())


def test_a_devantech_relay_without_an_address_is_refused_in_words() -> None:
    devantech = drivers.load("devantech")
    with pytest.raises(ValueError, match="address"):
        devantech.Driver(RelayConfig(), devantech.Options())


def test_a_password_does_not_show() -> None:
    options = drivers.load("devantech").Options.model_validate({"password": "apple"})
    assert "apple" not in repr(options)
