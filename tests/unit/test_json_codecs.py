"""The codecs of devices that answer in JSON: what real answers mean, and that no nonsense becomes a state."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardherd_agent.devices.codecs import dli, gude, json_replies, netio, shelly, tasmota
from boardherd_agent.devices.codecs.json_replies import Readings, Refusal
from boardherd_agent.devices.codecs.replies import BadReply

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8), st.lists, max_leaves=3
)
STATES = st.lists(st.booleans(), min_size=1, max_size=24)

PARSERS: dict[str, Callable[[bytes], Any]] = {
    "shelly device": shelly.parse_device,
    "shelly result": shelly.parse_result,
    "shelly set": shelly.parse_set,
    "shelly status": shelly.parse_status,
    "shelly relay": shelly.parse_relay,
    "shelly status of generation 1": shelly.parse_first_status,
    "tasmota power": lambda body: tasmota.parse_power(body, 1),
    "tasmota state": tasmota.parse_state,
    "tasmota watts": lambda body: tasmota.parse_watts(body, 2),
    "tasmota firmware": tasmota.parse_firmware,
    "tasmota mac": tasmota.parse_mac,
    "netio agent": netio.parse_agent,
    "netio outputs": netio.parse_outputs,
    "gude outputs": gude.parse_outputs,
    "gude misc": gude.parse_misc,
    "dli states": dli.parse_states,
}
KEYS = """
    gen type id mac error code message result was_on switch:0 output apower sys uptime ison relays meters power WARNING
    Command POWER POWER1 StatusSTS StatusSNS StatusFWR StatusNET ENERGY Power Agent Outputs ID State Load Uptime
    outputs state misc product_name
