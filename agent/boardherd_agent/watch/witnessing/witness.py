"""Looks on while the power of a board is cut and given back, and says what that shows of the wiring.

Beside the command that cuts, never in its way: the board is looked at before, twice near the end of its off time,
and once more when it ends if it still answers. Only then are the others of this PC looked at, those that were
alive, a few at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection
from dataclasses import replace

from boardherd_agent.watch.witnessing.sight import Sight
from boardherd_agent.watch.witnessing.wiring import (
    READ_BACK_US,
    TOGETHER_US,
    Account,
    Cut,
    Finding,
    Rules,
    judge,
)
from boardherd_shared.clock import seconds
from boardherd_shared.records import Power

_BEFORE_S = 1.0
"""How long the look before a cut may take."""

_STEP_S = 1.0
"""The time between two looks; in short off times it is a quarter of those."""

_SHARE = 0.9
"""How much of that a look may take."""

_LISTEN_S = 0.5
"""How often it is looked whether a console has shown the beginning of a boot."""

_PATIENCE_S = 3.0
"""How long a command that has done its work waits for the last word on a board that seems not to have been cut."""

Tell = Callable[[Finding], None]


class Witness:
    """Looks on at cuts of power on this PC, one at a time for each board."""

    def __init__(self, pc: str, sight: Sight, hold_up_s: float) -> None:
        """Prepare; nothing is looked at before :meth:`run`.

        Args:
            pc: this test PC.
            sight: how boards are seen.
            hold_up_s: how long a board may live on after its power went off.
        """
        self.sight, self.hold_up_s = sight, hold_up_s
        self._pc = pc
        self._tasks: asyncio.TaskGroup | None = None
        self._under_way: dict[str, Observation] = {}

    async def run(self) -> None:
        """Look on until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await asyncio.Event().wait()
            finally:
                self._tasks = None

    def begin(self, board: str, tell: Tell) -> Observation:
        """Look on from now at what is about to be done to the power of ``board``.

        Ends an observation of the same board that is still under way. ``tell`` hears of each finding that is more
        than nothing, as soon as it is one; it must not raise.
        """
        if before := self._under_way.get(board):
            before.leave()
        config = self.sight.boards[board]
        cut = Cut(self._pc, board, " and ".join(feed.name for feed in config.power))
        observation = Observation(self.sight, cut, Rules(self.hold_up_s, config.boot_time), tell)
        if self._tasks and self.sight.sees(board):
            self._under_way[board] = observation
            task = self._tasks.create_task(observation.look_on(), name=f"wiring of {board}")
            task.add_done_callback(lambda _: self._forget(observation))
            observation.task = task
        return observation

    async def answering(self, within_s: float) -> frozenset[str]:
        """Look at every board once now, and return those that give any sign of life."""
        looks = await self.sight.look_at_all(dict.fromkeys(self.sight.boards), within_s)
        return frozenset(board for board, look in looks.items() if look.answered)

    async def silent(self, boards: Collection[str], within_s: float) -> frozenset[str]:
        """Look at ``boards`` twice, and return those that give no sign of life either time."""
        silent = frozenset(boards)
        for _ in range(2):
            looks = await self.sight.look_at_all(dict.fromkeys(silent), within_s)
            silent = frozenset(board for board, look in looks.items() if look.answered is False)
        return silent

    def booted(self, since: int) -> frozenset[str]:
        """Return the boards whose console has shown the beginning of a boot since then."""
        return frozenset(board for board in self.sight.boards if self.sight.boots(board, since))

    def _forget(self, observation: Observation) -> None:
        if self._under_way.get(observation.board) is observation:
            del self._under_way[observation.board]


