"""A real PostgreSQL server for the tests, with TimescaleDB where it is installed; a database for each test.

Set ``BOARDHERD_TEST_POSTGRES_DSN`` or ``BOARDHERD_TEST_TIMESCALE_DSN`` to a server of your own, whose user may
make databases, to use that instead. Without PostgreSQL's programs the tests are skipped, with that reason.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from support.ports import free_port

_OWNER = "postgres"
_MISSING = "PostgreSQL is missing; to run these tests: sudo apt-get install postgresql"


def program(name: str) -> str | None:
    """Return where one of PostgreSQL's programs is, the newest version's."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]))
    return str(found[-1]) if found else shutil.which(name)


def has_timescale() -> bool:
    """Tell whether TimescaleDB is installed beside the PostgreSQL that is used."""
    initdb = program("initdb")
    if initdb is None:
        return False
    version = Path(initdb).parts[4] if initdb.startswith("/usr/lib/postgresql/") else ""
    shares = (Path("/usr/share/postgresql") / version, Path(initdb).parent.parent / "share")
    return any((share / "extension" / "timescaledb.control").exists() for share in shares)


class Postgres:
    """A cluster on a loopback port that stays the same over restarts; its files end with the context."""

    def __init__(self, *settings: str) -> None:
        """Prepare it; ``settings`` are like ``"fsync=off"``. TimescaleDB is loaded when it is installed."""
        self.port = free_port()
        self._settings = settings
        self._owner = _OWNER if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
        self._directory = Path()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The database ``postgres`` of it, as a superuser."""
        return f"postgresql://{_OWNER}@127.0.0.1:{self.port}/postgres"

    @property
    def log(self) -> str:
        """What the server wrote."""
        return (self._directory / "log").read_text()

    @property
    def pid(self) -> int:
        """The server's first process."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        # Not below pytest's own directory, which only its owner may enter.
        self._directory = Path(tempfile.mkdtemp(prefix="boardherd-postgres-"))
        if self._owner:
            shutil.chown(self._directory, self._owner)
        initdb = program("initdb")
        assert initdb, _MISSING
        options = ("-A", "trust", "-U", _OWNER, "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
        subprocess.run(
            [initdb, *options, "-D", str(self._directory / "data")],
            check=True,
            capture_output=True,
            cwd="/",
            user=self._owner,
        )
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._directory)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = [
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self._directory}",
            f"port={self.port}",
            "shared_buffers=64MB",
            *self._settings,
        ]
        if has_timescale():
            settings += [
                "shared_preload_libraries=timescaledb",
                "timescaledb.telemetry_level=off",
                "timescaledb.max_background_workers=0",  # jobs are run by the tests, never waited for
            ]
        postgres = program("postgres")
        assert postgres
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [postgres, "-D", str(self._directory / "data"), *_pairs(settings)],
                stdout=log,
                stderr=log,
                cwd="/",
                user=self._owner,
            )
        self.wait()

    def wait(self) -> None:
        """Return once the server answers, after a start or a crash."""
        ready = program("pg_isready")
        assert ready
        for _ in range(1200):
            if (
                subprocess.run(
                    [ready, "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", _OWNER, "-d", "postgres"],
                    check=False,
                ).returncode
                == 0
            ):
                return
            assert self._process is not None
            assert self._process.poll() is None, self.log
            time.sleep(0.05)
        raise TimeoutError(self.log)

    def demand_passwords(self) -> None:
        """Let nobody in without a password from now on; the superuser gets none."""
        (self._directory / "data" / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server: SIGINT at once and in order, SIGQUIT as in a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None


def _pairs(settings: Sequence[str]) -> list[str]:
    return [part for setting in settings for part in ("-c", setting)]


@asynccontextmanager
async def database(server: str, *, timescale: bool = False) -> AsyncIterator[str]:
    """Make a database on the server at the URL ``server``; yield its URL."""
    name = f"test_{secrets.token_hex(6)}"
    url = urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    await execute(server, f"CREATE DATABASE {name}")
    if timescale:
        await execute(url, "CREATE EXTENSION timescaledb")
    yield url
    await execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def schema(server: str, *, timescale: bool = False) -> AsyncIterator[str]:
    """Make a schema in a database that many tests share, which is quicker than a database; yield its URL."""
    shared = "shared_timescale" if timescale else "shared_plain"
    url = urlunsplit(urlsplit(server)._replace(path=f"/{shared}"))
    if not await query(server, "SELECT 1 FROM pg_database WHERE datname = $1", shared):
        await execute(server, f"CREATE DATABASE {shared}")
        if timescale:
            await execute(url, "CREATE EXTENSION timescaledb")
    name = f"test_{secrets.token_hex(6)}"
    await execute(url, f"CREATE SCHEMA {name}")
    yield f"{url}?options=-csearch_path%3D{name}%2Cpublic"
    await execute(url, f"DROP SCHEMA {name} CASCADE")


async def execute(url: str, *statements: str) -> None:
    """Run statements, each in its own transaction."""
    db = await asyncpg.connect(url)
    try:
        for statement in statements:
            await db.execute(statement)
    finally:
        await db.close()


async def query(url: str, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Return the rows of an answer."""
    db = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await db.fetch(sql, *values)]
    finally:
        await db.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a server, shared by the whole run; what it holds need not survive a power cut."""
    given = os.environ.get("BOARDHERD_TEST_POSTGRES_DSN") or os.environ.get("BOARDHERD_TEST_TIMESCALE_DSN")
    if given:
        yield given
        return
    if program("initdb") is None:
        pytest.skip(_MISSING)
    with Postgres("fsync=off", "full_page_writes=off", "max_connections=60") as server:
        yield server.url


@pytest.fixture
async def postgres_dsn(postgres_server: str) -> AsyncIterator[str]:
    """An empty database of its own, without TimescaleDB."""
    async with database(postgres_server) as url:
        yield url


@pytest.fixture(scope="session")
def timescale_server(request: pytest.FixtureRequest) -> str:
    """The URL of a server with TimescaleDB; skips where that is not installed."""
    given = os.environ.get("BOARDHERD_TEST_TIMESCALE_DSN")
    if given:
        return given
    if not has_timescale():
        pytest.skip(
            "TimescaleDB is not installed; install it, or name a server in BOARDHERD_TEST_TIMESCALE_DSN"
        )
    server: str = request.getfixturevalue("postgres_server")
    return server


@pytest.fixture
async def timescale_dsn(timescale_server: str) -> AsyncIterator[str]:
    """An empty database of its own, with TimescaleDB."""
    async with database(timescale_server, timescale=True) as url:
        yield url


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server for one test, which may stop, kill and start it; as durable as PostgreSQL is by default."""
    if program("initdb") is None:
        pytest.skip(_MISSING)
    with Postgres() as server:
        yield server
