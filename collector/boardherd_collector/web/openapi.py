"""The OpenAPI 3.1 document, made from the endpoints and the pydantic models of their answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field, TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from boardherd_collector.web.endpoints import Endpoint, Parameter

_REF = "#/components/schemas/{model}"
_MODE: JsonSchemaMode = "serialization"


class Failure(BaseModel):
    """The body of every answer that is not 200."""

    error: str = Field(description="what went wrong, in one sentence")


def document(endpoints: Sequence[Endpoint], version: str) -> dict[str, Any]:
    """Return the document that describes ``endpoints``."""
    adapters: list[tuple[Any, JsonSchemaMode, TypeAdapter[Any]]] = [
        (endpoint.path, _MODE, TypeAdapter(endpoint.answer)) for endpoint in endpoints if endpoint.answer
    ]
    adapters.append((Failure, _MODE, TypeAdapter(Failure)))
    bodies, definitions = TypeAdapter.json_schemas(adapters, ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "boardherd collector",
            "version": version,
            "summary": "What is known of the test PCs, boards and relays of a lab. Read-only.",
        },
        "security": [{}, {"token": []}],
        "paths": {
            endpoint.path: {"get": _operation(endpoint, bodies.get((endpoint.path, _MODE)))}
            for endpoint in endpoints
        },
        "components": {
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "required when the collector listens on more than the loopback address",
                }
            },
        },
    }


def _operation(endpoint: Endpoint, schema: Any) -> dict[str, Any]:
    words = re.findall(r"[a-z0-9]+", endpoint.path)
    return {
        "operationId": "_".join(["get", *words]),
        "summary": endpoint.summary,
        "parameters": [_parameter(parameter) for parameter in endpoint.parameters],
        "responses": {
            "200": {
                "description": endpoint.summary,
                "content": {endpoint.media: {"schema": schema} if schema else {}},
            },
            "default": {
                "description": "It went wrong.",
                "content": {"application/json": {"schema": {"$ref": _REF.format(model=Failure.__name__)}}},
            },
        },
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    bounds = {"default": parameter.default, "minimum": parameter.lowest, "maximum": parameter.highest}
    schema: dict[str, Any] = {"type": parameter.kind} | {
        key: value for key, value in bounds.items() if value is not None
    }
    if parameter.choices:
        schema |= {"enum": list(parameter.choices), "default": parameter.choices[0]}
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.where == "path",
        "description": parameter.help,
        "schema": {"type": "array", "items": schema} if parameter.repeated else schema,
    }
