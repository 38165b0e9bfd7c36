"""The collector's web side, as somebody from outside asks it."""

from __future__ import annotations

import tomllib
import urllib.error
import urllib.request
from pathlib import Path


def port(place: Path) -> int:
    """Return where the collector listens whose configuration is in ``place``."""
    found: int = tomllib.loads((place / "collector.toml").read_text())["http"]["port"]
    return found


def get(place: Path, path: str, token: str | None = None, timeout: float = 5.0) -> tuple[int, str]:
    """Return status and body of a page; OSError when nobody answers."""
    headers = {"authorization": f"Bearer {token}"} if token is not None else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port(place)}/{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def metrics(place: Path, token: str | None = None) -> dict[str, float]:
    """Return what Prometheus would read, by series."""
    status, body = get(place, "metrics", token)
    assert status == 200, (status, body)
    lines = (line.rsplit(" ", 1) for line in body.splitlines() if not line.startswith("#"))
    return {series: float(value) for series, value in lines}
