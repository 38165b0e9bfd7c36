"""Certificates that sign themselves, for 127.0.0.1."""

from __future__ import annotations

import subprocess
from pathlib import Path


def self_signed(place: Path, days: int) -> Path:
    """Make a certificate at ``place`` that holds so many days; its key lies beside it, as ``.key``."""
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", str(days)]
    files = ["-keyout", place.with_suffix(".key"), "-out", place]
    subprocess.run([*new, *subject, *files], check=True, capture_output=True)
    return place
