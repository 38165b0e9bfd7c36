"""Tasmota devices over HTTP, and over MQTT through a Mosquitto of their own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Self

from boardherd.rack.devices.tasmota import TasmotaDevice
from support.broker import Mosquitto
from support.rigs.rig import Rig


class TasmotaAtBroker(TasmotaDevice):
    """A device that brings its broker with it."""

    def __init__(self, **options: Any) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="mosquitto-")
        self.mosquitto = Mosquitto(Path(self._directory.name))
        super().__init__(broker=self.mosquitto.url, **options)

    async def __aenter__(self) -> Self:
        self.mosquitto.start()
        return await super().__aenter__()

    async def stop(self) -> None:
        await super().stop()
        self.mosquitto.stop()
        self._directory.cleanup()


RIGS = {
    "tasmota": Rig(lambda: TasmotaDevice(outlets=8), drops_outputs=False),
    "tasmota over MQTT": Rig(
        lambda: TasmotaAtBroker(outlets=8, keeps_outputs=False),
        max_connections=0,
        absent="offline",
        place=("broker", "mqtt://{}"),
    ),
}
