"""D09, D20: a broker that is replaced by another product at another address, and one that takes small packets only."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from faults.laboratory import Laboratory
from faults.processes import Broker, Child, python, wait_for_log
from faults.systems import Boardherd
from support.faults import all_is_well, said, until
from support.ports import free_port

_SAME_CAUSE = 3
"""So many connections may end for the same reason before that is a loop."""

pytestmark = [pytest.mark.system, pytest.mark.timeout(100)]


async def test_a_broker_replaced_by_another_build_at_another_port(tmp_path: Path) -> None:
    """DEL-1, DEL-2 (D09): from Mosquitto to one that speaks 3.1.1 only and knows nothing, with a backlog, and back."""
    async with Laboratory(Boardherd(), tmp_path, rate=100) as lab:
        await lab.fresh()
        mosquitto, port = lab.broker, free_port()
        command = python("boardherd.embedded_broker", "--port", port)
        other = Child(command, tmp_path / "other-broker.log")
        try:
            await mosquitto.end()
            await asyncio.sleep(1.0)
            other.start()
            await _move(lab, f"mqtt://127.0.0.1:{port}")
            await asyncio.to_thread(wait_for_log, lab.pcs[0].child, "protocol=V311")
            await lab.fresh()
            await other.end()
            assert isinstance(mosquitto, Broker)
            mosquitto.start()
            await _move(lab, mosquitto.url)
            await all_is_well(lab)
            assert said(lab.collector, "protocol=V311") == 1
        finally:
            other.kill_now()


async def _move(lab: Laboratory, url: str) -> None:
    """Write the new address into everybody's configuration, and have them read it."""
    config = lab.place / "collector.toml"
    lines = config.read_text().splitlines()
    at = lines.index("[broker]") + 1
    lines[at] = f'url = "{url}"'
    config.write_text("\n".join(lines) + "\n")
    for pc in lab.pcs:
        pc.child.command[pc.child.command.index("--broker") + 1] = url
    children = [lab.collector, *(pc.child for pc in lab.pcs)]
    assert {*await asyncio.gather(*(child.end() for child in children))} == {0}
    for child in children:
        child.start()


async def test_an_envelope_larger_than_the_broker_takes(tmp_path: Path) -> None:
    """DEL-1, OPS-1 (D20): it is put aside and told of, what fits passes, and it is stored once the broker takes it."""
    system = replace(Boardherd(), broker_extra="persistence false\nmax_packet_size 8000\n")
    async with Laboratory(system, tmp_path, rate=100) as lab:
        pc = lab.pcs[0]
        await lab.fresh()
        await pc.child.end()
        plain = list(pc.child.command)
        pc.child.command += ["--gather", "3"]
        before = pc.line.tally.connections
        pc.child.start()
        await until(
            lambda: (
                said(pc.child, "delivery is in trouble") or pc.line.tally.connections > before + _SAME_CAUSE
            )
        )
        assert pc.line.tally.connections <= before + _SAME_CAUSE
        pc.child.command = plain
        await pc.child.end()
        pc.child.start()
        await lab.fresh()
        assert pc.line.tally.connections <= before + _SAME_CAUSE
        assert not (await lab.settle(4.0)).settled, "the large ones are still with the agent"
        config = tmp_path / "mosquitto.conf"
        config.write_text(config.read_text().replace("max_packet_size 8000\n", ""))
        for child in (lab.broker, pc.child):
            await child.end()
            child.start()
        await all_is_well(lab)
