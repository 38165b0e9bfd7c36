"""Figures about the collector's own work: incremented where the work is done, read at scrape time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Counters:
    """Plain numbers; they begin at zero with the process, except commands, which the database remembers."""

    messages: Counter[str] = field(default_factory=Counter)
    """Messages received, by kind of topic; ``unknown`` for topics that are none of ours."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Messages that made no sense or came from the wrong side, by kind of topic."""
    envelopes_stored: int = 0
    envelopes_duplicate: int = 0
    envelopes_refused: int = 0
    envelopes_deferred: int = 0
    """Envelopes not taken because the database was away or behind; their agents keep and resend them."""
    envelopes_lost: int = 0
    """Envelopes that we declared lost, because their agent no longer has the spool that held them."""
    records_stored: Counter[str] = field(default_factory=Counter)
    """Records stored, by kind of record."""
    dead_letters: int = 0
    commits: int = 0
    commit_seconds_total: float = 0.0
    commit_failures: int = 0
    last_commit_at: float = 0.0
    """Unix seconds; 0 before the first commit of this process."""
    ingest_lag_s: float = 0.0
    """How long the oldest envelope of the newest commit waited for it, in seconds."""
    commands: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Finished commands by test PC and outcome (a final :class:`~boardherd_shared.command.State`)."""
