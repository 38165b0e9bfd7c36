"""The broker as the Ansible role sets it up: who gets in, who may say what, who may hear what.

A broker that denies a message still answers success, so what is denied shows in what does not arrive.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from boardherd_shared.link import BrokerSettings, Farewell, Link, LinkDown, Session
from boardherd_shared.topics import Kind, Topics
from support.ansible_lab import Controller
from support.broker import Mosquitto
from support.ports import wait_for_port

SITE = Topics("lab")

pytestmark = pytest.mark.timeout(300)  # the first test of the file waits for a playbook


def of_agent(pc: str, operator: str = "alice") -> set[str]:
    """Every topic that an agent writes."""
    return {
        SITE.build(Kind.STATUS, agent=pc),
        SITE.build(Kind.HELLO, agent=pc),
        SITE.build(Kind.TELEMETRY, agent=pc),
        SITE.build(Kind.RELAY_STATE, agent=pc, relay="eth-1", port=3),
        SITE.build(Kind.BOARD_STATE, agent=pc, board="evm-07"),
        SITE.build(Kind.RESULT, agent=pc, id="some-command"),
        SITE.build(Kind.REPLY, operator=operator),
    }


def of_operator(operator: str) -> set[str]:
    """Every topic that an operator writes."""
    return {
        SITE.build(Kind.COMMAND, agent="pc-01", operator=operator),
        SITE.build(Kind.COMMAND, agent="pc-02", operator=operator),
        SITE.build(Kind.BOARD_COMMAND, board="evm-07", operator=operator),
        SITE.build(Kind.BOARD_COMMAND, board="evm-09", operator=operator),
        SITE.build(Kind.COLLECTOR_COMMAND, operator=operator),
    }


def of_collector(pc: str) -> set[str]:
    """Every topic that the collector writes for an agent or clears after it, its own status and its answers."""
    return of_agent(pc) | {
        SITE.build(Kind.RESULT, agent="collector", id="c-1"),
        SITE.build(Kind.ACK, agent=pc),
        SITE.build(Kind.RESUME, agent=pc),
        SITE.build(Kind.COLLECTOR_STATUS),
    }


EVERYTHING = (
    of_agent("pc-01") | of_agent("pc-02") | of_operator("alice") | of_operator("bob") | of_operator("pc-01")
) | (of_collector("pc-01") | of_collector("pc-02"))


@dataclass(frozen=True)
class Lab:
    """A running broker and the accounts that the role made."""

    controller: Controller

    def settings(self, account: str, **changes: object) -> BrokerSettings:
        url = f"mqtt://127.0.0.1:{self.controller.listener}"
        password = self.controller.password(account)
        return BrokerSettings.model_validate(
            {"url": url, "username": account, "password": password} | changes
        )

    @asynccontextmanager
    async def session(self, account: str) -> AsyncIterator[Session]:
        async with Link(self.settings(account), name=account).session() as session:
            yield session


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A real Mosquitto with the files that the role wrote."""
    controller = Controller(tmp_path_factory.mktemp("ansible"))
    run = controller.play("site.yml", "--tags", "broker")
    assert run.code == 0, run.text
    conf = controller.etc("server") / "mosquitto" / "conf.d"
    with Mosquitto(tmp_path_factory.mktemp("broker"), f"include_dir {conf}\n"):
        wait_for_port(controller.listener)
        yield Lab(controller)


async def say(session: Session, topics: Iterable[str]) -> None:
    for topic in sorted(topics):
        await session.publish(topic, session.id.encode())


async def hear(listener: Session, until: str) -> set[str]:
    """Return the topics of all messages that arrive up to the one on ``until``."""
    heard: set[str] = set()
    async with asyncio.timeout(10):
        async for message in listener.messages():
            if message.topic == until:
                return heard
            heard.add(message.topic)
    raise AssertionError("the connection ended")


@pytest.mark.parametrize(
    ("account", "allowed"),
    [
        ("pc-01", of_agent("pc-01")),
        ("pc-02", of_agent("pc-02")),
        ("alice", of_operator("alice")),
        ("collector", of_collector("pc-01") | of_collector("pc-02")),
    ],
)
async def test_an_account_may_say_its_own_and_nothing_else(lab: Lab, account: str, allowed: set[str]) -> None:
    """SEC-1: an agent cannot speak for another, acknowledge or command; nor can anybody but the operator."""
    end = SITE.build(Kind.COLLECTOR_COMMAND, operator="bob")
    async with AsyncExitStack() as stack:
        spy, speaker, last = [
            await stack.enter_async_context(lab.session(name)) for name in ("bob", account, "bob")
        ]
        await spy.subscribe("boardherd/v1/lab/#")
        await say(speaker, EVERYTHING)
        await say(last, [end])
        assert await hear(spy, end) - {end} == allowed


