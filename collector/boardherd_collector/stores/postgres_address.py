"""Where a PostgreSQL database is, apart from the password, which is shown to nobody."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from boardherd_collector.stores.base import StoreError

SCHEMES = ("postgresql", "postgres")
_SECRET = {"password", "sslpassword"}


@dataclass(frozen=True)
class Address:
    """A connection URL as libpq knows it, and where the password is if not in it.

    Without either, the file that ``PGPASSFILE`` names (or ``~/.pgpass``) is asked, as every PostgreSQL
    program does. A site that shares its database with others has a schema of its own there:
    ``?options=-csearch_path%3Dsite_a``.
    """

    full_url: str
    password_file: Path | None = None

    def __repr__(self) -> str:
        """Return it without the password."""
        return f"Address({self.display})"

    @property
    def display(self) -> str:
        """The address for people: host, port and database, never user or password."""
        parts = urlsplit(self.full_url)
        host = parts.netloc.rpartition("@")[2] or f"[{dict(parse_qsl(parts.query)).get('host', '')}]"
        schema = f" ({self.options})" if self.options else ""
        return f"postgresql://{host}{parts.path}{schema}"

    @property
    def options(self) -> str | None:
        """Options of the session that the URL asks for, such as ``-csearch_path=site_a``."""
        return dict(parse_qsl(urlsplit(self.full_url).query)).get("options")

    @property
    def url(self) -> str:
        """The URL without password and options: fit for the command line of a program."""
        parts = urlsplit(self.full_url)
        user, at, host = parts.netloc.rpartition("@")
        query = urlencode([pair for pair in parse_qsl(parts.query) if pair[0] not in {*_SECRET, "options"}])
        bare = f"postgresql://{user.partition(':')[0]}{at}{host}{parts.path}"
        return f"{bare}?{query}" if query else bare

    def password(self) -> str | None:
        """Return the password, None to leave it to the file that PostgreSQL programs ask; StoreError."""
        parts = urlsplit(self.full_url)
        if self.password_file is None:
            given = parts.netloc.rpartition("@")[0].partition(":")[2]
            return unquote(given) or dict(parse_qsl(parts.query)).get("password")
        try:
            return self.password_file.read_text(encoding="utf-8").rstrip("\n")
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise StoreError(f"the password file {self.password_file} cannot be read: {why}") from error

    def environment(self) -> dict[str, str]:
        """Return the variables that tell PostgreSQL's own programs what :attr:`url` leaves out."""
        password = self.password()
        return ({"PGPASSWORD": password} if password else {}) | (
            {"PGOPTIONS": self.options} if self.options else {}
        )
