"""Commands come in here: each is refused in words, answered from the journal, or carried out once.

Nothing below this module asks whether a command may run; nothing above it touches a relay.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

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
from boardherd_agent.control.safety import Port
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
_ENDS_OTHERS = frozenset({Action.OFF, Action.ALL_OFF})
"""What does not wait for a command that is under way, but ends it."""

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


@dataclass
class _Running:
    life: Life
    task: asyncio.Task[None] | None = field(default=None, repr=False)
    begun: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    """A task that is cancelled before it has begun could not say how its command ended."""


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
        self._busy: dict[Port, _Running] = {}
        self._listeners: dict[str, list[Announce]] = {}
        self._recovered = False
        self._taken_up: set[str] = set()
        """What needs no recovery while the journal has not told all that the last run left."""
        self._told: dict[str, int] = {}
        """Commands whose end has been told, and when by CLOCK_BOOTTIME; the journal learns of it a little later."""
        self._stalled_until = 0
        self._beat = math.inf
        """When the stall watch last looked, by the loop; after a freeze, commands may get their turn before it does."""

    @property
    def under_way(self) -> int:
        """How many commands are being carried out on relays now."""
        return len({id(running) for running in self._busy.values()})

    def busy(self, relay: str, port: int) -> bool:
        """Tell whether a command is being carried out on a port."""
        return (relay, port) in self._busy

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
        ids = [id_ for id_, told in self._told.items() if seconds(now - told) >= older][:_CLOSE_AT_ONCE]
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
        """Decide on one request; the order of the questions is the contract."""
        command: Command | None = None
        try:
            command = _read(request)
            if known := await self._known(request, command):
                self._answer(known.last_step, request.listener)
                return
            self._check_time(arrival, command)
            target = self._target(command)
            self._admission.check(command, request.operator, target)
            if command.action is Action.ALL_OFF:
                target, kept = self._unlocked(target, command, request.operator)
            else:
                kept = ""
            await self._make_way(command, target, request.operator)
            life = self._life(command, target, request.operator, command.id or new_command_id())
            life.remark = kept
            life.still_wanted = functools.partial(self._still_wanted, request, arrival, command, target)
            step = life.make(State.ACCEPTED, f"{command.action} of {target.label} accepted")
            if not self._recovered:
                self._taken_up.add(step.id)
            await self._journal.intend(command, step, named=command.id is not None)
        except Refused as refused:
            self._refuse(request, command, refused)
            return
        except JournalAway as away:
            self._refuse(
                request, command, Refused(Refusal.NO_JOURNAL, f"nothing is switched without it: {away}")
            )
            return
        if request.listener:
            self._listeners[life.command_id] = [request.listener]
        self._tell(step)
        if command.action in _ERRANDS:
            tasks.create_task(self._errand(life), name=f"command {life.command_id}")
        else:
            self._start(life, self._executor.carry_out(life), tasks)

    def _start(self, life: Life, work: Coroutine[Any, Any, None], tasks: asyncio.TaskGroup) -> None:
        running = _Running(life)
        for port in life.target.ports:
            self._busy[port] = running

        async def see_through() -> None:
            running.begun.set()
            try:
                await work
            except asyncio.CancelledError:
                if not life.ended_by:
                    raise
            finally:
                for port in life.target.ports:
                    if self._busy.get(port) is running:
                        del self._busy[port]

        running.task = tasks.create_task(see_through(), name=f"command {life.command_id}")

    async def _errand(self, life: Life) -> None:
        try:
            await self._errands.run(life)
        except Refused as refused:
            await life.step(State.REFUSED, f"refused: {refused.text}", code=refused.code)
        except JournalAway as away:
            await life.step(State.FAILED, f"nothing was done: {away}", code=Refusal.NO_JOURNAL)

    async def _known(self, request: Request, command: Command) -> Entry | None:
        """Return the journal's entry if this is a redelivery; refuses an id that meant something else before."""
        if command.id is None:
            return await self._journal.find_repeat(request.operator, command)
        entry = await self._journal.find(command.id)
        if entry and (entry.fingerprint != fingerprint(command) or entry.operator != request.operator):
            raise Refused(
                Refusal.DUPLICATE_CONFLICT,
                f"the id {command.id} was used before for another command ({entry.last_step.text})",
            )
        return entry

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

    async def _make_way(self, command: Command, target: Target, operator: str) -> None:
        """End what is under way on the target's ports, if this command may; else refuse it."""
        if command.action in _ERRANDS - {Action.LOCK}:
            return
        for running in {id(r): r for port in target.ports if (r := self._busy.get(port))}.values():
            if command.action is Action.LOCK and running.life.operator == operator:
                continue
            ends_it = (
                command.action in _ENDS_OTHERS and not command.expect
            )  # who expects a state is in no hurry
            if not ends_it or running.task is None:
                raise Refused(
                    Refusal.BUSY,
                    f"{target.label} is being switched: {running.life.command.action} by"
                    f" {running.life.operator} is under way",
                )
            await running.begun.wait()
            running.life.ended_by = f"{command.action} by {operator}"
            running.task.cancel()
            await asyncio.wait([running.task])

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
            self._told[step.id] = self._clock.up()

    async def _recover(self, entry: Entry, tasks: asyncio.TaskGroup) -> None:
        """Report, and where possible finish, a command that the last run did not."""
        step = entry.last_step
        if step.final:
            self._tell(step)
            return
        target = self._admission.targets.get(step.target)
        if target is None or entry.command.action in _ERRANDS:
            lost = (
                ""
                if target or entry.command.action in _ERRANDS
                else f", and {step.target} is no longer its own"
            )
            text = f"the agent was interrupted during {entry.command.action}{lost}"
            final = step.model_copy(
                update={"state": State.INTERRUPTED, "text": text, "at": self._clock.wall() / 1e6, "phase": ""}
            )
            await self._journal.note(final)
            self._tell(final)
            return
        if entry.off is None:
            self._admission.safety.doubt(target.ports)
        life = self._life(entry.command, target, entry.operator, step.id)
        self._start(life, self._recovery.finish(life, entry), tasks)

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


def _name(command: Command | None, request: Request) -> str:
    if command and command.relay:
        return f"relay/{command.relay}/{command.port}"
    board = (command.board if command else None) or request.board
    return f"board/{board}" if board else ""