async def test_an_agent_hears_what_is_meant_for_it_and_nothing_else(lab: Lab) -> None:
    """SEC-1: one agent does not read another's commands or data."""
    end = SITE.build(Kind.ACK, agent="pc-01")
    async with AsyncExitStack() as stack:
        spy, alice, collector, other = [
            await stack.enter_async_context(lab.session(name))
            for name in ("pc-01", "alice", "collector", "pc-02")
        ]
        await spy.subscribe("#")
        await say(alice, of_operator("alice"))
        await say(other, of_agent("pc-02"))
        await say(collector, {*of_collector("pc-01"), *of_collector("pc-02")} - {end})
        await say(collector, [end])
        assert await hear(spy, end) == {
            SITE.build(Kind.COMMAND, agent="pc-01", operator="alice"),
            SITE.build(Kind.BOARD_COMMAND, board="evm-07", operator="alice"),
            SITE.build(Kind.RESUME, agent="pc-01"),
            SITE.build(Kind.STATUS, agent="pc-01"),
            SITE.build(Kind.COLLECTOR_STATUS),
            *(topic for topic in of_collector("pc-01") if "/pc-01/state/" in topic),
        }


async def test_an_agent_cannot_leave_a_will_in_the_name_of_another(lab: Lab) -> None:
    """SEC-1: a will is a message like any other."""
    forged, own = (SITE.build(Kind.STATUS, agent=pc) for pc in ("pc-02", "pc-01"))
    async with lab.session("bob") as spy:
        await spy.subscribe("boardherd/v1/lab/+/status")
        for topic in (forged, own):
            link = Link(
                lab.settings("pc-01"), name="pc-01", will=lambda _, topic=topic: Farewell(topic, b"gone")
            )
            async with link.session() as session:
                session.cut()
        assert await hear(spy, own) == set()


async def test_nobody_gets_in_without_the_right_password(lab: Lab) -> None:
    wrong = [
        lab.settings("pc-01", password=lab.controller.password("pc-02")),
        lab.settings("pc-01", password=""),
        lab.settings("pc-01", username=None, password=None),
        lab.settings("pc-01", username="root"),
    ]
    for settings in wrong:
        with pytest.raises(LinkDown, match="refused the connection"):
            async with Link(settings, name="intruder").session():
                pass


def test_the_files_of_the_broker_are_not_for_everybody(lab: Lab) -> None:
    etc = lab.controller.etc("server") / "mosquitto"
    for name in ("boardherd.passwd", "boardherd.acl"):
        assert (etc / name).stat().st_mode & 0o777 == 0o640
    assert lab.controller.password("alice") not in (etc / "boardherd.passwd").read_text()
    assert "pattern" not in [line.split(" ")[0] for line in (etc / "boardherd.acl").read_text().splitlines()]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that signs itself; its key lies beside it."""
    place = tmp_path / "server.crt"
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", place.with_suffix(".key"), "-out", place]
    subprocess.run([*new, *subject, *files], check=True, capture_output=True)
    return place


async def test_a_listener_with_a_certificate_speaks_tls(certificate: Path, tmp_path: Path) -> None:
    controller = Controller(tmp_path)
    listener = {
        "port": controller.listener,
        "address": "127.0.0.1",
        "certfile": str(certificate),
        "keyfile": str(certificate.with_suffix(".key")),
    }
    run = controller.play(
        "site.yml", "--tags", "broker", "-e", json.dumps({"mosquitto_listeners": [listener]})
    )
    assert run.code == 0, run.text
    with Mosquitto(tmp_path, f"include_dir {controller.etc('server')}/mosquitto/conf.d\n"):
        wait_for_port(controller.listener)
        tls = {"url": f"mqtts://127.0.0.1:{controller.listener}", "ca_file": certificate}
        async with Link(Lab(controller).settings("pc-01", **tls), name="pc-01").session() as session:
            await session.publish(SITE.build(Kind.TELEMETRY, agent="pc-01"), b"{}")
