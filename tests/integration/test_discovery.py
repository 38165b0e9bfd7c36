"""Searching a network of simulated devices: everything is found, and nothing of it is written to.

Each simulator keeps a log of what it received; that log is what says that a search only reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from boardherd.__main__ import cli
from boardherd.discovery import devantech, http
from boardherd.discovery.found import Found
from boardherd.discovery.stanzas import Setting, lab_toml
from boardherd.discovery.sweep import Plan, Ports, own_broadcasts, search
from boardherd.rack.devices._devantech_discovery import Announcer
from boardherd.rack.devices.devantech import DevantechModule
from boardherd.rack.devices.dli import DliSwitch
from boardherd.rack.devices.gude import GudeDevice
from boardherd.rack.devices.http_device import HttpDevice
from boardherd.rack.devices.netio import NetioDevice
from boardherd.rack.devices.shelly import ShellyDevice
from boardherd.rack.devices.snmp import SnmpStrip
from boardherd.rack.devices.tasmota import TasmotaDevice
from boardherd_agent.devices import drivers
from boardherd_shared.inventory import Inventory
from support.ports import free_port

READS = {devantech.QUESTION, b"\x10", b"\x24", b"\x77"}
"""All that a Devantech module may ever hear from a search."""
NOWHERE = Path("/nonexistent")
QUICK_S = 0.4


def plan(network: str, ports: Ports, **more: Any) -> Plan:
    return Plan(
        **{
            "networks": (IPv4Network(network),),
            "broadcast": False,
            "within_s": QUICK_S,
            "ports": ports,
            "by_id": NOWHERE,
            "sysfs": NOWHERE,
            **more,
        }
    )


def unused() -> Ports:
    """Ports at which nobody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return Ports(free_port(), sock.getsockname()[1], free_port(), sock.getsockname()[1])


def titles(found: Sequence[Found]) -> list[tuple[str, str, str]]:
    return [(it.title, it.where, it.outputs) for it in found]


async def test_a_module_is_found_and_nothing_is_written_to_it() -> None:
    async with DevantechModule(host="127.0.11.1", discovery_port=0) as module:
        module.contacts.set(3, True)
        before = list(module.transitions)
        ports = Ports(module.port, module.discovery_port or 0, free_port(), free_port())
        [found] = await search(plan("127.0.11.0/30", ports))
        assert (found.title, found.outputs) == ("Devantech ETH008", "8 ports, 1 on")
        assert found.keys["mac"] == "00:04:A3:00:00:01"
        assert {*module.commands, *module.announcer.heard} == READS
        assert list(module.transitions) == before
        assert module.connections == 0 or await gone(module)


async def gone(module: DevantechModule) -> bool:
    """Wait until nobody is connected any more."""
    async with asyncio.timeout(2):
        while module.connections:  # noqa: ASYNC110 - the simulator has no event for it
            await asyncio.sleep(0.01)
    return True


@pytest.mark.parametrize(("module_id", "outputs"), [(18, 2), (20, 12), (21, 20), (23, 4), (52, 10)])
async def test_every_model_tells_its_outputs(module_id: int, outputs: int) -> None:
    async with DevantechModule(module_id=module_id) as module:
        for port in module.outputs:
            module.contacts.set(port, True)
        found = await devantech.ask(module.host, port=module.port, connect_s=1, within_s=1)
        assert found is not None
        assert (found.ports, found.on) == (outputs, outputs)
        assert found.keys["port_count" if max(module.outputs) != 8 else "kind"]


async def test_a_module_that_nobody_knows_is_found_all_the_same() -> None:
    async with DevantechModule(module_id=99, outputs=16) as module:
        found = await devantech.ask(module.host, port=module.port, connect_s=1, within_s=1)
        assert found is not None
        assert "module id 99 is not in the vendor's list" in found.text
        assert b"\x24" not in module.commands  # nobody knows how long the answer would be


async def test_a_module_without_a_free_connection_is_not_passed_over() -> None:
    """Five connections are served, a sixth is accepted and stays mute."""
    async with DevantechModule() as module, contextlib.AsyncExitStack() as stack:
        for _ in range(5):
            _, writer = await asyncio.open_connection(module.host, module.port)
            stack.callback(writer.close)
        found = await devantech.ask(module.host, port=module.port, connect_s=1, within_s=QUICK_S)
        assert found is not None
        assert found.role == "other"
        assert "five others are connected" in found.text


