"""Drivers that others wrote for the real modules drive the simulated ones: PDUDaemon's, in a process of its own."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from boardherd.rack.devices.numato import NumatoModule
from boardherd.rack.devices.usb_rly import UsbRlyModule
from support.terminal import until

PYTHON = Path(__file__).parents[2] / ".tools/pdudaemon/bin/python"

SCRIPT = """
import importlib, sys
module, name, path, *jobs = sys.argv[1:]
driver = getattr(importlib.import_module("pdudaemon.drivers." + module), name)("relay", {"device": path})
for job in jobs:
    action, _, port = job.partition(":")
    driver.port_interaction(action, port)
"""


async def pdudaemon_driver(module: str, name: str, path: Path, *jobs: str) -> str:
    """Let a driver of PDUDaemon do its jobs, and return what it complains of."""
    if not PYTHON.exists():
        pytest.fail("PDUDaemon is missing; `make test` installs it into .tools/pdudaemon")
    process = await asyncio.create_subprocess_exec(
        PYTHON, "-c", SCRIPT, module, name, str(path), *jobs, stderr=subprocess.PIPE
    )
    async with asyncio.timeout(60):
        _, complaint = await process.communicate()
    return complaint.decode()


@pytest.mark.parametrize(
    ("relays", "last"), [(8, "relay on 7"), (16, "relay on f"), (32, "relay on V"), (64, "relay on 63")]
)
async def test_pdudaemon_switches_a_numato_module(relays: int, last: str) -> None:
    async with NumatoModule(relays=relays) as module:
        jobs = ("on:3", "off:3", f"on:{relays}", f"on:{relays + 1}")
        complaint = await pdudaemon_driver("numatousb", f"NumatoUSB{relays}", module.path, *jobs)
        assert f"Port should be in the range 1 - {relays}" in complaint
        assert last.encode() in module.commands
        assert [(change.port, change.energised) for change in module.transitions] == [
            (3, True),
            (3, False),
            (relays, True),
        ]


async def test_pdudaemon_switches_a_usb_rly_module() -> None:
    async with UsbRlyModule() as module:
        jobs = ("on:1", "on:8", "off:1", "on:9")
        complaint = await pdudaemon_driver("devantechusb", "DevantechUSB8", module.path, *jobs)
        assert "Port should be in the range 1 - 8" in complaint
        await until(lambda: len(module.transitions) == 3)
        assert [(change.port, change.energised) for change in module.transitions] == [
            (1, True),
            (8, True),
            (1, False),
        ]
