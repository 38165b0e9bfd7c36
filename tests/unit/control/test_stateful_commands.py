"""Commands, locks and interlocks under every order of events, judged by the log of the relay module itself."""

from __future__ import annotations

import itertools
import json
import os
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from boardherd_shared.command import State
from boardherd_shared.locks import Lock
from boardherd_shared.records import Power
from support.wing import Asking, Move, Wing

BOARDS = {"evm-07": (3,), "evm-08": (4, 5), "evm-09": (8,)}
BOARD_OF = {port: board for board, ports in BOARDS.items() for port in ports} | {6: "evm-07"}
MIN_OFF_S = {3: 2.0, 4: 6.0, 5: 6.0, 8: 2.0}
STAGGER_S = 1.0
CLOSE_S = 0.05
"""How exactly the interlocks are kept."""
STALL_S = 5.5
VALID_S = 30.0
OPERATORS = ("ops1", "ops2", "ci")
YEAR_S = 365.25 * 86400

ALLOWED: dict[str, set[tuple[Power, ...]]] = {
    "on": {(Power.ON,)},
    "off": {(Power.OFF,)},
    "all-off": {(Power.OFF,)},
    "toggle": {(Power.ON,), (Power.OFF,)},
    "restore": {(Power.ON,), (Power.OFF,)},
    "cycle": {(Power.ON,), (Power.OFF,), (Power.OFF, Power.ON)},
    "reset": {(Power.ON,), (Power.OFF,), (Power.ON, Power.OFF)},
    "trace": {(Power.OFF,), (Power.OFF, Power.ON)},
}
"""What one command may do to one port in its whole life, however often it is delivered."""

powers = st.sampled_from(["cycle", "cycle", "on", "off", "toggle", "reset", "all-off", "restore"])
clock_errors = st.sampled_from([0.0, -20.0, 45.0, -3600.0, 4000.0, -55 * YEAR_S, 73 * YEAR_S])


@dataclass
class Sent:
    """One command that somebody sent, and until when it may begin."""

    operator: str
    body: dict[str, Any]
    sent: float
    limit: float = float("-inf")
    """The last moment at which any of its deliveries allows it to begin; world time."""
    taken: list[float] = field(default_factory=list)
    """When it was delivered."""

    @property
    def action(self) -> str:
        return str(self.body["action"])


