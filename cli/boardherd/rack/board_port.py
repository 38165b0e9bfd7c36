"""One TCP port of a simulated board: it answers, it stays mute, or nobody is there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from types import TracebackType
from typing import Self

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER for zero seconds: closing then sends RST instead of FIN."""

_BACKLOG = 16


class BoardPort:
    """A port that a client sees as it would see a board's: dark at first, until :meth:`answer`.

    A board without power does not refuse connections, it is simply not there, and the caller runs into its
    timeout. On the loopback interface, where the kernel would refuse, the same comes from a listener whose
    accept queue is full: Linux then drops every further SYN. The address stays taken all the time, so it can
    stand in a configuration file.
    """

    def __init__(self, host: str, port: int = 0, greeting: bytes = b"") -> None:
        """Describe a port; the address is taken by entering its context.

        Args:
            host: address to listen on.
            port: TCP port, 0 for a free one; the attribute ``port`` tells which.
            greeting: what every client is sent first.
        """
        self.host, self.port = host, port
        self._greeting = greeting
        self._listener: socket.socket
        self._filler: socket.socket | None = None
        self._clients: set[socket.socket] = set()

    def __enter__(self) -> Self:
        self._listener = socket.socket()
        try:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.setblocking(False)
            self._listener.bind((self.host, self.port))
        except OSError:
            self._listener.close()
            raise
        self.port = self._listener.getsockname()[1]
        self._swallow()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.vanish()
        self._let_go_of_filler()
        self._listener.close()

    def answer(self) -> None:
        """Accept connections from now on, those included that were being tried all the while."""
        self._listener.listen(_BACKLOG)
        self._let_go_of_filler()
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def vanish(self) -> None:
        """Reset every connection, and leave new ones without any reply."""
        self.freeze()
        for client in self._clients:
            _reset(client)
        self._clients.clear()

    def freeze(self) -> None:
        """Keep the connections and ignore them, and leave new ones without any reply."""
        loop = asyncio.get_running_loop()
        for client in self._clients:
            loop.remove_reader(client)
        if self._filler is None:
            loop.remove_reader(self._listener)
            self._swallow()

    def _swallow(self) -> None:
        """Fill the accept queue, after resetting whoever still waits in it."""
        self._listener.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                _reset(self._listener.accept()[0])
        self._filler = socket.socket()
        self._filler.setblocking(False)
        self._filler.connect_ex((self.host, self.port))

    def _let_go_of_filler(self) -> None:
        if self._filler is not None:
            self._filler.close()
            self._filler = None

    def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while True:
                client, _ = self._listener.accept()
                client.setblocking(False)
                self._clients.add(client)
                loop.add_reader(client, self._read, client)
                client.send(self._greeting)

    def _read(self, client: socket.socket) -> None:
        """Take in whatever a client says, and notice when it goes."""
        try:
            gone = not client.recv(4096)
        except BlockingIOError:
            return
        except ConnectionError:
            gone = True
        if gone:
            asyncio.get_running_loop().remove_reader(client)
            self._clients.discard(client)
            client.close()


def _reset(client: socket.socket) -> None:
    with client, contextlib.suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
