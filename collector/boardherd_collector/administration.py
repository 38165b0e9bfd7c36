"""Carries out what people tell the collector itself: maintenance, names, notes, what is out of use.

A command has its effect once, in the transaction that keeps its id; it is answered like those of agents.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog
from pydantic import ValidationError

from boardherd_collector.counters import Counters
from boardherd_collector.fleet import Fleet
from boardherd_collector.marks import Mark, Marks, Order
from boardherd_collector.stores.base import Store, StoreError
from boardherd_collector.times import SECOND
from boardherd_shared.collector_command import FOR_ADMINS, CollectorAction, CollectorCommand, fingerprint
from boardherd_shared.command import CommandStep, Refusal, State
from boardherd_shared.ids import new_command_id
from boardherd_shared.inventory import Inventory
from boardherd_shared.messages import ProtocolError, decode, encode
from boardherd_shared.model import PcStatus
from boardherd_shared.topics import Kind, Topics
from boardherd_shared.values import one_line

MAX_WAITING = 500
_COLLECTOR = "collector"

log = structlog.get_logger()


class Denied(Exception):  # noqa: N818 - a decision, not a fault of the program
    """A command is not carried out; the text says why to its sender."""

    def __init__(self, code: Refusal, text: str) -> None:
        """Say why."""
        super().__init__(text)
        self.code, self.text = code, text


@dataclass(frozen=True)
class _Request:
    operator: str
    payload: bytes
    retained: bool
    received_at: float


class Administration:
    """Takes commands to the collector, one at a time."""

    def __init__(
        self,
        topics: Topics,
        inventory: Inventory,
        store: Store,
        fleet: Fleet,
        counters: Counters,
        *,
        post: Callable[[str, bytes], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        """Make it; nothing happens before :meth:`run`.

        Args:
            topics: of the site.
            inventory: what there is, and who may do what others may not.
            store: keeps what was decided.
            fleet: shows what was decided.
            counters: counts commands by outcome.
            post: publishes a payload on a topic, without waiting.
            now: the time, Unix seconds.
        """
        self._topics, self._inventory, self._store = topics, inventory, store
        self._fleet, self._counters, self._post, self._now = fleet, counters, post, now
        self._waiting: asyncio.Queue[_Request] = asyncio.Queue(MAX_WAITING)

    def submit(self, operator: str, payload: bytes, received_at: float, *, retained: bool) -> None:
        """Take a command without waiting; ProtocolError when too many wait already."""
        try:
            self._waiting.put_nowait(_Request(operator, payload, retained, received_at))
        except asyncio.QueueFull:
            raise ProtocolError("too many commands to the collector wait, this one is dropped") from None

    async def run(self) -> None:
        """Carry commands out until cancelled."""
        while True:
            await self._handle(await self._waiting.get())

    async def _handle(self, request: _Request) -> None:
        command: CollectorCommand | None = None
        try:
            command = _read(request)
            id_ = command.id or new_command_id()
            self._check_time(command, request.received_at)
            self._check_right(command, request.operator)
            marks = self._marks_after(command, request.operator)
        except Denied as denied:
            await self._refuse(request, command, denied)
            return
        accepted = self._step(
            request, command, id_, State.ACCEPTED, f"{command.action} of {command.target} accepted"
        )
        text = f"{_words(command)} by {request.operator}"
        done = self._step(request, command, id_, State.SUCCEEDED, text)
        order = Order(
            id=id_,
            fingerprint=f"{request.operator} {fingerprint(command)}",
            at=round(self._now() * SECOND),
            step=done,
            thing=(command.kind, command.thing),
            marks=marks,
            shown_name=marks.name or self._name_in_file(command),
        )
        self._tell(accepted)
        await self._carry_out(request, command, order)

    async def _carry_out(self, request: _Request, command: CollectorCommand, order: Order) -> None:
        try:
            earlier = await self._store.administer(order)
        except StoreError as error:
            text = f"the database cannot be used, whether it was done is not known; send it again: {error}"
            self._tell(self._step(request, command, order.id, State.FAILED, text))
            return
        if earlier is None:
            assert order.thing is not None
            assert order.marks is not None
            self._fleet.mark(order.thing, order.marks)
            self._counters.commands[_COLLECTOR, State.SUCCEEDED.value] += 1
            self._tell(order.step)
        elif earlier.fingerprint == order.fingerprint:
            self._tell(earlier.step)
        else:
            text = f"refused: the id {order.id} was used before for another command ({earlier.step.text})"
            code = Refusal.DUPLICATE_CONFLICT
            self._tell(self._step(request, command, order.id, State.REFUSED, text, code))

    async def _refuse(self, request: _Request, command: CollectorCommand | None, denied: Denied) -> None:
        """Refuse a command in words, and keep that it was refused; a redelivery is answered from what is kept."""
        state = State.EXPIRED if denied.code is Refusal.EXPIRED else State.REFUSED
        id_ = (command.id if command else None) or new_command_id()
        step = self._step(request, command, id_, state, f"{state}: {denied.text}", denied.code)
        log.info("command to the collector refused", operator=request.operator, why=denied.text)
        if not request.retained:
            wanted = f"{request.operator} {fingerprint(command)}" if command else request.operator
            try:
                earlier = await self._store.administer(Order(id_, wanted, round(self._now() * SECOND), step))
            except StoreError as error:
                log.warning("a refused command could not be kept", why=str(error))
            else:
                if earlier is None:
                    self._counters.commands[_COLLECTOR, state.value] += 1
                elif earlier.fingerprint == wanted:
                    step = earlier.step
        self._tell(step)

    def _tell(self, step: CommandStep) -> None:
        self._fleet.step(step)
        payload = encode(step)
        self._post(self._topics.build(Kind.RESULT, agent=_COLLECTOR, id=step.id), payload)
        self._post(self._topics.build(Kind.REPLY, operator=step.operator), payload)

    def _step(
        self,
        request: _Request,
        command: CollectorCommand | None,
        id_: str,
        state: State,
        text: str,
        code: Refusal | None = None,
    ) -> CommandStep:
        return CommandStep(
            id=id_,
            state=state,
            action=command.action if command else "unreadable",
            target=command.target if command else "",
            agent=_COLLECTOR,
            operator=request.operator,
            on_behalf_of=command.on_behalf_of if command else None,
            reason=command.reason if command else None,
            at=self._now(),
            code=code,
            text=one_line(text),
        )

    def _check_time(self, command: CollectorCommand, received_at: float) -> None:
        late = self._now() - command.deadline(received_at)
        if late > 0:
            raise Denied(Refusal.EXPIRED, f"it expired {late:.1f} s ago and was not carried out")

    def _check_right(self, command: CollectorCommand, operator: str) -> None:
        admins = self._inventory.lab.admins
        if command.action in FOR_ADMINS and admins and operator not in admins:
            raise Denied(
                Refusal.FORBIDDEN,
                f"only {', '.join(sorted(admins))} may {command.action} things (admins in lab.toml)",
            )

    def _marks_after(self, command: CollectorCommand, operator: str) -> Marks:
        """Return what holds of the thing once the command is carried out; raises Denied."""
        thing = (command.kind, command.thing)
        view = self._fleet.view(self._now())
        known = {
            "pc": {pc.id for pc in view.pcs},
            "board": {board.id for board in view.boards},
            "relay": {relay.id for relay in view.relays},
        }[command.kind]
        marks = self._fleet.marks(thing)
        if command.thing not in known and marks == Marks():
            raise Denied(Refusal.UNKNOWN_TARGET, f"there is no {command.kind} {command.thing}")
        if command.action is CollectorAction.RETIRE:
            self._check_gone(command)
        name = (command.name or "").strip()[:100] or None
        if name and any(other.name == name for other in view.relays if other.id != command.thing):
            raise Denied(Refusal.INVALID, f'another relay has the name "{name}"')
        decision = Mark(round(self._now() * SECOND), operator, command.reason or "")
        changes: dict[CollectorAction, Callable[[], Marks]] = {
            CollectorAction.MAINTENANCE: lambda: replace(
                marks, maintenance=None if command.on is False else decision
            ),
            CollectorAction.DEACTIVATE: lambda: replace(marks, deactivated=decision),
            CollectorAction.ACTIVATE: lambda: replace(marks, deactivated=None),
            CollectorAction.RETIRE: lambda: replace(marks, retired=decision),
            CollectorAction.UNRETIRE: lambda: replace(marks, retired=None),
            CollectorAction.RENAME: lambda: replace(marks, name=name),
            CollectorAction.NOTE: lambda: replace(marks, notes=command.note or None),
        }
        return changes[command.action]()

    def _check_gone(self, command: CollectorCommand) -> None:
        """Only what has left the inventory, and is not there any more, is retired."""
        lab = self._inventory.lab
        named = {"pc": set(lab.pc), "board": set(lab.board), "relay": set(lab.relay)}
        if command.thing in named[command.kind]:
            raise Denied(
                Refusal.INVALID,
                f"lab.toml names {command.thing}: take it out there, and what is gone is retired",
            )
        online = {
            pc.id for pc in self._fleet.view(self._now()).pcs if pc.online or pc.status is PcStatus.ONLINE
        }
        if command.kind == "pc" and command.thing in online:
            raise Denied(Refusal.IN_USE, f"the agent on {command.thing} is online: stop it first")

    def _name_in_file(self, command: CollectorCommand) -> str | None:
        lab = self._inventory.lab
        if command.kind == "relay":
            relay = lab.relay.get(command.thing)
            return (relay.name if relay else None) or command.thing
        things = lab.pc if command.kind == "pc" else lab.board
        thing = things.get(command.thing)
        return thing.name if thing else None


def _read(request: _Request) -> CollectorCommand:
    if request.retained:
        raise Denied(
            Refusal.RETAINED,
            "it was published with the retain flag, which would repeat it at every reconnect",
        )
    try:
        return decode(CollectorCommand, request.payload)
    except (ProtocolError, ValidationError) as error:
        raise Denied(Refusal.INVALID, str(error)) from error


def _words(command: CollectorCommand) -> str:
    """Return what was done, in words: "relay/eth-1 is in maintenance: the fuse is being replaced"."""
    why = f": {command.reason}" if command.reason else ""
    done = {
        CollectorAction.MAINTENANCE: "is in maintenance"
        if command.on is not False
        else "is out of maintenance",
        CollectorAction.DEACTIVATE: "is deactivated",
        CollectorAction.ACTIVATE: "is activated",
        CollectorAction.RETIRE: "is retired",
        CollectorAction.UNRETIRE: "is no longer retired",
        CollectorAction.RENAME: f'is named "{command.name}"'
        if command.name
        else "has the name of lab.toml again",
        CollectorAction.NOTE: "has a note" if command.note else "has no note any more",
    }[command.action]
    return f"{command.target} {done}{why}"
