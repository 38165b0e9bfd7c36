"""What systemd hears of a service, without systemd."""

from __future__ import annotations

import select
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Self


class NotifySocket:
    """The socket that NOTIFY_SOCKET names; keeps every message."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "notify.sock"
        self.messages: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))

    @property
    def environment(self) -> dict[str, str]:
        """What a service gets so that it speaks to us."""
        return {"NOTIFY_SOCKET": str(self.path)}

    def drain(self) -> None:
        """Take what has come, so that nobody waits for us."""
        while select.select([self._socket], [], [], 0)[0]:
            self.messages.append(self._socket.recv(65536).decode())

    def wait_for(self, text: str, timeout: float = 20.0) -> str:
        """Return the first message with ``text`` that has not been waited past; AssertionError when none comes."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self._socket], [], [], left)[0]:
                continue
            message = self._socket.recv(65536).decode()
            self.messages.append(message)
            if text in message:
                return message
        raise AssertionError(f'nobody said "{text}", only {self.messages}')

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._socket.close()
