"""The fleet put together from what the broker retains."""

from __future__ import annotations

from boardherd.retained import Change, Retained
from boardherd_shared.command import CommandStep, State
from boardherd_shared.locks import Lock
from boardherd_shared.messages import BoardState, Hello, HostFacts, PortState, Status, encode
from boardherd_shared.model import BoardStatus, PcStatus
from boardherd_shared.records import Power, Verdict, Wiring
from boardherd_shared.topics import parse
from boardherd_shared.views import BoardView, FleetView, LockView, PortView
from unit.cli.fleets import NOW, board, fleet, micros_ago, port

SESSION, OLDER_SESSION = "a" * 16, "b" * 16


def tell(retained: Retained, topic: str, payload: bytes, *, retain: bool = True) -> Change | None:
    address = parse(f"boardherd/v1/lab/{topic}")
    assert address is not None
    return retained.apply(address, payload, retain=retain)


def status(state: str, at: float = NOW, session: str = SESSION) -> bytes:
    return encode(Status.model_validate({"state": state, "session": session, "at": at}))


def hello(*boards: str) -> bytes:
    facts = HostFacts(hostname="pc-01", os_version="ubuntu_24_04")
    return encode(
        Hello(
            session=SESSION,
            boot="b",
            wall=micros_ago(100),
            up=1,
            host=facts,
            boards=boards,
            relays=("eth-1",),
        )
    )


def board_state(view: BoardView, text: str = "alive since 09:14") -> bytes:
    assert view.state is not None
    return encode(BoardState(record=view.state, text=text))


def port_state(view: PortView, text: str = "ON") -> bytes:
    assert view.state is not None
    return encode(PortState(record=view.state, text=text))


def lab() -> Retained:
    retained = Retained("lab")
    tell(retained, "pc-01/status", status("online"))
    tell(retained, "pc-01/hello", hello("evm-01", "evm-02"))
    tell(retained, "pc-01/state/board/evm-01", board_state(board("evm-01", Verdict.ALIVE, 60)))
    tell(
        retained, "pc-01/state/relay/eth-1/1", port_state(port(1, Power.ON, board="evm-01", module="ETH008"))
    )
    return retained


def boards(view: FleetView) -> dict[str, BoardView]:
    return {it.id: it for it in view.boards}


def test_everything_but_names_and_figures_is_there() -> None:
    view = lab().view(NOW, "the collector is away")
    assert (view.source, view.banner) == ("broker", "the collector is away")
    assert [(pc.id, pc.status, pc.os_version) for pc in view.pcs] == [
        ("pc-01", PcStatus.ONLINE, "ubuntu_24_04")
    ]
    one = boards(view)["evm-01"]
    assert (one.verdict, one.is_alive, one.power, one.age_s) == (Verdict.ALIVE, True, ("eth-1:1",), 3.0)
    assert view.relays[0].module == "ETH008"
    assert view.relays[0].ports[0].state is not None


def test_a_board_that_only_the_hello_names_is_unknown() -> None:
    assert boards(lab().view(NOW))["evm-02"].verdict is Verdict.UNKNOWN


def test_what_an_offline_agent_said_is_no_longer_true() -> None:
    retained = lab()
    change = tell(retained, "pc-01/status", status("offline"), retain=False)
    assert change is not None
    assert change.subject == "pc/pc-01"
    view = retained.view(NOW)
    one = boards(view)["evm-01"]
    assert (one.verdict, one.is_alive) == (Verdict.UNKNOWN, False)
    assert one.text == "pc-01 is offline; before that: alive since 09:14"
    state = view.relays[0].ports[0].state
    assert state is not None
    assert state.observed is Power.UNKNOWN


def test_the_will_of_an_older_session_takes_nobody_offline() -> None:
    retained = lab()
    assert tell(retained, "pc-01/status", status("offline", session=OLDER_SESSION), retain=False) is None
    assert retained.view(NOW).pcs[0].status is PcStatus.ONLINE


def test_the_age_of_an_offline_agent_counts_from_its_newest_sign_of_life() -> None:
    retained = lab()
    tell(retained, "pc-01/status", status("offline", at=NOW - 5000))
    assert retained.view(NOW).pcs[0].last_seen_s == 3.0


def test_a_board_that_moved_survives_the_tidying_of_its_old_pc() -> None:
    retained = lab()
    tell(retained, "pc-02/status", status("online"))
    tell(retained, "pc-02/state/board/evm-01", board_state(board("evm-01", Verdict.SILENT, 5)))
    tell(retained, "pc-01/state/board/evm-01", b"")
    one = boards(retained.view(NOW))["evm-01"]
    assert (one.pc, one.verdict) == ("pc-02", Verdict.SILENT)
    tell(retained, "pc-02/state/board/evm-01", b"")
    assert boards(retained.view(NOW))["evm-01"].state is None


def test_a_refresh_is_no_change_and_a_change_is_one() -> None:
    retained = Retained("lab")
    topic, first = "pc-01/state/relay/eth-1/1", port_state(port(1, Power.ON))
    initial = tell(retained, topic, first)
    assert initial is not None
    assert initial.initial
    assert tell(retained, topic, first, retain=False) is None
    change = tell(retained, topic, port_state(port(1, Power.OFF), "OFF"), retain=False)
    assert change is not None
    assert (change.subject, change.text, change.initial) == ("relay/eth-1/1", "OFF", False)
    assert change.detail["record"]["observed"] == "off"


