"""What is told of an inventory, which of it is not told, and the line for a PC that nobody has named yet."""

from __future__ import annotations

import json
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardherd_shared.definitions import Definitions, definitions_of
from boardherd_shared.inventory import Inventory
from boardherd_shared.messages import HostFacts
from boardherd_shared.stanzas import pc_stanza

LAB = """
site = "lab"
codes.platform = ["am68x"]
defaults.board = { off_time = "6s" }
pc.pc-01 = { rack = "r1" }
[relay.apc-1]
kind = "snmp"
profile = "apc-rpdu2"
community = "apple"
write_community = "secret:apc"
[relay.strip]
kind = "tasmota"
topic = "strip_1"
broker = { url = "mqtt://ops:pear@10.0.5.1", password = "plum" }
[relay.supply]
kind = "command"
program = "supply"
on = ["--token", "cherry", "{port}"]
environment = { RELAY_KEY = "quince" }
[board.evm-07]
pc = "pc-01"
power = ["apc-1:3", { port = "strip:1", after = "2s" }]
"""
FRUIT = ("apple", "pear", "plum", "cherry", "quince")


def test_everything_that_is_not_by_default_is_told_and_defaults_are_where_they_belong() -> None:
    told = definitions_of(Inventory.parse(LAB))
    assert told.board["evm-07"] == {
        "pc": "pc-01",
        "off_time": 6.0,
        "power": [{"relay": "apc-1", "port": 3}, {"relay": "strip", "port": 1, "after": 2.0}],
    }
    assert told.pc == {"pc-01": {"rack": "r1"}}
    assert told.codes == {"platform": ("am68x",)}
    assert told.relay["apc-1"]["profile"] == "apc-rpdu2"
    assert told.relay["apc-1"]["write_community"] == "secret:apc"
    assert told.hash == Inventory.parse(LAB).hash


@pytest.mark.parametrize("fingerprints", [False, True])
def test_nothing_that_may_be_secret_is_told(fingerprints: bool) -> None:
    told = definitions_of(Inventory.parse(LAB), fingerprints=fingerprints)
    text = json.dumps(told.model_dump(mode="json"))
    assert not [word for word in FRUIT if word in text]
    assert told.relay["apc-1"]["community"].startswith("hidden")
    assert Definitions.model_validate_json(text) == told


def test_only_fingerprints_show_that_something_hidden_has_changed() -> None:
    other = LAB.replace('"apple"', '"melon"')
    for fingerprints in (False, True):
        old, new = (definitions_of(Inventory.parse(text), fingerprints=fingerprints) for text in (LAB, other))
        assert (old.relay != new.relay) is fingerprints


FACTS = HostFacts(hostname="Bench-7", ip_address="10.0.4.7", os_text="Ubuntu 24.04.1 LTS")


def test_a_pc_that_nobody_has_named_gets_its_line() -> None:
    line = pc_stanza("bench-7", FACTS)
    assert line == 'pc.bench-7 = { ip = "10.0.4.7" }  # Bench-7, Ubuntu 24.04.1 LTS'
    assert Inventory.parse(f'site = "lab"\n{line}\n').lab.pc["bench-7"].ip == "10.0.4.7"


def test_an_address_that_another_pc_has_and_one_that_everybody_has_are_left_out() -> None:
    assert pc_stanza("bench-7", FACTS, {"10.0.4.7"}) == "pc.bench-7 = {}  # Bench-7, Ubuntu 24.04.1 LTS"
    local = HostFacts(hostname="x", ip_address="127.0.0.1")
    assert pc_stanza("bench-7", local) == "pc.bench-7 = {}  # x"
    assert pc_stanza("bench-7", None) == "pc.bench-7 = {}"


def test_an_id_that_cannot_stand_in_the_file_gets_none() -> None:
    assert pc_stanza("collector", FACTS) is None
    assert pc_stanza("Bench 7", FACTS) is None


@settings(deadline=None)
@given(
    st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True), st.text(max_size=30), st.text(max_size=30)
)
def test_whatever_an_agent_says_of_itself_the_line_is_one_line_of_toml(
    id_: str, name: str, address: str
) -> None:
    """SEC-2, SEC-4: what came over the network becomes a comment and an address, and no key."""
    facts = HostFacts.model_construct(hostname=name, ip_address=address, os_version="", os_text=name)
    line = pc_stanza(id_, facts)
    if line is not None:
        assert len(line.splitlines()) == 1
        [(found, keys)] = tomllib.loads(line)["pc"].items()
        assert found == id_
        assert set(keys) <= {"ip"}