class Commands(RuleBasedStateMachine):
    """Operators who race, a broker that repeats itself, an agent that dies, freezes and has a wrong clock."""

    def __init__(self) -> None:
        super().__init__()
        self.wing: Wing
        self.sent: dict[str, Sent] = {}
        self.numbers = itertools.count()
        self.judged = 0
        self.well = True
        """Nothing wrong has been found yet."""
        self.by_command: dict[tuple[str, int], list[Power]] = defaultdict(list)
        self.disturbed: set[tuple[str, int]] = set()
        self.last_off: dict[int, float] = {}
        self.last_on = float("-inf")

    @initialize(native=st.booleans(), delay=st.sampled_from([0.0, 0.0, 0.02, 0.4]))
    def begin(self, native: bool, delay: float) -> None:
        self.wing = Wing(native=native)
        self.wing.module.delay = delay
        self.wing.start()
        self.wing.run(10)

    def teardown(self) -> None:
        if not hasattr(self, "wing"):
            return
        try:
            if self.well:
                self.at_the_end()
        finally:
            self.wing.close()

    # what people and the broker do

    @rule(
        action=powers,
        board=st.sampled_from([*BOARDS]),
        operator=st.sampled_from(OPERATORS),
        named=st.booleans(),
        timing=st.sampled_from(["none", "none", "sent_at", "valid_for", "expires_at"]),
        valid=st.sampled_from([0.5, 3.0, 20.0]),
        lock=st.sampled_from(["none", "own", "any"]),
        off_time=st.sampled_from([None, "2s", "7s"]),
        copies=st.integers(1, 3),
    )
    def switch(
        self,
        action: str,
        board: str,
        operator: str,
        named: bool,
        timing: str,
        valid: float,
        lock: str,
        off_time: str | None,
        copies: int,
    ) -> None:
        body: dict[str, Any] = {"action": action, "reason": "test"}
        if action != "all-off":
            body["board"] = board
        if action == "cycle" and off_time:
            body["off_time"] = off_time
        if named:
            body["id"] = f"id-{len(self.sent)}"
        server = self.wing.clock.server
        body |= {
            "none": {},
            "sent_at": {"sent_at": server, "valid_for": valid},
            "valid_for": {"valid_for": valid},
            "expires_at": {"expires_at": server + valid},
        }[timing]
        if lock_id := self.some_lock(lock, board, operator):
            body["lock"] = lock_id
        tag = self.tag()
        self.sent[tag] = Sent(operator, body | {"on_behalf_of": tag}, self.wing.clock.now)
        for _ in range(copies):
            self.deliver(self.sent[tag])

    @rule(
        board=st.sampled_from([*BOARDS]),
        operator=st.sampled_from(OPERATORS),
        seconds=st.sampled_from([2, 5, 20, 600]),
        fenced=st.booleans(),
        lock=st.sampled_from(["none", "none", "own", "any"]),
    )
    def lock(self, board: str, operator: str, seconds: int, fenced: bool, lock: str) -> None:
        body = {
            "action": "lock",
            "board": board,
            "for": seconds,
            "fenced": fenced,
            "id": f"lock-{self.tag()}",
        }
        if lock_id := self.some_lock(lock, board, operator):
            body["lock"] = lock_id
        self.wing.submit(json.dumps(body).encode(), operator)

    @rule(board=st.sampled_from([*BOARDS]), operator=st.sampled_from(OPERATORS), force=st.booleans())
    def unlock(self, board: str, operator: str, force: bool) -> None:
        body = {"action": "unlock", "board": board, "id": f"unlock-{self.tag()}"}
        self.wing.submit(
            json.dumps(body | ({"force": True, "reason": "test"} if force else {})).encode(), operator
        )

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), retained=st.booleans())
    def redeliver(self, data: st.DataObject, retained: bool) -> None:
        """A command comes again: at any time if it has an id, within seconds if it has none; or the broker kept it."""
        known = list(self.sent.values())
        sent = known[data.draw(st.integers(0, len(known) - 1))]
        if retained or "id" in sent.body or self.wing.clock.now - sent.sent < 8:
            self.deliver(sent, retained=retained)

    @rule(board=st.sampled_from([*BOARDS]))
    def go_off(self, board: str) -> None:
        """Switching off is always possible for whoever may act on the board."""
        if self.wing.module.offline or self.wing.module.loses_answers:
            return
        self.wing.run(0.7)
        lock = self.wing.locks().get(board)
        tag, operator = self.tag(), lock.owner if lock else "ops1"
        body = {"action": "off", "board": board, "id": f"off-{tag}", "on_behalf_of": tag}
        body |= {"lock": lock.id} if lock else {}
        self.sent[tag] = Sent(operator, body, self.wing.clock.now)
        self.deliver(self.sent[tag])
        self.wing.run(12 + 20 * self.wing.module.delay)
        told = [word for word in self.wing.words if word.step.id == f"off-{tag}"]
        if lock and board not in self.wing.locks():
            return  # it ended in between
        self.sure(bool(told), "an off that nobody answered")
        self.sure(told[-1].step.state is State.SUCCEEDED, told[-1].step.text)
        measured = {told[-1].measured[port] for port in BOARDS[board]}
        self.sure(measured == {Power.OFF}, f"{board} is told to be off, and is not")

    @rule(operator=st.sampled_from(OPERATORS), all_locked=st.booleans(), copies=st.integers(1, 2))
    def trace(self, operator: str, all_locked: bool, copies: int) -> None:
        """Somebody wants to know what hangs on the relay, and mostly has locked everything on it."""
        for board in BOARDS if all_locked else ():
            lock = {"action": "lock", "board": board, "for": 600, "id": f"lock-{self.tag()}"}
            self.wing.submit(json.dumps(lock).encode(), operator)
        self.wing.run(0.5)
        tag = self.tag()
        body = {"action": "trace", "relay": "eth-1", "id": f"trace-{tag}", "on_behalf_of": tag}
        self.sent[tag] = Sent(operator, body, self.wing.clock.now)
        for _ in range(copies):
            self.deliver(self.sent[tag])
        self.wing.run(3)

    @rule(
        board=st.sampled_from([*BOARDS]),
        operator=st.sampled_from(OPERATORS),
        force=st.booleans(),
        action=st.sampled_from(["cycle", "on", "accept"]),
    )
    def deal_with_suspicion(self, board: str, operator: str, force: bool, action: str) -> None:
        """Somebody takes suspect wiring for right, or insists."""
        tag = self.tag()
        body = {"action": action, "board": board, "id": f"id-{tag}", "on_behalf_of": tag, "reason": "test"}
        self.sent[tag] = Sent(operator, body | ({"force": True} if force else {}), self.wing.clock.now)
        self.deliver(self.sent[tag])

    # what the world does

    @rule(swapped=st.booleans())
    def cables(self, swapped: bool) -> None:
        """Somebody swaps two cables, or puts them right."""
        self.wing.swapped = {"evm-07": "evm-09", "evm-09": "evm-07"} if swapped else {}

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.3, 1.1, 2.5, 6.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.wing.run(seconds)

    @rule(after=st.integers(1, 60), down=st.sampled_from([2.0, 8.0, 1000.0]), reboot=st.booleans())
    def dies(self, after: int, down: float, reboot: bool) -> None:
        self.wing.points.arm(after, self.wing.points.die)
        self.wing.run(12)
        if self.wing.running:
            self.wing.kill()
        self.wing.freeze(down)
        if reboot:
            self.wing.clock.reboot()
        self.wing.start()

    @rule(after=st.integers(1, 40), seconds=st.sampled_from([1.0, 7.0, 31.0, 300.0]))
    def freezes(self, after: int, seconds: float) -> None:
        points = self.wing.points
        points.arm(after, lambda: self.wing.freeze(seconds))
        self.wing.run(3)
        points.disarm()

    @rule(
        board=st.sampled_from([*BOARDS]),
        operator=st.sampled_from(OPERATORS),
        seconds=st.sampled_from([6.0, 31.0]),
    )
    def arrives_in_a_freeze(self, board: str, operator: str, seconds: float) -> None:
        """What came while the agent stood still is refused: nobody can say how long it has waited."""
        tag = self.tag()
        body = {"action": "toggle", "board": board, "id": f"id-{tag}", "on_behalf_of": tag}
        self.sent[tag] = Sent(operator, body, self.wing.clock.now)
        self.wing.run(0.7)
        self.wing.freeze(seconds)
        self.wing.submit(json.dumps(body).encode(), operator)
        self.wing.run(0.2)

    @rule(down=st.sampled_from([2.0, 8.0]))
    def stops_and_starts(self, down: float) -> None:
        self.wing.stop()
        self.wing.freeze(down)
        self.wing.start()

    @rule(error=clock_errors, learned=st.booleans())
    def clock_is_set(self, error: float, learned: bool) -> None:
        self.wing.clock.error = error
        if learned:
            self.wing.server_offset = -error

    @precondition(lambda self: not self.wing.module.offline)
    @rule(port=st.sampled_from([3, 4, 5, 8]))
    def somebody_presses_a_button(self, port: int) -> None:
        """Unseen by the agent for a moment only: what it cannot measure it cannot heed."""
        wanted = Power.OFF if self.wing.module.state(port) is Power.ON else Power.ON
        self.wing.module.set(port, wanted, Asking(self.wing.clock.now, ""))
        self.wing.run(1.2 + 20 * self.wing.module.delay)

    @rule(offline=st.booleans(), loses_answers=st.booleans())
    def the_relay_has_a_fault(self, offline: bool, loses_answers: bool) -> None:
        self.wing.module.offline, self.wing.module.loses_answers = offline, loses_answers

    @rule()
    def the_relay_is_well(self) -> None:
        self.wing.module.offline = self.wing.module.loses_answers = False

    # how it is judged

    @invariant()
    def every_move_was_right(self) -> None:
        if not hasattr(self, "wing"):
            return
        self.wing.module.settle()
        moves = sorted(self.wing.module.moves, key=lambda move: move.at)
        self.well = False
        for move in moves[self.judged :]:
            self.judge(move)
        self.judged, self.well = len(moves), True

    def judge(self, move: Move) -> None:
        if move.cause.by:
            tag = move.cause.by.split(" ")[0]
            first = not any(moved for (name, _), moved in self.by_command.items() if name == tag)
            self.by_command[tag, move.port].append(move.power)
            self.judge_command(tag, move, first)
            if move.port in MIN_OFF_S and move.power is Power.ON:
                self.judge_interlocks(move)
        else:  # whoever pressed the button has confused the commands that are under way on this port
            self.disturbed |= {key for key in self.by_command if key[1] == move.port}
            # A trace brings back what it found on: pressed off before its own cut, a port only comes on.
            self.disturbed |= {(tag, move.port) for tag, sent in self.sent.items() if sent.action == "trace"}
        if move.power is Power.OFF:
            self.last_off[move.port] = move.at

    def judge_command(self, tag: str, move: Move, first: bool) -> None:
        sent = self.sent[tag]
        done = tuple(self.by_command[tag, move.port])
        self.sure(
            (tag, move.port) in self.disturbed or done in ALLOWED[sent.action],
            f"CMD-1: {sent.action} {tag} moved port {move.port} {done}",
        )
        if sent.action == "trace" and move.power is Power.OFF:
            held = move.cause.locks.get(BOARD_OF[move.port])
            self.sure(
                may_act(sent, held), f"CMD-4: {sent.body} of {sent.operator} cut {move.port} under {held}"
            )
        if not first:
            return
        late = move.cause.at - sent.limit
        self.sure(late <= 0.001, f"CMD-2: {sent.body} began {late:.3f} s late")
        board = BOARD_OF[move.port]
        lock = move.cause.locks.get(board)
        self.sure(may_act(sent, lock), f"CMD-4: {sent.body} of {sent.operator} acted under {lock}")

    def judge_interlocks(self, move: Move) -> None:
        if (off := self.last_off.get(move.port)) is not None:
            left = MIN_OFF_S[move.port] - (move.at - off)
            self.sure(left <= CLOSE_S, f"port {move.port} came on {left:.3f} s before its minimum off time")
        left = STAGGER_S - (move.at - self.last_on)
        self.sure(left <= CLOSE_S, f"port {move.port} came on {left:.3f} s before its turn")
        self.last_on = move.at

    def at_the_end(self) -> None:
        """Let everything come to rest, and see that nothing was left without a word."""
        self.wing.module.offline = self.wing.module.loses_answers = False
        self.wing.run(80)
        self.every_move_was_right()
        told = {word.step.id: word for word in self.wing.words if word.step.final}
        for id_, final in self.wing.db.execute("SELECT id, final FROM commands"):
            self.sure(final, f"CMD-3: {id_} has no end")
            self.sure(id_ in told, f"CMD-3: nobody was told the end of {id_}")
        first_told = {(word.step.id, word.step.at): word for word in reversed(self.wing.words)}
        for word in first_told.values():
            self.judge_word(
                word.step.state, word.step.target, word.step.observed, word.measured, word.step.text
            )

    def judge_word(
        self, state: State, target: str, observed: str | None, measured: dict[int, Power], text: str
    ) -> None:
        """CMD-3: what a crash left is reported as it was seen, never guessed."""
        ports = BOARDS.get(target.removeprefix("board/"))
        if state is not State.INTERRUPTED or ports is None or observed not in {"on", "off"}:
            return
        states = {measured[port] for port in ports}
        seen = Power.OFF if Power.OFF in states else Power.ON
        self.sure(observed == seen, f"CMD-3: told {observed}, but it is {seen}: {text}")

    # helpers

    def sure(self, right: object, wrong: str) -> None:
        """Fail with the story of what happened."""
        if not right:
            self.well = False
            raise AssertionError(f"{wrong}\n{self.wing.story()}")

    def tag(self) -> str:
        return f"c{next(self.numbers)}"

    def some_lock(self, which: str, board: str, operator: str) -> str | None:
        """Return the id of the board's lock, of the operator's lock, or of one that ended long ago."""
        lock = self.wing.locks().get(board)
        if which == "none":
            return None
        if which == "own":
            return lock.id if lock and lock.owner == operator else None
        return lock.id if lock else "0" * 32

    def deliver(self, sent: Sent, *, retained: bool = False) -> None:
        clock = self.wing.clock
        self.wing.submit(json.dumps(sent.body).encode(), sent.operator, retained=retained)
        if retained:
            return
        sent.taken.append(clock.now)
        sent.limit = max(sent.limit, self.limit(sent.body))

    def limit(self, body: dict[str, Any]) -> float:
        """Return until when a command that arrives now may begin, as far as the agent can know."""
        clock, valid = self.wing.clock, float(body.get("valid_for", VALID_S))
        absolute = body.get("expires_at") or (body["sent_at"] + valid if "sent_at" in body else None)
        if absolute is None:
            return clock.now + valid
        knows_the_time = abs(clock.error + self.wing.server_offset) < 0.001
        return float(absolute - (clock.server - clock.now)) if knows_the_time else float("inf")


def may_act(sent: Sent, lock: Lock | None) -> bool:
    """Tell whether a command may act on a board that has this lock."""
    named = sent.body.get("lock")
    if sent.action == "trace":
        return lock is not None and lock.owner == sent.operator and not lock.fenced
    if lock is None:
        return named is None or sent.action == "all-off"
    if named is not None:
        return bool(named == lock.id and (lock.owner == sent.operator or sent.action == "lock"))
    return lock.owner == sent.operator and not lock.fenced


EXAMPLES = int(os.environ.get("BOARDHERD_EXAMPLES", "40"))
Commands.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    derandomize="BOARDHERD_EXAMPLES" not in os.environ,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestCommands = Commands.TestCase
