"""The spool as its users mean it: on the disk when that can be done, in memory when not, never raising for it.

Everything here is synchronous and meant for a single thread; :mod:`spool` puts an event loop before it.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import structlog

from boardherd_agent.delivery import salvage, schema
from boardherd_agent.delivery.database import Refusal, SpoolDatabase
from boardherd_agent.delivery.envelopes import Class, Key, Spooled, fault_event
from boardherd_agent.delivery.figures import Figures, Limits
from boardherd_agent.delivery.files import (
    Ballast,
    Lock,
    SpoolBusyError,
    Tally,
    Whereabouts,
    machine_id,
    quarantine,
)
from boardherd_agent.delivery.ranges import Range
from boardherd_agent.delivery.trouble import DiskTrouble
from boardherd_shared.clock import Clock
from boardherd_shared.messages import StreamInfo
from boardherd_shared.records import Record

__all__ = ["Figures", "Limits", "SpoolStore"]

_KEEP_DAMAGED = 2
_HALVINGS = 8
"""How often a stop makes less of what is in memory before it gives up finding room for it."""

T = TypeVar("T")
log = structlog.get_logger()


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
        self._file = Whereabouts(self._path)
        self._memory: SpoolDatabase | None = None
        self._accepted: Counter[str] = Counter()
        self._lost = 0
        self._trouble = DiskTrouble(clock)
        self._stuck = ""
        self._reserve_spent = False
        self._confessed = False
        self._open_disk()

    def close(self) -> None:
        """Close everything; what is only in memory is taken to the disk, as far as that can be written."""
        self._follow()
        left = self._unsettled()
        if self._disk and not self._file.in_place:
            left += self._disk.totals().pending
        elif not left or self._rescue():
            left = 0
        if left:
            log.error("the disk cannot be written, envelopes are lost with this process", envelopes=left)
        for database in self._databases():
            database.close()
        self._disk = self._memory = None
        self._lock.release()

    def append(self, class_: Class, records: Sequence[Record]) -> list[Key]:
        """Write ``records`` and return their keys, in memory if the disk cannot be written."""
        if self._trouble.due:
            self._follow()
        if self._trouble.due and not self._reserve_spent:
            if self._trouble.why:
                self._bring_home()  # before anything newer, so that the order of age is kept
            for effort in (self._make_room, self._trouble.pause):
                if self._disk is None:
                    break
                try:
                    keys = self._disk.append(class_, records)
                except sqlite3.DatabaseError as error:
                    self._suffer(error, effort)
                else:
                    self._trouble.say("")
                    self._note()
                    self._confess(self._disk, "the disk of the spool can be written again")
                    return keys
        stand_in = self._stand_in()
        keys = stand_in.append(class_, records)
        self._note()
        self._confess(
            stand_in, f"records are kept in memory, because of the spool's disk: {self._trouble.why}"
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
            volatile=self._disk is None or bool(self._trouble.why),
            trouble=self._trouble.why,
        )

    def tidy(self) -> None:
        """Do what has to be done now and then: ageing, shrinking, going back to the disk."""
        if self._trouble.due:
            self._follow()
            if self._disk is None:
                self._open_disk()
        for database in self._databases():
            self._ask(database, lambda db: db.tidy(self._limits.max_age_s), None)
        if self._reserve_spent:
            self._shed()  # what was acknowledged by its help
        if self._ballast.fill():
            self._reserve_spent = False
        if not self._trouble.why:
            self._bring_home()

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
        efforts = (self._make_room, self._spend_reserve, self._trouble.say) if vital else (self._trouble.say,)
        for effort in efforts:
            if db is None or db not in self._databases():
                break
            try:
                result = action(db)
            except sqlite3.DatabaseError as error:
                self._suffer(error, effort)
            else:
                self._note()
                return result
        return otherwise

    def _stand_in(self) -> SpoolDatabase:
        if self._memory is None:
            self._memory = SpoolDatabase(
                None, agent=self._agent, clock=self._clock, max_bytes=self._limits.memory_bytes
            )
        return self._memory

    def _note(self) -> None:
        """Note how far all streams have come, those in memory too: what dies with them is then known."""
        with contextlib.suppress(
            sqlite3.DatabaseError
        ):  # the next operation meets it as well, and answers it
            known = self._disk.numbers() if self._disk else self._noted()
            self._tally.write({**known, **(self._memory.numbers() if self._memory else {})})

    def _noted(self) -> dict[str, int]:
        """Return how far streams had come by the last note, those excepted that are alive in memory."""
        alive = self._memory.numbers() if self._memory else {}
        return {stream: last for stream, last in self._tally.read().items() if stream not in alive}

    def _retire(self, database: SpoolDatabase) -> None:
        self._accepted += database.accepted
        self._lost += database.lost
        database.close()

    # From memory to the disk

    def _unsettled(self) -> int:
        """Return how many envelopes in memory the database is not known to have."""
        left = self._memory.totals() if self._memory else None
        return left.pending + left.parked if left else 0

    def _bring_home(self) -> bool:
        """Take what is in memory to the disk, all of it or nothing; tell whether none is left in memory.

        A stand-in of which everything is stored already is given up instead.
        """
        if self._memory is None or self._disk is None:
            return self._memory is None
        if self._unsettled() and not self._move(self._memory, self._disk):
            return False
        self._retire(self._memory)
        self._memory = None
        self._note()
        return True

    def _move(self, memory: SpoolDatabase, disk: SpoolDatabase) -> bool:
        try:
            if shutil.disk_usage(self._path.parent).free < 2 * memory.totals().size:
                return False  # once for the log, once for the file
            moved = disk.take_over(memory)
        except OSError:
            return False
        except sqlite3.DatabaseError as error:
            self._suffer(error, self._stay)
            return False
        self._stuck = ""
        log.info("what was kept in memory is on the disk now", envelopes=moved, given_up=memory.lost)
        return True

    def _rescue(self) -> bool:
        """Take to the disk what would end with this process, or as much of it as there is room for."""
        if self._disk is None:
            with contextlib.suppress(SpoolBusyError):
                self._open_disk()
        if self._bring_home():
            return True
        self._ballast.shrink()
        self._shed()
        for _ in range(_HALVINGS):
            if self._bring_home():
                return True
            if self._memory and self._disk:
                self._memory.squeeze(self._memory.totals().size // 2, "there was no room on the disk")
        return self._bring_home()

    def _stay(self, trouble: str) -> None:
        """Leave in memory what does not fit, and give back what the attempt has taken of the disk."""
        if trouble != self._stuck and not self._trouble.why:
            log.warning("what is kept in memory cannot be taken to the disk", why=trouble)
        self._stuck = trouble
        self._shed()

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
        self._trouble.say(trouble)
        self._shed()

    def _shed(self) -> None:
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

    def _claim(self) -> bool:
        """Make the directory if need be and take its lock; False when it cannot be written."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.release()
            self._lock.acquire()
        except OSError as error:
            self._trouble.pause(f"{self._path.parent}: {error.strerror}")
            return False
        return True

    def _open_disk(self) -> None:
        if not self._claim():
            return
        for effort in (self._spend_reserve, self._trouble.pause):
            try:
                self._disk = self._database(self._noted())
            except sqlite3.DatabaseError as error:
                self._suffer(error, effort)
            else:
                self._opened()
            if self._disk:
                break

    def _opened(self) -> None:
        self._note()
        if self._ballast.fill():
            self._reserve_spent = False
        if not self._reserve_spent:
            self._trouble.say("")

    def _database(self, noted: Mapping[str, int]) -> SpoolDatabase:
        database = SpoolDatabase(
            self._path,
            agent=self._agent,
            clock=self._clock,
            max_bytes=self._limits.max_bytes,
            machine=self._machine,
            noted=noted,
        )
        self._file.note()
        return database

    def _follow(self) -> None:
        """Begin anew where the spool should be if somebody has taken its file away, with all that it holds.

        A file that was removed or moved can be used as long as it is open; nobody would find it afterwards.
        """
        if (old := self._disk) is None or self._file.in_place:
            return
        self._file.forget()  # until all is carried over this is tried again
        try:
            if not self._claim():
                return
            self._disk = self._database({})
            carried = self._disk.adopt(old.numbers(), old.envelopes())
            text = f"the file of the spool was taken away while in use; {carried} of its envelopes were carried over"
            log.error("the file of the spool was taken away while in use", carried_over=carried)
            self._disk.append("events", [fault_event(text, self._clock)])
        except (SpoolBusyError, sqlite3.DatabaseError) as error:
            if isinstance(error, sqlite3.DatabaseError) and schema.fault(error) is None:
                raise
            if self._disk is not old and self._disk:
                self._disk.close()
            self._disk = old
            self._file.forget()
            self._trouble.pause(str(error))
        else:
            self._retire(old)
            self._opened()

    def _replace(self, why: str) -> None:
        """Put the damaged file aside, begin a new one and save what can be saved."""
        try:
            damaged = quarantine(self._path, keep=_KEEP_DAMAGED, max_bytes=self._limits.max_bytes)
            self._disk = self._database({})
            saved = salvage.save(damaged, self._disk, self._noted())
            text = f"the spool was damaged ({why}); {saved} of its envelopes were saved, the file is kept in {damaged}"
            log.error("the spool was damaged", why=why, saved=saved, kept=str(damaged))
            self._disk.append("events", [fault_event(text, self._clock)])
            self._note()
        except (OSError, sqlite3.DatabaseError) as error:
            if isinstance(error, sqlite3.DatabaseError) and schema.fault(error) is None:
                raise
            self._trouble.pause(f"{self._path}: {error}")
        else:
            self._trouble.say("")

    def _confess(self, db: SpoolDatabase, text: str) -> None:
        """Have the central database know that records are, or are no longer, kept in memory only."""
        if db.volatile != self._confessed:
            self._confessed = db.volatile
            event = fault_event(text, self._clock)
            self._ask(db, lambda db: len(db.append("events", [event])), 0)
