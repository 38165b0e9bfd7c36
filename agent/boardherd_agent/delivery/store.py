"""The spool as its users mean it: on the disk when that can be done, in memory when not, never raising for it.

Everything here is synchronous and meant for a single thread; :mod:`spool` puts an event loop before it.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import structlog

from boardherd_agent.delivery import salvage, schema
from boardherd_agent.delivery.database import Refusal, SpoolDatabase
from boardherd_agent.delivery.envelopes import Class, Key, Spooled, fault_event
from boardherd_agent.delivery.files import Ballast, Lock, Tally, machine_id, quarantine
from boardherd_agent.delivery.ranges import Range
from boardherd_shared.clock import Clock
from boardherd_shared.messages import StreamInfo
from boardherd_shared.records import Record

_TRY_DISK_AGAIN_S = 10.0
_KEEP_DAMAGED = 2

T = TypeVar("T")
log = structlog.get_logger()


@dataclass(frozen=True)
class Limits:
    """How much a spool may take."""

    max_bytes: int = 1024**3
    """Bytes of envelopes on the disk; files may exceed it by 32 MiB for the log, the ballast and work space."""
    max_age_s: float = 7 * 86400.0
    """How long an envelope is kept, in seconds of running time."""
    ballast_bytes: int = 8 * 1024**2
    """Space held in reserve for a full disk."""
    memory_bytes: int = 16 * 1024**2
    """Bytes of envelopes in memory while the disk cannot be written."""


@dataclass(frozen=True)
class Figures:
    """What a spool holds, for status and metrics."""

    bytes: int = 0
    pending: int = 0
    acknowledged: int = 0
    parked: int = 0
    oldest_age_s: float = 0.0
    lost: int = 0
    """Envelopes given up since the start, though the database did not have them."""
    volatile: bool = False
    """True while new records are kept in memory only."""
    trouble: str = ""
    """What is wrong with the disk, in words; empty when nothing is."""


class SpoolStore:
    """A spool on disk, with one in memory to stand in for it."""

    def __init__(
        self, directory: Path, *, agent: str, clock: Clock, limits: Limits, machine: str | None
    ) -> None:
        """Open the spool in ``directory``; raises SpoolBusyError when another agent has it."""
        self._path = directory / "spool.db"
        self._agent, self._clock, self._limits = agent, clock, limits
        self._machine = machine_id() if machine is None else machine
        self._lock = Lock(directory / "spool.lock")
        self._ballast = Ballast(directory / "spool.ballast", limits.ballast_bytes)
        self._tally = Tally(directory / "spool.tally")
        self._disk: SpoolDatabase | None = None
        self._memory: SpoolDatabase | None = None
        self._accepted: Counter[str] = Counter()
        self._lost = 0
        self._trouble = ""
        self._disk_again_at = 0
        self._reserve_spent = False
        self._confessed = False
        self._open_disk()

    def close(self) -> None:
        """Close everything; what was only in memory is gone."""
        if self._memory and (left := self._memory.totals().pending):
            log.error("the disk could not be written, envelopes are lost with this process", envelopes=left)
        for database in self._databases():
            database.close()
        self._disk = self._memory = None
        self._lock.release()

    def append(self, class_: Class, records: Sequence[Record]) -> list[Key]:
        """Write ``records`` and return their keys, in memory if the disk cannot be written."""
        if self._clock.up() >= self._disk_again_at and not self._reserve_spent:
            for effort in (self._make_room, self._give_up):
                if self._disk is None:
                    break
                try:
                    keys = self._disk.append(class_, records)
                except sqlite3.DatabaseError as error:
                    self._suffer(error, effort)
                else:
                    self._say("")
                    self._tally.write(self._disk.numbers())
                    self._confess(self._disk, "the disk of the spool can be written again")
                    return keys
        keys = self._stand_in().append(class_, records)
        self._confess(
            self._stand_in(), f"records are kept in memory, because of the spool's disk: {self._trouble}"
        )
        return keys

    def newest(self, without: Collection[Key]) -> Spooled | None:
        """Return the newest pending envelope that is not among ``without``."""
        found = (self._ask(db, lambda db: db.newest(without), None) for db in reversed(self._databases()))
        return next((envelope for envelope in found if envelope), None)

    def oldest(self, without: Collection[Key]) -> Spooled | None:
        """Return the oldest pending envelope that is not among ``without``."""
        found = (self._ask(db, lambda db: db.oldest(without), None) for db in self._databases())
        return next((envelope for envelope in found if envelope), None)

    def load(self, key: Key) -> Spooled | None:
        """Return the envelope ``key`` if it is still pending."""
        return self._ask(self._home(key.stream), lambda db: db.load(key), None)

    def acknowledge(self, keys: Iterable[Key]) -> bool:
        """Note that the database has these envelopes; False if that could not be written down."""
        done = True
        for stream, group in groupby(sorted(keys), key=lambda key: key.stream):
            noted = partial(SpoolDatabase.acknowledge, keys=list(group))
            home = self._home(stream)
            done &= home is None or self._ask(home, noted, -1, vital=True) >= 0
        return done

    def refuse(self, key: Key, fingerprint: str, code: str) -> Refusal:
        """Put an envelope aside that the database refuses; see SpoolDatabase.refuse."""
        return self._ask(
            self._home(key.stream), lambda db: db.refuse(key, fingerprint, code), "ignored", vital=True
        )

    def park(self, key: Key) -> None:
        """Put an envelope aside that is never acknowledged."""
        self._ask(self._home(key.stream), lambda db: db.park(key), None, vital=True)

    def resume(self, missing: Mapping[str, Iterable[Range]]) -> int:
        """Make acknowledged envelopes pending again that the database lacks; return how many."""
        return sum(
            self._ask(
                self._home(stream), partial(SpoolDatabase.resume, stream=stream, missing=spans), 0, vital=True
            )
            for stream, spans in missing.items()
        )

    def describe(self) -> list[StreamInfo]:
        """Return what is still held, stream by stream."""
        nothing: list[StreamInfo] = []
        return [info for db in self._databases() for info in self._ask(db, lambda db: db.describe(), nothing)]

    def news(self) -> tuple[object, ...]:
        """Return what the collector must be told by a new hello when it changes; mostly nothing.

        How far a stream in memory has come, which nobody could tell after this process; and streams in doubt.
        """
        nothing: tuple[str, ...] = ()
        doubts = tuple(s for db in self._databases() for s in self._ask(db, lambda db: db.doubts, nothing))
        in_memory = tuple(self._memory.numbers().items()) if self._memory else ()
        return (*doubts, *in_memory)

    def accepted(self) -> Counter[str]:
        """Return how many records were written since the start, by kind, the spool's own events included."""
        return sum((db.accepted for db in self._databases()), self._accepted.copy())

    def figures(self) -> Figures:
        """Return what is held."""
        all_ = [t for db in self._databases() if (t := self._ask(db, lambda db: db.totals(), None))]
        return Figures(
            bytes=sum(t.size for t in all_),
            pending=sum(t.pending for t in all_),
            acknowledged=sum(t.acknowledged for t in all_),
            parked=sum(t.parked for t in all_),
            oldest_age_s=max((t.oldest_age_s for t in all_), default=0.0),
            lost=self._lost + sum(db.lost for db in self._databases()),
            volatile=self._disk is None or bool(self._trouble),
            trouble=self._trouble,
        )

    def tidy(self) -> None:
        """Do what has to be done now and then: ageing, shrinking, going back to the disk."""
        if self._disk is None and self._clock.up() >= self._disk_again_at:
            self._open_disk()
        for database in self._databases():
            self._ask(database, lambda db: db.tidy(self._limits.max_age_s), None)
        if self._ballast.fill():
            self._reserve_spent = False
        if self._memory and self._disk and not self._trouble:
            left = self._memory.totals()
            if not (left.pending or left.parked):
                self._retire(self._memory)
                self._memory = None

    # Which database

    def _databases(self) -> list[SpoolDatabase]:
        """Return the open databases, the one with the older envelopes first."""
        return [db for db in (self._disk, self._memory) if db]

    def _home(self, stream: str) -> SpoolDatabase | None:
        return next((db for db in self._databases() if db.has(stream)), None)

    def _ask(
        self,
        db: SpoolDatabase | None,
        action: Callable[[SpoolDatabase], T],
        otherwise: T,
        *,
        vital: bool = False,
    ) -> T:
        """Return what ``action`` gives, or ``otherwise`` if the disk fails at it.

        What is ``vital``, since the spool cannot drain without it, may use the space held in reserve.
        """
        efforts = (self._make_room, self._spend_reserve, self._say) if vital else (self._say,)
        for effort in efforts:
            if db is None or db not in self._databases():
                break
            try:
                result = action(db)
                if db is self._disk:
                    self._tally.write(db.numbers())
            except sqlite3.DatabaseError as error:
                self._suffer(error, effort)
            else:
                return result
        return otherwise

    def _stand_in(self) -> SpoolDatabase:
        if self._memory is None:
            self._memory = SpoolDatabase(
                None, agent=self._agent, clock=self._clock, max_bytes=self._limits.memory_bytes
            )
        return self._memory

    def _retire(self, database: SpoolDatabase) -> None:
        self._accepted += database.accepted
        self._lost += database.lost
        database.close()

    # When the disk fails

    def _suffer(self, error: sqlite3.DatabaseError, effort: Callable[[str], None]) -> None:
        """Answer an error of the database on disk; raises it again if it is a fault of our own."""
        match schema.fault(error):
            case "corrupt":
                if self._disk:
                    self._retire(self._disk)
                    self._disk = None
                self._replace(str(error))
            case "unwritable":
                effort(f"{self._path}: {error}")
            case None:
                raise error

    def _make_room(self, trouble: str) -> None:
        """Give the disk back what only acknowledged envelopes take."""
        self._say(trouble)
        try:
            if self._disk:
                self._disk.shed()
        except sqlite3.DatabaseError as error:
            if schema.fault(error) is None:
                raise

    def _spend_reserve(self, trouble: str) -> None:
        """Free the ballast, so that at least acknowledgements can be written; no new records until it is back."""
        self._reserve_spent = self._ballast.release() or self._reserve_spent
        self._make_room(trouble)

    def _give_up(self, trouble: str) -> None:
        """Leave the disk alone for a while."""
        self._say(trouble)
        self._disk_again_at = self._clock.up() + int(_TRY_DISK_AGAIN_S * 1e6)

    def _open_disk(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.release()
            self._lock.acquire()
        except OSError as error:
            self._give_up(f"{self._path.parent}: {error.strerror}")
            return
        try:
            self._disk = self._database(self._tally.read())
        except sqlite3.DatabaseError as error:
            self._suffer(error, self._give_up)
        else:
            self._tally.write(self._disk.numbers())
            self._say("")
        if self._disk:
            self._ballast.fill()

    def _database(self, noted: Mapping[str, int]) -> SpoolDatabase:
        return SpoolDatabase(
            self._path,
            agent=self._agent,
            clock=self._clock,
            max_bytes=self._limits.max_bytes,
            machine=self._machine,
            noted=noted,
        )

    def _replace(self, why: str) -> None:
        """Put the damaged file aside, begin a new one and save what can be saved."""
        try:
            damaged = quarantine(self._path, keep=_KEEP_DAMAGED, max_bytes=self._limits.max_bytes)
            self._disk = self._database({})
            saved = _save(damaged, self._disk, self._tally.read())
            text = f"the spool was damaged ({why}); {saved} of its envelopes were saved, the file is kept in {damaged}"
            log.error("the spool was damaged", why=why, saved=saved, kept=str(damaged))
            self._disk.append("events", [fault_event(text, self._clock)])
            self._tally.write(self._disk.numbers())
        except (OSError, sqlite3.DatabaseError) as error:
            if isinstance(error, sqlite3.DatabaseError) and schema.fault(error) is None:
                raise
            self._give_up(f"{self._path}: {error}")
        else:
            self._say("")

    def _confess(self, db: SpoolDatabase, text: str) -> None:
        """Have the central database know that records are, or are no longer, kept in memory only."""
        if db.volatile != self._confessed:
            self._confessed = db.volatile
            event = fault_event(text, self._clock)
            self._ask(db, lambda db: len(db.append("events", [event])), 0)

    def _say(self, trouble: str) -> None:
        """Log a change of the disk's state, once."""
        if trouble and not self._trouble:
            log.error("the spool cannot be written, making room or keeping records in memory", why=trouble)
        elif self._trouble and not trouble:
            log.info("the spool can be written again")
        self._trouble = trouble


def _save(damaged: Path, into: SpoolDatabase, noted: Mapping[str, int]) -> int:
    """Carry over what can be read of ``damaged``; return how many envelopes.

    Of streams that it does not even name any more, ``noted`` tells how far they had come.
    """
    try:
        with salvage.opened(damaged) as db:
            found = salvage.streams(db)
            highest = {s: max(found.get(s, 0), noted.get(s, 0)) for s in (*found, *noted)}
            return into.adopt(highest, salvage.survivors(db))
    except sqlite3.DatabaseError as error:
        if schema.fault(error) is None and not isinstance(error, sqlite3.OperationalError):
            raise
    into.adopt(noted, iter(()))
    return 0
