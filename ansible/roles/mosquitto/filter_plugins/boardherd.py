"""Filters of the mosquitto role: read lab.toml, hash passwords as Mosquitto wants them."""  # noqa: INP001 - loaded by path

from __future__ import annotations

import base64
import hashlib
import tomllib
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

_ITERATIONS = 1000
_SALT_BYTES = 12


class FilterModule:
    """What Ansible looks for in this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by the names that templates use."""
        return {"from_toml": from_toml, "mosquitto_hash": mosquitto_hash}


def from_toml(text: str) -> dict[str, Any]:
    """Return the TOML document ``text`` as a dictionary."""
    try:
        return tomllib.loads(str(text))
    except tomllib.TOMLDecodeError as error:
        raise AnsibleFilterError(f"this is no TOML: {error}") from error


def mosquitto_hash(password: str, account: str, site: str) -> str:
    """Return the entry for ``password`` in a password file of Mosquitto 2: PBKDF2 with SHA-512, type 7.

    The salt is made from the names of account and site. It differs for each of them, which is what a salt is
    for, and stays the same from run to run, so that a run without news changes nothing.
    """
    salt = hashlib.sha256(f"boardherd/{site}/{account}".encode()).digest()[:_SALT_BYTES]
    key = hashlib.pbkdf2_hmac("sha512", str(password).encode(), salt, _ITERATIONS)
    return f"$7${_ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"
