"""Who has a board, what people decided, and who declares what: as the fleet shows it."""

from __future__ import annotations

import pytest

from boardherd_collector.fleet import Fleet
from boardherd_collector.marks import Mark, Marks
from boardherd_collector.stores.base import Snapshot
from boardherd_shared.locks import Lock
from boardherd_shared.messages import Standing, Status
from boardherd_shared.model import BoardStatus, PcStatus, RelayStatus
from boardherd_shared.records import Power, Verdict
from boardherd_shared.views import BoardView, LockView
from support.telemetry import BOOTED, NOW, SECOND, board, hello, host, lab, relay

T = NOW / SECOND
HELD = Lock(
    id="1" * 32,
    owner="ci",
    use="nightly",
    since=NOW,
    until=NOW + 60 * SECOND,
    reason="r",
    on_behalf_of="anna",
)
WHY = Mark(NOW, "ops-lead", "new fuse")


@pytest.fixture
def fleet() -> Fleet:
    fleet = Fleet(lab())
    greet(fleet, "pc-01", "evm-07")
    fleet.telemetry("pc-01", "boot-1", (host(), board(), relay()), T)
    return fleet


def greet(fleet: Fleet, agent: str, *boards: str) -> None:
    fleet.status(agent, Status(state="online", session="a" * 16, at=T), T)
    said = hello(agent, boards=boards, relays=("eth-1",))
    fleet.hello(agent, said, T, live=True)
    fleet.clock(agent, "boot-1", BOOTED, final=True)


def the(fleet: Fleet, name: str = "evm-07", at: float = T) -> BoardView:
    (found,) = [one for one in fleet.view(at).boards if one.id == name]
    return found


def test_a_lock_is_shown_until_its_deadline(fleet: Fleet) -> None:
    assert (the(fleet).available, the(fleet).lock) == (True, None)
    fleet.telemetry("pc-01", "boot-1", (board(lock=HELD),), T)
    shown = the(fleet)
    assert shown.lock == LockView(
        owner="ci", use="nightly", since=T, until=T + 60, reason="r", on_behalf_of="anna"
    )
    assert (shown.status, shown.available) == (BoardStatus.BUSY, False)
    assert HELD.id not in shown.lock.model_dump_json()
    fleet.telemetry("pc-01", "boot-1", (host(NOW + 61 * SECOND),), T + 61)
    assert (the(fleet, at=T + 61).lock, the(fleet, at=T + 61).available) == (None, True)


def test_an_sdk_that_is_being_updated_has_a_status_of_its_own(fleet: Fleet) -> None:
    held = HELD.model_copy(update={"use": "updating-sdk"})
    fleet.telemetry("pc-01", "boot-1", (board(lock=held),), T)
    assert the(fleet).status is BoardStatus.UPDATING_SDK


@pytest.mark.parametrize(
    ("verdict", "fault", "marks", "status"),
    [
        (Verdict.SILENT, None, Marks(), BoardStatus.OFFLINE),
        (Verdict.SILENT, "tripped", Marks(), BoardStatus.ERROR),
        (Verdict.ALIVE, "tripped", Marks(), BoardStatus.ERROR),
        (Verdict.ALIVE, "tripped", Marks(deactivated=WHY), BoardStatus.DEACTIVATED),
        (Verdict.ALIVE, None, Marks(), BoardStatus.BUSY),
    ],
)
def test_administration_goes_before_health_and_that_before_use(
    fleet: Fleet, verdict: Verdict, fault: str | None, marks: Marks, status: BoardStatus
) -> None:
    fleet.telemetry("pc-01", "boot-1", (board(verdict=verdict, fault=fault, lock=HELD),), T)
    fleet.mark(("board", "evm-07"), marks)
    assert (the(fleet).status, the(fleet).available) == (status, False)


def test_maintenance_hides_nothing_and_makes_nothing_available(fleet: Fleet) -> None:
    fleet.mark(("pc", "pc-01"), Marks(maintenance=WHY, name="The first", notes="loud"))
    fleet.mark(("relay", "eth-1"), Marks(maintenance=WHY))
    view = fleet.view(T)
    pc = view.pcs[0]
    assert (pc.status, pc.online, pc.name, pc.notes) == (PcStatus.MAINTENANCE, True, "The first", "loud")
    assert pc.text == "in maintenance by ops-lead: new fuse; online"
    assert (the(fleet).verdict, the(fleet).available) == (Verdict.ALIVE, False)
    assert (view.relays[0].status, view.relays[0].maintenance) == (
        RelayStatus.MAINTENANCE,
        "ops-lead: new fuse",
    )
    state = view.relays[0].ports[0].state
    assert state is not None
    assert state.observed is Power.ON
    assert fleet.standings()["pc-01"] == Standing(maintenance={"eth-1": "ops-lead: new fuse"})


def test_what_was_decided_outlives_a_restart_and_what_is_retired_is_gone() -> None:
    fleet = Fleet(lab())
    fleet.restore(
        Snapshot(marks={("pc", "pc-77"): Marks(retired=WHY), ("board", "evm-08"): Marks(name="Spare")})
    )
    greet(fleet, "pc-77")
    assert [pc.id for pc in fleet.view(T).pcs] == ["pc-01", "pc-02"]
    assert the(fleet, "evm-08").name == "Spare"
    fleet.mark(("pc", "pc-77"), Marks())
    assert [pc.id for pc in fleet.view(T).pcs] == ["pc-01", "pc-02", "pc-77"]


def test_the_inventorys_pc_owns_a_board(fleet: Fleet) -> None:
    greet(fleet, "pc-02", "evm-07", "evm-08")
    assert fleet.standings()["pc-02"].contested == {"evm-07": "pc-01"}
    assert fleet.standings()["pc-01"] == Standing()
    fleet.telemetry("pc-02", "boot-1", (board(NOW + 1, Verdict.SILENT),), T)
    assert (the(fleet).verdict, the(fleet).contested_by, the(fleet).pc) == (
        Verdict.ALIVE,
        ("pc-02",),
        "pc-01",
    )
    greet(fleet, "pc-02", "evm-08")
    assert fleet.standings()["pc-02"] == Standing()
    assert the(fleet).contested_by == ()


def test_else_the_first_to_declare_it_does_until_it_lets_go(fleet: Fleet) -> None:
    greet(fleet, "pc-02", "evm-55")
    greet(fleet, "pc-01", "evm-07", "evm-55")
    assert fleet.standings()["pc-01"].contested == {"evm-55": "pc-02"}
    fleet.telemetry("pc-01", "boot-1", (board(name="evm-55"),), T)
    assert "evm-55" not in [one.id for one in fleet.view(T).boards]
    greet(fleet, "pc-02")
    greet(fleet, "pc-01", "evm-07", "evm-55")
    assert fleet.standings()["pc-01"] == Standing()
    assert fleet.owner_of("evm-55") == "pc-01"
    fleet.mark(("pc", "pc-01"), Marks(retired=WHY))
    assert fleet.owner_of("evm-55") is None
