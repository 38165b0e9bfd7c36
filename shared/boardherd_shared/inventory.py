"""lab.toml: read, checked as a whole, and asked.

One file for the whole lab, the same on every PC and on the collector; each agent acts on its own part.
:meth:`Inventory.read` checks everything before anything runs, and names file, line and key of each fault.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

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
from boardherd_shared.lab_rules import faults
from boardherd_shared.secrets import SecretMissing, is_reference, resolve
from boardherd_shared.settings import ConfigError, Document, Key, read_text

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
        return cls.parse(read_text(path), path)

    @classmethod
    def parse(cls, text: str, path: Path = Path("lab.toml")) -> Inventory:
        """Return the inventory in ``text``; ``path`` is for messages. Raises ConfigError."""
        document = Document(path, text)
        _apply_defaults(document)
        lab = document.parse(Lab)
        if found := [*_faults_of_defaults(lab, document), *document.sentences(faults(lab, document))]:
            raise ConfigError("\n".join(found))
        return cls(lab, document, text)

    def boards_of(self, pc: str) -> dict[str, BoardConfig]:
        """Return the boards that the agent of ``pc`` controls, by id: its own, and those of PCs that it watches."""
        return {id_: board for id_, board in self.lab.board.items() if self.agent_of(board) == pc}

    def agent_of(self, board: BoardConfig) -> str | None:
        """Return the PC whose agent controls ``board``: its own, or the one that watches that; None for nobody."""
        own = self.lab.pc.get(board.pc) if board.pc else None
        return (own.watched_by if own else None) or board.pc

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
            raise ConfigError("\n".join(self._explain_options(relay, error, model))) from error

    def check_options(self, relay: str, model: type[BaseModel]) -> tuple[BaseModel | None, list[str]]:
        """Check the driver's own keys of ``relay`` where nobody has its secrets.

        What refers to a secret counts as right. Returns the keys as ``model``, in which the references stand as
        they are, or None where they do not fit into it; and a sentence for each fault.
        """
        try:
            return model.model_validate(self.lab.relay[relay].options), []
        except ValidationError as error:
            return None, self._explain_options(relay, error, model, spare=is_reference)

    def _explain_options(
        self,
        relay: str,
        error: ValidationError,
        model: type[BaseModel],
        spare: Callable[[str], bool] = lambda _text: False,
    ) -> list[str]:
        """Return a sentence for each fault, but for values that are to be spared."""
        options = "options" in self.document.data["relay"][relay]
        below: Key = ("relay", relay, "options") if options else ("relay", relay)
        return self.document.explain(error, model, below, tuple(RelayConfig.model_fields), spare)


def _apply_defaults(document: Document) -> None:
    """Fill each board and relay with the keys of ``defaults`` it does not have itself."""
    defaults = document.data.get("defaults")
    if not isinstance(defaults, dict):
        return
    for part in ("board", "relay"):
        given = defaults.get(part)
        things = document.data.get(part)
        if isinstance(given, dict) and isinstance(things, dict):
            for id_, thing in things.items():
                if isinstance(thing, dict):
                    things[id_] = given | thing
                    document.inherit((part, id_), ("defaults", part))


def _faults_of_defaults(lab: Lab, document: Document) -> list[str]:
    """Return what is wrong with defaults that nothing uses: the model has not seen them."""
    found: list[str] = []
    parts: tuple[tuple[str, dict[str, Any], type[BaseModel], bool], ...] = (
        ("board", lab.defaults.board, BoardConfig, bool(lab.board)),
        ("relay", lab.defaults.relay, RelayConfig, bool(lab.relay)),
    )
    for part, given, model, used in parts:
        try:
            if not used:
                model.model_validate(given)
        except ValidationError as error:
            found += document.explain(error, model, ("defaults", part))
    return found
