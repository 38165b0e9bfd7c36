"""Commands come in here: each is refused in words, answered from the journal, or carried out once.

Nothing below this module asks whether a command may run; nothing above it touches a relay.
"""

from __future__ import annotations

import asyncio
import functools
import math
from dataclasses import dataclass

import structlog
from pydantic import ValidationError

from boardherd_agent.control.admission import BOARDS, Admission, Arrival
from boardherd_agent.control.cycle import Executor
from boardherd_agent.control.errands import Errands
from boardherd_agent.control.journal import Entry, Journal, JournalAway
from boardherd_agent.control.life import Announce, Life
from boardherd_agent.control.power import Target
from boardherd_agent.control.recovery import Recovery
from boardherd_agent.control.refusal import Refused
from boardherd_agent.control.tracing import half_traced
from boardherd_agent.control.under_way import UnderWay
from boardherd_shared.clock import Clock, seconds
from boardherd_shared.command import Action, Command, CommandStep, Refusal, State, fingerprint, parse_command
from boardherd_shared.ids import CommandId, new_command_id
from boardherd_shared.messages import MAX_PAYLOAD, ProtocolError, explain
from boardherd_shared.values import one_line

STALL_S = 5.0
"""After the agent stood still for longer than this, whatever was waiting is refused as stale."""

_TICK_S = 0.5
_RETRY_S = 5.0
_QUEUE_SIZE = 1000
_TOLD_S = 2.0
"""What is told of a command's end is on the disk of the spool after this many seconds at the latest."""
_CLOSE_AT_ONCE = 500

_AGENT_WIDE = frozenset({Action.REPORT, Action.DRAIN})
_ERRANDS = BOARDS | _AGENT_WIDE | {Action.ACCEPT}
_NEVER_WAIT = _ERRANDS - {Action.LOCK}
"""What moves nothing, and is not moved either by what is under way."""

_LOOKS_AHEAD = frozenset({Action.ON, Action.OFF})
"""For these the device is read while the journal writes: both take their time, and neither moves anything."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Request:
    """A command as it arrived."""

    payload: bytes
    operator: str
    """Broker user name of the sender: the last level of the topic, which the broker's ACL enforces."""
    board: str | None
    """The board whose alias topic it came by."""
    retained: bool
    received_at: float
    """Unix seconds of this machine's clock."""
    listener: Announce | None = None
    """Is told of every step of this command, besides everybody else."""


