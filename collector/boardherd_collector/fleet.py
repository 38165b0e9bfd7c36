"""The current state of the fleet, in memory: what was said last of each PC, board and relay port.

Nothing here touches the world, and every time comes from the caller. What ages is worked out when a view is
made (:mod:`boardherd_collector.fleet_view`), so nothing here can be latched by a message that came late.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from boardherd_collector import fleet_view
from boardherd_collector.fleet_state import Agent, FleetState, Told, ToldPort
from boardherd_collector.marks import Marks, Thing
from boardherd_collector.owners import Owners, prevails
from boardherd_collector.stores.base import Snapshot
from boardherd_collector.times import SECOND, AnyRecord, moment, shifted
from boardherd_shared.command import CommandStep
from boardherd_shared.inventory import Inventory
from boardherd_shared.messages import Hello, Standing, Status
from boardherd_shared.records import BoardRecord, HostRecord, RelayRecord
from boardherd_shared.views import FleetView

MAX_UNKNOWN_AGENTS = 200
MAX_UNKNOWN_THINGS = 400
"""So many boards and ports that the inventory does not name are kept, of all agents together."""
_STEPS_KEPT = 50
_AHEAD = 10 * SECOND
"""A clock offset that puts a state so far into the future belongs to another boot of the PC."""


class Fleet:
    """What is current. To be changed from one thread only; a view may be made in any."""

    def __init__(self, inventory: Inventory, banner: Callable[[], str | None] = lambda: None) -> None:
        """Begin with what the inventory names; ``banner`` is asked for the view's banner."""
        self._inventory = inventory
        self._owners = Owners(inventory)
        self._banner = banner
        self._state = FleetState({pc: Agent(pc, known=True) for pc in inventory.lab.pc})
        self.version = 0
        """Counts changes, so that whoever shows the state knows when to look again."""
        self.steps: deque[CommandStep] = deque(maxlen=_STEPS_KEPT)
        """The newest steps of commands, newest first; history has all of them."""

    def view(self, now: float) -> FleetView:
        """Return the state at ``now``, Unix seconds; safe to call from another thread."""
        return fleet_view.make(self._inventory, self._state, now, self._banner())

    @property
    def online(self) -> int:
        """How many agents are connected, as far as their status topics say; at least 1."""
        return max(1, sum(agent.state == "online" for agent in self._state.agents.values()))

    def knows(self, agent_id: str) -> bool:
        """Tell whether there is such an agent; their number is bounded."""
        return agent_id in self._state.agents

    def restore(self, snapshot: Snapshot) -> None:
        """Begin with what the database remembers from before a restart."""
        for pc in snapshot.pcs:
            if agent := self._agent(pc.agent):
                agent.hello, agent.sample, agent.clock = pc.hello, pc.sample, pc.clock
                if pc.heard_at is not None:
                    agent.heard_at = agent.data_at = pc.heard_at / SECOND
        self._state.marks.update(snapshot.marks)
        for board in snapshot.boards:
            self._tell_board(board.agent, board.record)
        for port in snapshot.ports:
            self._tell_port(port.agent, port.record)
        self.version += 1

    def status(self, agent_id: str, status: Status | None, received_at: float) -> None:
        """Take what a status topic says; None when it was cleared.

        The will of a session that another has followed says nothing about the agent and is ignored.
        """
        agent = self._agent(agent_id)
        if agent is None:
            return
        if status is None:
            agent.state = agent.session = None
        elif status.state == "online":
            agent.state, agent.session = "online", status.session
        elif agent.session in {None, status.session} or agent.state != "online":
            agent.state, agent.session = status.state, status.session
        else:
            return
        agent.state_at = received_at
        self.version += 1

    def hello(self, agent_id: str, hello: Hello, received_at: float, *, live: bool) -> None:
        """Take an agent's introduction; not ``live`` when the broker had merely kept it."""
        agent = self._agent(agent_id)
        if agent is None:
            return
        if agent.hello is None or agent.hello.boot != hello.boot:
            agent.clock = agent.ahead_s = None
        agent.hello = hello
        self._claim(agent_id, hello)
        if live:
            agent.hello_at = agent.heard_at = received_at
        self.version += 1

    def mark(self, thing: Thing, marks: Marks) -> None:
        """Take what people decided about a thing."""
        self._state.marks[thing] = marks
        kind, id_ = thing
        if kind == "pc" and marks.retired:
            for board in [board for board, owner in self._state.first.items() if owner == id_]:
                del self._state.first[board]
        self.version += 1

    def owner_of(self, board: str) -> str | None:
        """Return the agent that controls a board, None when none is known."""
        told = self._state.boards.get(board)
        return self._owners.of_board(board) or self._state.first.get(board) or (told.agent if told else None)

    def how_is(self, agent_id: str, now: float) -> str | None:
        """Return how an agent is at ``now``, in words: "online", "silent for 3 min"; None for one nobody knows."""
        agent = self._state.agents.get(agent_id)
        return None if agent is None else fleet_view.how_is(agent, now)

    def marks(self, thing: Thing) -> Marks:
        """Return what people decided about a thing."""
        return self._state.marks.get(thing, Marks())

    def standings(self) -> dict[str, Standing]:
        """Return what each agent that has said hello must heed."""
        return fleet_view.standings(self._inventory, self._state)

    def _claim(self, agent_id: str, hello: Hello) -> None:
        """Note who declares a board first, where the inventory does not say whose it is."""
        first = self._state.first
        for board in [
            board for board, owner in first.items() if owner == agent_id and board not in hello.boards
        ]:
            del first[board]
        for board in hello.boards:
            if self._owners.of_board(board) is None and len(first) < MAX_UNKNOWN_THINGS:
                told = self._state.boards.get(board)
                first.setdefault(board, told.agent if told else agent_id)

    def clock(self, agent_id: str, boot: str, offset: int, *, final: bool) -> None:
        """Take the offset of a boot's clock, microseconds; only a ``final`` one replaces another."""
        agent = self._state.agents.get(agent_id)
        if agent is None or agent.hello is None or agent.hello.boot != boot:
            return
        if final or agent.clock is None:
            agent.clock = offset

    def telemetry(self, agent_id: str, boot: str, records: tuple[AnyRecord, ...], received_at: float) -> None:
        """Take the records of an envelope; those that are older than what is known change nothing."""
        agent = self._agent(agent_id)
        if agent is None:
            return
        agent.data_at = agent.heard_at = received_at
        past = agent.hello is not None and agent.hello.boot != boot
        for record in records:
            if past and record.at > received_at * SECOND:
                continue  # of an earlier boot with a wrong clock: it says nothing about the present
            placed = _placed(record, None if past or not agent.hello else agent.clock, received_at)
            self._take(agent, placed)
            if agent.sample is placed and agent.clock is not None and not past:
                agent.ahead_s = (record.at - agent.clock - record.up) / SECOND
        self.version += 1

    def state(self, agent_id: str, record: BoardRecord | RelayRecord, received_at: float) -> None:
        """Take what a state topic says."""
        if agent := self._agent(agent_id):
            self._take(agent, _placed(record, agent.clock, received_at))
            self.version += 1

    def clear_board(self, agent_id: str, board: str) -> None:
        """Forget a board that its agent no longer has."""
        told = self._state.boards.get(board)
        if told is not None and told.agent == agent_id:
            del self._state.boards[board]
            self.version += 1

    def clear_port(self, agent_id: str, relay: str, port: int) -> None:
        """Forget a port that its agent no longer has."""
        told = self._state.ports.get((relay, port))
        if told is not None and told.agent == agent_id:
            del self._state.ports[relay, port]
            self.version += 1

    def step(self, step: CommandStep) -> None:
        """Take a step of a command."""
        self.steps.appendleft(step)
        self.version += 1

    def _agent(self, agent_id: str) -> Agent | None:
        """Return the agent; None for one too many of those that the inventory does not name."""
        agents = self._state.agents
        if agent_id not in agents:
            if sum(not agent.known for agent in agents.values()) >= MAX_UNKNOWN_AGENTS:
                return None
            agents[agent_id] = Agent(agent_id, known=False)
        return agents[agent_id]

    def _take(self, agent: Agent, record: AnyRecord) -> None:
        match record:
            case HostRecord():
                if agent.sample is None or record.at >= agent.sample.at:
                    agent.sample = record
            case BoardRecord():
                self._tell_board(agent.id, record)
            case RelayRecord():
                self._tell_port(agent.id, record)

    def _tell_board(self, agent: str, record: BoardRecord) -> None:
        boards = self._state.boards
        owner = self._owners.of_board(record.board) or self._state.first.get(record.board)
        present = boards.get(record.board)
        if not prevails(owner, agent, present.agent if present else None):
            return
        if present is None and record.board not in self._inventory.lab.board and self._crowded():
            return
        if present is None or present.agent != agent or record.at >= present.record.at:
            boards[record.board] = Told(agent, record)

    def _tell_port(self, agent: str, record: RelayRecord) -> None:
        ports, key = self._state.ports, (record.relay, record.port)
        owner, present = self._owners.of_port(*key), ports.get(key)
        if not prevails(owner, agent, present.agent if present else None):
            return
        if present is None and owner is None and self._crowded():
            return
        if present is None or present.agent != agent or record.at >= present.record.at:
            ports[key] = ToldPort(agent, record)

    def _crowded(self) -> bool:
        lab = self._inventory.lab
        strangers = sum(board not in lab.board for board in self._state.boards)
        strangers += sum(self._owners.of_port(*key) is None for key in self._state.ports)
        return strangers >= MAX_UNKNOWN_THINGS


def _placed(record: AnyRecord, clock: int | None, received_at: float) -> AnyRecord:
    """Return ``record`` with corrected times; never from the future."""
    now = round(received_at * SECOND)
    at = moment(record.at, record.up, clock).at
    if at > now + _AHEAD:
        at = record.at
    return shifted(record, min(at, now))
