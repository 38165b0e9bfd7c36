"""Logging, set up once: lines for a person on a terminal, JSON for a machine."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog

LogFormat = Literal["auto", "text", "json"]


def configure(level: str = "info", form: LogFormat = "auto") -> None:
    """Send the program's log to standard error.

    ``auto`` writes plain lines on a terminal or under systemd's journal, and ``json`` one object a line.
    Control characters in values are escaped in both, so a payload cannot forge a line.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    renderer: structlog.typing.Processor
    if form == "json":
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        # The plain exception formatter keeps rich out of the daemons, where it would cost 20 MB.
        renderer = structlog.dev.ConsoleRenderer(
            colors=form == "auto" and sys.stderr.isatty(),
            exception_formatter=structlog.dev.plain_traceback,
            pad_event_to=0,
        )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
            structlog.processors.StackInfoRenderer(),
            _escape,
            *([structlog.processors.format_exc_info] if form == "json" else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=max(number, logging.WARNING), format="%(levelname)s %(name)s: %(message)s")
    # The MQTT library logs a traceback whenever a call of its is cancelled; the link reports what matters.
    logging.getLogger("mqtt").setLevel(logging.CRITICAL)


def _escape(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Make control characters visible in every value."""
    del logger, method
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[key] = value.encode("unicode_escape").decode("ascii")
    return event
