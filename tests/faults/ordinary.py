"""The ordinary ways to bring samples home over MQTT, tried by the same faults and judged by the same witness.

A publisher that keeps each message in a database of its own until the broker has acknowledged it (QoS 1), and a
subscriber with a persistent session that writes what arrives; both as the MQTT library is normally used. Run as
``python -m faults.ordinary publisher|subscriber ...``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sqlite3
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import aiomqtt

from boardherd_shared import lifecycle
from faults.databases import Database, SqliteFile
from faults.ledger import LedgerFile
from faults.oracle import Findings
from faults.processes import python

_GATHER_S = 0.1
_RETRY_S = (0.3, 3.0)
_TABLE = "CREATE TABLE IF NOT EXISTS {name} (id INTEGER PRIMARY KEY, agent TEXT, body TEXT)"


@dataclass(frozen=True)
class Ordinary:
    """Publisher and subscriber of the ordinary kind, with a broker that keeps sessions on its disk."""

    name: str
    broker_extra: str

    def agent(self, place: Path, agent: str, broker: str, rate: float) -> list[str]:
        """Return the command of the publisher."""
        return python("faults.ordinary", "publisher", place, broker, agent, rate)

    def collector(self, place: Path, broker: str, agents: list[str]) -> list[str]:
        """Return the command of the subscriber."""
        return python("faults.ordinary", "subscriber", place, broker, ",".join(agents), 0)

    def ready(self, place: Path) -> bool:
        """Tell whether the subscription is made: what is published before that is nobody's fault."""
        return (place / "subscribed").exists()

    def database(self, place: Path) -> Database:
        """Return the subscriber's SQLite file."""
        return OrdinaryDatabase(place / "central.db")


_PERSISTENT = "persistence true\npersistence_location {place}/\n"
SYSTEMS = {
    "qos1-autosave": Ordinary(
        "qos1-autosave",
        # As strict as Mosquitto 2.0 can be set: it writes its state down once a second if anything changed.
        f"{_PERSISTENT}autosave_on_changes true\nautosave_interval 1\nmax_queued_messages 1000000\n",
    ),
    "qos1-defaults": Ordinary("qos1-defaults", _PERSISTENT),
}


class OrdinaryDatabase(SqliteFile):
    """Counts what the subscriber has written."""

    def findings(self, agent: str) -> Findings:
        """Return what is there of ``agent`` now."""
        stored: Counter[int] = Counter()
        if self.path.exists():
            with (
                closing(sqlite3.connect(self.path, timeout=30)) as db,
                contextlib.suppress(sqlite3.OperationalError),
            ):
                for (body,) in db.execute("SELECT body FROM central WHERE agent = ?", (agent,)):
                    stored.update(json.loads(body))
        return Findings(stored)

    def count(self) -> int:
        """Return how many records there are of all agents."""
        if not self.path.exists():
            return 0
        with (
            closing(sqlite3.connect(self.path, timeout=30)) as db,
            contextlib.suppress(sqlite3.OperationalError),
        ):
            (count,) = db.execute("SELECT sum(json_array_length(body)) FROM central").fetchone()
            return int(count or 0)
        return 0


def _database(path: Path, name: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, timeout=30)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute(_TABLE.format(name=name))
    return db


async def _publisher(place: Path, broker: str, agent: str, rate: float) -> None:
    place.joinpath("state").mkdir(parents=True, exist_ok=True)
    with closing(_database(place / "state" / "queue.db", "queue")) as db:
        ledger = LedgerFile(place / "ledger.txt")
        async with asyncio.TaskGroup() as group:
            group.create_task(_produce(db, ledger, agent, rate), name="produce")
            group.create_task(_send(db, broker, agent), name="send")


async def _produce(db: sqlite3.Connection, ledger: LedgerFile, agent: str, rate: float) -> None:
    owed, before = 0.0, time.monotonic()
    while True:
        await asyncio.sleep(_GATHER_S)
        now = time.monotonic()
        owed, before = owed + rate * min(1.0, now - before), now
        numbers = list(range(ledger.next, ledger.next + int(owed)))
        if not numbers:
            continue
        owed -= len(numbers)
        ledger.next += len(numbers)
        ledger.offer(numbers)
        row = db.execute(
            "INSERT INTO queue (agent, body) VALUES (?, ?)", (agent, json.dumps(numbers))
        ).lastrowid
        ledger.accept(numbers, [("queue", row or 0)])


async def _send(db: sqlite3.Connection, broker: str, agent: str) -> None:
    while True:
        with contextlib.suppress(aiomqtt.MqttError):
            async with _client(broker, f"publisher-{agent}", clean=True) as client:
                await _empty(db, client, agent)
        await asyncio.sleep(random.uniform(*_RETRY_S))


async def _empty(db: sqlite3.Connection, client: aiomqtt.Client, agent: str) -> None:
    while True:
        row = db.execute("SELECT id, body FROM queue ORDER BY id LIMIT 1").fetchone()
        if row is None:
            await asyncio.sleep(_GATHER_S / 2)
            continue
        await client.publish(f"ordinary/{agent}", row[1], qos=1, timeout=5)
        db.execute("DELETE FROM queue WHERE id = ?", (row[0],))


async def _subscriber(place: Path, broker: str) -> None:
    with closing(_database(place / "central.db", "central")) as db:
        while True:
            with contextlib.suppress(aiomqtt.MqttError):
                async with _client(broker, "central", clean=False) as client:
                    await client.subscribe("ordinary/+", qos=1)
                    (place / "subscribed").touch()
                    async for message in client.messages:
                        agent = message.topic.value.rpartition("/")[2]
                        body = bytes(message.payload).decode()
                        _store(db, agent, body)
            await asyncio.sleep(random.uniform(*_RETRY_S))


def _store(db: sqlite3.Connection, agent: str, body: str) -> None:
    while True:
        with contextlib.suppress(sqlite3.OperationalError):  # locked: try until it is not
            db.execute("INSERT INTO central (agent, body) VALUES (?, ?)", (agent, body))
            return


def _client(broker: str, name: str, *, clean: bool) -> aiomqtt.Client:
    host, _, port = broker.removeprefix("mqtt://").rpartition(":")
    return aiomqtt.Client(host, int(port), identifier=name, clean_session=clean, keepalive=5, timeout=5)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="faults.ordinary", description=__doc__)
    parser.add_argument("role", choices=("publisher", "subscriber"))
    parser.add_argument("place", type=Path)
    parser.add_argument("broker")
    parser.add_argument("agent")
    parser.add_argument("rate", type=float)
    return parser


if __name__ == "__main__":
    o = _parser().parse_args()
    if o.role == "publisher":
        sys.exit(lifecycle.run(lambda: _publisher(o.place, o.broker, o.agent, o.rate)))
    sys.exit(lifecycle.run(lambda: _subscriber(o.place, o.broker)))
