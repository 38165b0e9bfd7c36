"""The laboratory itself: the proxy does what it says, a plan can be had again, and the witness notices."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from faults.frames import Splitter, puback
from faults.inflict import DEEDS
from faults.ledger import Account, LedgerFile, read_account
from faults.oracle import Findings, judge
from faults.processes import Child, python
from faults.proxy import Conditions, FaultProxy
from faults.report import renew
from faults.schedule import KINDS, PER_AGENT, parts, plan

STREAM = "a" * 32


def publish(topic: str, body: bytes, packet_id: int = 7) -> bytes:
    """Return a PUBLISH with QoS 1 as MQTT 3.1.1 has it."""
    name = topic.encode()
    rest = len(name).to_bytes(2, "big") + name + packet_id.to_bytes(2, "big") + body
    length, size = len(rest), b""
    while True:
        length, byte = divmod(length, 128)
        size += bytes([byte | (128 if length else 0)])
        if not length:
            return b"\x32" + size + rest


@pytest.mark.parametrize("chunk", [1, 2, 7, 100_000])
def test_packets_are_found_however_the_bytes_come(chunk: int) -> None:
    packets = [
        b"\x10\x02ab",
        publish("x/ack", b"y" * 200),
        b"\xc0\x00",
        publish("z", b"q" * 40_000, 513),
        b"\x40\x02\x00\x07",
    ]
    stream = b"".join(packets)
    splitter = Splitter()
    found = [frame for at in range(0, len(stream), chunk) for frame in splitter.feed(stream[at : at + chunk])]
    assert [frame.data for frame in found] == packets
    assert [(frame.topic, frame.packet_id) for frame in found] == [
        ("", 0),
        ("x/ack", 7),
        ("", 0),
        ("z", 513),
        ("", 0),
    ]


def test_what_is_no_mqtt_is_noticed() -> None:
    with pytest.raises(ValueError, match="no MQTT"):
        list(Splitter().feed(b"\x30\xff\xff\xff\xff\xff"))


class Peer:
    """A server that remembers what it is sent."""

    def __init__(self) -> None:
        self.heard = b""
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while data := await reader.read(65536):
                self.heard += data
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def until(self, size: int) -> None:
        async with asyncio.timeout(5):
            while len(self.heard) < size:  # noqa: ASYNC110 - polls for what a socket brings
                await asyncio.sleep(0.005)


@asynccontextmanager
async def through_proxy(
    **options: object,
) -> AsyncIterator[tuple[Peer, FaultProxy, asyncio.StreamReader, asyncio.StreamWriter]]:
    peer = Peer()
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    async with FaultProxy(server.sockets[0].getsockname()[1], rng=random.Random(1), **options) as proxy:  # type: ignore[arg-type]
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        try:
            yield peer, proxy, reader, writer
        finally:
            writer.close()
            server.close()
            for other in peer.writers:
                other.close()
    await asyncio.sleep(0.02)


async def test_a_perfect_network_passes_everything_on() -> None:
    async with through_proxy(mqtt=False) as (peer, proxy, reader, writer):
        sent = random.Random(2).randbytes(300_000)
        writer.write(sent)
        await peer.until(len(sent))
        assert peer.heard == sent
        peer.writers[0].write(b"back")
        assert await reader.readexactly(4) == b"back"
        assert (proxy.open, proxy.tally.connections, proxy.tally.resets) == (1, 1, 0)


async def test_a_connection_is_cut_at_exactly_the_byte() -> None:
    async with through_proxy(mqtt=False) as (peer, proxy, reader, writer):
        proxy.conditions = Conditions(cut_after=1000)
        writer.write(b"x" * 5000)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.readexactly(1), 5)
        assert len(peer.heard) <= 1000
        assert proxy.tally.resets == 1


async def test_a_refused_connection_is_reset() -> None:
    async with through_proxy() as (_, proxy, _, _):
        proxy.conditions = Conditions(refuse=True)
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.readexactly(1), 5)
        writer.close()


async def test_one_way_stalls_while_the_other_moves() -> None:
    async with through_proxy(mqtt=False) as (peer, proxy, reader, writer):
        writer.write(b"one")
        await peer.until(3)
        proxy.conditions = Conditions(stalled=frozenset({"up"}))
        writer.write(b"two")
        peer.writers[0].write(b"back")
        assert await asyncio.wait_for(reader.readexactly(4), 5) == b"back"
        assert peer.heard == b"one"
        proxy.conditions = Conditions()
        await peer.until(6)
        assert peer.heard == b"onetwo"


async def test_latency_and_a_narrow_line_take_their_time() -> None:
    async with through_proxy() as (peer, proxy, _, writer):
        proxy.conditions = Conditions(latency_s=0.1, bytes_per_s=2000)
        began = time.monotonic()
        packet = publish("a/telemetry", b"x" * 180)
        writer.write(packet * 2)
        await peer.until(2 * len(packet))
        assert time.monotonic() - began >= 0.1 + len(packet) / 2000


async def test_acknowledgements_are_dropped_doubled_and_delayed_and_nothing_else_is() -> None:
    ack, other = publish("b/pc/ack", b"1", 9), publish("b/pc/resume", b"2", 10)
    async with through_proxy() as (peer, proxy, reader, writer):
        writer.write(b"\xc0\x00")
        await peer.until(2)
        down = peer.writers[0]
        proxy.conditions = Conditions(drop_acks=1.0)
        down.write(ack + other)
        assert await reader.readexactly(len(other)) == other
        await peer.until(6)
        assert peer.heard[2:] == puback(9), "the broker believes that it arrived"
        proxy.conditions = Conditions(double_acks=1.0)
        down.write(ack + other)
        assert await reader.readexactly(2 * len(ack) + len(other)) == ack + ack + other
        proxy.conditions = Conditions(delay_acks_s=0.2)
        down.write(ack + other)
        assert await reader.readexactly(len(ack) + len(other)) == other + ack
        proxy.conditions = Conditions(double_telemetry=1.0)
        telemetry = publish("b/pc/telemetry", b"3", 11)
        writer.write(telemetry + ack)
        await peer.until(10 + 2 * len(telemetry) + len(ack))
        assert peer.heard.endswith(telemetry + telemetry + ack)


def test_the_same_seed_is_the_same_plan_and_another_is_another() -> None:
    first = plan("7", 600, 3, 80, KINDS)
    assert first == plan("7", 600, 3, 80, KINDS)
    assert first != plan("8", 600, 3, 80, KINDS)
    assert len(first) > 600 * 55 / 60, "an hour has to hold 3000 faults"
    assert {fault.kind for fault in first} >= {kind.name for kind in KINDS if kind.weight >= 5}


def test_nothing_is_hit_while_it_is_down() -> None:
    kinds = {kind.name: kind for kind in KINDS}
    free: dict[str, float] = {}
    for fault in plan("9", 900, 3, 120, KINDS):
        hit = [fault.target]
        if fault.target == "everything":
            hit = ["broker", "collector", "database", "agent 0", "agent 1", "agent 2"]
        elif fault.target in {"collector", "database"}:
            hit = ["collector", "database"]
        assert sorted(parts(fault.target, 3)) == sorted(hit)
        assert all(free.get(part, 0) <= fault.at for part in hit), fault
        free.update(dict.fromkeys(hit, fault.at + fault.lasts))
        assert kinds[fault.kind].part == fault.target.split()[0]
        assert (fault.target[-1].isdigit()) == (kinds[fault.kind].part in PER_AGENT)
        assert fault.at + fault.lasts <= 900


def test_every_kind_of_fault_can_be_inflicted() -> None:
    assert set(DEEDS) == {kind.name for kind in KINDS}


def test_the_ledger_survives_a_line_that_was_never_finished(tmp_path: Path) -> None:
    path = tmp_path / "ledger.txt"
    ledger = LedgerFile(path)
    ledger.offer([1, 2, 3, 7])
    ledger.accept([1, 2, 3, 7], [(STREAM, 1)])
    ledger.offer([8])
    with path.open("a") as file:
        file.write("accepted 8-8 aaa")
    again = LedgerFile(path)
    assert again.next == 9
    again.offer([9])
    again.accept([9], [(STREAM, 3), (STREAM, 4)], volatile=True)
    account = read_account(path)
    assert account.offered == {1, 2, 3, 7, 8, 9}
    assert account.accepted == dict.fromkeys([1, 2, 3, 7], ((STREAM, 1),))
    assert account.volatile == {9: ((STREAM, 3), (STREAM, 4))}


def test_the_balance_names_what_is_lost_doubled_and_invented() -> None:
    """I1, I2: a witness that cannot accuse is worth nothing."""
    account = Account({1, 2, 3, 4, 5, 6, 7}, {n: ((STREAM, n),) for n in range(1, 7)}, {7: (("b" * 32, 1),)})
    clean = judge(account, Findings(Counter([1, 2, 3, 4, 5, 6, 7])))
    assert (clean.settled, clean.stored, clean.volatile_missing) == (True, 6, 0)
    found = Findings(Counter([1, 2, 2, 9]), frozenset({3}), {STREAM: [(5, 5)]})
    verdict = judge(account, found)
    assert not verdict.settled
    assert (verdict.missing, verdict.doubled, verdict.invented) == ((4, 6), (2,), (9,))
    assert (verdict.stored, verdict.declared, verdict.volatile_missing) == (2, 2, 1)
    assert (clean + verdict).accepted == 12
    assert "2 missing" in str(verdict)


async def test_a_process_is_started_hurt_and_watched(tmp_path: Path) -> None:
    child = Child([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log")
    try:
        child.start()
        assert child.figures()["rss"] > 0
        await child.freeze(0.05)
        assert await child.end(signal.SIGKILL) == -9
        assert await child.end() == 0
        child.start()
        assert child.running
        child.send(signal.SIGTERM)
        assert await child.wait() == -15
        child.start()
        assert child.deaths == [-15]
        assert child.starts == 3
    finally:
        child.kill_now()
    assert child.figures() == {}


def test_tracebacks_are_found_except_the_one_that_is_known(tmp_path: Path) -> None:
    child = Child(python("nothing"), tmp_path / "log")
    known = (
        "ERROR asyncio: Exception in callback BaseSelectorEventLoop.add_writer(10)\nhandle: <...>\n"
        "Traceback (most recent call last):\nKeyError: '10 is not registered'\n\n"
        "Traceback (most recent call last):\nOSError: [Errno 9] Bad file descriptor\n"
    )
    child.log.write_text(f"fine\n{known}fine\n")
    assert child.tracebacks() == []
    child.log.write_text(
        f"{known}Traceback (most recent call last):\nValueError\nTask exception was never retrieved\n"
    )
    assert len(child.tracebacks()) == 2


def test_the_page_gets_its_tables() -> None:
    marks = "".join(
        f"<!-- {n}: made by faults.report -->old<!-- end of {n} -->\n"
        for n in ("comparison", "faults", "run")
    )
    result = {
        "system": "boardherd", "seconds": 300.0, "faults": {"agent killed": 3000, "stalled": 5}, "accepted": 1234567,
        "stored": 1234560, "declared": 7, "undeclared": 0, "doubled": 0, "fresh_s": [1.0, 4.25], "drained": [5000],
        "began": "2026-01-01 10:00", "options": {"seed": "s", "agents": 3, "rate": 100.0},
        "versions": {"python": "3", "sqlite": "3"}, "volatile": 10, "volatile_lost": 0,
    }  # fmt: skip
    page = renew(marks, [result])
    assert "old" not in page
    assert "| boardherd | 5 | 3 005 | 1 234 567 | 1 234 560 | 7 | **0** | **0** | 4.2 s |" in page
    assert "| agent killed | 3 000 |" in page
    assert renew(page, [result]) == page
