"""lab.toml: read, checked as a whole, and asked.

One file for the whole lab, the same on every PC and on the collector; each agent acts on its own part.
:meth:`Inventory.read` checks everything before anything runs, and names file, line and key of each fault.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from boardherd_shared.claims import double_claims, wires
from boardherd_shared.ids import RESERVED_AGENT_IDS, is_slug
from boardherd_shared.lab import (
    DEFAULT_DRIVER,
    MIN_OFF_TIME_S,
    BoardConfig,
    Codes,
    Defaults,
    Feed,
    Lab,
    Line,
    PcConfig,
    RelayConfig,
)
from boardherd_shared.model import Capability, Platform
from boardherd_shared.secrets import SecretMissing, resolve
from boardherd_shared.settings import ConfigError, Document, Key

__all__ = [
    "DEFAULT_DRIVER",
    "MIN_OFF_TIME_S",
    "BoardConfig",
    "Codes",
    "Defaults",
    "Feed",
    "Inventory",
    "Lab",
    "Line",
    "PcConfig",
    "RelayConfig",
]


class Inventory:
    """A checked lab.toml."""

    def __init__(self, lab: Lab, document: Document, text: str) -> None:
        """Hold what :meth:`parse` has checked."""
        self.lab = lab
        self.document = document
        self.hash = hashlib.sha256(text.encode()).hexdigest()[:16]

    @classmethod
    def read(cls, path: Path) -> Inventory:
        """Return the inventory in ``path``; raises ConfigError with a sentence for each fault."""
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
        return cls.parse(text, path)

    @classmethod
    def parse(cls, text: str, path: Path = Path("lab.toml")) -> Inventory:
        """Return the inventory in ``text``; ``path`` is for messages. Raises ConfigError."""
        document = Document(path, text)
        _apply_defaults(document.data)
        lab = document.parse(Lab)
        if faults := list(_faults(lab, document)):
            raise ConfigError("\n".join(faults))
        return cls(lab, document, text)

    def boards_of(self, pc: str) -> dict[str, BoardConfig]:
        """Return the boards that ``pc`` controls, by id."""
        return {id_: board for id_, board in self.lab.board.items() if board.pc == pc}

    def relays_of(self, pc: str) -> dict[str, RelayConfig]:
        """Return the relays that power boards of ``pc`` or carry their lines, by id."""
        wanted = {wire.relay for board in self.boards_of(pc).values() for wire in board.wires}
        return {id_: relay for id_, relay in self.lab.relay.items() if id_ in wanted}

    def find_board(self, name: str) -> str | None:
        """Return the id of the board that ``name`` means: its id, or its free-text name."""
        if name in self.lab.board:
            return name
        ids = [id_ for id_, board in self.lab.board.items() if board.name == name]
        return ids[0] if len(ids) == 1 else None

    def options_of(self, relay: str, model: type[BaseModel], secrets: Sequence[Path] = ()) -> BaseModel:
        """Return the driver's own keys of ``relay`` as ``model``; raises ConfigError with their lines.

        References to secrets are looked up in the directories ``secrets``.
        """
        try:
            return model.model_validate(resolve(self.lab.relay[relay].options, secrets))
        except SecretMissing as error:
            raise ConfigError(self.document.fault(("relay", relay), str(error))) from error
        except ValidationError as error:
            raise ConfigError("\n".join(self.document.explain(error, below=("relay", relay)))) from error


def _apply_defaults(data: dict[str, Any]) -> None:
    """Fill each board and relay with the keys of ``defaults`` it does not have itself."""
    defaults = data.get("defaults")
    if not isinstance(defaults, dict):
        return
    for part in ("board", "relay"):
        given = defaults.get(part)
        things = data.get(part)
        if isinstance(given, dict) and isinstance(things, dict):
            for id_, thing in things.items():
                if isinstance(thing, dict):
                    things[id_] = given | thing


def _faults(lab: Lab, document: Document) -> Iterator[str]:
    """Yield a sentence for everything that the model alone cannot see."""
    yield from _bad_ids(lab, document)
    for id_, board in lab.board.items():
        yield from _bad_references(lab, document, id_, board)
    yield from double_claims(lab, document)


def _bad_ids(lab: Lab, document: Document) -> Iterator[str]:
    for part, things in (("pc", lab.pc), ("relay", lab.relay), ("board", lab.board)):
        for id_ in things:
            if not is_slug(id_):
                yield document.fault(
                    (part, id_),
                    "an id consists of a-z, 0-9, dot, dash and underscore, and starts with a-z or 0-9",
                )
    for id_ in lab.pc:
        if id_ in RESERVED_AGENT_IDS:
            yield document.fault(("pc", id_), f'"{id_}" is a reserved word; give the PC another id')


def _bad_references(lab: Lab, document: Document, id_: str, board: BoardConfig) -> Iterator[str]:
    def fault(key: Key, message: str) -> str:
        return document.fault(("board", id_, *key), message)

    if board.pc is not None and board.pc not in lab.pc:
        yield fault(("pc",), f'there is no test PC "{board.pc}"; add pc.{board.pc} = {{}}')
    if board.platform is not None and board.platform not in {*Platform, *lab.codes.platform}:
        yield fault(
            ("platform",), f'unknown platform "{board.platform}"; add it to codes.platform if it is right'
        )
    for capability in board.capabilities:
        if capability not in {*Capability, *lab.codes.capability}:
            yield fault(
                ("capabilities",),
                f'unknown capability "{capability}"; add it to codes.capability if it is right',
            )
    for name, seconds in (("off_time", board.off_time), ("min_off", board.min_off)):
        if seconds < MIN_OFF_TIME_S:
            yield fault(
                (name,), f"a board must stay off for at least {MIN_OFF_TIME_S:g} s, not {seconds:g} s"
            )
    yield from _bad_feeds(lab, document, id_, board)
    yield from _bad_probes(document, id_, board)


def _bad_feeds(lab: Lab, document: Document, id_: str, board: BoardConfig) -> Iterator[str]:
    for key, wire in wires(board):
        relay = lab.relay.get(wire.relay)
        if relay is None:
            yield document.fault(("board", id_, *key), f'there is no relay "{wire.relay}"')
        elif wire.port > relay.port_count:
            yield document.fault(
                ("board", id_, *key),
                f"{wire.relay} has {relay.port_count} ports, there is no port {wire.port} (see port_count)",
            )


def _bad_probes(document: Document, id_: str, board: BoardConfig) -> Iterator[str]:
    needs_address = [probe for probe in board.probes if probe.split(":")[0] in {"ping", "tcp", "ssh"}]
    if needs_address and not board.board_ip:
        yield document.fault(("board", id_, "probes"), f'the probe "{needs_address[0]}" needs board_ip')
    if "console" in board.probes and not board.serial_port:
        yield document.fault(("board", id_, "probes"), 'the probe "console" needs serial_port')
