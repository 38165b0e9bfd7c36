"""A thousand commands that must not be carried out: through a real broker with its rights, to a real agent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
import time
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import pytest

from boardherd.rack.rack import Rack
from boardherd_shared.command import CommandStep, Refusal, State
from boardherd_shared.link import BrokerSettings, Link, Session
from boardherd_shared.messages import MAX_PAYLOAD, decode
from boardherd_shared.topics import Kind, Topics, parse
from faults.processes import Child, python
from support.broker import Mosquitto

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

ACL = Path(__file__).parents[2] / "ansible/roles/mosquitto/templates/boardherd.acl.j2"
SITE = Topics("lab")
PASSWORD = "correct horse"
OPERATORS = ("ops1", "ops2")
COUNT = 1000

Payload = bytes | dict[str, Any]


@dataclass
class Lab:
    """Broker, rack and agent, and every word of the agent."""

    rack: Rack
    agent: Child
    ops: dict[str, Session]
    broker: Mosquitto
    words: list[CommandStep] = field(default_factory=list)

    def finals(self) -> list[CommandStep]:
        return [step for step in self.words if step.final]

    def moves(self) -> int:
        return len(self.rack.truth().transitions)

    async def until(self, condition: Callable[[], bool], timeout: float = 30) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not condition():  # noqa: ASYNC110 - what others say has no event
                    await asyncio.sleep(0.02)
        assert condition(), f"{len(self.finals())} answers\n{self.agent.log.read_text()[-3000:]}"

    async def answer(self, command: dict[str, Any], operator: str = "ops1") -> CommandStep:
        """Send a command and return its final step."""
        topic = SITE.build(Kind.COMMAND, agent="pc-01", operator=operator)
        await self.ops[operator].publish(topic, json.dumps(command).encode())
        await self.until(lambda: any(step.id == command["id"] for step in self.finals()))
        return next(step for step in self.finals() if step.id == command["id"])


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """Mosquitto with an account for each, and the rights that the role gives them."""
    lab = {"site": "lab", "pc": {"pc-01": {}, "pc-02": {}}, "defaults": {"board": {"pc": "pc-01"}}}
    lab["board"] = {f"evm-0{number}": {} for number in (1, 2, 3)}
    text = jinja2.Template(ACL.read_text()).render(
        mosquitto_lab=lab, mosquitto_operators=OPERATORS, ansible_managed="for a test"
    )
    (tmp_path / "acl").write_text(text)
    (tmp_path / "passwords").write_text(
        "".join(f"{name}:{PASSWORD}\n" for name in ("pc-01", "pc-02", *OPERATORS))
    )
    subprocess.run(["mosquitto_passwd", "-U", tmp_path / "passwords"], check=True)
    rights = f"allow_anonymous false\npassword_file {tmp_path}/passwords\nacl_file {tmp_path}/acl\n"
    with Mosquitto(tmp_path, rights) as broker:
        yield broker


@contextlib.asynccontextmanager
async def session(broker: Mosquitto, account: str) -> AsyncIterator[Session]:
    settings = BrokerSettings.model_validate({"url": broker.url, "username": account, "password": PASSWORD})
    async with Link(settings, name=account).session() as session:
        yield session


@pytest.fixture
async def lab(tmp_path: Path, broker: Mosquitto) -> AsyncIterator[Lab]:
    """A lab at rest: three boards, all of them on."""
    config = tmp_path / "agent.toml"
    config.write_text(
        f'pc = "pc-01"\ninventory = "{tmp_path}/lab.toml"\nstate_dir = "{tmp_path}/state"\n'
        f'socket = "{tmp_path}/agent.sock"\n'
        f'[broker]\nurl = "{broker.url}"\nusername = "pc-01"\npassword = "{PASSWORD}"\n'
    )
    agent = Child(python("boardherd_agent", "--config", config), tmp_path / "agent.log")
    async with contextlib.AsyncExitStack() as stack:
        rack = await stack.enter_async_context(Rack(tmp_path, boards=3, modules=1, boot_seconds=0.1))
        (tmp_path / "lab.toml").write_text(rack.lab_toml("lab", "pc-01"))
        tomllib.loads((tmp_path / "lab.toml").read_text())
        rack.power_all()
        ops = {name: await stack.enter_async_context(session(broker, name)) for name in OPERATORS}
        lab = Lab(rack, agent, ops, broker)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        listening = tasks.create_task(listen(lab), name="operator")
        stack.callback(listening.cancel)
        stack.callback(agent.kill_now)
        agent.start()
        hello = {"action": "probe", "board": "evm-01", "id": "hello"}
        async with asyncio.timeout(30):
            while not any(step.id == "hello" for step in lab.finals()):
                await ops["ops1"].publish(
                    SITE.build(Kind.COMMAND, agent="pc-01", operator="ops1"), json.dumps(hello).encode()
                )
                await asyncio.sleep(0.3)
        yield lab


async def listen(lab: Lab) -> None:
    """Keep what the agent says of commands."""
    await lab.ops["ops2"].subscribe(SITE.filter(Kind.RESULT, agent="pc-01"))
    async for message in lab.ops["ops2"].messages():
        address = parse(message.topic)
        if address and address.kind is Kind.RESULT:
            lab.words.append(decode(CommandStep, message.payload))


def bad(rng: random.Random, number: int) -> tuple[str, Payload, bool]:
    """Return one bad command that may be sent: the board of its topic, or none; what it says; whether to retain it."""
    now, board = time.time(), f"evm-0{rng.randint(1, 3)}"
    good = {"action": rng.choice(["cycle", "off", "toggle"]), "board": board, "id": f"bad-{number}"}
    text = json.dumps(good)
    choices: list[tuple[str, Payload, bool]] = [
        ("", text[: rng.randrange(1, len(text) - 1)].encode(), False),
        ("", rng.randbytes(rng.randrange(1, 200)), False),
        ("", _mutated(rng, text), False),
        ("", b"[" * rng.randrange(1, 20_000), False),
        ("", text.encode() + b" " * MAX_PAYLOAD, False),
        ("", good | {"expires_at": now - rng.uniform(0.1, 1e9)}, False),
        ("", good | {"sent_at": now - 60, "valid_for": "20s"}, False),
        ("", good | {"valid_for": -1}, False),
        ("", good | {"expires_at": "tomorrow"}, False),
        ("", good | {"v": rng.choice([0, 2, "1.0", None])}, False),
        ("", good | {"action": rng.choice(["format", "", "CYCLE ", None, ["off"], {"off": 1}])}, False),
        ("", good | {"board": rng.choice(["evm-77", "../evm-01", "", "+", "#", 7, "EVM-01"])}, False),
        ("", good | {"board": None}, False),
        ("", good | {"relay": "eth-1", "port": 1}, False),
        (
            "",
            {**good, "board": None, "relay": "eth-1", "port": rng.choice([0, -1, 99, 101, "1 or 2"])},
            False,
        ),
        ("", good | {"id": rng.choice(["", "a b", "x" * 65, "../../x", 7, "a/b"])}, False),
        ("", good | {"off_tme": "2s"}, False),
        ("", good | {"off_time": rng.choice(["soon", -3, "9" * 400, float("1e400")])}, False),
        ("", good | {"lock": "0" * 32}, False),
        ("", good | {"lock": rng.choice(["short", 7, "g" * 32])}, False),
        ("", good | {"force": True}, False),
        ("", {"action": "all-off", "id": f"bad-{number}"}, False),
        ("", {"action": "line", "board": board, "line": "reset", "id": f"bad-{number}"}, False),
        ("", {"action": "cycle", "board": board, "id": "known"}, False),
        ("", {"action": "off", "board": board, "id": "known"}, False),
        ("", good | {"expect": "off"}, False),
        (board, good | {"board": "evm-09"}, False),
        (board, {"action": "all-off", "reason": "x", "id": f"bad-{number}"}, False),
        (board, {"action": "drain"}, False),
        (board, good | {"reason": "r"}, True),
        ("", good, True),
        ("", rng.choice([b"cycle", b"off", b"toggle"]), True),
        (board, rng.choice([b"cycle", b"off"]), True),
        ("", rng.choice([b"cycle", b"off", b"toggle"]), False),
    ]
    return rng.choice(choices)


def _mutated(rng: random.Random, text: str) -> bytes:
    """Return a command with a quote, a brace or a colon broken, so that it is one no more."""
    body = bytearray(text.encode())
    at = rng.choice([index for index, byte in enumerate(body) if byte in b'{":,}'])
    body[at : at + 1] = rng.choice([b"", b"\x00", b"\xff", b"[["])
    return bytes(body)


async def test_a_thousand_bad_commands_move_nothing(lab: Lab) -> None:
    """CMD-2, SEC-2: each is refused in words, the retained ones again after a crash; a good one is heard among them."""
    rng = random.Random(4)
    known = await lab.answer({"action": "on", "board": "evm-01", "id": "known"})
    assert known.state is State.SUCCEEDED
    before, told = lab.moves(), len(lab.finals())
    async with asyncio.TaskGroup() as tasks:
        for part in range(8):
            tasks.create_task(send_bad(lab, rng, range(part, COUNT, 8)), name=f"sender {part}")
    await lab.until(lambda: len(lab.finals()) >= told + COUNT)
    answers = lab.finals()[told:]
    assert lab.moves() == before
    assert len(answers) == COUNT
    assert {step.state for step in answers} == {State.REFUSED, State.EXPIRED}
    assert all(step.text and step.code for step in answers)
    assert {
        Refusal.INVALID,
        Refusal.RETAINED,
        Refusal.EXPIRED,
        Refusal.UNKNOWN_TARGET,
        Refusal.NOT_LOCKED,
    } <= {step.code for step in answers}
    await retained_ones_come_again(lab, before)


async def send_bad(lab: Lab, rng: random.Random, numbers: range) -> None:
    for number in numbers:
        board, payload, retain = bad(rng, number)
        operator = rng.choice(OPERATORS)
        topic = (
            SITE.build(Kind.BOARD_COMMAND, board=board, operator=operator)
            if board
            else SITE.build(Kind.COMMAND, agent="pc-01", operator=operator)
        )
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        await lab.ops[operator].publish(topic, body, retain=retain)


async def retained_ones_come_again(lab: Lab, before: int) -> None:
    """CMD-2: a broker that repeats what it keeps moves nothing, and a good command is still heard."""
    told = len(lab.finals())
    lab.agent.kill_now()
    lab.agent.start()
    await lab.until(lambda: sum(step.code is Refusal.RETAINED for step in lab.finals()[told:]) >= 2)
    assert lab.moves() == before
    good = await lab.answer({"action": "off", "board": "evm-02", "id": "good"})
    assert good.state is State.SUCCEEDED
    assert lab.moves() == before + 1
    assert lab.agent.tracebacks() == []


async def test_nobody_commands_in_the_name_of_another(lab: Lab) -> None:
    """SEC-1: what another operator, another agent or the agent itself forges does not even arrive."""
    before, told = lab.moves(), len(lab.finals())
    forged = [
        SITE.build(kind, agent="pc-01", board="evm-01", operator="ops1")
        for kind in (Kind.COMMAND, Kind.BOARD_COMMAND)
    ]
    async with session(lab.broker, "pc-02") as other, session(lab.broker, "ops2") as second:
        for number in range(50):
            for forger in (other, second):
                for topic in forged:
                    await forger.publish(
                        topic, b'{"action":"off","board":"evm-01","id":"forged-%d"}' % number
                    )
    assert (await lab.answer({"action": "probe", "board": "evm-01", "id": "after"})).state is State.SUCCEEDED
    assert lab.moves() == before
    assert len(lab.finals()) == told + 1
