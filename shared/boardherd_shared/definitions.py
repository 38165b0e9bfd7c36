"""What lab.toml says of each thing, in a form that two versions of it can be compared in. Pure.

Nothing secret is in it: of a relay's own keys only those are told that can hold no password.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from boardherd_shared.inventory import Inventory
from boardherd_shared.secrets import is_reference

HIDDEN = "hidden"
"""Stands for a value that is not told, or begins what stands for it."""

_TOLD = frozenset(
    {
        "profile",
        "version",
        "desk",
        "topic",
        "full_topic",
        "serial_port",
        "serial",
        "program",
        "read_by",
        "via",
    }
)
"""Keys of relays that are told though they are texts; all others may be passwords in some driver."""
_LOGIN = re.compile(r"//[^/@]*@")

Thing = dict[str, Any]


class Definitions(BaseModel):
    """Every thing that lab.toml names, with the keys that are not as they would be by default."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    site: str
    hash: str = Field(description="hash of the file; agents tell theirs in their hello")
    admins: tuple[str, ...] = ()
    codes: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="codes that the lab adds to the open choices"
    )
    pc: dict[str, Thing] = Field(default_factory=dict, description="test PCs by id")
    relay: dict[str, Thing] = Field(
        default_factory=dict, description='relays by id; "hidden" stands for what might be secret'
    )
    board: dict[str, Thing] = Field(default_factory=dict, description="boards by id")


def definitions_of(inventory: Inventory, *, fingerprints: bool = False) -> Definitions:
    """Return what ``inventory`` says, with the keys of ``defaults`` where they belong.

    Args:
        inventory: a checked lab.toml.
        fingerprints: put a digest behind each ``hidden``, so that a change shows. Never to be told to others: a
            short password can be guessed from its digest.
    """
    lab = inventory.lab

    def things(kind: Mapping[str, BaseModel]) -> dict[str, Thing]:
        return {id_: _thing(thing, fingerprints) for id_, thing in kind.items()}

    codes = {name: tuple(codes) for name, codes in lab.codes.model_dump().items() if codes}
    return Definitions(
        site=lab.site,
        hash=inventory.hash,
        admins=lab.admins,
        codes=codes,
        pc=things(lab.pc),
        relay=things(lab.relay),
        board=things(lab.board),
    )


def _thing(config: BaseModel, fingerprints: bool) -> Thing:
    thing = config.model_dump(mode="json", exclude_defaults=True)
    options = thing.pop("options", {})
    hide = _fingerprint if fingerprints else _hide
    return thing | {key: _told(key, value, hide) for key, value in sorted(options.items())}


def _told(key: str, value: Any, hide: Callable[[str], str]) -> Any:
    """Return a relay's own key as it may be told."""
    if isinstance(value, Mapping):
        return {name: _told(f"{key}.{name}", inner, hide) for name, inner in value.items()}
    if isinstance(value, list):
        return [_told(key, inner, hide) for inner in value]
    if not isinstance(value, str) or is_reference(value):
        return value
    return value if key in _TOLD and not _LOGIN.search(value) else hide(value)


def _hide(value: str) -> str:
    del value
    return HIDDEN


def _fingerprint(value: str) -> str:
    return f"{HIDDEN} {hashlib.sha256(value.encode()).hexdigest()[:12]}"
