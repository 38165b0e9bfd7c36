"""A real PDUDaemon, with simulated Devantech modules behind it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from boardherd.rack.devices.devantech import DevantechModule
from support.ports import free_port, wait_for_port

PDUDAEMON = Path(__file__).parents[2] / ".tools/pdudaemon/bin/pdudaemon"


class PduDaemon:
    """A real PDUDaemon that runs."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60)

    async def ask(self, action: str, pdu: str, port: int, **more: str) -> int:
        """Ask for an action and return the HTTP status; 200 comes after the job is done."""
        query = {"hostname": pdu, "port": str(port), **more}
        return (await self._client.get(f"/power/control/{action}", params=query)).status_code

    async def close(self) -> None:
        await self._client.aclose()


@contextlib.asynccontextmanager
async def pdudaemon(directory: Path, pdus: dict[str, dict[str, object]]) -> AsyncIterator[PduDaemon]:
    if not PDUDAEMON.exists():
        pytest.fail("PDUDaemon is missing; `make test` installs it into .tools/pdudaemon")
    port = free_port()
    settings = directory / "pdudaemon.conf"
    daemon = {"hostname": "127.0.0.1", "port": port, "listener": "http", "logging_level": "DEBUG"}
    settings.write_text(json.dumps({"daemon": daemon, "pdus": pdus}))
    with (directory / "pdudaemon.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            PDUDAEMON, "--conf", settings, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        await asyncio.to_thread(wait_for_port, port, 30)
        client = PduDaemon(port)
        try:
            yield client
        finally:
            await client.close()
    finally:
        process.terminate()
        await process.wait()


def pdu(module: DevantechModule, **more: object) -> dict[str, object]:
    """Return PDUDaemon's configuration of a module; one try only, so that a failure shows at once."""
    return {
        "driver": "devantech_eth008",
        "ip": module.host,
        "port": module.port,
        "retries": 1,
        "retrydelay": 0,
    } | more
