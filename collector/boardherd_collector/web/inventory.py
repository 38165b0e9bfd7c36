"""The endpoint that tells which lab.toml the collector acts on."""

from __future__ import annotations

from starlette.requests import Request

from boardherd_collector.web.endpoints import NotFoundError, json_endpoint
from boardherd_collector.web.sources import Sources
from boardherd_shared.definitions import Definitions


async def _inventory(sources: Sources, request: Request) -> Definitions:
    del request
    if sources.definitions is None:
        raise NotFoundError("this collector has no inventory to tell")
    return sources.definitions


ENDPOINTS = (
    json_endpoint(
        "/inventory",
        "The lab.toml that the collector acts on, without anything secret: what each thing is defined as.",
        Definitions,
        _inventory,
    ),
)
