"""Codes of operating systems, and what this very machine says of itself."""

from __future__ import annotations

import socket

import pytest

from boardherd_agent.watch.facts import (
    host_facts,
    linux_code,
    macos_code,
    parse_os_release,
    primary_address,
    windows_code,
)
from boardherd_shared.model import OsVersion


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('ID=ubuntu\nVERSION_ID="24.04"\n', "ubuntu_24_04"),
        ('ID=ubuntu\nVERSION_ID="18.04"\n', "ubuntu_18_04"),
        ('ID="centos"\nVERSION_ID="9"\n', "centos_9"),
        ("# a comment\nID=debian\nVERSION_ID=12\nBROKEN\n", "debian_12"),
        ("ID=arch\n", "arch"),
        ("", "linux"),
    ],
)
def test_linux_codes(text: str, code: str) -> None:
    assert linux_code(parse_os_release(text)) == code


def test_os_release_values_lose_their_quotes() -> None:
    values = parse_os_release('NAME=\'A B\'\nPRETTY_NAME="C \\"D\\""\nODD="open\n')
    assert values == {"NAME": "A B", "PRETTY_NAME": 'C "D"', "ODD": '"open'}


def test_windows_and_macos_codes_are_those_of_the_domain() -> None:
    assert windows_code("10", 19045) == OsVersion.WINDOWS_10
    assert windows_code("10", 22631) == OsVersion.WINDOWS_11
    assert windows_code("11", 22631) == OsVersion.WINDOWS_11
    assert macos_code("14.5") == OsVersion.MACOS_SONOMA
    assert macos_code("13.0") == OsVersion.MACOS_VENTURA
    assert macos_code("15.1") == "macos_15"
    assert macos_code("") == "macos"


def test_this_machine() -> None:
    facts = host_facts()
    assert facts.hostname == socket.gethostname()
    assert facts.os_version
    assert facts.os_version == facts.os_version.lower()
    assert facts.cpu_count >= 1
    assert facts.memory_total > 2**26
    assert facts.ip_address == primary_address()
    assert not (facts.ip_address or "").startswith("127.")
