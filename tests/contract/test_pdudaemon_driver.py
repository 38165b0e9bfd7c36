"""The PDUDaemon driver: what it asks, and what it makes of answers that no simulator of PDUDaemon gives."""

from __future__ import annotations

from typing import Any

import pytest

from boardherd.rack.devices.http_device import HttpDevice, Request, Response
from boardherd.rack.devices.pdudaemon import PduDaemon
from boardherd_agent.devices.device import DeviceGarbled, DeviceOffline, DeviceRefused
from boardherd_agent.devices.drivers.pdudaemon import Driver, Options
from boardherd_shared.inventory import RelayConfig


class Stranger(PduDaemon):
    """Something that answers requests to switch in its own way."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.answer = answer

    def respond(self, request: Request) -> Response:
        return self.answer if request.query else super().respond(request)


def driver(device: HttpDevice, **keys: Any) -> Driver:
    config = RelayConfig.model_validate(device.stanza() | keys)
    return Driver(config, Options.model_validate(config.options))


async def test_what_is_asked_of_it() -> None:
    async with PduDaemon(pdu="rack 1/äpc") as daemon, driver(daemon) as it:
        await it.set(3, True)
        await it.set(3, False)
        asked = [request.target for request in daemon.requests]
        assert asked[0] == "/power/control/on"  # moves nothing: it names no PDU
        assert [path.partition("?")[0] for path in asked[1:]] == ["/power/control/on", "/power/control/off"]
        assert [request.query for request in daemon.requests][1:] == [
            {"hostname": "rack 1/äpc", "port": "3"}
        ] * 2
        assert [change.energised for change in daemon.transitions] == [True, False]


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (Response.text("Invalid request\n", 503), DeviceRefused, "did not switch outlet 3"),
        (Response.text("500 Internal Server Error", 500), DeviceOffline, "500 Internal Server Error"),
        (Response.text("It works!"), DeviceGarbled, "It works!, as no PDUDaemon does"),
        (Response.text("404: Not Found", 404), DeviceRefused, "404 Not Found"),
        (Response.text("who are you", 401), DeviceRefused, "asks for a password"),
    ],
)
async def test_answers_that_mean_no(answer: Response, error: type[Exception], words: str) -> None:
    async with Stranger(answer) as device, driver(device) as it:
        with pytest.raises(error, match=words):
            await it.set(3, True)


async def test_a_server_that_is_no_pdudaemon_is_not_opened() -> None:
    async with PduDaemon() as daemon:
        daemon.garble = b"It works!"
        with pytest.raises(DeviceGarbled, match="as no PDUDaemon does"):
            async with driver(daemon):
                pass


async def test_a_pdu_that_it_does_not_know_is_said_with_its_name() -> None:
    async with PduDaemon() as daemon, driver(daemon, pdu="rack-2") as it:
        with pytest.raises(DeviceRefused, match='"rack-2" on: it does not know the PDU'):
            await it.set(1, True)


@pytest.mark.parametrize(("keys", "words"), [({}, '"address"'), ({"address": "10.0.5.2"}, '"pdu"')])
def test_what_is_missing_is_said_before_anything_runs(keys: dict[str, Any], words: str) -> None:
    """OPS-4."""
    with pytest.raises(ValueError, match=words):
        Driver(RelayConfig.model_validate(keys), Options())