"""
KEY = st.sampled_from(KEYS.split())
NEAR_MISS = st.recursive(
    VALUES, lambda inner: st.dictionaries(KEY, inner, max_size=4) | st.lists(inner, max_size=3), max_leaves=8
)
"""Values with the right names in the wrong places."""


def said(value: object) -> bytes:
    return json.dumps(value).encode()


def as_table(states: list[bool]) -> dict[int, bool]:
    return dict(enumerate(states, 1))


@given(st.binary(max_size=64) | NEAR_MISS.map(said))
def test_nonsense_is_named_and_never_breaks_a_codec(body: bytes) -> None:
    for parse in PARSERS.values():
        with contextlib.suppress(BadReply, Refusal):
            parse(body)


@pytest.mark.parametrize("name", sorted(set(PARSERS) - {"tasmota mac", "tasmota watts"}))
def test_what_a_device_did_not_mean_as_an_answer_is_shown(name: str) -> None:
    with pytest.raises(BadReply, match="55 aa 55"):
        PARSERS[name](bytes.fromhex("55 AA 55"))
    with pytest.raises(BadReply, match="<html> blocked"):
        PARSERS[name](b"<html>\n blocked")


@pytest.mark.parametrize("state", [[], {}, "1", 2, 1.5, None])
def test_a_state_that_is_neither_0_nor_1_is_nonsense(state: object) -> None:
    with pytest.raises(BadReply):
        gude.parse_outputs(said({"outputs": [{"state": state}]}))
    with pytest.raises(BadReply):
        netio.parse_outputs(said({"Outputs": [{"ID": 1, "State": state}]}))


def test_deep_nesting_is_nonsense_too() -> None:
    with pytest.raises(BadReply):
        json_replies.parse_json(b"[" * 200_000)


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("A8032AB00001", "A8:03:2A:B0:00:01"),
        ("a4-cf-12-a1-b2-c3", "A4:CF:12:A1:B2:C3"),
        ("00:19:32:00:00:01", "00:19:32:00:00:01"),
        ("A8032AB0000", ""),
        ("not an address", ""),
        (None, ""),
        ([], ""),
    ],
)
def test_hardware_addresses_are_written_in_one_way(value: object, address: str) -> None:
    assert json_replies.hardware_address(value) == address


@pytest.mark.parametrize(
    ("body", "text"),
    [(b"", "(nothing)"), (b" a\r\nb ", "a b"), (b"x" * 200, "x" * 120 + " ..."), (b"\x00\x01", "00 01")],
)
def test_replies_are_shown_as_a_person_can_read_them(body: bytes, text: str) -> None:
    assert json_replies.shown(body) == text


# Shelly


def test_a_shelly_of_generation_1_says_what_it_is() -> None:
    body = said({"type": "SHSW-25", "mac": "ECFABC000001", "auth": True, "fw": "v1.14.0", "num_outputs": 2})
    assert shelly.parse_device(body) == shelly.Device(1, "SHSW-25", "v1.14.0", "EC:FA:BC:00:00:01")


def test_a_later_shelly_says_what_it_is() -> None:
    body = said({"gen": 3, "model": "S3PL-00112EU", "ver": "1.4.4", "mac": "A8032AB00001", "app": "PlugSG3"})
    assert shelly.parse_device(body) == shelly.Device(3, "S3PL-00112EU", "1.4.4", "A8:03:2A:B0:00:01")


def test_shelly_switches_count_from_0_on_the_wire() -> None:
    assert shelly.set_switch(4, energised=True) == {
        "id": 1,
        "method": "Switch.Set",
        "params": {"id": 3, "on": True},
    }
    assert shelly.set_switch(1, energised=False, hold=5)["params"] == {
        "id": 0,
        "on": False,
        "toggle_after": 5,
    }
    assert shelly.set_switch(1, energised=False, hold=0.25)["params"]["toggle_after"] == 0.25
    assert shelly.relay_path(2) == "/relay/1"
    assert shelly.turn(energised=True) == {"turn": "on"}
    assert shelly.turn(energised=False, hold=5.0) == {"turn": "off", "timer": 5}


@given(STATES)
def test_states_of_a_later_shelly_survive_the_round_trip(states: list[bool]) -> None:
    status = {f"switch:{port}": {"id": port, "output": on, "apower": 5.5} for port, on in enumerate(states)}
    readings = shelly.parse_status(said({"id": 1, "result": status | {"sys": {"uptime": 77}, "input:0": {}}}))
    assert readings == Readings(as_table(states), dict.fromkeys(as_table(states), 5.5), 77)


@given(STATES)
def test_states_of_a_shelly_of_generation_1_survive_the_round_trip(states: list[bool]) -> None:
    body = said({"relays": [{"ison": on} for on in states], "meters": [{"power": 3.5}], "uptime": 12})
    assert shelly.parse_first_status(body) == Readings(as_table(states), {1: 3.5}, 12)


@pytest.mark.parametrize(
    "body",
    [
        {"id": 1, "error": {"code": -105, "message": "Argument 'id', value 9 not found!"}},
        {"code": -105, "message": "Argument 'id', value 9 not found!"},
    ],
)
def test_a_shelly_says_no_in_a_frame_or_without_one(body: dict[str, Any]) -> None:
    with pytest.raises(Refusal, match="value 9 not found"):
        shelly.parse_set(said(body))


# Tasmota


@pytest.mark.parametrize(
    ("body", "port", "state"),
    [
        ({"POWER": "ON"}, 1, True),
        ({"POWER1": "OFF"}, 1, False),
        ({"POWER3": "ON"}, 3, True),
        ({"POWER3": "ON"}, 1, None),
        ({}, 1, None),
    ],
)
def test_a_single_relay_has_two_names(body: dict[str, Any], port: int, state: bool | None) -> None:
    assert tasmota.parse_power(said(body), port) is state


@pytest.mark.parametrize(
    "body", [{"WARNING": "Need user=<username>"}, {"Command": "Unknown"}, {"Command": "Error"}]
)
def test_a_tasmota_says_no_with_status_200(body: dict[str, str]) -> None:
    with pytest.raises(Refusal):
        tasmota.parse_answer(said(body))


def test_changed_words_for_states_are_nonsense() -> None:
    with pytest.raises(BadReply, match="EIN"):
        tasmota.parse_power(b'{"POWER1":"EIN"}', 1)


@given(STATES)
def test_states_of_a_tasmota_survive_the_round_trip(states: list[bool]) -> None:
    relays = {f"POWER{port}": "ON" if on else "OFF" for port, on in enumerate(states, 1)}
    body = said({"StatusSTS": {"UptimeSec": 9, "LoadAvg": 19} | relays})
    assert tasmota.parse_state(body) == Readings(as_table(states), {}, 9)


@pytest.mark.parametrize(
    ("power", "ports", "watts"),
    [(7, 1, {1: 7}), ([7, 0], 2, {1: 7, 2: 0}), (7, 2, {}), (None, 1, {}), ("x", 1, {})],
)
def test_a_meter_shared_by_several_relays_measures_none_of_them(
    power: object, ports: int, watts: dict[int, float]
) -> None:
    assert tasmota.parse_watts(said({"StatusSNS": {"ENERGY": {"Power": power}}}), ports) == watts


@pytest.mark.parametrize(
    ("body", "waited"),
    [({"Backlog": "Aborted"}, True), ({"Backlog": "Empty"}, False), ({"POWER": "ON"}, None)],
)
def test_an_emptied_queue_says_whether_anything_waited(body: dict[str, str], waited: bool | None) -> None:
    assert tasmota.parse_aborted(said(body)) is waited


def test_tasmota_commands() -> None:
    assert tasmota.power(2, energised=True) == ("Power2", "ON")
    assert tasmota.later(2, energised=True, seconds=5) == ("Backlog", "Delay 50; Power2 ON")


@pytest.mark.parametrize("seconds", [0.0, 0.14, 361.0])
def test_a_delay_that_does_not_fit_is_refused_in_words(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"0\.2 to 360 s"):
        tasmota.later(1, energised=True, seconds=seconds)


# NETIO


def test_netio_documents() -> None:
    assert netio.set_output(3, energised=False) == {"Outputs": [{"ID": 3, "Action": 0}]}
    assert netio.set_output(3, energised=True) == {"Outputs": [{"ID": 3, "Action": 1}]}
    off, on = (netio.pulse_output(1, energised=state, seconds=5) for state in (False, True))
    assert off == {"Outputs": [{"ID": 1, "Action": 2, "Delay": 5000}]}
    assert on == {"Outputs": [{"ID": 1, "Action": 3, "Delay": 5000}]}


@pytest.mark.parametrize("seconds", [0.0, 0.05, 3601.0])
def test_a_short_time_that_does_not_fit_is_refused_in_words(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"0\.1 to 3600 s"):
        netio.pulse_output(1, energised=True, seconds=seconds)


@given(STATES)
def test_states_of_a_netio_survive_the_round_trip(states: list[bool]) -> None:
    rows = [{"ID": port, "State": int(on), "Load": 60, "Action": 6} for port, on in enumerate(states, 1)]
    body = said(
        {"Agent": {"Model": "4C", "Version": "3", "MAC": "24:A4:2C:00:00:01", "Uptime": 5}, "Outputs": rows}
    )
    assert netio.parse_outputs(body) == Readings(as_table(states), dict.fromkeys(as_table(states), 60), 5)
    assert netio.parse_agent(body) == netio.Agent("4C", "3", "24:A4:2C:00:00:01")


# Gude


def test_gude_queries() -> None:
    assert gude.switch(3, energised=True) == {"components": 1, "cmd": 1, "p": 3, "s": 1}
    query = {"components": 1, "cmd": 5, "p": 3, "a1": 0, "a2": 1, "s": 10}
    assert gude.batch(3, energised=False, seconds=10) == query


@pytest.mark.parametrize(("seconds", "wait"), [(0.3, 1), (1.0, 1), (2.5, 3), (65535.0, 65535)])
def test_a_batch_waits_at_least_as_long_as_was_asked(seconds: float, wait: int) -> None:
    assert gude.batch(1, energised=True, seconds=seconds)["s"] == wait


@pytest.mark.parametrize("seconds", [0.0, -1.0, 65535.5])
def test_a_batch_that_does_not_fit_is_refused_in_words(seconds: float) -> None:
    with pytest.raises(ValueError, match="up to 65535 s"):
        gude.batch(1, energised=False, seconds=seconds)


@given(STATES)
def test_states_of_a_gude_survive_the_round_trip(states: list[bool]) -> None:
    body = said({"outputs": [{"name": "Power Port", "state": int(on)} for on in states]})
    assert gude.parse_outputs(body) == as_table(states)
    assert gude.parse_misc(body) == gude.Misc("", "", "")


# Digital Loggers


@given(STATES)
def test_states_of_a_digital_loggers_switch_survive_the_round_trip(states: list[bool]) -> None:
    assert dli.parse_states(said(states)) == as_table(states)


def test_digital_loggers_outlets_count_from_0_on_the_wire() -> None:
    assert dli.outlet_path(1) == "/restapi/relay/outlets/0/state/"
    assert (dli.value(energised=True), dli.value(energised=False)) == ({"value": "true"}, {"value": "false"})


@pytest.mark.parametrize("body", [b"true", b"[]", b"[true, null]", b'[{"state": true}]', b"[0, 1]"])
def test_anything_but_a_list_of_truth_values_is_nonsense(body: bytes) -> None:
    with pytest.raises(BadReply):
        dli.parse_states(body)
