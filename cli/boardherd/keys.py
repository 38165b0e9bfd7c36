"""A terminal whose keys go to somebody else, and the few that do not."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass

HELP = (
    "\r\n~.  leave the console\r\n~~  send one ~\r\n~?  this help\r\n"
    "(each at the beginning of a line, as with ssh)\r\n"
)

_LINE_ENDS = b"\r\n\x03\x04"
"""What brings a line to its beginning: Return, and Ctrl-C and Ctrl-D, which start shells anew."""


@dataclass
class Escapes:
    """Finds what is meant for us among the keys: ``~.`` and its like at the beginning of a line."""

    leave: bool = False
    """Whether ``~.`` was typed; what came after it is dropped."""
    help: bool = False
    """Whether ``~?`` was typed; set back by whoever has shown the help."""
    _at_start: bool = True
    _tilde: bool = False

    def feed(self, keys: bytes) -> bytes:
        """Return what of ``keys`` is for the console."""
        sent = bytearray()
        for key in keys:
            if self.leave:
                break
            if self._tilde:
                self._after_tilde(key, sent)
            elif self._at_start and key == ord("~"):
                self._tilde = True
            else:
                sent.append(key)
                self._at_start = key in _LINE_ENDS
        return bytes(sent)

    def _after_tilde(self, key: int, sent: bytearray) -> None:
        self._tilde = False
        if key == ord("."):
            self.leave = True
        elif key == ord("?"):
            self.help = True
        elif key == ord("~"):
            sent += b"~"
            self._at_start = False
        else:
            sent += bytes([ord("~"), key])
            self._at_start = key in _LINE_ENDS


@contextlib.contextmanager
def raw_keys(descriptor: int) -> Iterator[None]:
    """Let every key through as it is typed, unseen and unchanged; afterwards the terminal is as it was.

    Signals must end the block rather than the process, for it is the process that puts the terminal right.
    """
    if sys.platform == "win32":
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor, termios.TCSANOW)
        yield
    finally:
        # Not TCSADRAIN: a terminal that takes no more output must not keep us from putting it right.
        termios.tcsetattr(descriptor, termios.TCSANOW, before)
