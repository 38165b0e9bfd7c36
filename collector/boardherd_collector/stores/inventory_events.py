"""What a new lab.toml means for what the database knows, and the events that tell of it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from boardherd_shared.inventory import Lab

GONE = "retired: lab.toml names it no more; its history stays"
BACK = "in use again: lab.toml names it again"


@dataclass(frozen=True)
class Row:
    """What the database knows of a test PC, or of a board, that lab.toml names or has named."""

    id: str
    pc: str | None
    """The test PC that controls it; of a test PC, itself."""
    retired: bool


@dataclass(frozen=True)
class Happening:
    """One event."""

    pc: str
    """The test PC that it is kept with."""
    subject: str
    text: str


def happenings(pcs: Collection[Row], boards: Collection[Row], lab: Lab) -> Iterator[Happening]:
    """Yield what becomes of the things that are known: who leaves, who comes back, who moves."""
    for row in pcs:
        if row.retired is (row.id in lab.pc):
            yield Happening(row.id, f"pc/{row.id}", BACK if row.retired else GONE)
    for row in boards:
        config = lab.board.get(row.id)
        subject, now = f"board/{row.id}", config.pc if config else None
        keeper = now or row.pc
        if keeper is None:
            continue
        if row.retired is (config is not None):
            yield Happening(keeper, subject, BACK if row.retired else GONE)
        if config is not None and row.pc != now:
            text = f"moved from {row.pc or 'no test PC'} to {now or 'no test PC'}, as lab.toml says"
            yield Happening(keeper, subject, text)


def renamed(wanted: Mapping[str, str | None], known: Mapping[str, str]) -> dict[str, str]:
    """Return which ids that have left lab.toml are there under another id now, by their UUID: old to new.

    Args:
        wanted: the ids in lab.toml, with the UUID that stands there.
        known: the ids in the database, each with its UUID.
    """
    owner = {uuid: id_ for id_, uuid in known.items()}
    return {
        owner[uuid]: id_
        for id_, uuid in wanted.items()
        if uuid in owner and id_ not in known and owner[uuid] not in wanted
    }
