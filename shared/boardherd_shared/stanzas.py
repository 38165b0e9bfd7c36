"""Lines of lab.toml for what the lab has and the file does not name yet. Pure."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Collection

from boardherd_shared.ids import RESERVED_AGENT_IDS, is_slug
from boardherd_shared.messages import HostFacts
from boardherd_shared.values import one_line

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_key(name: str) -> str:
    """Return one key as TOML takes it, in quotes where it needs them."""
    return name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def pc_stanza(id_: str, facts: HostFacts | None, taken: Collection[str] = ()) -> str | None:
    """Return the line of lab.toml for a test PC that has introduced itself, or None for an id that cannot stand there.

    Args:
        id_: what its agent calls it.
        facts: what the agent found out about it.
        taken: addresses that lab.toml gives to other PCs: they are left out, since each is there once.
    """
    if not is_slug(id_) or id_ in RESERVED_AGENT_IDS:
        return None
    address = _address(facts.ip_address) if facts else None
    keys = f" ip = {json.dumps(address)} " if address and address not in taken else ""
    line = f"pc.{toml_key(id_)} = {{{keys}}}"
    about = ", ".join(filter(None, [facts.hostname, facts.os_text or facts.os_version])) if facts else ""
    return f"{line}  # {one_line(about, 100)}" if about else line


def _address(text: str | None) -> str | None:
    """Return an address that agents have told, if it is one and not everybody's."""
    try:
        address = ipaddress.ip_address(text or "")
    except ValueError:
        return None
    return None if address.is_loopback or address.is_unspecified else str(address)
