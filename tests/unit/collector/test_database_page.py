"""docs/database.md describes the schema as it is, and both dialects have the same names."""

from __future__ import annotations

import importlib
import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest

from boardherd_collector.stores.migrations import migrate, migrations

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Read the generator anew, so that a test may change its texts."""
    monkeypatch.syspath_prepend(str(DOCS))
    for name in ("database_reference", "database_texts"):
        sys.modules.pop(name, None)
    return importlib.import_module("database_reference")


def test_the_page_is_current(page: ModuleType) -> None:
    assert (DOCS / "database.md").read_text(encoding="utf-8") == page.database(), "run `make docs`"


def test_everything_in_the_schema_is_described_and_nothing_else(page: ModuleType) -> None:
    assert page.undescribed() == []


def test_a_column_without_a_text_would_be_noticed(page: ModuleType) -> None:
    del page.COLUMNS["wiring_proved_at"]
    page.INDEXES["no_such_index"] = "nothing"
    assert page.undescribed() == [
        "text of no index: no_such_index",
        "column without a text: relay_port_current.wiring_proved_at",
        "column without a text: relay_port_overview.wiring_proved_at",
    ]


def test_both_dialects_have_the_same_tables_and_views() -> None:
    """What one dialect splits in two (rollups that TimescaleDB may take over) is read by the common name."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        migrate(db, migrations(), 0)
        rows = db.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
        embedded = {name for (name,) in rows if not name.startswith("sqlite_")} - {"schema_migrations"}
    made: set[str] = set()
    for step in migrations("timescale"):
        made |= set(re.findall(r"CREATE (?:OR REPLACE )?(?:TABLE|VIEW) (\w+)", step.sql))
    assert embedded - made == set()
    assert [step.number for step in migrations("timescale")] == [step.number for step in migrations()]