class Commander:
    """Takes requests and sees each through to its final step."""

    def __init__(
        self,
        admission: Admission,
        journal: Journal,
        executor: Executor,
        recovery: Recovery,
        errands: Errands,
        announce: Announce,
        clock: Clock,
    ) -> None:
        """Make a commander.

        Args:
            admission: says what may run.
            journal: keeps every command.
            executor: carries out what moves a relay.
            recovery: finishes what a crash interrupted.
            errands: carries out the rest.
            announce: tells the world of each step.
            clock: this machine's clocks.
        """
        self._admission = admission
        self._journal = journal
        self._executor, self._recovery, self._errands = executor, recovery, errands
        self._announce = announce
        self._clock = clock
        self._queue: asyncio.Queue[tuple[Request, Arrival]] = asyncio.Queue(_QUEUE_SIZE)
        self._under_way = UnderWay()
        self._listeners: dict[str, list[Announce]] = {}
        self._recovered = False
        self._taken_up: set[str] = set()
        """What needs no recovery while the journal has not told all that the last run left."""
        self._told: dict[str, tuple[CommandStep, int]] = {}
        """The ends that have been told, and when by CLOCK_BOOTTIME; the journal learns of it a little later."""
        self._stalled_until = 0
        self._beat = math.inf
        """When the stall watch last looked, by the loop; after a freeze, commands may get their turn before it does."""

    @property
    def under_way(self) -> int:
        """How many commands are being carried out on relays now."""
        return len(self._under_way)

    def busy(self, relay: str, port: int) -> bool:
        """Tell whether a command is being carried out on a port."""
        return self._under_way.busy((relay, port))

    def submit(self, request: Request) -> None:
        """Take a request without waiting; when a thousand wait already, it is dropped and logged."""
        try:
            self._queue.put_nowait((request, self._admission.arrival(request.received_at)))
        except asyncio.QueueFull:
            log.warning("too many commands are waiting, one was dropped", operator=request.operator)

    async def run(self) -> None:
        """Finish what the last run left, then carry out requests until cancelled."""
        try:
            await self._run()
        finally:
            await self._close(0.0)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_for_stalls(), name="commands: stall watch")
            tasks.create_task(self._close_told(), name="commands: told")
            if not await self._recover_all(tasks):
                tasks.create_task(self._recover_later(tasks), name="commands: recovery")
            while True:
                request, arrival = await self._queue.get()
                await self._take(request, arrival, tasks)

    async def _recover_all(self, tasks: asyncio.TaskGroup) -> bool:
        """Take up what the last run left; False while the journal cannot say what that is."""
        try:
            for entry in await self._journal.unfinished():
                if entry.last_step.id not in self._taken_up:
                    self._taken_up.add(entry.last_step.id)
                    await self._recover(entry, tasks)
            await self._journal.prune()
        except JournalAway as away:
            log.warning("commands are refused until the journal can be used", why=str(away))
            return False
        self._recovered = True
        return True

    async def _recover_later(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            await asyncio.sleep(_RETRY_S)
            if await self._recover_all(tasks):
                return

    async def _close_told(self) -> None:
        """Note in the journal whose end has been told, once that has surely reached the spool."""
        while True:
            await asyncio.sleep(_TICK_S)
            await self._close(_TOLD_S)

    async def _close(self, older: float) -> None:
        now = self._clock.up()
        ids = [id_ for id_, (_, told) in self._told.items() if seconds(now - told) >= older][:_CLOSE_AT_ONCE]
        if not ids:
            return
        try:
            await self._journal.close(ids)
        except JournalAway as away:
            log.warning("the end of commands could not be journalled", why=str(away))
            return
        for id_ in ids:
            del self._told[id_]

    async def _watch_for_stalls(self) -> None:
        while True:
            last, self._beat = self._clock.up(), asyncio.get_running_loop().time()
            await asyncio.sleep(_TICK_S)
            if (still := seconds(self._clock.up() - last)) > STALL_S:
                log.warning("the agent stood still", seconds=round(still, 1))
                self._stalled_until = self._clock.up() + int(_TICK_S * 1e6)

    async def _take(self, request: Request, arrival: Arrival, tasks: asyncio.TaskGroup) -> None:
        """Decide on one request; the order of the questions is the contract.

        That a command is known comes before all that may be said against it now. Mostly nothing is, and the journal
        finds out in the act of writing the command down.
        """
        try:
            command = _read(request)
        except Refused as refused:
            self._refuse(request, None, refused)
            return
        try:
            life = self._admit(request, arrival, command)
            others = [] if command.action in _NEVER_WAIT else self._under_way.in_the_way(life)
        except Refused as refused:
            if not await self._answered(request, command):
                self._refuse(request, command, refused)
            return
        if (others or not self._recovered) and await self._answered(request, command):
            return
        await self._under_way.end(others, life)
        await self._begin(request, life, tasks)

    def _admit(self, request: Request, arrival: Arrival, command: Command) -> Life:
        """Return the life of a command that may run; nothing is done yet."""
        self._check_time(arrival, command)
        target, kept = self._target(command), ""
        self._admission.check(command, request.operator, target)
        if command.action is Action.ALL_OFF:
            target, kept = self._unlocked(target, command, request.operator)
        life = self._life(command, target, request.operator, command.id or new_command_id())
        life.remark = kept
        life.still_wanted = functools.partial(self._still_wanted, request, arrival, command, target)
        life.still_held = functools.partial(self._admission.check_holder, command, request.operator, target)
        return life

    async def _begin(self, request: Request, life: Life, tasks: asyncio.TaskGroup) -> None:
        """Write a command down and carry it out, unless it is known."""
        command = life.command
        step = life.make(State.ACCEPTED, f"{command.action} of {life.target.label} accepted")
        if not self._recovered:
            self._taken_up.add(step.id)
        if command.action in _LOOKS_AHEAD:
            feed = life.target.feeds[0 if command.action is Action.ON else -1]
            tasks.create_task(feed.worker.look(feed.port), name=f"look {life.command_id}")
        try:
            while not await self._journal.intend(command, step, named=command.id is not None):
                if await self._answered(request, command):
                    return
        except JournalAway as away:
            self._refuse(request, command, _no_journal(away))
            return
        if request.listener:
            self._listeners[life.command_id] = [request.listener]
        if command.action in _ERRANDS:
            tasks.create_task(self._errand(life), name=f"command {life.command_id}")
        else:
            self._under_way.start(life, self._executor.carry_out(life), tasks)
        self._tell(step)  # only now: the task just made has its turn before those who pass the word on

    async def _errand(self, life: Life) -> None:
        try:
            await self._errands.run(life)
        except Refused as refused:
            await life.step(State.REFUSED, f"refused: {refused.text}", code=refused.code)
        except JournalAway as away:
            await life.step(State.FAILED, f"nothing was done: {away}", code=Refusal.NO_JOURNAL)

    async def _answered(self, request: Request, command: Command) -> bool:
        """Answer a redelivery from the journal, or refuse an id that meant something else; False if it is neither."""
        try:
            known = await self._find(request, command)
        except JournalAway as away:
            self._refuse(request, command, _no_journal(away))
            return True
        if known is None:
            return False
        if known.fingerprint == fingerprint(command) and known.operator == request.operator:
            id_ = known.last_step.id  # its end may have been told while the journal was asked
            self._answer(self._told[id_][0] if id_ in self._told else known.last_step, request.listener)
        else:
            why = f"the id {command.id} was used before for another command ({known.last_step.text})"
            self._refuse(request, command, Refused(Refusal.DUPLICATE_CONFLICT, why))
        return True

    async def _find(self, request: Request, command: Command) -> Entry | None:
        if command.id is None:
            return await self._journal.find_repeat(request.operator, command)
        return await self._journal.find(command.id)

    def _check_time(self, arrival: Arrival, command: Command) -> None:
        unwatched = asyncio.get_running_loop().time() - self._beat
        if self._clock.up() < self._stalled_until or unwatched > STALL_S:
            raise Refused(
                Refusal.STALE, "the agent stood still while this waited; send it again if it is still wanted"
            )
        self._admission.check_time(command, arrival)

    def _still_wanted(self, request: Request, arrival: Arrival, command: Command, target: Target) -> None:
        """Refuse at the last moment before anything moves: the command has waited for the journal, or for its turn."""
        self._admission.check_time(command, arrival)
        self._admission.check_holder(command, request.operator, target)

    def _target(self, command: Command) -> Target:
        if command.action not in _AGENT_WIDE:
            return self._admission.target(command)
        name = f"agent/{self._admission.agent}"
        return Target(name, "", (), 0.0, self._admission.agent)

    def _unlocked(self, target: Target, command: Command, operator: str) -> tuple[Target, str]:
        """Return what ``all-off`` may touch: without ``force`` not the boards that somebody else has locked."""
        if command.force:
            return target, ""
        return self._admission.unlocked(target, operator, command.lock)

    def _refuse(self, request: Request, command: Command | None, refused: Refused) -> None:
        expired = refused.code is Refusal.EXPIRED
        step = CommandStep(
            id=(command.id if command else None) or new_command_id(),
            state=State.EXPIRED if expired else State.REFUSED,
            action=command.action if command else "unreadable",
            target=_name(command, request),
            agent=self._admission.agent,
            operator=request.operator,
            on_behalf_of=command.on_behalf_of if command else None,
            reason=command.reason if command else None,
            at=self._clock.wall() / 1e6,
            code=refused.code,
            text=one_line(f"{'expired' if expired else 'refused'}: {refused.text}"),
        )
        log.info("command refused", operator=request.operator, code=refused.code.value, why=refused.text)
        self._answer(step, request.listener)

    def _answer(self, step: CommandStep, listener: Announce | None) -> None:
        """Tell of a step that stands already, and let the listener hear what follows it."""
        self._announce(step)
        if listener:
            listener(step)
            if not step.final:
                self._listeners.setdefault(step.id, []).append(listener)

    def _tell(self, step: CommandStep) -> None:
        """Tell of a new step."""
        self._announce(step)
        for listener in self._listeners.get(step.id, ()):
            listener(step)
        if step.final:
            self._listeners.pop(step.id, None)
            self._told[step.id] = step, self._clock.up()

    async def _recover(self, entry: Entry, tasks: asyncio.TaskGroup) -> None:
        """Report, and where possible finish, a command that the last run did not."""
        step = entry.last_step
        if step.final:
            self._tell(step)
            return
        target, errand = self._admission.targets.get(step.target), entry.command.action in _ERRANDS
        if entry.command.action is Action.TRACE:
            target = half_traced(self._admission.targets, step)
            errand = target is None
        if target is None or errand:
            lost = "" if errand else f", and {step.target} is no longer its own"
            text = f"the agent was interrupted during {entry.command.action}{lost}"
            final = step.model_copy(
                update={"state": State.INTERRUPTED, "text": text, "at": self._clock.wall() / 1e6, "phase": ""}
            )
            await self._journal.note(final)
            self._tell(final)
            return
        if entry.off is None or step.phase == "off":
            self._admission.safety.doubt(target.ports)
        life = self._life(entry.command, target, entry.operator, step.id)
        self._under_way.start(life, self._recovery.finish(life, entry), tasks)

    def _life(self, command: Command, target: Target, operator: str, command_id: CommandId) -> Life:
        return Life(
            command=command,
            target=target,
            operator=operator,
            agent=self._admission.agent,
            command_id=command_id,
            journal=self._journal,
            announce=self._tell,
            clock=self._clock,
        )


def _read(request: Request) -> Command:
    """Return the command in a request, with the alias topic's board filled in."""
    if request.retained:
        raise Refused(
            Refusal.RETAINED,
            "it was published with the retain flag, which would repeat it at every reconnect",
        )
    if len(request.payload) > MAX_PAYLOAD:
        raise Refused(Refusal.INVALID, f"{len(request.payload)} bytes are more than a command may have")
    try:
        command = parse_command(request.payload)
    except ValidationError as error:
        raise Refused(Refusal.INVALID, explain(error)) from error
    except (ProtocolError, ValueError, RecursionError) as error:
        raise Refused(Refusal.INVALID, str(error)) from error
    if request.board is None:
        return command
    if command.action in _AGENT_WIDE | {Action.ALL_OFF}:
        raise Refused(Refusal.INVALID, f"{command.action} is for a whole agent, not for the topic of a board")
    if command.relay is not None or command.board not in {None, request.board}:
        raise Refused(Refusal.INVALID, f"it came by the topic of {request.board} but names another target")
    return command.model_copy(update={"board": request.board})


def _no_journal(away: JournalAway) -> Refused:
    return Refused(Refusal.NO_JOURNAL, f"nothing is switched without it: {away}")


def _name(command: Command | None, request: Request) -> str:
    if command and command.relay:
        return f"relay/{command.relay}/{command.port}" if command.port else f"relay/{command.relay}"
    board = (command.board if command else None) or request.board
    return f"board/{board}" if board else ""
