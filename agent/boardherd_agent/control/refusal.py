"""A command that will not be carried out, and why."""

from __future__ import annotations

from boardherd_shared.command import Refusal


class Refused(Exception):  # noqa: N818
    """The command will not be carried out; the message is for the operator."""

    def __init__(self, code: Refusal, text: str) -> None:
        """Refuse for a reason that a program can tell apart, in words for a person."""
        super().__init__(text)
        self.code = code
        self.text = text
