"""The last line of ``why``: what to try next, chosen by the part to blame. Pure.

The rules are asked in order, and the first that has something to say is taken: what keeps everybody from acting on
a board goes before what is wrong with it, and a cause before what follows from it.
"""

from __future__ import annotations

from collections.abc import Callable

from boardherd_shared.model import BoardStatus, PcStatus
from boardherd_shared.records import Blame, Power, Verdict
from boardherd_shared.spans import moment
from boardherd_shared.why.case import Case, Feed

_BOOT_S = 600.0
"""A power cycle so shortly before the trouble began, or after that, did not end it."""
_TOGETHER = 3
"""So many boards of one PC in the same trouble have one cause."""


def remedy(case: Case) -> str:
    """Return the next thing to do, a command to type where there is one."""
    return next(words for rule in _RULES if (words := rule(case)))


def _no_pc(case: Case) -> str:
    if case.board.pc:
        return ""
    return f'give it a test PC in lab.toml: [board.{case.board.id}] pc = "..."'


def _contested(case: Case) -> str:
    others = ", ".join(case.board.contested_by)
    if not others:
        return ""
    return f"{others} and {case.board.pc} both declare it: give both the same lab.toml, boardherd inventory check"


def _agent_away(case: Case) -> str:
    """Say how to get an agent back whose word nobody hears."""
    pc = case.pc
    if not case.doubt:
        return ""
    if pc is None or (pc.last_seen_s is None and not pc.online):
        return f"install and start the agent on {case.board.pc}: systemctl status boardherd-agent"
    if pc.online:
        return _agent_unaware(case)
    if pc.text.startswith(("stopped", "stopping")):
        return f"on {pc.id}: sudo systemctl start boardherd-agent"
    return f"see whether {pc.id} runs; on it: systemctl status boardherd-agent, boardherd doctor"


def _agent_unaware(case: Case) -> str:
    pc = case.board.pc
    if case.pc and case.pc.inventory_current is False:
        return (
            f"{pc} runs another lab.toml: give it this one, then on it: sudo systemctl reload boardherd-agent"
        )
    return f"boardherd refresh {pc}; then on it: systemctl status boardherd-agent, boardherd doctor"


def _deactivated(case: Case) -> str:
    if case.board.status is not BoardStatus.DEACTIVATED:
        return ""
    who = f"out of use by {case.board.deactivated}; " if case.board.deactivated else "out of use; "
    return f'{who}once it is mended: boardherd activate {case.board.id} --reason "..."'


def _taken_out(case: Case) -> str:
    """Say what the breaker has said: cycling on would only wear the board."""
    fault = case.board.fault or (case.state.fault if case.state else None)
    if not fault:
        return ""
    return f'{fault}: look at it, then boardherd power cycle {case.board.id} --force --reason "..."'


def _suspect(case: Case) -> str:
    """Say how suspect wiring is settled."""
    relay = _relay_of(case)
    if case.wiring.state != "suspect" and case.blame is not Blame.WIRING:
        return ""
    if relay is None:
        return f"check which relay port powers {case.board.id}"
    settle = f'; if the cabling is right: boardherd relay accept {case.board.id} --reason "..."'
    trace = f"boardherd relay trace {relay} (lock its boards first)"
    return trace + (settle if case.wiring.state == "suspect" else "; then mend lab.toml")


def _relay_dead(case: Case) -> str:
    feed = next((feed for feed in case.feeds if _unread(feed)), None)
    if feed is None:
        return ""
    relay = feed.name.rpartition(":")[0]
    where = f" ({feed.relay.address})" if feed.relay and feed.relay.address else ""
    return f"check power and network of {relay}{where}; boardherd show {relay}"


def _unread(feed: Feed) -> bool:
    return bool(feed.port and feed.port.state and feed.port.state.observed is Power.UNKNOWN)


def _welded(case: Case) -> str:
    """Say where to look when a contact does not open: switching it again is of no use."""
    if case.blame is not Blame.RELAY or case.board.verdict is not Verdict.DEGRADED:
        return ""
    feed = next((feed for feed in case.feeds if feed.port and feed.port.state), None)
    if feed is None or feed.port is None or feed.port.state is None:
        return ""
    if feed.port.state.observed is not Power.OFF:
        return ""
    relay = feed.name.rpartition(":")[0]
    return f"measure the contact of {feed.name}; if it stays closed, use another port of {relay} and say so in lab.toml"


