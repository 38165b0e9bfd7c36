"""Commands come in here: each is refused in words, answered from the journal, or carried out once.

Nothing below this module asks whether a command may run; nothing above it touches a relay.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from pydantic import ValidationError

from boardherd_agent.control.cycle import Announce, Executor, Life
from boardherd_agent.control.journal import Entry, Journal, JournalAway
from boardherd_agent.control.power import Target
from boardherd_shared.clock import Clock
from boardherd_shared.command import Command, CommandStep, Refusal, State, fingerprint, parse_command
from boardherd_shared.ids import CommandId, new_command_id
from boardherd_shared.messages import MAX_PAYLOAD, ProtocolError, explain
from boardherd_shared.values import one_line

STALL_S = 5.0
"""After the agent stood still for longer than this, whatever was waiting is refused as stale."""

_TICK_S = 0.5
_RETRY_S = 5.0
_QUEUE_SIZE = 1000

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


class _Refused(Exception):  # noqa: N818
    """The command will not be carried out."""

    def __init__(self, code: Refusal, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Commander:
    """Takes requests and sees each through to its final step."""

    def __init__(
        self,
        agent: str,
        targets: Mapping[str, Target],
        journal: Journal,
        executor: Executor,
        announce: Announce,
        clock: Clock,
        server_offset: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Make a commander.

        Args:
            agent: this agent's id.
            targets: what can be switched, by :attr:`Target.name`.
            journal: open journal.
            executor: carries commands out.
            announce: tells the world of each step.
            clock: this machine's clocks.
            server_offset: seconds by which the server's clock is ahead of ours; deadlines are in server time.
        """
        self._agent = agent
        self._targets = targets
        self._journal = journal
        self._executor = executor
        self._announce = announce
        self._clock = clock
        self._server_offset = server_offset
        self._queue: asyncio.Queue[Request] = asyncio.Queue(_QUEUE_SIZE)
        self._busy: dict[tuple[str, int], Life] = {}
        self._stalled_until = 0

    def submit(self, request: Request) -> None:
        """Take a request without waiting; when a thousand wait already, it is dropped and logged."""
        try:
            self._queue.put_nowait(request)
        except asyncio.QueueFull:
            log.warning("too many commands are waiting, one was dropped", operator=request.operator)

    async def run(self) -> None:
        """Finish what the last run left, then carry out requests until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_for_stalls(), name="commands: stall watch")
            if not await self._recover_all(tasks):
                tasks.create_task(self._recover_later(tasks), name="commands: recovery")
            while True:
                request = await self._queue.get()
                await self._take(request, tasks)

    async def _recover_all(self, tasks: asyncio.TaskGroup) -> bool:
        """Take up what the last run left; False while the journal cannot say what that is."""
        try:
            for entry in await self._journal.unfinished():
                await self._recover(entry, tasks)
            await self._journal.prune()
        except JournalAway as away:
            log.warning("commands are refused until the journal can be used", why=str(away))
            return False
        return True

    async def _recover_later(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            await asyncio.sleep(_RETRY_S)
            if await self._recover_all(tasks):
                return

    async def _watch_for_stalls(self) -> None:
        last = self._clock.up()
        while True:
            await asyncio.sleep(_TICK_S)
            now = self._clock.up()
            if now - last > STALL_S * 1e6:
                log.warning("the agent stood still", seconds=round((now - last) / 1e6, 1))
                self._stalled_until = now + int(_TICK_S * 1e6)
            last = now

    async def _take(self, request: Request, tasks: asyncio.TaskGroup) -> None:
        """Decide on one request; the order of the questions is the contract."""
        command: Command | None = None
        try:
            command = _read(request)
            if known := await self._known(request, command):
                self._announce(known.last_step)
                return
            self._check_time(request, command)
            target = self._target(command)
            self._check_free(target)
            life = self._life(command, target, request.operator, command.id or new_command_id())
            step = life.make(State.ACCEPTED, f"{command.action} of {target.label} accepted")
            await self._journal.intend(command, step, named=command.id is not None)
        except _Refused as refused:
            self._refuse(request, command, refused)
            return
        except JournalAway as away:
            self._refuse(
                request, command, _Refused(Refusal.NO_JOURNAL, f"nothing is switched without it: {away}")
            )
            return
        self._announce(step)
        self._start(life, self._executor.carry_out(life), tasks)

    def _start(self, life: Life, work: Coroutine[Any, Any, None], tasks: asyncio.TaskGroup) -> None:
        for port in life.target.ports:
            self._busy[port] = life

        async def see_through() -> None:
            try:
                await work
            finally:
                for port in life.target.ports:
                    del self._busy[port]

        tasks.create_task(see_through(), name=f"command {life.command_id}")

    async def _known(self, request: Request, command: Command) -> Entry | None:
        """Return the journal's entry if this is a redelivery; refuses an id that meant something else before."""
        if command.id is None:
            return await self._journal.find_repeat(request.operator, command)
        entry = await self._journal.find(command.id)
        if entry and (entry.fingerprint != fingerprint(command) or entry.operator != request.operator):
            raise _Refused(
                Refusal.DUPLICATE_CONFLICT,
                f"the id {command.id} was used before for another command ({entry.last_step.text})",
            )
        return entry

    def _check_time(self, request: Request, command: Command) -> None:
        if self._clock.up() < self._stalled_until:
            raise _Refused(
                Refusal.STALE, "the agent stood still while this waited; send it again if it is still wanted"
            )
        offset = self._server_offset()
        late = time.time() + offset - command.deadline(request.received_at + offset)
        if late > 0:
            raise _Refused(Refusal.EXPIRED, f"it expired {late:.1f} s ago and was not carried out")

    def _target(self, command: Command) -> Target:
        if command.board is not None:
            name = f"board/{command.board}"
        elif command.relay is not None:
            name = f"relay/{command.relay}/{command.port}"
        else:
            raise _Refused(Refusal.INVALID, "it names no board and no relay port")
        target = self._targets.get(name)
        if target is None:
            raise _Refused(Refusal.UNKNOWN_TARGET, f"{self._agent} controls no {name.replace('/', ' ', 1)}")
        if not target.feeds:
            raise _Refused(
                Refusal.UNKNOWN_TARGET, f"{target.label} has no power feed in lab.toml, nothing can switch it"
            )
        return target

    def _check_free(self, target: Target) -> None:
        for port in target.ports:
            if life := self._busy.get(port):
                raise _Refused(
                    Refusal.BUSY,
                    f"{target.label} is being switched: {life.command.action} by {life.operator} is under way",
                )

    def _refuse(self, request: Request, command: Command | None, refused: _Refused) -> None:
        expired = refused.code is Refusal.EXPIRED
        step = CommandStep(
            id=(command.id if command else None) or new_command_id(),
            state=State.EXPIRED if expired else State.REFUSED,
            action=command.action if command else "unreadable",
            target=_name(command, request),
            agent=self._agent,
            operator=request.operator,
            on_behalf_of=command.on_behalf_of if command else None,
            reason=command.reason if command else None,
            at=self._clock.wall() / 1e6,
            code=refused.code,
            text=one_line(f"{'expired' if expired else 'refused'}: {refused.text}"),
        )
        log.info("command refused", operator=request.operator, code=refused.code.value, why=refused.text)
        self._announce(step)

    async def _recover(self, entry: Entry, tasks: asyncio.TaskGroup) -> None:
        """Report, and where possible finish, a command that the last run did not."""
        step = entry.last_step
        target = self._targets.get(step.target)
        if target is None:
            text = f"the agent was interrupted during {entry.command.action}, and {step.target} is no longer its own"
            final = step.model_copy(
                update={"state": State.INTERRUPTED, "text": text, "at": self._clock.wall() / 1e6, "phase": ""}
            )
            await self._journal.note(final)
            self._announce(final)
            return
        life = self._life(entry.command, target, entry.operator, step.id)
        self._start(life, self._executor.recover(life, entry), tasks)

    def _life(self, command: Command, target: Target, operator: str, command_id: CommandId) -> Life:
        return Life(
            command=command,
            target=target,
            operator=operator,
            agent=self._agent,
            command_id=command_id,
            journal=self._journal,
            announce=self._announce,
            clock=self._clock,
        )


def _read(request: Request) -> Command:
    """Return the command in a request, with the alias topic's board filled in."""
    if request.retained:
        raise _Refused(
            Refusal.RETAINED,
            "it was published with the retain flag, which would repeat it at every reconnect",
        )
    if len(request.payload) > MAX_PAYLOAD:
        raise _Refused(Refusal.INVALID, f"{len(request.payload)} bytes are more than a command may have")
    try:
        command = parse_command(request.payload)
    except ValidationError as error:
        raise _Refused(Refusal.INVALID, explain(error)) from error
    except (ProtocolError, ValueError, RecursionError) as error:
        raise _Refused(Refusal.INVALID, str(error)) from error
    if request.board is None:
        return command
    if command.relay is not None or command.board not in {None, request.board}:
        raise _Refused(Refusal.INVALID, f"it came by the topic of {request.board} but names another target")
    return command.model_copy(update={"board": request.board})


def _name(command: Command | None, request: Request) -> str:
    if command and command.relay:
        return f"relay/{command.relay}/{command.port}"
    board = (command.board if command else None) or request.board
    return f"board/{board}" if board else ""
