"""D17, F01, F02, F04, F06: what nobody should believe, noise, giants, words with a sting, and other versions."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sqlite3
import time
import zlib
from contextlib import closing
from pathlib import Path

import pytest

from boardherd_shared.link import BrokerSettings, Link
from boardherd_shared.topics import Kind, Topics
from faults import web
from faults.laboratory import Laboratory, Pc, freeze
from faults.processes import Child
from faults.raw_mqtt import raw_client
from faults.skew import SkewedProxy
from faults.systems import SITE, Boardherd
from support.faults import all_is_well, said, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(100)]

MIB = 1024**2
STREAM = "c" * 32


def stream_of(pc: Pc) -> str:
    """Return the stream that a spool has named in its account."""
    return pc.ledger.read_text().split("accepted", 1)[1].split()[1].split(":")[0]


async def test_forged_acknowledgements_cost_nothing_in_the_end(tmp_path: Path) -> None:
    """DEL-1 (D17): an agent that believes one keeps the envelope, and the next resume asks for it again."""
    async with Laboratory(Boardherd(), tmp_path, rate=100) as lab:
        await lab.fresh()
        pc = lab.pcs[0]
        topic = Topics(SITE).build(Kind.ACK, agent=pc.name)
        forged = '{"v":1,"stream":"%s","committed":[[%s]],"window":1000,"server_time":1}'
        lies = [
            forged % ("f" * 32, "1,5"),
            forged % (stream_of(pc), "-5,9223372036854775807"),
            forged % (stream_of(pc), "1,99999999999999999999"),
            forged % (stream_of(pc), "9,2"),
            forged % (stream_of(pc), "1,9223372036854775807"),
        ]
        async with Link(BrokerSettings(url=lab.broker.url), name="liar").session() as session:
            with_nobody_to_store_them = freeze(lab.collector)
            async with with_nobody_to_store_them:
                for _ in range(20):
                    for lie in lies:
                        await session.publish(topic, lie.encode())
                    await asyncio.sleep(0.05)
                await lab.collector.end()
        lab.collector.start()
        await all_is_well(lab)


async def test_noise_in_the_collectors_name(tmp_path: Path) -> None:
    """DEL-1, SEC-2 (F01): mutated and random payloads on every topic that an agent and a collector listen to."""
    rng = random.Random(17)
    topics = Topics(SITE)
    honest = [
        b'{"v":1,"stream":"%s","committed":[[1,3]],"window":5,"server_time":1.5}' % (b"a" * 32),
        b'{"v":1,"session":"5555555555555555","missing":{},"window":5,"server_time":1.5}',
        b'{"v":1,"state":"stopping","session":"5555555555555555","at":1}',
        b'{"v":1,"agent":"pc-00","stream":"%s","seq":1,"class":"samples","boot":"b","records":[{"kind":"host"}]}'
        % (b"b" * 32),
    ]
    async with Laboratory(Boardherd(), tmp_path, rate=100) as lab:
        await lab.fresh()
        kinds = (Kind.ACK, Kind.RESUME, Kind.TELEMETRY, Kind.HELLO)
        where = [topics.build(kind, agent=name) for kind in kinds for name in ("pc-00", "pc-77")]
        async with Link(BrokerSettings(url=lab.broker.url), name="noise").session() as session:
            for _ in range(300):
                await session.publish(rng.choice(where), _mutated(rng, rng.choice(honest)))
        await all_is_well(lab)
        with closing(sqlite3.connect(lab.place / "history.db")) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _mutated(rng: random.Random, payload: bytes) -> bytes:
    body = bytearray(payload)
    for _ in range(rng.choice([0, 1, 1, 4])):
        at = rng.randrange(len(body))
        body[at : at + rng.choice([0, 1, 1, 5])] = rng.choice(
            [b"", b"\x00", b"9" * 30, b"[[[[", b'"', b"\xff", b"-1", b"null"]
        )
    return bytes(body)


def peak(child: Child) -> int:
    """Return how much memory a process has ever had, in bytes."""
    lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


async def directly(lab: Laboratory) -> None:
    """Have agent and collector speak to the broker without our proxies, which would take giants to pieces."""
    agent, config = lab.pcs[0].child, lab.place / "collector.toml"
    for child in (lab.collector, agent):
        await child.end()
    config.write_text(config.read_text().replace(f":{lab.trunk.port}", f":{lab.broker.port}"))
    agent.command[agent.command.index("--broker") + 1] = lab.broker.url
    for child in (lab.collector, agent):
        child.start()
    await lab.fresh()


async def test_giants(tmp_path: Path) -> None:
    """SEC-2 (F02): payloads of many MiB, topics of 64 KiB, nesting without end, what unpacks to a thousandfold.

    The broker of the laboratory lets all of it through, other than the one that ``ansible`` sets up; what is larger
    than a megabyte our side does not take from it. What may pass costs up to 70 MiB while it is being parsed.
    """
    async with Laboratory(Boardherd(), tmp_path, rate=100) as lab:
        await directly(lab)
        sides = lab.collector, lab.pcs[0].child
        before = [peak(side) for side in sides]
        topics = [Topics(SITE).build(kind, agent="pc-00") for kind in (Kind.TELEMETRY, Kind.HELLO, Kind.ACK)]
        giants = [
            b"x" * 40 * MIB,
            b"[" * MIB,
            b'{"v":1,"a":' * 80_000,
            b'{"v":1,"records":[' + b"{}," * 80_000 + b"{}]}",
            b'{"v":' + b"1" * 250_000 + b"}",
            zlib.compress(b"{" * 100 * MIB),
        ]
        async with raw_client(lab.broker.port) as client:
            for giant in giants:
                for topic in topics:
                    await client.publish(topic, giant)
            await client.publish(f"boardherd/v1/{SITE}/" + "x" * 65_000, b"{}")
            await client.publish(f"boardherd/v1/{SITE}/" + "/".join("pc" * 30) + "/telemetry", b"{}")
            await client.heard()
        await all_is_well(lab)
        for side, size in zip(sides, before, strict=True):
            assert peak(side) < size + 100 * MIB, side.command
        assert web.metrics(lab.place)['boardherd_collector_messages_rejected_total{kind="telemetry"}'] >= 4


STINGS = (
    "\r\n2026-01-01 00:00:00 [info     ] all is well",
    "\x1b[2J\x1b[31mred",
    "\x00\x07\x7f",
    "'; DROP TABLE pc_stats; --",
    '"; DELETE FROM events WHERE "" = "',
    "<script>document.title='owned'</script><img src=x onerror=alert(1)>",
    '=HYPERLINK("http://127.0.0.1/")',
    "{{7*7}} ${7*7} %s %n",
    "\u202egnp.exe",
)


async def test_words_with_a_sting(tmp_path: Path) -> None:
    """SEC-2, DEL-1 (F04): for logs, terminals, SQL, pages; what is text is kept as text, and nothing else happens."""
    async with Laboratory(Boardherd(), tmp_path, rate=100) as lab:
        await lab.fresh()
        topics = Topics(SITE)
        now = round(time.time() * 1e6)
        async with raw_client(lab.broker.port) as client:
            for seq, sting in enumerate(STINGS, 1):
                record = {"at": now, "up": 1, "kind": "event", "event": "lifecycle", "subject": "agent/x"}
                board = {
                    "at": now,
                    "up": 1,
                    "kind": "board",
                    "board": f"evm-{seq}",
                    "verdict": "alive",
                    "since": now,
                }
                records = [record | {"text": sting}, board | {"reason": sting}, {"kind": sting}]
                envelope = {
                    "v": 1, "agent": "pc-00", "stream": STREAM, "seq": seq, "class": "events", "boot": "b",
                    "records": records,
                }  # fmt: skip
                hello = {
                    "v": 1,
                    "session": "5" * 16,
                    "boot": sting,
                    "wall": now,
                    "up": 1,
                    "host": {"hostname": sting},
                }
                ack = {"v": 1, "stream": sting, "window": sting, "server_time": sting}
                await client.publish(
                    topics.build(Kind.TELEMETRY, agent="pc-00"), json.dumps(envelope).encode()
                )
                await client.publish(topics.build(Kind.HELLO, agent="pc-66"), json.dumps(hello).encode())
                await client.publish(topics.build(Kind.ACK, agent="pc-00"), json.dumps(ack).encode())
                if sting.isprintable():  # the broker itself throws out who names a topic otherwise
                    await client.publish(f"boardherd/v1/{SITE}/{sting}/hello", b"{}")
            await client.heard()
        await all_is_well(lab)
        with closing(sqlite3.connect(lab.place / "history.db")) as db:
            kept = {text for (text,) in db.execute("SELECT text FROM events WHERE subject = 'agent/x'")}
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert kept == {sting for sting in STINGS if all(char >= " " and char != "\x7f" for char in sting)}
        assert len(kept) == len(STINGS) - 3
        for page in ("", "sections"):
            status, body = web.get(lab.place, page)
            assert status == 200
            assert "&lt;script&gt;document" in body, "it is shown, as the words that it is"
            assert "<script>document" not in body
            assert "<img src=x" not in body
    for child in (lab.collector, lab.pcs[0].child):
        log = child.log.read_bytes().decode()
        assert not set(log) & {"\r", "\x1b", "\x00", "\x07", "\x7f", "\u202e"}
        assert not any(line.endswith("all is well") and "why=" not in line for line in log.splitlines())


async def test_a_side_of_another_version(tmp_path: Path) -> None:
    """DEL-1, OPS-1 (F06): neither understands the other's next version; nothing is dropped, and it shows."""
    async with Laboratory(Boardherd(), tmp_path, rate=100) as lab, SkewedProxy(lab.broker.port) as line:
        agent = lab.pcs[0].child
        await agent.end()
        agent.command[agent.command.index("--broker") + 1] = f"mqtt://127.0.0.1:{line.port}"
        agent.start()
        await lab.fresh()
        line.topics = frozenset({"ack"})
        await until(lambda: said(agent, "version 2 of the contract is not understood here"))
        line.topics = frozenset({"telemetry"})
        await until(lambda: said(lab.collector, "version 2 of the contract is not understood here"))
        refused = "boardherd_collector_envelopes_refused_total"
        await until(lambda: web.metrics(lab.place)[refused] > 0)
        line.topics = frozenset()
        await all_is_well(lab)