class Observation:
    """What is seen of one cut. The methods for whoever cuts take no time and never fail."""

    def __init__(self, sight: Sight, cut: Cut, rules: Rules, tell: Tell) -> None:
        """Begin; see :meth:`Witness.begin`."""
        self.board = cut.board
        self.task: asyncio.Task[None] | None = None
        self.finding: Finding | None = None
        """What has been found so far; None as long as nothing can be said."""
        self._sight, self._cut, self._rules, self._tell = sight, cut, rules, tell
        self._length: float | None = None
        """How long the board is to be off, seconds; None until further notice."""
        self._moved = asyncio.Event()
        self._back = asyncio.Event()
        self._looked = asyncio.Event()
        self._seen = Account(cut.board)
        self._others: dict[str, Account] = {}
        self._asking: asyncio.Task[None] | None = None

    def went_off(self, length_s: float | None = None) -> None:
        """Note that the board was measured off just now, for so many seconds or until further notice."""
        self._cut, self._length = replace(self._cut, off=self._sight.clock.up()), length_s
        self._moved.set()

    def came_on(self) -> None:
        """Note that the board was measured on just now."""
        self._cut = replace(self._cut, on=self._sight.clock.up())
        self._moved.set()
        self._back.set()

    def leave(self) -> None:
        """Look no longer: nothing can be learned any more."""
        self._looked.set()
        if self.task:
            self.task.cancel()

    async def last_word(self) -> Finding | None:
        """Return what has been found when the board is on again; waits only if it seems not to have been cut."""
        if self.task and self._doubtful:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_S):
                    await self._looked.wait()
        return self.finding

    async def look_on(self) -> None:
        """Look until everything is known that can be."""
        try:
            _, probes = await self._sight.look(self.board, _BEFORE_S)
            self._seen = replace(self._seen, alive=bool(probes))
            await self._moved.wait()
            if probes and self._cut.off is not None:
                await self._look_in_the_dark(probes)
            self._looked.set()
            await self._listen()
        finally:
            self._looked.set()

    async def _look_in_the_dark(self, probes: frozenset[str]) -> None:
        """Look near the end of the off time, and in doubt at its end and at the others."""
        length = self._length or self._rules.hold_up_s + 2 * _STEP_S
        step = min(_STEP_S, length / 4)
        async with asyncio.TaskGroup() as looking:
            for after in (length - 2 * step, length - step, length):
                await asyncio.sleep(after - seconds(self._sight.clock.up() - (self._cut.off or 0)))
                if self._length is None and self._sight.power(self.board) is Power.ON:
                    return  # somebody has switched it on behind our back
                look, _ = await self._sight.look(self.board, _SHARE * step, probes)
                self._seen = replace(self._seen, rounds=self._seen.rounds | {look})
                if self._doubtful and not self._asking:
                    name = f"others than {self.board}"
                    self._asking = looking.create_task(self._look_at_others(_SHARE * step), name=name)
                if self._conclude("proved"):
                    return
        self._conclude()

    async def _look_at_others(self, within_s: float) -> None:
        """Look at the other boards that were alive, and again at those that do not answer."""
        asked = self._sight.alive(self._cut.off or 0, others_than=[self.board])
        for _ in range(2):
            for board, look in (await self._sight.look_at_all(asked, within_s)).items():
                known = self._others.get(board, Account(board))
                self._others[board] = Account(board, True, known.rounds | {look})
                if look.answered is not False:
                    del asked[board]

    async def _listen(self) -> None:
        """Hear what consoles tell after power-on: the board's own, or in doubt for a moment those of all."""
        if (self.finding and self.finding.kind == "proved") or (
            self._cut.off is not None and self._length is None
        ):
            return
        await self._back.wait()
        patience = self._rules.boot_time_s if self._sight.console(self.board) else 0.0
        if self._doubtful:
            patience = seconds(TOGETHER_US)
        while seconds(self._sight.clock.up() - (self._cut.on or 0)) < patience:
            await asyncio.sleep(_LISTEN_S)
            if self._conclude() == "proved":
                return

    @property
    def _doubtful(self) -> bool:
        """Whether the board answered when it should not, in an off time that is long enough to wonder."""
        long_enough = self._length is None or self._length >= self._rules.hold_up_s
        return long_enough and any(look.answered for look in self._seen.rounds)

    def _conclude(self, *kinds: str) -> str:
        """Judge, tell of what is new, and return its kind; only of these ``kinds`` as long as there is more to see."""
        others = map(self._with_console, self._everybody_else() if self._doubtful else ())
        finding = judge(self._cut, self._with_console(self._seen), others, self._rules)
        if finding.kind == "nothing" or (kinds and finding.kind not in kinds):
            return ""
        known = self.finding
        if known is None or (known.kind, known.others) != (finding.kind, finding.others):
            self.finding = finding
            self._tell(finding)
        return finding.kind

    def _everybody_else(self) -> list[Account]:
        """Return the accounts of the other boards; of those that were not looked at only a console can tell."""
        return [
            self._others.get(board) or Account(board, excused=self._sight.excused(board, self._cut.off or 0))
            for board in self._sight.boards
            if board != self.board
        ]

    def _with_console(self, account: Account) -> Account:
        since = self._cut.off or (self._cut.on or self._sight.clock.up()) - READ_BACK_US
        return replace(account, boots=self._sight.boots(account.board, since))
