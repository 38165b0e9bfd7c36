"""How long certificates hold, as openssl makes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from boardherd_shared.certificates import NoCertificate, in_file, not_after
from support.certificates import self_signed

BEYOND_2049 = 12_000
"""Days; the form of the date changes with the year 2050."""


@pytest.mark.parametrize("days", [1, 30, BEYOND_2049])
def test_the_end_of_a_certificate_is_read_from_its_file(tmp_path: Path, days: int) -> None:
    expected = datetime.now(UTC) + timedelta(days=days)
    assert abs(in_file(self_signed(tmp_path / "lab.crt", days)) - expected) < timedelta(minutes=2)


def test_what_is_no_certificate_is_said_in_words(tmp_path: Path) -> None:
    place = tmp_path / "lab.crt"
    with pytest.raises(NoCertificate, match="cannot be read: No such file"):
        in_file(place)
    place.write_text("hello")
    with pytest.raises(NoCertificate, match="holds no certificate"):
        in_file(place)
    place.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(NoCertificate, match="no certificate"):
        in_file(place)


@pytest.mark.parametrize("der", [b"", b"0", b"0\x05abc", b"\x30\x03\x02\x01\x01", bytes(40)])
def test_bytes_that_are_no_certificate_are_refused(der: bytes) -> None:
    with pytest.raises(NoCertificate):
        not_after(der)