async def test_an_envelope_of_the_next_version_is_kept(tmp_path: Path) -> None:
    """DEL-1, OPS-1 (F06): an agent that went back to an older release keeps what this collector refuses."""
    async with Laboratory(Boardherd(), tmp_path, rate=50) as lab:
        await lab.fresh()
        agent = lab.pcs[0]
        await lab.collector.end()
        await asyncio.sleep(0.5)
        await agent.child.end()
        payload = next_version(agent.state / "spool.db")
        lab.collector.start()
        agent.child.start()
        await until(lambda: said(agent.child, "refuses envelope"))
        await lab.fresh()
        verdict = await lab.settle(3)
        told = [record["process_count"] for record in json.loads(payload)["records"]]
        assert sorted(verdict.missing) == told, "these, and no others"
        await agent.child.end()
        with closing(sqlite3.connect(agent.state / "spool.db")) as spool:
            kept = spool.execute("SELECT payload, code FROM envelopes WHERE state = 'parked'").fetchall()
        with closing(sqlite3.connect(lab.place / "history.db")) as db:
            events = db.execute("SELECT text FROM events WHERE text LIKE '%as unsupported%'").fetchall()
    assert kept == [(payload, "unsupported")]
    assert len(events) == 1, "people can read of it"
    assert lab.tracebacks() == []


def next_version(spool: Path) -> bytes:
    """Make an envelope of samples that waits in a spool one of version 2; return its new bytes."""
    with closing(sqlite3.connect(spool)) as db:
        waiting = (
            "SELECT id, payload FROM envelopes WHERE state = 'pending' AND class = 'samples' ORDER BY id"
        )
        number, payload = db.execute(waiting).fetchone()
        changed: bytes = payload.replace(b'"v":1', b'"v":2', 1)
        assert changed != payload
        fingerprint = hashlib.sha256(changed).hexdigest()
        db.execute(
            "UPDATE envelopes SET payload = ?, digest = ? WHERE id = ?", (changed, fingerprint, number)
        )
        db.commit()
    return changed
