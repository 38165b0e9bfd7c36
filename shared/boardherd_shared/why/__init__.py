"""Why a board, a test PC or a relay is as it is: the answer in five lines. Pure."""

from boardherd_shared.why.answer import UnknownThingError, Why, explain

__all__ = ["UnknownThingError", "Why", "explain"]