def test_steps_of_commands_are_changes_once() -> None:
    retained = Retained("lab")
    step = CommandStep(
        id="c1", state=State.ACCEPTED, action="on", agent="pc-01", operator="ops1", at=NOW, text="accepted"
    )
    change = tell(retained, "pc-01/result/c1", encode(step), retain=False)
    assert change is not None
    assert (change.subject, change.text) == ("command/c1", "accepted")
    assert tell(retained, "pc-01/result/c1", encode(step), retain=False) is None


def test_names_and_figures_of_an_older_view_are_kept() -> None:
    base = fleet()
    retained = Retained("lab", base)
    tell(retained, "pc-01/status", status("online"))
    tell(retained, "pc-01/hello", hello("evm-01"))
    tell(retained, "pc-01/state/board/evm-01", board_state(board("evm-01", Verdict.BOOTING, 2)))
    view = retained.view(NOW)
    one = boards(view)["evm-01"]
    assert (one.name, one.platform, one.verdict) == ("J721E_EVM #1", "j721e", Verdict.BOOTING)
    assert view.source == "collector"
    assert view.pcs[0].sample is not None
    assert len(view.boards) == 4


def test_garbage_on_every_topic_is_passed_over() -> None:
    """SEC-2"""
    retained = lab()
    before = retained.view(NOW)
    for topic in (
        "collector/status",
        "pc-01/hello",
        "pc-01/state/board/evm-01",
        "pc-01/state/relay/eth-1/1",
        "pc-01/result/x",
        "pc-01/telemetry",
    ):
        for payload in (b"\xff\x00", b"{}", b'{"v": 2}', b"[" * 100_000):
            assert tell(retained, topic, payload, retain=False) is None
    assert retained.view(NOW) == before


def locked(view: BoardView, use: str = "busy") -> BoardView:
    assert view.state is not None
    lock = Lock(id="ab" * 16, owner="ops1", use=use, since=micros_ago(60), until=micros_ago(-600))
    return view.model_copy(update={"state": view.state.model_copy(update={"lock": lock})})


def test_a_lock_is_shown_with_its_holder_until_it_ends() -> None:
    retained = lab()
    free = boards(retained.view(NOW))["evm-01"]
    assert (free.status, free.available, free.lock) == (BoardStatus.IDLE, True, None)
    mine = locked(board("evm-01", Verdict.ALIVE, 60), "updating-sdk")
    change = tell(retained, "pc-01/state/board/evm-01", board_state(mine), retain=False)
    assert change
    assert change.text.startswith("alive since 09:14; held by ops1 until ")
    held = boards(retained.view(NOW))["evm-01"]
    assert held.lock
    assert (held.status, held.available, held.lock.owner) == (BoardStatus.UPDATING_SDK, False, "ops1")
    over = boards(retained.view(NOW + 601))["evm-01"]
    assert (over.status, over.available, over.lock) == (BoardStatus.IDLE, True, None)


def test_what_an_older_view_knows_of_a_lock_ends_with_it() -> None:
    lock = LockView(owner="ops1", use="busy", since=NOW - 60, until=NOW + 600)
    older = board("evm-01", Verdict.ALIVE, 60, lock=lock).model_copy(update={"status": BoardStatus.BUSY})
    retained = Retained("lab", fleet(boards=(older,)))
    tell(retained, "pc-01/status", status("online"))
    tell(retained, "pc-01/hello", hello("evm-01"))
    tell(retained, "pc-01/state/board/evm-01", board_state(board("evm-01", Verdict.ALIVE, 60)))
    assert boards(retained.view(NOW))["evm-01"].status is BoardStatus.IDLE


def test_maintenance_that_only_the_collector_knows_of_stays() -> None:
    resting = fleet().pcs[0].model_copy(update={"status": PcStatus.MAINTENANCE})
    retained = Retained("lab", fleet(pcs=(resting,)))
    tell(retained, "pc-01/status", status("online"))
    tell(retained, "pc-01/hello", hello("evm-01"))
    tell(retained, "pc-01/state/board/evm-01", board_state(board("evm-01", Verdict.ALIVE, 60)))
    view = retained.view(NOW)
    assert view.pcs[0].status is PcStatus.MAINTENANCE
    assert (boards(view)["evm-01"].is_alive, boards(view)["evm-01"].available) == (True, False)


def test_wiring_that_becomes_suspect_is_a_change() -> None:
    retained, alive = lab(), board("evm-01", Verdict.ALIVE, 60)
    assert alive.state is not None
    suspect = Wiring(state="suspect", at=micros_ago(1), text="evm-02 fell silent in its place")
    told = alive.model_copy(update={"state": alive.state.model_copy(update={"wiring": suspect})})
    change = tell(retained, "pc-01/state/board/evm-01", board_state(told), retain=False)
    assert change is not None
    assert change.text == "alive since 09:14; wiring suspect: evm-02 fell silent in its place"
    assert tell(retained, "pc-01/state/board/evm-01", board_state(told), retain=False) is None
    seen = boards(retained.view(NOW))["evm-01"].state
    assert seen is not None
    assert seen.wiring == suspect
