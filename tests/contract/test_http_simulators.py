"""The simulated devices with an HTTP interface, request by request: oddities that their drivers must live with."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from boardherd.rack.devices.dli import DliSwitch
from boardherd.rack.devices.gude import GudeDevice
from boardherd.rack.devices.http_device import HttpDevice
from boardherd.rack.devices.netio import NetioDevice
from boardherd.rack.devices.shelly import ShellyDevice
from boardherd.rack.devices.tasmota import TasmotaDevice


@contextlib.asynccontextmanager
async def client(device: HttpDevice, auth: Any = None) -> AsyncIterator[httpx.AsyncClient]:
    base = f"http://{device.host}:{device.port}"
    async with httpx.AsyncClient(base_url=base, auth=auth, timeout=5, trust_env=False) as it:
        yield it


async def until(device: HttpDevice, port: int, energised: bool) -> None:
    async with asyncio.timeout(5):
        while device.outputs[port] is not energised:  # noqa: ASYNC110 - a state of the outside world has no event
            await asyncio.sleep(0.01)


async def test_requests_in_pieces_and_in_a_row_are_answered_in_order() -> None:
    async with GudeDevice(outlets=2) as device:
        reader, writer = await asyncio.open_connection(device.host, device.port)
        for piece in (
            "GET /status.json?compo",
            "nents=0&cmd=1&p=2&s=1 HTTP/1.1\r\n\r",
            "\nGET /x HTTP/1.1\r\n\r\n",
        ):
            writer.write(piece.encode())
            await asyncio.sleep(0)
        assert (await reader.readuntil(b"{}")).startswith(b"HTTP/1.1 200 OK\r\n")
        assert (await reader.readuntil(b"Not Found\r\n")).startswith(b"HTTP/1.1 404 ")
        writer.close()
        await writer.wait_closed()
        assert device.outputs == {1: False, 2: True}


@pytest.mark.parametrize(
    "words", [b"\x10\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"x" * 70_000]
)
async def test_what_is_no_request_ends_the_connection(words: bytes) -> None:
    async with GudeDevice() as device:
        reader, writer = await asyncio.open_connection(device.host, device.port)
        writer.write(words)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_a_request_whose_sender_has_gone_is_lost() -> None:
    async with GudeDevice(process_delay=0.05) as device:
        _, writer = await asyncio.open_connection(device.host, device.port)
        writer.write(b"GET /status.json?cmd=1&p=1&s=1 HTTP/1.1\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        async with client(device) as other:
            await other.get("/status.json?components=1")
        assert len(device.requests) == 2
        assert not device.transitions


async def test_a_garbled_answer_keeps_its_head() -> None:
    async with GudeDevice() as device, client(device) as it:
        device.garble = b"\x55\xaa"
        answer = await it.get("/status.json?components=1")
        assert (answer.status_code, answer.content) == (200, b"\x55\xaa")


async def test_a_digest_holds_for_one_request_or_with_a_rising_count() -> None:
    def digest(*words: str) -> str:
        return hashlib.sha256(":".join(words).encode()).hexdigest()

    def login(realm: str, nonce: str, count: str) -> dict[str, str]:
        secret = digest(digest("admin", realm, "pear"), nonce, count, "c", "auth", digest("GET", "/rpc/X"))
        fields = f'username="admin", realm="{realm}", nonce="{nonce}", uri="/rpc/X", response="{secret}"'
        return {"Authorization": f'Digest {fields}, algorithm=SHA-256, qop=auth, nc={count}, cnonce="c"'}

    for firmware, again in (("1.4.4", 401), ("2.0.0", 400)):
        async with ShellyDevice(password="pear", firmware=firmware) as device, client(device) as it:
            challenge = (await it.get("/rpc/X")).headers["WWW-Authenticate"]
            realm, nonce = (re.search(rf'{name}="(.*?)"', challenge)[1] for name in ("realm", "nonce"))  # type: ignore[index]
            for count, status in (("00000001", 400), ("00000001", 401), ("00000002", again)):
                answer = await it.get("/rpc/X", headers=login(realm, nonce, count))
                assert (firmware, count, answer.status_code) == (firmware, count, status)


async def test_a_shelly_says_what_it_is_without_a_login() -> None:
    async with ShellyDevice(password="pear") as device, client(device) as it:
        assert (await it.get("/shelly")).json()["auth_en"] is True
        assert (await it.get("/rpc/Shelly.GetStatus")).status_code == 401


async def test_errors_of_a_shelly_come_in_a_frame_or_with_a_status() -> None:
    async with ShellyDevice() as device, client(device) as it:
        frame = {"id": 5, "method": "Switch.Set", "params": {"id": 4, "on": True}}
        answer = await it.post("/rpc", json=frame)
        assert (answer.status_code, answer.json()["id"], answer.json()["error"]["code"]) == (200, 5, -105)
        answer = await it.get("/rpc/Switch.Set?id=4&on=true")
        assert (answer.status_code, answer.json()["code"]) == (400, -105)
        assert (await it.post("/rpc", content=b"x")).status_code == 400
        assert "error" in (await it.post("/rpc", json={"method": "Nothing"})).json()
        assert not device.transitions


async def test_a_later_shelly_keeps_the_way_of_generation_1() -> None:
    async with ShellyDevice() as device, client(device) as it:
        assert (await it.get("/relay/0?turn=on")).json()["ison"] is True
        assert (await it.get("/relay/0?turn=toggle")).json()["ison"] is False
        assert (await it.post("/relay/3", data={"turn": "on", "timer": "0.1"})).json()["ison"] is True
        assert (await it.get("/relay/9?turn=on")).status_code == 404
        await until(device, 4, False)


async def test_a_tasmota_takes_a_number_that_it_lacks_for_the_first_relay() -> None:
    async with TasmotaDevice(outlets=2) as device, client(device) as it:
        assert (await it.get("/cm?cmnd=Power9%20On")).json() == {"POWER1": "ON"}
        assert (await it.get("/cm?cmnd=Power2")).json() == {"POWER2": "OFF"}
        assert (await it.get("/cm?cmnd=Nonsense")).json() == {"Command": "Unknown"}


async def test_the_backlog_of_a_tasmota_is_worked_off_in_order() -> None:
    async with TasmotaDevice(outlets=2) as device, client(device) as it:
        for _ in range(2):
            answer = await it.get("/cm", params={"cmnd": "Backlog Power1 On; Delay 1; Power1 Off; Power2 On"})
            assert answer.json() == {}
        await until(device, 2, True)
        async with asyncio.timeout(5):
            while len(device.transitions) < 5:  # noqa: ASYNC110 - the device's own clock
                await asyncio.sleep(0.01)
        moves = [(change.port, change.energised) for change in device.transitions]
        assert moves == [(1, True), (1, False), (2, True), (1, True), (1, False)]


async def test_a_tasmota_comes_back_as_it_was() -> None:
    async with TasmotaDevice() as device, client(device) as it:
        await it.get("/cm?cmnd=Power1%20On")
        await it.get("/cm", params={"cmnd": "Backlog Delay 1; Power1 Off"})
        await device.reboot(seconds=0.15)
        assert device.outputs[1], "the backlog is forgotten"


async def test_a_netio_passes_over_what_it_does_not_know() -> None:
    async with NetioDevice(outlets=2, default_delay_ms=100) as device, client(device) as it:
        wanted = [{"ID": 9, "Action": 1}, {"ID": 1, "Action": 6}, {"ID": 2, "Action": 4}]
        answer = await it.post("/netio.json", json={"Outputs": wanted})
        assert [row["State"] for row in answer.json()["Outputs"]] == [0, 1]
        await it.post("/netio.json", json={"Outputs": [{"ID": 2, "Action": 2}]})
        assert not device.outputs[2]
        await until(device, 2, True)
        for nonsense in (b"x", b"{}", b'{"Outputs":[{}]}', b'{"Outputs":3}'):
            assert (await it.post("/netio.json", content=nonsense)).status_code == 400


async def test_a_gude_resets_and_cancels_and_ignores_outputs_that_it_lacks() -> None:
    async with GudeDevice(outlets=2) as device, client(device) as it:
        await it.get("/status.json?cmd=1&p=1&s=1")
        await it.get("/status.json?cmd=12&p=1")
        assert not device.outputs[1]
        await it.get("/status.json?cmd=2&p=1")
        assert (await it.get("/status.json?components=0&cmd=1&p=3&s=1")).json() == {}
        assert (await it.get("/status.json?components=x")).status_code == 400
        assert [change.energised for change in device.transitions] == [True, False]


async def test_a_transient_state_does_not_survive_a_restart() -> None:
    async with DliSwitch(outlets=2) as device, client(device, httpx.DigestAuth("admin", "1234")) as it:
        outlets, change = "/restapi/relay/outlets", {"X-CSRF": "x"}
        await it.put(f"{outlets}/0/state/", headers=change, data={"value": "true"})
        await it.put(f"{outlets}/all;/transient_state/", headers=change, data={"value": "true"})
        assert device.outputs == {1: True, 2: True}
        assert (await it.get(f"{outlets}/all;/state/")).json() == [True, False]
        await device.reboot(seconds=0)
        assert device.outputs == {1: True, 2: False}
        assert (await it.get(f"{outlets}/1/transient_state/")).json() is False
        for path, value in (("0/state/", "yes"), ("0/physical_state/", "true"), ("5/state/", "true")):
            answer = await it.put(f"{outlets}/{path}", headers=change, data={"value": value})
            assert answer.status_code in {400, 404}


async def test_a_digital_loggers_switch_cycles_by_itself() -> None:
    async with DliSwitch(cycle_delay=0.1) as device, client(device, httpx.DigestAuth("admin", "1234")) as it:
        device.switch(1, True)
        answer = await it.post("/restapi/relay/outlets/0/cycle/", headers={"X-CSRF": "x"})
        assert (answer.status_code, device.outputs[1]) == (204, False)
        await until(device, 1, True)