def _network(case: Case) -> str:
    if case.blame is not Blame.NETWORK:
        return ""
    board, boards = case.board, case.fleet.boards
    alike = sum(
        it.pc == board.pc and it.state is not None and it.state.blame is Blame.NETWORK for it in boards
    )
    if alike >= _TOGETHER:
        return f"check the network of {board.pc} and its switch: {alike} of its boards are cut off together"
    return f"check the cable and the switch port of {board.id}; its console may still answer"


def _cannot_look(case: Case) -> str:
    """Say what helps where the agent is there, and its probes are not able to look."""
    return f"on {case.board.pc}: boardherd doctor" if case.blame is Blame.AGENT else ""


def _resting(case: Case) -> str:
    relay = case.resting
    if relay is None or case.board.is_alive:
        return ""
    return f'wait, or end it: boardherd maintenance {relay.id} off --reason "..."'


def _held(case: Case) -> str:
    """Say whom to ask where somebody has the board: nobody else can switch it."""
    lock = case.lock
    if lock is None or case.operator == lock.owner or not _wants_power(case):
        return ""
    whom = lock.on_behalf_of or lock.owner
    return (
        f"ask {whom}, who has it until {moment(lock.until, case.now)};"
        f' or boardherd unlock {case.board.id} --force --reason "..."'
    )


def _wants_power(case: Case) -> bool:
    return case.board.verdict in {Verdict.SILENT, Verdict.POWERED_OFF, Verdict.DEGRADED}


def _drifted(case: Case) -> str:
    drifting = list(case.drifting)
    if not drifting:
        return ""
    if any(feed.port and feed.port.state and feed.port.state.asked is Power.UNKNOWN for feed in drifting):
        on = any(feed.port and feed.port.state and feed.port.state.expected == "on" for feed in drifting)
        return f"boardherd power {'on' if on else 'off'} {case.board.id}, or boardherd relay accept {case.board.id}"
    return f"boardherd relay restore {case.board.id}, or boardherd relay accept {case.board.id}"


def _off(case: Case) -> str:
    if case.board.verdict is not Verdict.POWERED_OFF:
        return ""
    return f"boardherd power on {case.board.id} --wait-alive"


def _sick(case: Case) -> str:
    """Say how to help a board that has power and does not do what it should."""
    board = case.board
    if board.verdict not in {Verdict.SILENT, Verdict.DEGRADED}:
        return ""
    if not case.feeds:
        return f"look at its console: boardherd console {board.id}; it is switched by hand"
    tried = case.switch
    if tried and tried.state == "running":
        return f"wait: {tried.action} by {tried.operator} is under way"
    if tried and tried.action in {"cycle", "on"} and tried.began_at >= (case.since or 0.0) - _BOOT_S:
        done = f"{tried.action} at {moment(tried.began_at, case.now)} did not help"
        return f"boardherd console {board.id}: the {done}"
    if board.verdict is Verdict.DEGRADED:
        return f"look: boardherd console {board.id}; else boardherd power cycle {board.id} --wait-alive"
    return f"boardherd power cycle {board.id} --wait-alive"


def _unclear(case: Case) -> str:
    if case.board.verdict is Verdict.BOOTING:
        return f"wait: it is booting; boardherd watch, or boardherd console {case.board.id}"
    if case.board.verdict is not Verdict.UNKNOWN:
        return ""
    probes = case.state.probes if case.state else ()
    if not probes:
        return f'name its probes in lab.toml: [board.{case.board.id}] probes = ["ping", "ssh"]'
    return f"boardherd probe {case.board.id}"


def _well(case: Case) -> str:
    """Say what can be done with a board that is alive."""
    board, pc = case.board, case.pc
    if case.slow:
        return f"nothing; boardherd history boots {board.id} shows how it booted before"
    if lock := case.lock:
        own = case.operator == lock.owner
        return "nothing: it is yours" if own else f"nothing: {lock.owner} has it"
    if pc and pc.status is PcStatus.MAINTENANCE:
        by = f" by {pc.maintenance}" if pc.maintenance else ""
        return f"nothing; {pc.id} is in maintenance{by}, so the board counts as not available"
    return f"nothing; to have it to yourself: boardherd lock {board.id}"


_RULES: tuple[Callable[[Case], str], ...] = (
    _no_pc,
    _agent_away,
    _contested,
    _deactivated,
    _suspect,
    _taken_out,
    _network,
    _relay_dead,
    _welded,
    _cannot_look,
    _resting,
    _held,
    _drifted,
    _off,
    _sick,
    _unclear,
    _well,
)


def _relay_of(case: Case) -> str | None:
    return case.feeds[0].name.rpartition(":")[0] if case.feeds else None
