"""Times and lengths of time as people say them. Pure."""

from __future__ import annotations

from datetime import datetime

_MIN, _HOUR, _DAY = 60, 3600, 86400


def coarse(seconds: float) -> str:
    """Return a length of time in one unit: ``95 s``, ``14 min``, ``2 h``, ``9 d``."""
    whole = max(0, int(seconds))
    for size, unit in ((_DAY, "d"), (_HOUR, "h"), (_MIN, "min")):
        if whole >= 2 * size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def fine(seconds: float) -> str:
    """Return a length of time in its two largest units: ``3 s``, ``13 min 58 s``, ``2 h 5 min``, ``9 d 4 h``."""
    whole = max(0, int(seconds))
    for size, unit, part, name in ((_DAY, "d", _HOUR, "h"), (_HOUR, "h", _MIN, "min"), (_MIN, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {name}" if rest else "")
    return f"{whole} s"


def moment(at: float, now: float) -> str:
    """Return a time of day in Unix seconds as ``09:14``, with the date when it is of another day than ``now``."""
    try:
        then, today = datetime.fromtimestamp(at).astimezone(), datetime.fromtimestamp(now).astimezone()
    except (OverflowError, OSError, ValueError):
        return "at an unknown time"
    return then.strftime("%H:%M" if then.date() == today.date() else "%Y-%m-%d %H:%M")
