"""D17, F01: acknowledgements that nobody should believe, and noise where the collector should speak."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from boardherd_shared.link import BrokerSettings, Link
from boardherd_shared.topics import Kind, Topics
from faults.laboratory import Laboratory, Pc, freeze
from faults.systems import SITE, Boardherd
from support.faults import all_is_well

pytestmark = [pytest.mark.system, pytest.mark.timeout(100)]


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
