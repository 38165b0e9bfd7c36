"""Programs that others wrote for the real devices drive the simulated ones: PDUDaemon's drivers, and curl."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from boardherd.rack.devices.dli import DliSwitch
from boardherd.rack.devices.gude import GudeDevice
from boardherd.rack.devices.netio import NetioDevice
from boardherd.rack.devices.shelly import ShellyDevice
from boardherd.rack.devices.tasmota import TasmotaDevice

PYTHON = Path(__file__).parents[2] / ".tools/pdudaemon/bin/python"

DRIVE = """
import importlib, json, sys
for module, name, host, settings, actions in json.loads(sys.argv[1]):
    driver = getattr(importlib.import_module(f"pdudaemon.drivers.{module}"), name)(host, settings)
    try:
        for command, port in actions:
            driver.port_interaction(command, port)
    except Exception as error:
        print(type(error).__name__)
    else:
        print("done")
"""

Job = tuple[str, str, str, dict[str, object], list[tuple[str, int]]]
"""Module and class of a driver, host, settings, and the actions to carry out."""


async def pdudaemon(*jobs: Job) -> list[str]:
    """Let PDUDaemon's drivers work; return for each job "done", or which exception ended it."""
    if not PYTHON.exists():
        pytest.fail("PDUDaemon is missing; `make test` installs it into .tools/pdudaemon")
    status, said = await run(PYTHON, "-c", DRIVE, json.dumps(jobs))
    assert status == 0, said
    return [line for line in said.splitlines() if line == "done" or line.endswith(("Error", "Exception"))]


async def curl(*arguments: str) -> str:
    status, said = await run("curl", "--silent", "--show-error", "--fail-with-body", *arguments)
    assert status == 0, said
    return said


async def run(*command: str | Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_pdudaemon_switches_them() -> None:
    async with (
        ShellyDevice() as shelly,
        TasmotaDevice(outlets=4, password="pear") as tasmota,
        NetioDevice(user="me", password="pear") as netio,
    ):
        actions = [("on", 1), ("on", 3), ("off", 1)]
        host = f"{tasmota.host}:{tasmota.port}"
        strip: dict[str, object] = {"ip": host, "port_count": 4, "username": "admin"}
        socket: dict[str, object] = {"ip": netio.host, "port": netio.port, "username": "me"}
        right, wrong = {"password": "pear"}, {"password": "apple"}
        outcomes = await pdudaemon(
            ("shelly_gen2", "ShellyGen2", f"{shelly.host}:{shelly.port}", {}, actions),
            ("tasmota", "GenericTasmota", "strip", strip | right, actions),
            ("tasmota", "GenericTasmota", "strip", strip | wrong, [("off", 3)]),
            ("netiojson", "NetioJson", "socket", socket | right, actions),
            ("netiojson", "NetioJson", "socket", socket | wrong, [("off", 3)]),
        )
        assert outcomes == ["done", "done", "FailedRequestException", "done", "FailedRequestException"]
        assert [port for port, on in shelly.outputs.items() if on] == [4], "it counts from 0"
        assert [port for port, on in tasmota.outputs.items() if on] == [3]
        assert [port for port, on in netio.outputs.items() if on] == [3]


async def test_curl_logs_in_to_a_digital_loggers_switch() -> None:
    async with DliSwitch() as device:
        outlets = f"http://{device.host}:{device.port}/restapi/relay/outlets"
        login = ("--digest", "-u", "admin:1234", "-H", "X-CSRF: x", "-H", "Accept: application/json")
        await curl(*login, "-X", "PUT", "--data", "value=true", f"{outlets}/=0,4/state/")
        assert [port for port, on in device.outputs.items() if on] == [1, 5]
        assert json.loads(await curl(*login, f"{outlets}/2/physical_state/")) is False
        assert json.loads(await curl(*login, f"{outlets}/=0/state/")) == [True]
        assert json.loads(await curl(*login, f"{outlets}/all;/state/")) == list(device.outputs.values())
        status, _ = await run(
            "curl",
            "-sf",
            "--digest",
            "-u",
            "admin:1234",
            "-X",
            "PUT",
            "--data",
            "value=false",
            f"{outlets}/0/state/",
        )
        assert status != 0, "a change without the header X-CSRF"
        assert device.outputs[1]


@pytest.mark.parametrize("firmware", ["1.4.4", "2.0.0"])
async def test_curl_logs_in_to_a_shelly(firmware: str) -> None:
    async with ShellyDevice(password="pear", firmware=firmware) as device:
        rpc = f"http://{device.host}:{device.port}/rpc"
        login = ("--digest", "-u", "admin:pear")
        assert json.loads(await curl(*login, f"{rpc}/Switch.Set?id=1&on=true")) == {"was_on": False}
        frame = '{"id":7,"method":"Switch.GetStatus","params":{"id":1}}'
        answer = json.loads(await curl(*login, "--data", frame, rpc))
        assert (answer["id"], answer["result"]["output"]) == (7, True)
        assert device.outputs[2]
        status, said = await run("curl", "-s", "--fail-with-body", *login, f"{rpc}/Switch.Set?id=9&on=true")
        assert (status != 0, json.loads(said)["code"]) == (True, -105)


async def test_curl_switches_a_gude() -> None:
    async with GudeDevice(password="pear") as device:
        status = f"http://admin:pear@{device.host}:{device.port}/status.json"
        assert json.loads(await curl(f"{status}?components=0&cmd=1&p=3&s=1")) == {}
        assert device.outputs[3]
        outputs = json.loads(await curl(f"{status}?components=1"))["outputs"]
        assert [output["state"] for output in outputs] == [0, 0, 1, 0, 0, 0, 0, 0]
