"""What the kernel says of this PC's own network, read from files as Linux writes them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardherd_agent.watch.judging.own_network import OwnNetwork, Route, interface_to, no_route, routes_in

TABLE = (
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    "eth0\t00000000\t0105000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    "eth0\t0005000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    "eth1\t0006000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    "eth2\t0007000A\t00000000\t0000\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
)
"""10.0.5.0/24 and everything else by eth0, 10.0.6.0/24 by eth1; a route that is not up, by eth2."""

little_endian = pytest.mark.skipif(
    sys.byteorder != "little", reason="the table above is of a little-endian machine"
)


class Pc:
    """A test PC's files, and what its kernel says of addresses that no route leads to."""

    def __init__(self, directory: Path, table: str = TABLE) -> None:
        self.routes, self.interfaces = directory / "route", directory / "net"
        self.routes.write_text(table)
        self.asked: list[str] = []
        self.network = OwnNetwork(self.routes, self.interfaces, unreachable=self.unreachable)

    def carrier(self, interface: str, value: str) -> None:
        (self.interfaces / interface).mkdir(parents=True, exist_ok=True)
        (self.interfaces / interface / "carrier").write_text(value)

    def unreachable(self, address: str) -> bool:
        self.asked.append(address)
        return True

    def trouble(self, address: str) -> str:
        self.network.refresh()
        return self.network.trouble(address)


@little_endian
@pytest.mark.parametrize(
    ("address", "interface"),
    [("10.0.6.7", "eth1"), ("10.0.5.9", "eth0"), ("10.0.7.1", "eth0"), ("8.8.8.8", "eth0")],
)
def test_the_narrowest_route_leads(address: str, interface: str) -> None:
    assert interface_to(address, routes_in(TABLE)) == interface


@little_endian
def test_an_interface_without_carrier_is_named_and_heals(tmp_path: Path) -> None:
    pc = Pc(tmp_path)
    pc.carrier("eth0", "1\n")
    pc.carrier("eth1", "0\n")
    assert pc.trouble("10.0.6.7") == "eth1 of this PC has no carrier: look at its cable"
    assert not pc.trouble("10.0.5.9")
    assert pc.network.way("10.0.6.7") == "eth1"
    pc.carrier("eth1", "1\n")
    assert not pc.trouble("10.0.6.7")
    assert not pc.asked, "there was a route all the time"


@little_endian
def test_a_route_that_went_is_told_only_if_the_kernel_knows_no_other(tmp_path: Path) -> None:
    pc = Pc(tmp_path, "".join(TABLE.splitlines(keepends=True)[::3]))
    assert pc.trouble("10.0.6.7") == ""
    assert pc.trouble("10.0.5.9") == "this PC has no route to 10.0.5.9"
    assert pc.trouble("10.0.5.9")
    assert pc.asked == ["10.0.5.9"], "asked again only when the table has changed"
    pc.routes.write_text(TABLE)
    assert not pc.trouble("10.0.5.9")


def test_nothing_is_known_of_names_of_other_families_and_of_systems_without_such_files(
    tmp_path: Path,
) -> None:
    pc = Pc(tmp_path)
    assert [pc.trouble(it) for it in ("evm-07.lab", "fd00::7", "127.0.1.7")] == ["", "", ""]
    pc.routes.unlink()
    assert not pc.trouble("10.0.6.7")
    assert not pc.network.way("10.0.6.7")


@given(st.text() | st.lists(st.text("0123456789ABCDEF\tx -", max_size=30)).map("\n".join))
def test_any_text_is_a_table_with_some_routes_or_none(text: str) -> None:
    routes = routes_in(text)
    assert all(isinstance(route, Route) for route in routes)
    interface_to("10.0.6.7", routes)


@pytest.mark.skipif(not Path("/proc/net/route").exists(), reason="not a Linux")
def test_the_files_of_this_machine_are_read() -> None:
    network = OwnNetwork()
    network.refresh()
    assert not network.trouble("127.0.0.1")
    assert not no_route("127.0.0.1")
    for route in routes_in(Path("/proc/net/route").read_text()):
        assert (Path("/sys/class/net") / route.interface).exists()
