"""Makes the generated parts of ``docs/``; ``make docs`` runs it, a test compares."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from asyncapi import CONTRACT, asyncapi, payload_schema  # noqa: E402
from database_reference import database  # noqa: E402
from devices_reference import devices  # noqa: E402
from lab_schema import lab_schema  # noqa: E402
from probes_reference import probes  # noqa: E402
from reference import configuration, metrics  # noqa: E402


def generated() -> Iterator[tuple[Path, str]]:
    """Yield each generated file, relative to ``docs/``, and what it shall contain."""
    yield Path("configuration.md"), configuration()
    yield Path("devices.md"), devices()
    yield Path("probes.md"), probes()
    yield Path("lab.schema.json"), _json(lab_schema())
    yield Path("metrics.md"), metrics()
    yield Path("database.md"), database()
    yield Path("mqtt/asyncapi.json"), _json(asyncapi(version("boardherd-shared")))
    for model in dict.fromkeys(model for model, _, _ in CONTRACT.values()):
        yield Path(f"mqtt/schemas/{model.__name__}.json"), _json(payload_schema(model))


def _json(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write every generated file."""
    for path, content in generated():
        target = HERE / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
