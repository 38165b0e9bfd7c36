"""The bench: which ports it drives and what for, whose modules they are, and what a port means for its board."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from boardherd_agent.bench import Bench
from boardherd_agent.control.journal import PortMemory
from boardherd_agent.devices.device import DeviceOffline
from boardherd_agent.devices.ports import WORN_AT, PortStatus
from boardherd_agent.reporting import Reporter
from boardherd_agent.watch.booting.boot_patterns import Stage
from boardherd_agent.watch.judging.evidence import ConsoleState, Heard
from boardherd_agent.watch.probing.prober import Pace
from boardherd_shared.clock import SystemClock
from boardherd_shared.inventory import Inventory
from boardherd_shared.records import Blame, EventRecord, Power, Record, RelayRecord, Verdict, Wiring
from boardherd_shared.topics import Topics
from support.hand_device import Module, ModuleDriver

ON, OFF, UNKNOWN = Power.ON, Power.OFF, Power.UNKNOWN
LAB = """
site = "lab"
pc.pc-01 = {}
pc.pc-02 = {}
relay.eth-1 = { model_type = "ETH_008_B", address = "10.0.5.21", poll = "0.2s", after_outage = "restore", stagger = 0 }
relay.eth-2 = { model_type = "ETH_008_B", address = "10.0.5.22", poll = "0.2s" }
[board.evm-07]
pc = "pc-01"
power = ["eth-1:3", "eth-2:1"]
lines.reset = { port = "eth-1:4", polarity = "NC" }
normally = "on"
min_off = "7s"
[board.evm-08]
pc = "pc-02"
lines.boot = { port = "eth-2:8", normally = "on" }
"""

CONSOLE = 'probes = ["console"]\nserial_port = "/dev/does-not-exist"'


@dataclass
class Lab:
    """A bench over modules made by hand, and what it told."""

    memories: dict[tuple[str, int], PortMemory] = field(default_factory=dict)
    may_restore: Callable[[str, int], bool] = lambda _relay, _port: True
    past_boots: Path | None = None
    inventory: str = LAB

    def __post_init__(self) -> None:
        self.modules = {"eth-1": Module(), "eth-2": Module()}
        self.records: list[Record] = []
        self.remembered: list[PortStatus] = []
        clock = self.clock = SystemClock()
        reporter = Reporter(
            "pc-01", Topics("lab"), clock, put=self.records.append, retain=lambda _topic, _payload: None
        )
        self.bench = Bench(
            Inventory.parse(self.inventory),
            "pc-01",
            {relay: lambda module=module: ModuleDriver(module) for relay, module in self.modules.items()},
            self.memories,
            Pace(),
            clock,
            reporter,
            self.remembered.append,
            may_restore=self.may_restore,
            past_boots=self.past_boots,
        )

    @property
    def events(self) -> list[tuple[str, str, str]]:
        return [(it.event, it.subject, it.text) for it in self.records if isinstance(it, EventRecord)]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.bench.run_relays(), name="relays")
            yield
            task.cancel()

    async def until(self, seen: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not seen():  # noqa: ASYNC110 - as an onlooker would
                await asyncio.sleep(0.001)

    def observed(self, relay: str, port: int) -> Power:
        return self.bench.workers[relay].status(port).observed


async def test_lines_are_ports_too() -> None:
    bench = Lab().bench
    status = bench.workers["eth-1"].status(4)
    assert (status.board, status.line, status.expected) == ("evm-07", "reset", "off")
    assert (bench.workers["eth-1"].status(3).line, bench.workers["eth-1"].status(3).expected) == ("", "on")
    assert bench.has("", "eth-1", 4)
    assert bench.has("evm-07", "", 0)
    assert not bench.has("", "eth-2", 8), "the line of another PC's board"
    records = list(bench.port_records())
    assert [(it.relay, it.port, it.board, it.line) for it in records] == [
        ("eth-1", 3, "evm-07", None),
        ("eth-2", 1, "evm-07", None),
        ("eth-1", 4, "evm-07", "reset"),
    ]


async def test_a_line_never_counts_as_the_power_of_its_board() -> None:
    lab = Lab()
    lab.modules["eth-1"].outputs |= {3: True, 4: True}
    lab.modules["eth-2"].outputs |= {1: True}
    watch = lab.bench.watches["evm-07"]
    async with lab.running():
        await lab.until(lambda: lab.observed("eth-1", 4) is OFF and lab.observed("eth-2", 1) is ON)
        assert watch.verdict is not Verdict.POWERED_OFF
        lab.modules["eth-1"].outputs |= {3: False, 4: False}
        await lab.until(lambda: lab.observed("eth-1", 4) is ON)
        await lab.until(lambda: watch.verdict is Verdict.POWERED_OFF)
    assert any(isinstance(it, RelayRecord) and it.line == "reset" for it in lab.records), "but it is reported"


async def test_a_module_with_ports_of_another_pc_is_not_held() -> None:
    lab = Lab()
    async with lab.running():
        await lab.until(lambda: lab.observed("eth-1", 3) is OFF and lab.observed("eth-2", 1) is OFF)
        await lab.until(lambda: lab.modules["eth-2"].open == 0)
        calls = len(lab.modules["eth-1"].calls)
        await lab.until(lambda: len(lab.modules["eth-1"].calls) > calls + 2)
        assert lab.modules["eth-1"].calls.count("open") == 1
        await lab.until(lambda: lab.modules["eth-2"].calls.count("open") > 1)


async def test_what_is_remembered_of_a_port_goes_on() -> None:
    lab = Lab(memories={("eth-1", 3): PortMemory(ON, 41, 7, "ops1")})
    status = lab.bench.workers["eth-1"].status(3)
    assert (status.asked, status.switch_count, status.switched_at, status.switched_by) == (ON, 41, 7, "ops1")
    assert lab.bench.workers["eth-1"].status(4).asked is UNKNOWN


async def test_a_worn_contact_becomes_a_fault_on_record() -> None:
    lab = Lab(memories={("eth-1", 4): PortMemory(OFF, WORN_AT - 1, 7, "ops1")})
    async with lab.running():
        await lab.bench.workers["eth-1"].switch(4, OFF, by="ops1")
    text = "eth-1:4 has been switched 50000 times: its contact may fail from now on"
    assert ("fault", "relay/eth-1/4", text) in lab.events


async def test_whoever_decides_is_asked_by_relay_and_port_before_a_port_is_brought_back() -> None:
    asked: list[tuple[str, int]] = []

    def may_restore(relay: str, port: int) -> bool:
        asked.append((relay, port))
        return False

    memories = {("eth-1", 4): PortMemory(OFF, 1, 7, "ops1"), ("eth-1", 3): PortMemory(OFF, 1, 7, "ops1")}
    lab = Lab(memories, may_restore)
    lab.modules["eth-1"].outputs |= {4: True, 5: True}
    async with lab.running():
        await lab.until(lambda: lab.observed("eth-1", 4) is OFF)
        lab.modules["eth-1"].outputs |= {4: False, 5: False}
        lab.modules["eth-1"].fail("read", DeviceOffline("reset"))
        await lab.until(lambda: bool(asked))
    assert asked == [("eth-1", 4)]
    assert lab.modules["eth-1"].sets() == []
    text = "eth-1:4 stays ON (module rebooted): the board is locked, in use or being switched"
    assert ("transition", "relay/eth-1/4", text) in lab.events


async def test_a_module_that_rebooted_is_to_blame_for_a_board_without_power() -> None:
    memories = {("eth-1", 3): PortMemory(ON, 1, 7, "ops1"), ("eth-2", 1): PortMemory(ON, 1, 7, "ops1")}
    lab = Lab(memories, may_restore=lambda _relay, _port: False)
    lab.modules["eth-1"].outputs |= {3: True, 5: True}
    lab.modules["eth-2"].outputs |= {1: True}
    watch = lab.bench.watches["evm-07"]
    async with lab.running():
        await lab.until(lambda: watch.evidence.power is ON)
        lab.modules["eth-1"].outputs |= {3: False, 5: False}
        lab.modules["eth-1"].fail("read", DeviceOffline("reset"))
        await lab.until(lambda: watch.verdict is Verdict.POWERED_OFF)
        await lab.until(lambda: "rebooted" in watch.record(change=False).reason)
    record = watch.record(change=False)
    assert record.blame is Blame.RELAY
    assert re.fullmatch(
        r"one of its feeds is off: eth-1 rebooted \d\d:\d\d:\d\d, eth-1:3 should be ON", record.reason
    )


async def test_the_boots_of_the_boards_outlive_the_process(tmp_path: Path) -> None:
    past = tmp_path / "boots.json"
    lab = Lab(past_boots=past, inventory=LAB.replace("[board.evm-07]", "[board.evm-07]\n" + CONSOLE))
    watch = lab.bench.watches["evm-07"]
    watch.power_changed(OFF, lab.clock.up(), by_us=True)
    watch.power_changed(ON, lab.clock.up(), by_us=True)
    watch._console_changed(ConsoleState(lab.clock.up()))
    watch._heard(Heard(lab.clock.up(), "evm login:", Stage.LOGIN))
    assert [text for event, _, text in lab.events if event == "boot"] == [
        "evm-07 booted: console 0.0 s, login 0.0 s"
    ]
    async with asyncio.TaskGroup() as group:
        task = group.create_task(lab.bench.run_watches(), name="watches")
        await lab.until(past.exists)
        task.cancel()
    assert list(json.loads(past.read_text())["boards"]) == ["evm-07"]


async def test_what_is_known_of_the_wiring_is_told_with_the_board_and_its_feeds() -> None:
    lab = Lab()
    wiring = Wiring(state="suspect", at=1, text="evm-08 fell silent instead")
    lab.bench.wiring_changed("evm-07", wiring, change=True)
    told = [it for it in lab.records if isinstance(it, RelayRecord)]
    assert [(it.relay, it.port) for it in told] == [("eth-1", 3), ("eth-2", 1)]
    assert lab.bench.watches["evm-07"].evidence.wiring.text == wiring.text
