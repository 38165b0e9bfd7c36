"""A desk on which requests to people lie, and their answers: two small files for each port.

A request is ``<port>.ask``, JSON with an ``id``, the ``port``, the wanted ``state``, the time ``until`` which it
counts, and a ``text`` for whoever reads it. The answer is ``<port>.answer``: ``done``, or ``no`` and why. Both lie
where the group of the local command socket may write, and go when the request is over.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from boardherd_agent.devices.device import DeviceOffline

ROOT = Path("/run/boardherd")
"""Where desks are, unless the agent's environment says otherwise; its service has this directory for its own."""
VARIABLE = "BOARDHERD_DESKS"
"""The variable of the agent's environment that names another directory."""

_GROUP = "boardherd"
_LONGEST_ANSWER = 1000


@dataclass(frozen=True)
class Desk:
    """One desk, by its name."""

    name: str

    @property
    def place(self) -> Path:
        """The directory that is the desk."""
        return Path(os.environ.get(VARIABLE) or ROOT) / f"by-hand-{self.name}"

    def open(self) -> None:
        """See to it that the desk is there and that people can reach it; raises DeviceOffline."""
        try:
            self.place.mkdir(exist_ok=True)
            if self.place.stat().st_uid == os.geteuid():
                with contextlib.suppress(
                    LookupError, PermissionError
                ):  # no such group: the agent's own user only
                    shutil.chown(self.place, group=_GROUP)
                self.place.chmod(0o2770)
        except OSError as error:
            raise DeviceOffline(f"there can be no desk {self.place}: {error.strerror}") from error

    def ask(self, port: int, state: str, seconds: float) -> str:
        """Put a request on the desk in place of any earlier one, and return its text; raises DeviceOffline."""
        answer = self.place / f"{port}.answer"
        text = f"switch port {port} {state.upper()} by hand, then say so: echo done > {answer}"
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        request = {
            "id": secrets.token_hex(8),
            "port": port,
            "state": state,
            "until": until.isoformat(timespec="seconds"),
            "text": text,
        }
        draft = self.place / f".{port}.draft"
        try:
            answer.unlink(missing_ok=True)
            draft.write_text(json.dumps(request) + "\n", encoding="utf-8")
            draft.chmod(0o660)
            draft.replace(self.place / f"{port}.ask")
        except OSError as error:
            raise DeviceOffline(f"nothing can be put on the desk {self.place}: {error.strerror}") from error
        return text

    def answer(self, port: int) -> str | None:
        """Return what was answered, None if nothing was yet; raises DeviceOffline when the desk is gone."""
        try:
            text = (self.place / f"{port}.answer").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            if not self.place.is_dir():
                raise DeviceOffline(f"there is no desk {self.place} any more") from None
            return None
        except OSError as error:
            raise DeviceOffline(f"the answer on {self.place} cannot be read: {error.strerror}") from error
        return text[:_LONGEST_ANSWER].strip() or None  # an empty file is being written just now

    def say_done(self, port: int) -> bool:
        """Answer ``done`` for a person who said so elsewhere; False if nothing is asked about this port."""
        if not (self.place / f"{port}.ask").exists():
            return False
        (self.place / f"{port}.answer").write_text("done\n", encoding="utf-8")
        return True

    def clear(self, port: int) -> None:
        """Take request and answer from the desk, quietly."""
        for ending in ("ask", "answer"):
            with contextlib.suppress(OSError):
                (self.place / f"{port}.{ending}").unlink()
