"""The tables of SNMP strips, and what numbers and texts of such strips mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardherd_agent.devices.codecs import snmp

APC_CARD = (
    "APC Web/SNMP Management Card (MB:v4.1.0 PF:v6.5.6 PN:apc_hw05_aos_656.bin AF1:v6.5.6 "
    "AN1:apc_hw05_rpdu2g_656.bin MN:AP8941 HR:05 SN: 5A1234E00000 MD:01/02/2020) "
)


@pytest.mark.parametrize(
    ("profile", "state_of_3", "command_of_3", "on", "off"),
    [
        ("apc-spdu", "1.3.6.1.4.1.318.1.1.4.4.2.1.3.3", "1.3.6.1.4.1.318.1.1.4.4.2.1.3.3", 1, 2),
        ("apc-rpdu", "1.3.6.1.4.1.318.1.1.12.3.3.1.1.4.3", "1.3.6.1.4.1.318.1.1.12.3.3.1.1.4.3", 1, 2),
        ("apc-rpdu2", "1.3.6.1.4.1.318.1.1.26.9.2.4.1.5.3", "1.3.6.1.4.1.318.1.1.26.9.2.4.1.5.3", 1, 2),
        ("apc-epdu", "1.3.6.1.4.1.318.1.1.30.6.2.1.4.3", "1.3.6.1.4.1.318.1.1.30.6.2.1.4.3", 1, 2),
        ("raritan", "1.3.6.1.4.1.13742.6.4.1.2.1.3.1.3", "1.3.6.1.4.1.13742.6.4.1.2.1.2.1.3", 1, 0),
        ("eaton", "1.3.6.1.4.1.534.6.6.7.6.6.1.2.0.3", "1.3.6.1.4.1.534.6.6.7.6.6.1.4.0.3", 1, 0),
        ("sentry3", "1.3.6.1.4.1.1718.3.2.3.1.10.1.1.3", "1.3.6.1.4.1.1718.3.2.3.1.11.1.1.3", 1, 2),
        ("poe", "1.3.6.1.2.1.105.1.1.1.3.1.3", "1.3.6.1.2.1.105.1.1.1.3.1.3", 1, 2),
    ],
)
def test_the_objects_of_each_maker(
    profile: str, state_of_3: str, command_of_3: str, on: int, off: int
) -> None:
    known = snmp.PROFILES[profile]
    assert snmp.object_of(known.state, "3") == state_of_3
    assert snmp.object_of(known.command, "3") == command_of_3
    assert (known.on, known.off) == (on, off)


@pytest.mark.parametrize("name", list(snmp.PROFILES))
def test_every_profile_is_whole_and_no_state_means_two_things(name: str) -> None:
    profile = snmp.PROFILES[name]
    assert snmp.template(profile.state) == profile.state
    assert snmp.template(profile.command) == profile.command
    assert not set(profile.says_on) & set(profile.says_off)
    assert profile.off_command or profile.on != profile.off


@pytest.mark.parametrize(
    ("profile", "value", "energised"),
    [
        ("apc-rpdu2", 1, True),
        ("apc-rpdu2", 2, False),
        ("apc-rpdu2", 4, None),
        ("apc-epdu", -1, None),
        ("raritan", 7, True),
        ("raritan", 8, False),
        ("raritan", 0, None),
        ("eaton", 2, True),
        ("eaton", 3, False),
        ("sentry3", 3, True),
        ("sentry3", 5, True),
        ("sentry3", 4, False),
    ],
)
def test_what_a_state_means(profile: str, value: int, energised: bool | None) -> None:
    assert snmp.energised(snmp.PROFILES[profile], value) is energised


@pytest.mark.parametrize(
    ("indexes", "ports"),
    [
        (["1", "2", "10"], {1: "1", 2: "2", 10: "10"}),
        (["1.1", "1.2"], {1: "1.1", 2: "1.2"}),
        (["1.1", "1.2", "2.1", "2.2"], {1: "1.1", 2: "1.2", 3: "2.1", 4: "2.2"}),
        (["0", "1"], {1: "0", 2: "1"}),
        ([], {}),
    ],
)
def test_ports_are_numbered_as_people_count(indexes: list[str], ports: dict[int, str]) -> None:
    assert snmp.ports_of(indexes) == ports


def test_indexes_are_what_stands_behind_the_column() -> None:
    column = snmp.column_of("1.3.6.1.4.1.9.{port}")
    assert column == "1.3.6.1.4.1.9"
    assert snmp.index_in(column, "1.3.6.1.4.1.9.1.4") == "1.4"
    assert snmp.index_in(column, "1.3.6.1.4.1.99.1") == ""
    assert snmp.column_of("1.3.6.5.{port}.5") == "1.3.6.5"


@pytest.mark.parametrize(
    ("text", "description"),
    [
        (
            APC_CARD,
            snmp.Description("AP8941", "05", "v6.5.6"),
        ),
        ("PX2 030610\r\nmore", snmp.Description("PX2 030610")),
        ("", snmp.Description("SNMP device")),
        ("x" * 100, snmp.Description("x" * 60)),
    ],
)
def test_a_description_tells_the_model(text: str, description: snmp.Description) -> None:
    assert snmp.describe(text) == description


def test_a_hardware_address_is_written_as_people_do() -> None:
    assert snmp.mac(bytes.fromhex("00C0B7123456")) == "00:C0:B7:12:34:56"
    assert snmp.mac(b"") == snmp.mac(bytes(6)) == snmp.mac(b"12345") == ""


@pytest.mark.parametrize(
    "text", ["", "1.3.6.{port}.5", "1.3.6.1", "sysDescr.{port}", "1.3.{port}.{port}", "{port}"]
)
def test_an_object_without_its_outlet_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="is no object of an outlet"):
        snmp.template(text)


def test_a_dot_before_an_object_does_not_matter() -> None:
    assert snmp.template(".1.3.6.{port}") == "1.3.6.{port}"
    assert snmp.watts_template(".1.3.6.{port}.5") == "1.3.6.{port}.5"
    with pytest.raises(ValueError, match=r"write \{port\} where"):
        snmp.watts_template("1.3.6.5")


@pytest.mark.parametrize(
    ("datagram", "message"),
    [
        ("30 03 02 01 00", True),
        ("30 81 03 02 01 00", True),
        ("30 82 00 03 02 01 00", True),
        ("30 03 02 01", False),
        ("30 03 02 01 00 00", False),
        ("31 03 02 01 00", False),
        ("30 85 01", False),
        ("55 AA 55 AA 55", False),
        ("30", False),
        ("", False),
    ],
)
def test_a_datagram_is_a_message_or_it_is_not(datagram: str, message: bool) -> None:
    assert snmp.is_message(bytes.fromhex(datagram)) is message


@given(st.binary(max_size=70000))
def test_every_sequence_is_a_message(content: bytes) -> None:
    length = len(content).to_bytes(3, "big")
    assert snmp.is_message(b"\x30\x83" + length + content)
    assert not snmp.is_message(b"\x30\x83" + length + content + b"\0")
