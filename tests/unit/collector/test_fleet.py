"""The fleet's current state, at any moment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardherd_collector.fleet import MAX_UNKNOWN_AGENTS, MAX_UNKNOWN_THINGS, Fleet
from boardherd_collector.fleet_view import ago
from boardherd_collector.stores.base import BoardNow, PcNow, PortNow, Snapshot
from boardherd_shared.command import State
from boardherd_shared.messages import Status
from boardherd_shared.model import BoardStatus, PcStatus, RelayStatus
from boardherd_shared.records import Power, Verdict
from boardherd_shared.views import BoardView, PcView, PortView
from support.telemetry import BOOTED, LAB, NOW, SECOND, board, hello, host, lab, relay, step

T = NOW / SECOND
A, B = "a" * 16, "b" * 16


@pytest.fixture
def fleet() -> Fleet:
    return Fleet(lab())


def online(session: str = A, at: float = T) -> Status:
    return Status(state="online", session=session, at=at)


def offline(session: str = A, at: float = T) -> Status:
    return Status(state="offline", session=session, at=at)


def alive(fleet: Fleet, at: float = T) -> None:
    """Make pc-01 an agent that just said everything."""
    moment = round(at * SECOND)
    fleet.status("pc-01", online(), at)
    fleet.hello("pc-01", hello(inventory=lab().hash, versions={"boardherd": "1"}), at, live=True)
    fleet.telemetry("pc-01", "boot-1", (host(moment), board(moment), relay(moment)), at)


def pc(fleet: Fleet, now: float, id_: str = "pc-01") -> PcView:
    return next(view for view in fleet.view(now).pcs if view.id == id_)


def evm(fleet: Fleet, now: float, id_: str = "evm-07") -> BoardView:
    return next(view for view in fleet.view(now).boards if view.id == id_)


def port(fleet: Fleet, now: float, number: int = 3) -> PortView:
    return next(view for relay in fleet.view(now).relays for view in relay.ports if view.port == number)


def test_before_anything_was_heard_everything_is_there_and_unknown(fleet: Fleet) -> None:
    view = fleet.view(T)
    assert [(one.id, one.status, one.text) for one in view.pcs] == [
        ("pc-01", PcStatus.OFFLINE, "never heard of"),
        ("pc-02", PcStatus.OFFLINE, "never heard of"),
    ]
    assert [(one.id, one.status, one.verdict) for one in view.boards] == [
        ("evm-07", BoardStatus.OFFLINE, Verdict.UNKNOWN),
        ("evm-08", BoardStatus.OFFLINE, Verdict.UNKNOWN),
    ]
    (eth,) = view.relays
    assert (eth.status, eth.address) == (RelayStatus.INACTIVE, "127.0.0.1:17494")
    assert [(one.port, one.pc, one.board, one.state) for one in eth.ports] == [
        (3, "pc-01", "evm-07", None),
        (4, "pc-02", "evm-08", None),
    ]


def test_what_was_just_said_is_current(fleet: Fleet) -> None:
    alive(fleet)
    seen = pc(fleet, T + 5)
    assert (seen.status, seen.text, seen.last_seen_s, seen.rack) == (PcStatus.ONLINE, "online", 5, "r1")
    assert (seen.inventory_current, seen.ip_address, seen.os_version) == (True, "10.9.9.9", "ubuntu_24_04")
    assert seen.sample == host()
    shown = evm(fleet, T + 5)
    assert (shown.status, shown.verdict, shown.is_alive, shown.age_s) == (
        BoardStatus.IDLE,
        Verdict.ALIVE,
        True,
        5,
    )
    assert (shown.name, shown.power, shown.text) == ("J721E_EVM #7", ("eth-1:3",), "alive for 5 s")
    assert port(fleet, T + 5).text == "ON for 5 s"
    assert fleet.view(T).relays[0].status is RelayStatus.ACTIVE


def test_a_silent_agent_makes_its_boards_unknown_and_never_dead(fleet: Fleet) -> None:
    """OPS-1: ages are worked out when the state is read, and nothing is latched."""
    alive(fleet)
    late = T + 200
    assert (pc(fleet, late).status, pc(fleet, late).text) == (PcStatus.OFFLINE, "silent for 3 min")
    assert pc(fleet, late).sample is None
    shown = evm(fleet, late)
    assert (shown.verdict, shown.is_alive) == (Verdict.UNKNOWN, False)
    assert shown.text == "agent pc-01: silent for 3 min"
    state = port(fleet, late).state
    assert state is not None
    assert (state.observed, state.reason) == (Power.UNKNOWN, "agent pc-01: silent for 3 min; was ON")
    assert fleet.view(late).relays[0].status is RelayStatus.INACTIVE
    alive(fleet, late)
    assert evm(fleet, late).verdict is Verdict.ALIVE


def test_a_verdict_that_nobody_confirms_is_no_longer_known(fleet: Fleet) -> None:
    alive(fleet)
    fleet.telemetry("pc-01", "boot-1", (host(NOW + 200 * SECOND),), T + 200)
    assert pc(fleet, T + 200).status is PcStatus.ONLINE
    assert evm(fleet, T + 200).text == "agent pc-01 has not confirmed it for 3 min"


def test_a_will_ends_it_at_once_and_an_old_one_does_not(fleet: Fleet) -> None:
    alive(fleet)
    fleet.status("pc-01", online(B), T + 1)
    fleet.status("pc-01", offline(A), T + 2)
    assert pc(fleet, T + 2).status is PcStatus.ONLINE
    fleet.status("pc-01", offline(B), T + 3)
    assert (pc(fleet, T + 63).status, pc(fleet, T + 63).text) == (PcStatus.OFFLINE, "offline for 1 min")
    assert evm(fleet, T + 4).verdict is Verdict.UNKNOWN
    fleet.status("pc-01", None, T + 5)
    assert pc(fleet, T + 5).status is PcStatus.ONLINE


def test_an_agent_that_only_introduced_itself_is_starting(fleet: Fleet) -> None:
    fleet.hello("pc-01", hello(), T, live=False)
    assert pc(fleet, T).text == "never heard of"
    fleet.hello("pc-01", hello(), T, live=True)
    assert pc(fleet, T + 10).status is PcStatus.INITIALIZING
    assert pc(fleet, T + 90).status is PcStatus.OFFLINE


def test_an_older_inventory_is_visible(fleet: Fleet) -> None:
    fleet.hello("pc-01", hello(inventory="0" * 16), T, live=True)
    assert pc(fleet, T).inventory_current is False
    assert pc(fleet, T, "pc-02").inventory_current is None


def test_late_records_do_not_drive_the_present(fleet: Fleet) -> None:
    alive(fleet)
    old = NOW - 3600 * SECOND
    records = host(old, cpu_percent=99), board(old, Verdict.SILENT), relay(old, Power.OFF)
    fleet.telemetry("pc-01", "boot-1", records, T + 1)
    assert pc(fleet, T + 1).sample == host()
    assert evm(fleet, T + 1).verdict is Verdict.ALIVE
    assert port(fleet, T + 1).text == "ON for 1 s"


def test_a_backlog_alone_gives_no_sample(fleet: Fleet) -> None:
    fleet.telemetry("pc-01", "boot-1", (host(NOW - 3600 * SECOND),), T)
    assert (pc(fleet, T).status, pc(fleet, T).sample) == (PcStatus.ONLINE, None)


def test_a_wrong_clock_is_corrected_by_the_boots_offset(fleet: Fleet) -> None:
    alive(fleet)
    fleet.clock("pc-01", "boot-1", BOOTED, final=True)
    fleet.clock("pc-01", "boot-1", BOOTED + 5, final=False)
    wrong = board(NOW + SECOND, Verdict.DEGRADED).model_copy(update={"at": 5, "since": 5})
    fleet.telemetry("pc-01", "boot-1", (wrong,), T + 2)
    shown = evm(fleet, T + 2)
    assert (shown.verdict, shown.age_s, shown.text) == (Verdict.DEGRADED, 1, "degraded for 1 s")


def test_nothing_is_from_the_future(fleet: Fleet) -> None:
    alive(fleet)
    fleet.telemetry("pc-01", "boot-1", (host(NOW * 2, cpu_percent=1),), T + 1)
    fleet.telemetry("pc-01", "boot-1", (host(NOW + 2 * SECOND, cpu_percent=2),), T + 2)
    sample = pc(fleet, T + 2).sample
    assert sample is not None
    assert sample.cpu_percent == 2


def test_kept_states_count_from_when_they_were_true(fleet: Fleet) -> None:
    """After a restart the broker tells old states as if they were new; their own time says otherwise."""
    alive(fleet)
    fleet.state("pc-01", board(NOW - 3600 * SECOND, name="evm-99"), T)
    assert evm(fleet, T, "evm-99").age_s == 3600
    assert evm(fleet, T, "evm-99").verdict is Verdict.UNKNOWN


def test_what_is_cleared_is_forgotten_by_its_teller_only(fleet: Fleet) -> None:
    alive(fleet)
    fleet.clear_board("pc-02", "evm-07")
    fleet.clear_port("pc-02", "eth-1", 3)
    assert evm(fleet, T).state is not None
    fleet.clear_board("pc-01", "evm-07")
    fleet.clear_port("pc-01", "eth-1", 3)
    assert (evm(fleet, T).state, port(fleet, T).state) == (None, None)


def test_another_pcs_words_do_not_count(fleet: Fleet) -> None:
    """SEC-1: a board and its ports have one owner."""
    alive(fleet)
    lies = board(NOW + SECOND, Verdict.SILENT), relay(NOW + SECOND, Power.OFF)
    fleet.telemetry("pc-02", "boot-1", lies, T + 1)
    assert evm(fleet, T + 1).verdict is Verdict.ALIVE
    assert port(fleet, T + 1).text == "ON for 1 s"


def test_a_module_that_stopped_answering_is_a_fault(fleet: Fleet) -> None:
    alive(fleet)
    fleet.telemetry("pc-01", "boot-1", (relay(NOW + SECOND, Power.UNKNOWN, reason="does not answer"),), T + 1)
    assert fleet.view(T + 1).relays[0].status is RelayStatus.FAULT
    assert port(fleet, T + 1).text == "unknown: does not answer"


def test_drift_is_said_in_words(fleet: Fleet) -> None:
    alive(fleet)
    odd = relay(NOW + SECOND, Power.OFF, asked=Power.ON, expected="on", reason="module rebooted 02:31")
    fleet.telemetry("pc-01", "boot-1", (odd,), T + 1)
    assert port(fleet, T + 1).text == "OFF for 0 s, asked ON, should be ON, module rebooted 02:31"


def test_strangers_are_shown_as_such_and_bounded(fleet: Fleet) -> None:
    """SEC-3: whatever agents send, the view does not grow without end."""
    for number in range(MAX_UNKNOWN_AGENTS + 9):
        fleet.telemetry(f"x-{number}", "boot-1", (host(),), T)
    for number in range(MAX_UNKNOWN_THINGS + 9):
        fleet.telemetry("pc-01", "boot-1", (board(name=f"y-{number}"), relay(relay=f"z-{number}")), T)
    view = fleet.view(T)
    assert len([one for one in view.pcs if not one.known]) == MAX_UNKNOWN_AGENTS
    assert len(view.boards) - 2 + len(view.relays) - 1 == MAX_UNKNOWN_THINGS


def test_a_new_pc_comes_with_the_line_to_add_for_it(fleet: Fleet) -> None:
    fleet.hello("bench-7", hello("bench-7", inventory="other"), NOW / SECOND, live=True)
    fleet.hello("pc-01", hello("pc-01", inventory="other"), NOW / SECOND, live=True)
    pcs = {pc.id: pc for pc in fleet.view(NOW / SECOND).pcs}
    assert pcs["bench-7"].known is False
    assert pcs["bench-7"].stanza == 'pc.bench-7 = { ip = "10.9.9.9" }  # bench-7, ubuntu_24_04'
    assert (pcs["pc-01"].stanza, pcs["pc-01"].inventory) == (None, "other")


def test_the_boards_of_a_pc_without_an_agent_are_told_by_the_one_that_watches_it() -> None:
    fleet = Fleet(lab(LAB.replace("pc.pc-02 = {}", 'pc.pc-02 = { watched_by = "pc-01" }')))
    fleet.hello("pc-01", hello("pc-01", boards=("evm-07", "evm-08")), NOW / SECOND, live=True)
    fleet.telemetry("pc-01", "boot-1", (host(NOW), board(NOW, name="evm-08")), NOW / SECOND)
    fleet.telemetry("pc-02", "boot-1", (board(NOW, Verdict.SILENT, "evm-08"),), NOW / SECOND)
    it = next(view for view in fleet.view(NOW / SECOND).boards if view.id == "evm-08")
    assert (it.pc, it.verdict, it.contested_by) == ("pc-01", Verdict.ALIVE, ())


def test_after_a_restart_the_database_tells_where_we_were() -> None:
    fleet = Fleet(lab())
    known = PcNow("pc-01", True, NOW, hello(), host(), BOOTED)
    fleet.restore(Snapshot((known,), (BoardNow("pc-01", board()),), (PortNow("pc-01", relay()),)))
    assert pc(fleet, T + 10).status is PcStatus.ONLINE
    assert pc(fleet, T + 10).sample == host()
    assert evm(fleet, T + 10).is_alive
    assert port(fleet, T + 10).text == "ON for 10 s"
    assert pc(fleet, T + 100).status is PcStatus.OFFLINE


def test_every_change_counts(fleet: Fleet) -> None:
    before = fleet.version
    alive(fleet)
    after = fleet.version
    record = step(State.ACCEPTED).command
    assert record is not None
    fleet.step(record)
    assert before < after < fleet.version
    assert fleet.steps[0].id == "c-1"


def test_the_banner_and_the_site_are_part_of_the_view() -> None:
    view = Fleet(lab(LAB), lambda: "history not stored").view(T)
    assert (view.site, view.banner, view.at) == ("lab", "history not stored", T)


def test_at_least_one_agent_shares_the_credit(fleet: Fleet) -> None:
    assert fleet.online == 1
    for agent in ("pc-01", "pc-02"):
        fleet.status(agent, online(), T)
    assert fleet.online == 2


@given(st.floats(0, 1e9))
def test_durations_are_short_words(seconds: float) -> None:
    number, unit = ago(seconds).split()
    size = {"s": 1, "min": 60, "h": 3600, "d": 86400}[unit]
    assert abs(int(number) * size - seconds) <= size


@pytest.mark.parametrize(("years", "said"), [(-50, "slow"), (70, "fast")])
def test_a_clock_that_is_off_shows_and_moves_nothing(fleet: Fleet, years: int, said: str) -> None:
    """OPS-1: times are corrected by the offset of the boot, and that they are shows until the clock is right."""
    alive(fleet)
    wrong = years * 365 * 86400
    fleet.clock("pc-01", "boot-1", BOOTED, final=True)
    off = host(NOW, cpu_percent=7).model_copy(update={"at": NOW + wrong * SECOND, "up": NOW - BOOTED})
    fleet.telemetry("pc-01", "boot-1", (off,), T)
    view = pc(fleet, T)
    assert view.sample is not None
    assert (view.sample.at, view.sample.cpu_percent) == (NOW, 7)
    assert view.clock_ahead_s == wrong
    assert view.text == f"online, its clock is {ago(abs(wrong))} {said}"
    fleet.telemetry("pc-01", "boot-1", (host(NOW + SECOND),), T + 1)
    assert (pc(fleet, T + 1).clock_ahead_s, pc(fleet, T + 1).text) == (0, "online")


def test_an_earlier_boot_with_a_clock_in_the_future_says_nothing_about_the_present(fleet: Fleet) -> None:
    """The backlog of a boot that never met a collector comes late, whatever its clock said."""
    alive(fleet)
    late = NOW + 70 * 365 * 86400 * SECOND
    records = (host(late, cpu_percent=99), board(late, Verdict.SILENT), relay(late, Power.OFF))
    fleet.telemetry("pc-01", "boot-0", records, T + 1)
    sample = pc(fleet, T + 1).sample
    assert sample is not None
    assert sample.cpu_percent == 12.5
    assert evm(fleet, T + 1).verdict is Verdict.ALIVE
    state = port(fleet, T + 1).state
    assert state is not None
    assert state.observed is Power.ON
