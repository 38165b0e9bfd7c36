"""Puts a lab.toml in force on this machine: written where the daemons read it, and read by them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from boardherd.inventory.places import Daemon
from boardherd_shared.inventory import Inventory
from boardherd_shared.settings import ConfigError
from boardherd_shared.views import FleetView

_RELOAD_S = 30.0


def in_force(path: Path) -> Inventory | None:
    """Return what a daemon acts on now, None when there is no usable file."""
    try:
        return Inventory.read(path)
    except ConfigError:
        return None


def leaving(old: Inventory, new: Inventory, pcs: Iterable[str]) -> list[str]:
    """Return the boards that the test PCs ``pcs`` would no longer control."""
    return sorted(id_ for pc in pcs for id_ in old.boards_of(pc) if id_ not in new.boards_of(pc))


def held(fleet: FleetView, boards: Iterable[str]) -> list[str]:
    """Return who has which of ``boards`` to himself, in words."""
    wanted = set(boards)
    return [
        f"{board.id} (locked by {board.lock.owner})"
        for board in fleet.boards
        if board.id in wanted and board.lock
    ]


def write(path: Path, content: bytes) -> None:
    """Put ``content`` in the place of the file ``path`` at once, or not at all; the former stays beside it as .bak.

    Owner and rights stay as they were. Raises OSError.
    """
    path = path.resolve()  # a link stays a link
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    fresh = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copystat(path, fresh)
            os.utime(fresh)
            was = path.stat()
            os.chown(fresh, was.st_uid, was.st_gid)
            shutil.copy2(path, path.with_name(f"{path.name}.bak"))
        else:
            fresh.chmod(0o644)
        fresh.replace(path)
        _sync(path.parent)
    finally:
        fresh.unlink(missing_ok=True)


def note(path: Path, who: str, old: Inventory | None, new: Inventory, reason: str | None) -> None:
    """Add a line about what was done to the log beside the file ``path``; raises OSError."""
    before = old.hash if old else "nothing"
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    why = f", by force: {reason}" if reason else ""
    with path.resolve().with_name(f"{path.name}.log").open("a", encoding="utf-8") as log:
        log.write(f"{at} {who}: {before} -> {new.hash}{why}\n")


def reload(daemon: Daemon) -> str:
    """Have a daemon read its configuration again; return what is left to do, in words, empty when it was told."""
    by_hand = f"let it read the file: systemctl reload {daemon.unit}, or send it SIGHUP"
    systemctl = shutil.which("systemctl")
    if systemctl is None or _run([systemctl, "is-active", "--quiet", daemon.unit]):
        return f"the {daemon.role} does not run as {daemon.unit}; {by_hand}"
    if why := _run([systemctl, "reload", daemon.unit]):
        return f"systemctl reload {daemon.unit} failed ({why}); {by_hand}"
    return ""


def _run(command: Sequence[str]) -> str:
    """Return why a command failed, empty when it did not."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_RELOAD_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return said[-1] if done.returncode else ""


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
