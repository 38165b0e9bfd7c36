"""Everything that is not alive in one list: common causes once, the worst first."""

from __future__ import annotations

from typing import Any

from boardherd_shared.model import BoardStatus, PcStatus, RelayStatus
from boardherd_shared.records import Blame, BoardRecord, Power, RelayRecord, Verdict
from boardherd_shared.views import BoardView, FleetView, PcView, PortView, RelayView
from boardherd_shared.why.everything import Cause, causes

NOW = 1_790_000_000.0


def us(ago_s: float) -> int:
    return round((NOW - ago_s) * 1e6)


def board(id_: str, verdict: Verdict = Verdict.ALIVE, pc: str = "pc-01", **more: Any) -> BoardView:
    said = {name: more.pop(name) for name in ("blame", "reason") if name in more}
    record = BoardRecord(at=us(5), up=1, board=id_, verdict=verdict, since=us(600), **said)
    shown = more.pop("shown", verdict)
    view = {"status": BoardStatus.OFFLINE, "verdict": shown, "is_alive": False, "age_s": 5.0, "state": record}
    return BoardView(id=id_, pc=pc, **(view | more))


def fleet(*boards: BoardView, relays: tuple[RelayView, ...] = ()) -> FleetView:
    here = PcView(id="pc-01", status=PcStatus.ONLINE, text="online", online=True, last_seen_s=2.0)
    gone = PcView(id="pc-02", status=PcStatus.OFFLINE, text="silent for 14 min", last_seen_s=840.0)
    return FleetView(site="lab", at=NOW, pcs=(here, gone), boards=boards, relays=relays)


def told(*boards: BoardView, **more: Any) -> list[Cause]:
    return list(causes(fleet(*boards, **more), NOW))


def test_nothing_is_told_while_all_are_alive() -> None:
    assert told(board("evm-01"), board("evm-02")) == []


def test_a_pc_that_is_away_is_told_once_for_all_its_boards() -> None:
    lost = [board(f"evm-{n}", pc="pc-02", shown=Verdict.UNKNOWN) for n in range(6)]
    (cause,) = told(*lost, board("evm-9"))
    assert (cause.subject, cause.state, cause.blame, cause.since) == (
        "pc-02",
        "offline",
        Blame.AGENT,
        NOW - 840,
    )
    assert cause.boards == tuple(f"evm-{n}" for n in range(6))
    assert cause.text == "silent for 14 min: 6 boards (evm-0, evm-1, evm-2, evm-3, evm-4, ...)"
    assert "systemctl status boardherd-agent" in cause.try_


def test_a_dead_relay_is_told_once() -> None:
    ports = tuple(
        PortView(
            relay="eth-1",
            port=number,
            pc="pc-01",
            board=f"evm-{number}",
            state=RelayRecord(
                at=us(3),
                up=1,
                relay="eth-1",
                port=number,
                observed=Power.UNKNOWN,
                since=us(60),
                reason="timed out",
            ),
        )
        for number in (1, 2)
    )
    relay = RelayView(id="eth-1", status=RelayStatus.FAULT, ports=ports, address="10.0.5.21")
    dark = [
        board(f"evm-{n}", Verdict.UNKNOWN, blame=Blame.RELAY, reason="relay unknown", power=(f"eth-1:{n}",))
        for n in (1, 2)
    ]
    (cause,) = told(*dark, relays=(relay,))
    assert (cause.subject, cause.state, cause.boards) == ("eth-1", "fault", ("evm-1", "evm-2"))
    assert cause.text == "timed out: 2 boards (evm-1, evm-2)"
    assert cause.try_ == "check power and network of eth-1 (10.0.5.21); boardherd show eth-1"


def test_a_network_that_is_gone_is_told_once_and_a_single_cable_as_it_is() -> None:
    cut = [board(f"evm-{n}", Verdict.SILENT, blame=Blame.NETWORK, reason="cut off") for n in (1, 2, 3)]
    (cause,) = told(*cut)
    assert (cause.subject, len(cause.boards)) == ("network of pc-01", 3)
    (single,) = told(cut[0])
    assert (single.subject, single.blame) == ("evm-1", Blame.NETWORK)


def test_the_worst_comes_first_and_what_a_person_took_out_last() -> None:
    found = told(
        board("a-off", Verdict.POWERED_OFF),
        board("b-booting", Verdict.BOOTING),
        board("c-degraded", Verdict.DEGRADED, blame=Blame.BOARD),
        board("d-silent", Verdict.SILENT, blame=Blame.BOARD, reason="ssh unanswered"),
        board("e-lost", pc="pc-02", shown=Verdict.UNKNOWN),
        board("f-retired", Verdict.SILENT, status=BoardStatus.DEACTIVATED, deactivated="ops1: DDR is broken"),
        board("g-unclear", Verdict.UNKNOWN),
    )
    assert [cause.subject for cause in found] == [
        "pc-02", "d-silent", "c-degraded", "g-unclear", "b-booting", "a-off", "f-retired",
    ]  # fmt: skip
    assert found[1].text == "ssh unanswered"
    assert (found[-1].state, found[-1].text) == ("deactivated", "ops1: DDR is broken")


def test_three_hundred_boards_are_no_matter() -> None:
    """Each board is looked up by its own relay: what grows with the square would show here as minutes."""
    boards = [
        board(f"evm-{n}", Verdict.SILENT, blame=Blame.BOARD, power=(f"eth-{n // 8}:{n % 8 + 1}",))
        for n in range(300)
    ]
    assert len(told(*boards)) == 300
