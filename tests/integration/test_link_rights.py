"""What a broker lets through and what it grants, told by Mosquitto with a file of rights, and with its plugin."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

from boardherd_shared.link import BrokerSettings, Link
from boardherd_shared.link_rights import may_publish
from support.accounts import ROOT, WORD, broker_with, rights_of_pc
from support.broker import Mosquitto

PLUGINS = sorted(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"))


def settings(url: str) -> BrokerSettings:
    return BrokerSettings.model_validate({"url": url, "username": "pc-01", "password": WORD})


async def test_a_denied_message_is_told_from_one_that_nobody_reads(tmp_path: Path) -> None:
    with broker_with(tmp_path, {"pc-01": rights_of_pc("pc-01")}) as broker:
        async with Link(settings(broker.url), name="pc-01").session() as session:
            assert await may_publish(session, f"{ROOT}/pc-01/telemetry", b"{}") is True
            assert await may_publish(session, f"{ROOT}/pc-02/telemetry", b"{}") is False
            await session.publish(f"{ROOT}/pc-02/telemetry", b"{}")  # goes on as before: nothing is raised
            assert await may_publish(session, f"{ROOT}/pc-01/telemetry", b"{}") is True


async def test_mosquitto_with_a_file_of_rights_grants_what_it_never_delivers(tmp_path: Path) -> None:
    with broker_with(tmp_path, {"pc-01": rights_of_pc("pc-01")}) as broker:
        async with Link(settings(broker.url), name="pc-01").session() as session:
            assert await session.subscribe("#", f"{ROOT}/pc-02/cmd/+") == ()


async def test_a_refused_subscription_is_named(tmp_path: Path) -> None:
    """As Mosquitto's plugin for rights refuses it, the others being granted."""
    assert PLUGINS, "the plugin comes with Mosquitto's package"
    rights = tmp_path / "rights.json"
    rights.write_text(json.dumps(dynamic_security(f"{ROOT}/pc-01/#")))
    extra = f"allow_anonymous false\nplugin {PLUGINS[0]}\nplugin_opt_config_file {rights}\n"
    with Mosquitto(tmp_path, extra) as broker:
        async with Link(settings(broker.url), name="pc-01").session() as session:
            assert await session.subscribe(f"{ROOT}/pc-01/ack", f"{ROOT}/pc-02/ack") == (f"{ROOT}/pc-02/ack",)


def dynamic_security(may_read: str) -> dict[str, object]:
    """Return what the plugin reads: one account that may subscribe to one branch."""
    salt = bytes(12)
    hashed = hashlib.pbkdf2_hmac("sha512", WORD.encode(), salt, 101)
    role = {"rolename": "pc", "acls": [{"acltype": "subscribePattern", "topic": may_read, "allow": True}]}
    client = {
        "username": "pc-01",
        "password": base64.b64encode(hashed).decode(),
        "salt": base64.b64encode(salt).decode(),
        "iterations": 101,
        "roles": [{"rolename": "pc"}],
    }
    return {
        "defaultACLAccess": {"publishClientSend": True, "publishClientReceive": True, "subscribe": False},
        "clients": [client],
        "roles": [role],
    }
