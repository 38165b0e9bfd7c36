"""The MQTT contract as an AsyncAPI 3 document, made from the topic table and the message models."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from boardherd_shared import messages, topics
from boardherd_shared.collector_command import CollectorCommand
from boardherd_shared.command import Command, CommandStep
from boardherd_shared.topics import Kind

CONTRACT: dict[Kind, tuple[type[BaseModel], str, str]] = {
    Kind.STATUS: (messages.Status, "agent", "An agent is there, is leaving, or is gone (its will)."),
    Kind.HELLO: (messages.Hello, "agent", "An agent introduces itself after each connect."),
    Kind.TELEMETRY: (messages.Envelope, "agent", "Records under one sequence number."),
    Kind.RELAY_STATE: (messages.PortState, "agent", "Current state of a relay port; cleared when gone."),
    Kind.BOARD_STATE: (messages.BoardState, "agent", "Current verdict on a board; cleared when gone."),
    Kind.RESULT: (CommandStep, "agent", "One step of a command's life."),
    Kind.REPLY: (CommandStep, "agent", "The same step, mirrored to the operator who asked."),
    Kind.COMMAND: (Command, "operator", "A command to an agent. Never retained."),
    Kind.BOARD_COMMAND: (
        Command,
        "operator",
        "A command to a board, whichever agent controls it. Never retained.",
    ),
    Kind.COLLECTOR_COMMAND: (
        CollectorCommand,
        "operator",
        "A command to the collector: what people decide about things. Never retained.",
    ),
    Kind.COLLECTOR_STATUS: (
        messages.Status,
        "collector",
        "The collector is there; agents keep spooling while not.",
    ),
    Kind.ACK: (messages.Ack, "collector", "What the database holds, said after the commit."),
    Kind.RESUME: (messages.Resume, "collector", "Answer to hello: which envelopes the database lacks."),
}
"""For each kind that is spoken today: its payload, who sends it, what it is for."""

PARAMETERS = {
    "site": "The lab's id.",
    "agent": "The test PC's id.",
    "board": "The board's id.",
    "relay": "The relay's id.",
    "port": "The relay's port, from 1.",
    "operator": "Broker user name of the sender; the broker's ACL enforces it.",
    "id": "The command's id.",
}


def asyncapi(version: str) -> dict[str, Any]:
    """Return the document for one version of boardherd."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "boardherd",
            "version": version,
            "description": "Test PCs report their boards, relays and themselves; operators switch power. "
            "Described from the side of boardherd: it receives what operators send.",
        },
        "defaultContentType": "application/json",
        "servers": {"broker": {"host": "127.0.0.1:1883", "protocol": "mqtt"}},
        "channels": {kind.value: _channel(kind) for kind in CONTRACT},
        "operations": {kind.value: _operation(kind) for kind in CONTRACT},
        "components": {
            "messages": {
                model.__name__: {"payload": {"$ref": f"#/components/schemas/{model.__name__}"}}
                for model in _models()
            },
            "schemas": schemas(),
        },
    }


def schemas() -> dict[str, Any]:
    """Return the JSON Schema of every payload and of what it is made of, by name."""
    _, document = models_json_schema(
        [(model, "validation") for model in _models()], ref_template="#/components/schemas/{model}"
    )
    found: dict[str, Any] = _without_discriminators(document["$defs"])
    return found


def _without_discriminators(schema: Any) -> Any:
    """Drop OpenAPI's ``discriminator`` objects: AsyncAPI gives that word another meaning."""
    if isinstance(schema, dict):
        return {
            key: _without_discriminators(value) for key, value in schema.items() if key != "discriminator"
        }
    return [_without_discriminators(item) for item in schema] if isinstance(schema, list) else schema


def payload_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return one payload's JSON Schema, complete in itself."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | model.model_json_schema()


def _models() -> list[type[BaseModel]]:
    return list(dict.fromkeys(model for model, _, _ in CONTRACT.values()))


def _channel(kind: Kind) -> dict[str, Any]:
    model, _, purpose = CONTRACT[kind]
    template = f"{topics.ROOT}/{{site}}/{topics.TEMPLATES[kind]}"
    return {
        "address": template,
        "description": purpose,
        "parameters": {
            name: {"description": text} for name, text in PARAMETERS.items() if f"{{{name}}}" in template
        },
        "messages": {model.__name__: {"$ref": f"#/components/messages/{model.__name__}"}},
    }


def _operation(kind: Kind) -> dict[str, Any]:
    model, sender, purpose = CONTRACT[kind]
    operation: dict[str, Any] = {
        "action": "receive" if sender == "operator" else "send",
        "summary": f"{purpose} Sent by the {sender}.",
        "channel": {"$ref": f"#/channels/{kind.value}"},
        "messages": [{"$ref": f"#/channels/{kind.value}/messages/{model.__name__}"}],
        "bindings": {"mqtt": {"qos": 1, "retain": kind in topics.RETAINED, "bindingVersion": "0.2.0"}},
    }
    if sender == "operator":
        operation["reply"] = {
            "channel": {"$ref": f"#/channels/{Kind.RESULT.value}"},
            "messages": [{"$ref": f"#/channels/{Kind.RESULT.value}/messages/{CommandStep.__name__}"}],
        }
    return operation