async def test_a_module_that_answers_the_broadcast_alone_is_told() -> None:
    """Its address may be of another network: it fell back to its own when it found no DHCP."""
    announcer = Announcer("127.0.12.9", 19, "00:04:A3:00:00:07")
    port = await announcer.listen("127.0.12.1", 0)
    try:
        ports = Ports(free_port(), port, free_port(), free_port())
        [found] = await search(plan("127.0.12.0/30", ports))
    finally:
        announcer.close()
    assert (found.role, found.where) == ("other", "127.0.12.9")
    assert "is its address in this network?" in found.text


async def test_a_real_broadcast_is_heard_and_answered() -> None:
    announcer = Announcer("127.0.13.1", 21, "00:04:A3:00:00:08", "RACK-3")
    port = await announcer.listen("127.255.255.255", 0)
    try:
        [reply] = await devantech.who_is_there(
            ["127.255.255.255"], bind="127.0.0.1", port=port, within_s=QUICK_S
        )
    finally:
        announcer.close()
    assert reply == devantech.Reply("127.0.13.1", 21, "00:04:A3:00:00:08", "RACK-3")


def test_this_machine_knows_where_to_broadcast() -> None:
    assert own_broadcasts()
    assert "0.0.0.0" not in own_broadcasts()


async def test_a_port_of_udp_that_is_taken_is_no_hindrance() -> None:
    """The vendor's own tool may be running."""
    announcer = Announcer("127.0.14.1", 19, "00:04:A3:00:00:0A")
    port = await announcer.listen("127.0.14.1", 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", port))
        try:
            found = await devantech.who_is_there(
                ["127.0.14.1"], bind="127.0.0.1", port=port, within_s=QUICK_S
            )
        finally:
            announcer.close()
    assert [reply.address for reply in found] == ["127.0.14.1"]


DEVICES: dict[str, tuple[Any, str, str]] = {
    "shelly": (ShellyDevice, "Shelly SPSW-104PE16EU", "4 ports, 1 on"),
    "shelly 1": (lambda: ShellyDevice(generation=1), "Shelly SHSW-44", "4 ports, 1 on"),
    "netio": (NetioDevice, "NETIO PowerPDU 8QS", "4 ports, 1 on"),
    "gude": (GudeDevice, "Gude Expert Power Control 8045", "8 ports, 1 on"),
    "gude, other firmware": (
        lambda: GudeDevice(path="/statusjsn.js"), "Gude Expert Power Control 8045", "8 ports, 1 on",
    ),
    "tasmota": (TasmotaDevice, "Tasmota", "4 ports, 1 on"),
}  # fmt: skip
LOCKED: dict[str, tuple[Any, bool]] = {
    "shelly": (lambda: ShellyDevice(password="apple"), True),
    "netio": (lambda: NetioDevice(password="apple"), False),
    "gude": (lambda: GudeDevice(password="apple"), False),
    "dli": (DliSwitch, False),
    "tasmota": (lambda: TasmotaDevice(password="apple"), True),
}


def is_read(request: Any) -> bool:
    """Whether a request to a web interface can have no effect."""
    return request.method == "GET" and not {"turn", "cmd", "s", "a1"} & request.query.keys()


@pytest.mark.parametrize("name", DEVICES)
async def test_strips_introduce_themselves_and_are_only_read(name: str) -> None:
    make, title, outputs = DEVICES[name]
    device: HttpDevice
    async with make() as device:
        device.contacts.set(2, True)
        before = list(device.transitions)
        found = await http.ask(device.host, port=device.port, connect_s=1, within_s=2)
        assert found is not None
        assert (found.title, found.outputs) == (title, outputs)
        assert all(is_read(request) for request in device.requests)
        assert {request.query.get("cmnd", "status").split(" ")[0].lower() for request in device.requests} <= {
            "status"
        }
        assert list(device.transitions) == before


@pytest.mark.parametrize("name", LOCKED)
async def test_a_strip_with_a_password_is_recognised_and_no_login_is_tried(name: str) -> None:
    make, sure = LOCKED[name]
    device: HttpDevice
    async with make() as device:
        found = await http.ask(device.host, port=device.port, connect_s=1, within_s=2)
        assert found is not None
        assert (found.keys["kind"], found.sure) == (name, sure)
        assert "password" in found.text
        assert not any("authorization" in request.headers for request in device.requests)
        assert not any("password" in request.query for request in device.requests)


@pytest.mark.parametrize("profile", ["apc-rpdu2", "raritan", "eaton", "sentry3"])
async def test_a_strip_with_snmp_is_found_by_its_outlets_and_only_read(profile: str) -> None:
    async with SnmpStrip(host="127.0.15.1", profile=profile, outlets=12, community="lab") as strip:
        strip.contacts.set(5, True)
        ports = Ports(free_port(), unused().broadcast, free_port(), strip.port)
        [found] = await search(plan("127.0.15.1", ports, community="lab", within_s=1.5))
        assert (found.keys["profile"], found.outputs) == (profile, "12 ports, 1 on")
        assert strip.writes == []


async def test_a_strip_does_not_answer_a_wrong_community() -> None:
    async with SnmpStrip(host="127.0.16.1", community="lab") as strip:
        ports = Ports(free_port(), unused().broadcast, free_port(), strip.port)
        assert await search(plan("127.0.16.1", ports, community="other")) == []


async def test_an_empty_network_is_empty() -> None:
    seen: list[tuple[int, int]] = []
    found = await search(plan("127.0.17.0/28", unused()), lambda done, of: seen.append((done, of)))
    assert found == []
    assert seen[-1] == (14, 14)


async def test_what_hangs_is_not_waited_for() -> None:
    async with ShellyDevice() as hung:
        await hung.hang()
        assert await http.ask(hung.host, port=hung.port, connect_s=1, within_s=QUICK_S) is None


async def test_web_servers_of_something_else_are_left_alone() -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n" + b"<html>" * 70_000)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(page, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await http.ask("127.0.0.1", port=port, connect_s=1, within_s=2) is None


async def test_what_was_found_is_what_the_drivers_can_use() -> None:
    """From the search to an open relay without a person between, where no login is needed."""
    async with (
        DevantechModule(host="127.0.18.1", module_id=21) as module,
        ShellyDevice(host="127.0.18.2") as plug,
    ):
        module.contacts.set(20, True)
        ports = Ports(module.port, unused().broadcast, plug.port, free_port())
        text = lab_toml(await search(plan("127.0.18.0/29", ports)), Setting("lab", "pc-01"))
        inventory = Inventory.parse(text)
        for relay, states in (("eth-1", module.outputs), ("shelly-1", plug.outputs)):
            config = inventory.lab.relay[relay]
            kind = drivers.load(config.driver or "")
            async with kind.Driver(config, inventory.options_of(relay, kind.Options)) as driver:
                assert await driver.read() == states


def run(*words: str) -> Any:
    return CliRunner().invoke(cli, ["discover", *words], prog_name="boardherd")


async def test_the_command_prints_a_lab_toml_and_what_it_did(tmp_path: Path) -> None:
    """As somebody types it, at the maker's own ports."""
    known = tmp_path / "lab.toml"
    search_it = ("--no-broadcast", "--network", "127.0.19.0/30", "--timeout", "400ms")
    async with DevantechModule(host="127.0.19.1", port=devantech.TCP_PORT, discovery_port=devantech.UDP_PORT):
        whole = await asyncio.to_thread(run, *search_it, "--toml", "--site", "rack-lab")
        assert whole.exit_code == 0, whole.output
        inventory = Inventory.parse(whole.stdout)
        assert inventory.lab.site == "rack-lab"
        assert inventory.lab.relay["eth-1"].address == "127.0.19.1"
        assert "1 Devantech ETH008 (8 ports, 0 on)" in whole.stderr
        assert whole.stderr.endswith("nothing was written to any device\n")
        known.write_text('site = "rack-lab"\n[relay.eth-1]\nkind = "devantech"\naddress = "10.0.5.21"\n')
        more = await asyncio.to_thread(run, *search_it, "--toml", "--known", str(known))
        both = Inventory.parse(known.read_text() + more.stdout)
        assert {id_: relay.address for id_, relay in both.lab.relay.items()} == {
            "eth-1": "10.0.5.21",
            "eth-2": "127.0.19.1",
        }
        rows = json.loads((await asyncio.to_thread(run, *search_it, "--json")).stdout)
        assert [row["title"] for row in rows if row["role"] == "relay"] == ["Devantech ETH008"]
        known.write_text(known.read_text() + more.stdout)
        nothing = await asyncio.to_thread(run, *search_it, "--known", str(known))
        assert "Devantech" not in nothing.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--snmp", "public"), "--snmp needs --network"),
        (("--network", "10.0.0.0/8", "--no-broadcast"), "16777216 addresses are too many"),
        (("--network", "rack"), '"rack" is no IPv4 network'),
        (("--known", "/nonexistent/lab.toml"), "/nonexistent/lab.toml"),
        (
            ("--network", "127.0.0.1", "--snmp", "secret:no", "--secrets-dir", "/nonexistent"),
            'no secret "no"',
        ),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(
    words: tuple[str, ...], sentence: str
) -> None:
    answer = run(*words)
    assert answer.exit_code == 2
    assert sentence in answer.stderr
