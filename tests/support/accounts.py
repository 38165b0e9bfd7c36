"""A Mosquitto with accounts and a file of rights, as a lab has it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from support.broker import Mosquitto

ROOT = "boardherd/v1/lab"
WORD = "apple"
"""Everybody's password."""


def rights_of_pc(pc: str, boards: Sequence[str] = ()) -> list[str]:
    """What a test PC may do, as the shipped role writes it."""
    return [
        f"readwrite {ROOT}/{pc}/status",
        f"write {ROOT}/{pc}/hello",
        f"write {ROOT}/{pc}/telemetry",
        f"readwrite {ROOT}/{pc}/state/#",
        f"write {ROOT}/{pc}/result/#",
        f"write {ROOT}/reply/#",
        f"read {ROOT}/{pc}/ack",
        f"read {ROOT}/{pc}/resume",
        f"read {ROOT}/{pc}/cmd/#",
        f"read {ROOT}/collector/status",
        *(f"read {ROOT}/boards/{board}/cmd/#" for board in boards),
    ]


def rights_of_operator(operator: str) -> list[str]:
    """What an operator may do, as the shipped role writes it."""
    return [f"read {ROOT}/#", f"write {ROOT}/+/cmd/{operator}", f"write {ROOT}/boards/+/cmd/{operator}"]


COLLECTOR = [f"readwrite {ROOT}/#"]


@contextlib.contextmanager
def broker_with(
    directory: Path, accounts: Mapping[str, Sequence[str]], extra: str = ""
) -> Iterator[Mosquitto]:
    """Run a broker that knows ``accounts`` and lets each do what its lines say."""
    passwords, rights = directory / "passwords", directory / "rights"
    passwords.touch()
    for account in accounts:
        subprocess.run(["mosquitto_passwd", "-b", passwords, account, WORD], check=True)
    rights.write_text(
        "\n".join(
            line
            for account, lines in accounts.items()
            for line in (f"user {account}", *(f"topic {it}" for it in lines))
        )
        + "\n"
    )
    access = f"allow_anonymous false\npassword_file {passwords}\nacl_file {rights}\n"
    with Mosquitto(directory, access + extra) as broker:
        yield broker
