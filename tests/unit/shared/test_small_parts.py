"""Backoff, clock, settings of the broker."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardherd_shared.backoff import delays
from boardherd_shared.clock import SystemClock
from boardherd_shared.link import BrokerSettings


@given(st.integers())
def test_delays_grow_under_a_cap_and_are_never_zero(seed: int) -> None:
    waits = list(itertools.islice(delays(0.5, 20, random.Random(seed)), 30))
    ceilings = [min(20, 0.5 * 2**n) for n in range(30)]
    assert all(ceiling / 10 <= wait <= ceiling for wait, ceiling in zip(waits, ceilings, strict=True))


def test_the_boot_clock_never_goes_back() -> None:
    clock = SystemClock()
    first, second = clock.up(), clock.up()
    assert 0 < first <= second
    assert clock.boot


def test_a_broker_address_carries_its_parts() -> None:
    broker = BrokerSettings(url="mqtts://ops%40lab:p%2Fw@broker.lab")
    assert (broker.host, broker.port, broker.tls) == ("broker.lab", 8883, True)
    assert (broker.user, broker.read_password()) == ("ops@lab", "p/w")
    assert broker.display == "mqtts://broker.lab:8883"


@pytest.mark.parametrize("url", ["broker:1883", "http://broker", "mqtt://", "mqtt://h:port"])
def test_a_wrong_broker_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"no broker address|Port could not"):
        BrokerSettings(url=url)
