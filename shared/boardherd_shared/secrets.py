"""Secrets by reference: ``secret:NAME`` in a configuration stands for the content of a file of that name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_REFERENCE = re.compile(r"secret:([A-Za-z0-9][A-Za-z0-9._-]*)")


class SecretMissing(Exception):  # noqa: N818
    """A reference leads nowhere; the message says where was looked."""


def resolve(value: Any, directories: Sequence[Path]) -> Any:
    """Return ``value`` with every reference in it replaced by the secret, in texts, lists and tables.

    Args:
        value: what stands in the configuration.
        directories: where the files are looked for, the first that has one wins.

    Raises:
        SecretMissing: there is no such file, or it cannot be read.
    """
    if isinstance(value, dict):
        return {key: resolve(inner, directories) for key, inner in value.items()}
    if isinstance(value, list):
        return [resolve(inner, directories) for inner in value]
    if isinstance(value, str) and (match := _REFERENCE.fullmatch(value)):
        return _read(match[1], directories)
    return value


def is_reference(text: str) -> bool:
    """Tell whether ``text`` stands for a secret."""
    return _REFERENCE.fullmatch(text) is not None


def _read(name: str, directories: Sequence[Path]) -> str:
    for directory in directories:
        try:
            return (directory / name).read_text(encoding="utf-8").rstrip("\n")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise SecretMissing(f"the secret {directory / name} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise SecretMissing(f"the secret {directory / name} is not UTF-8 text") from error
    looked = " or ".join(str(directory) for directory in directories)
    raise SecretMissing(f'there is no secret "{name}" in {looked}')
