"""Programs that do nothing but write, and say after each promise what they were promised.

Run as ``python -m faults.writers spool|journal|history PLACE WITNESS``, to have their system calls recorded.
Their words are lines of JSON, each written with one call after the product's own call has returned.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import cache
from pathlib import Path

from boardherd_agent.control.control_file import ControlFile
from boardherd_agent.control.journal import Journal, PortMemory
from boardherd_agent.delivery.envelopes import Class
from boardherd_agent.delivery.store import Limits, SpoolStore
from boardherd_collector.envelopes import read_envelope
from boardherd_collector.stores.base import Received
from boardherd_collector.stores.sqlite import SqliteStore
from boardherd_shared.command import Action, Command, CommandStep, State
from boardherd_shared.messages import digest
from boardherd_shared.records import Power
from faults.spools import Pc
from support.delivery import Database, HandClock, event, host
from support.telemetry import NOW, SECOND, lab, payload
from support.telemetry import event as event_of_pc
from support.telemetry import host as host_of_pc

SPOOL_LIMITS = Limits(max_bytes=160 * 1024, ballast_bytes=0)
"""So small that envelopes have to go before the end."""
_STEPS = 70
_COMMANDS = 60
_GROUPS = 24
_STREAMS = ("a" * 32, "b" * 32, "c" * 32)

Say = Callable[[dict[str, object]], None]


def spool(place: Path, say: Say) -> None:
    """Append, evict, acknowledge, park, change streams, tidy up, close and open again."""
    rng = random.Random(7)
    pc = Pc(place, Database(), SPOOL_LIMITS)
    store = pc.open()
    for step in range(_STEPS):
        _append(store, pc.clock, rng, step, say)
        if rng.random() < 0.4:
            _deliver_one(store, pc.database, rng, say)
        if step % 16 == 7 and (envelope := store.newest([])):
            store.park(envelope.key)
        if step == _STEPS - 6 and (envelope := store.newest([])):
            store.refuse(envelope.key, digest(envelope.payload), "conflict")
        if step % 20 == 19:
            pc.clock.advance(60)
            store.tidy()
        if step % 30 == 29:
            store.close()
            store = pc.open()
    store.close()


def _append(store: SpoolStore, clock: HandClock, rng: random.Random, step: int, say: Say) -> None:
    clock.advance(1)
    class_: Class = rng.choice(["samples", "events"])
    numbers = [100 * step + n for n in range(rng.randint(1, 30))]
    if class_ == "events":
        keys = store.append("events", [event(str(n), clock, padding=rng.randrange(120)) for n in numbers])
    else:
        keys = store.append("samples", [host(n, clock) for n in numbers])
    say({"accepted": [str(n) for n in numbers], "key": keys[0]})


def _deliver_one(store: SpoolStore, database: Database, rng: random.Random, say: Say) -> None:
    if envelope := rng.choice([store.oldest, store.newest])([]):
        database.take(envelope.payload)
        say({"stored": envelope.payload.decode()})
        store.acknowledge([envelope.key])


async def journal(place: Path, say: Say) -> None:
    """Write down intents, steps, the moment of off, and what was asked of a port; close and open now and then."""
    clock = HandClock()
    for life in range(3):
        async with ControlFile(place / "control.db") as file:
            await file.settle()  # as after the first greeting of a broker
            book = Journal(file, clock)
            for number in range(life * _COMMANDS // 3, (life + 1) * _COMMANDS // 3):
                clock.advance(1)
                await _one_command(book, number, say)


async def _one_command(book: Journal, number: int, say: Say) -> None:
    command, step = command_of(number), step_of(number, State.ACCEPTED)
    await book.intend(command, step, named=number % 2 == 0)
    say({"intended": number})
    if number % 3 == 0:
        await book.note_off(step_of(number, State.RUNNING))
        say({"off": number})
    await book.remember_port("eth-1", 3, PortMemory(Power.ON, number + 1, NOW, "ops1"))
    say({"switched": number + 1})
    if number % 5:  # every fifth stays as a crash leaves it
        await book.note(step_of(number, State.SUCCEEDED))
        await book.close([f"c-{number}"])
        say({"finished": number})


def command_of(number: int) -> Command:
    """Return a command as an operator sends it."""
    return Command(id=f"c-{number}", action=Action.CYCLE, board="evm-07", reason="x" * (97 * number % 400))


def step_of(number: int, state: State) -> CommandStep:
    """Return a step in the life of that command."""
    return CommandStep(
        id=f"c-{number}",
        state=state,
        action="cycle",
        agent="pc-01",
        operator="ops1",
        at=1.0,
        text=state.value,
    )


async def history(place: Path, say: Say) -> None:
    """Store envelopes in groups, as the collector does; close and open in the middle."""
    groups = iter(range(_GROUPS))
    for _ in range(2):
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(SqliteStore(place / "history.db"))
            await store.sync_inventory(lab(), NOW)
            for _, number in zip(range(_GROUPS // 2), groups, strict=False):
                group = group_of(number)
                await store.commit(group)
                say({"stored": number})


@cache
def group_of(number: int) -> list[Received]:
    """Return the envelopes of a group, of several streams; records are told apart by their text or count."""
    rng = random.Random(number)
    group = []
    for index, stream in enumerate(_STREAMS):
        at = NOW + number * SECOND
        tag = 100 * (len(_STREAMS) * number + index)
        events = [
            event_of_pc(at, text=f"{tag + n} {'x' * rng.randrange(300)}") for n in range(rng.randint(1, 12))
        ]
        samples = [host_of_pc(at + n, process_count=tag + n) for n in range(rng.randint(1, 12))]
        body = payload(number + 1, *events, *samples, stream=stream)
        group.append(read_envelope("pc-01", body, at))
    return group


GROUPS = range(_GROUPS)


def _main() -> None:
    what, place, witness = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    file = os.open(witness, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def say(word: dict[str, object]) -> None:
        os.write(file, json.dumps(word).encode() + b"\n")

    match what:
        case "spool":
            spool(place, say)
        case "journal":
            asyncio.run(journal(place, say))
        case "history":
            asyncio.run(history(place, say))


if __name__ == "__main__":
    _main()
