"""A certificate authority for tests: valid certificates, expired ones, and those of somebody else."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

_CONFIG = """
[ca]
default_ca = default
[default]
database = {place}/index
serial = {place}/serial
new_certs_dir = {place}
certificate = {place}/ca.crt
private_key = {place}/ca.key
default_md = sha256
policy = policy
copy_extensions = copy
unique_subject = no
[policy]
commonName = supplied
"""
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Authority:
    """Signs certificates; keeps its files in a directory of its own."""

    def __init__(self, place: Path) -> None:
        """Make a new authority, which nobody trusts yet."""
        place.mkdir()
        self._place = place
        self.certificate = place / "ca.crt"
        _openssl("req", "-x509", *_NEW_KEY, "-days", "30", "-subj", f"/CN={place.name}",
                 "-keyout", place / "ca.key", "-out", self.certificate)  # fmt: skip
        (place / "index").write_text("")
        (place / "serial").write_text("1000\n")
        (place / "ca.cnf").write_text(_CONFIG.format(place=place))

    def sign(self, target: Path, host: str = "IP:127.0.0.1", *, days: int = 30) -> None:
        """Write a certificate for ``host`` to ``target``.crt and its key to ``target``.key.

        It holds from 60 days ago until ``days`` from now, which may be negative.
        """
        request, now = target.with_suffix(".csr"), datetime.now(UTC)
        begin, end = (f"{now + timedelta(days=days):%Y%m%d%H%M%SZ}" for days in (-60, days))
        _openssl("req", *_NEW_KEY, "-subj", "/CN=broker", "-addext", f"subjectAltName={host}",
                 "-keyout", target.with_suffix(".key"), "-out", request)  # fmt: skip
        _openssl("ca", "-batch", "-notext", "-config", self._place / "ca.cnf", "-startdate", begin,
                 "-enddate", end, "-in", request, "-out", target.with_suffix(".crt"))  # fmt: skip


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
