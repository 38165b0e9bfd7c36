"""What the doctor says of a lab: one thing set up wrong after the other, and nothing about a lab in order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from boardherd.diagnosis import Finding, Level, diagnose, grouped
from boardherd.seat import Broker, Collector, Component, Seat
from boardherd_shared.model import BoardStatus, PcStatus, RelayStatus
from boardherd_shared.records import BoardRecord, HostRecord, Power, ProbeResult, RelayRecord, Verdict, Wiring
from boardherd_shared.views import BoardView, FleetView, LockView, PcView, PortView, RelayView
from unit.cli.fleets import MICROS, NOW, host

LOCK = LockView(owner="ci-1", use="busy", since=NOW, until=NOW + 600)


def seat(**more: Any) -> Seat:
    return replace(
        Seat(
            origin="by default",
            broker_place="mqtt://127.0.0.1:1883",
            api_place="http://127.0.0.1:8080",
            operator="ops1",
            account="ops1",
            version="0.1.0",
            broker=Broker(protocol=5, statuses=2, may_command=True),
            collector=Collector(version="0.1.0", components=(Component("store", True, "fine"),)),
        ),
        **more,
    )


def pc(id_: str = "pc-01", **more: Any) -> PcView:
    well: dict[str, Any] = {
        "id": id_,
        "status": PcStatus.ONLINE,
        "online": True,
        "sample": host(),
        "inventory_current": True,
        "clock_ahead_s": 0.1,
        "versions": {"boardherd": "0.1.0"},
    }
    return PcView(**{**well, **more})


def board(id_: str = "evm-01", **more: Any) -> BoardView:
    record: dict[str, Any] = {
        "at": MICROS, "up": 1, "board": id_, "verdict": Verdict.ALIVE, "since": MICROS,
        "probes": (ProbeResult(probe="ping", answer="yes", at=MICROS),),
    }  # fmt: skip
    record |= more.pop("record", {})
    well: dict[str, Any] = {
        "id": id_, "pc": "pc-01", "status": BoardStatus.IDLE, "verdict": record["verdict"], "is_alive": True,
        "power": ("eth-1:1",), "state": BoardRecord(**record),
    }  # fmt: skip
    return BoardView(**{**well, **more})


def port(number: int = 1, *, of: str = "pc-01", **more: Any) -> PortView:
    state: dict[str, Any] = {
        "at": MICROS, "up": 1, "relay": "eth-1", "port": number, "observed": Power.ON, "since": MICROS,
    }  # fmt: skip
    return PortView(relay="eth-1", port=number, pc=of, state=RelayRecord(**{**state, **more}))


def relay(*ports: PortView, **more: Any) -> RelayView:
    well: dict[str, Any] = {
        "id": "eth-1",
        "status": RelayStatus.ACTIVE,
        "module": "ETH008 hardware 2 firmware 28",
    }
    return RelayView(**{**well, "ports": ports or (port(),), **more})


def fleet(**more: Any) -> FleetView:
    return FleetView(
        **{"site": "lab", "at": NOW, "pcs": (pc(),), "boards": (board(),), "relays": (relay(),), **more}
    )


def unavailable(probe: str, text: str, **more: Any) -> BoardView:
    result = ProbeResult(probe=probe, answer="unavailable", at=MICROS, text=text)
    return board(record={"probes": (result,)}, **more)


def sample(**more: Any) -> HostRecord:
    return host(**more)


SHARED = tuple(port(number, of=f"pc-0{number}") for number in range(1, 7))
MANY_PCS = tuple(pc(f"pc-0{number}") for number in range(1, 7))
SOON = datetime.fromtimestamp(NOW, UTC) + timedelta(days=20)

LABS: dict[str, tuple[FleetView, Level, str, str]] = {
    "another lab.toml": (
        fleet(pcs=(pc(inventory_current=False),)),
        Level.WARN, "test PCs that act on another lab.toml than the collector", "pc-01",
    ),
    "a new PC": (fleet(pcs=(pc(known=False),)),
        Level.WARN, "test PCs that are not in lab.toml", "pc-01"),
    "a PC that is away": (
        fleet(pcs=(pc(status=PcStatus.OFFLINE, online=False, text="silent for 3 min"),)),
        Level.FAIL, "test PCs that are not heard", "pc-01 (silent for 3 min)",
    ),
    "an old agent": (
        fleet(pcs=(pc(versions={"boardherd": "0.0.9"}),)),
        Level.WARN, "test PCs that run another version than the collector (0.1.0)", "pc-01 (0.0.9)",
    ),
    "a wrong clock": (
        fleet(pcs=(pc(clock_ahead_s=-71.0),)),
        Level.WARN, "test PCs whose clock is wrong", "pc-01 (71 s behind)",
    ),
    "a disk that cannot be written": (
        fleet(pcs=(pc(sample=sample(spool_volatile=True)),)),
        Level.FAIL, "test PCs that keep everything in memory only, for their disk cannot be written", "pc-01",
    ),
    "a spool that fills": (
        fleet(pcs=(pc(sample=sample(spool_oldest_s=7300.0)),)),
        Level.WARN, "test PCs whose spool holds something that is not acknowledged", "pc-01 (for 2 h)",
    ),
    "envelopes put aside": (
        fleet(pcs=(pc(sample=sample(spool_parked=3)),)),
        Level.WARN, "test PCs that put envelopes aside, refused by the collector or never acknowledged", "pc-01 (3)",
    ),
    "a module for too many": (
        fleet(pcs=MANY_PCS, relays=(relay(*SHARED),)),
        Level.FAIL, "relays that more than 5 test PCs share, and the module serves that many connections", "eth-1",
    ),
    "a relay that is dead": (
        fleet(relays=(relay(port(observed=Power.UNKNOWN, reason="connection refused")),)),
        Level.FAIL, "relays that do not answer", "eth-1 (connection refused)",
    ),
    "drift": (
        fleet(relays=(relay(port(asked=Power.OFF, drift_since=MICROS)),)),
        Level.WARN, "relay ports that are not as they were asked for, or not as lab.toml calls normal",
        "eth-1:1 (is on, wanted off)",
    ),
    "drift from what is normal": (
        fleet(relays=(relay(port(expected="off", drift_since=MICROS)),)),
        Level.WARN, "relay ports that are not as they were asked for, or not as lab.toml calls normal",
        "eth-1:1 (is on, wanted off)",
    ),
    "two owners": (
        fleet(boards=(board(contested_by=("pc-02",)),)),
        Level.FAIL, "boards that several test PCs declare, of which only the first is obeyed",
        "evm-01 (pc-01, also pc-02)",
    ),
    "no feed": (
        fleet(boards=(board(power=()),)),
        Level.WARN, "boards without a power feed, so nobody can switch them", "evm-01",
    ),
    "a breaker": (
        fleet(boards=(board(fault="10 cycles without coming alive"),)),
        Level.FAIL, "boards that are taken out until somebody accepts them", "evm-01 (10 cycles without coming alive)",
    ),
    "suspect wiring": (
        fleet(boards=(board(record={"wiring": Wiring(state="suspect", text="evm-02 fell silent")}),)),
        Level.FAIL, "boards whose wiring is suspect, so power is refused", "evm-01 (evm-02 fell silent)",
    ),
    "no probe": (
        fleet(boards=(board(record={"probes": (), "verdict": Verdict.UNKNOWN}),)),
        Level.WARN, "boards without a probe, so nobody can tell whether they live", "evm-01",
    ),
    "no ping": (
        fleet(boards=(unavailable("ping", "ICMP is not permitted: widen the sysctl"),)),
        Level.FAIL, "test PCs that may not ping", "pc-01",
    ),
    "no group": (
        fleet(boards=(unavailable("console", "/dev/ttyUSB0: permission denied; the agent needs a group"),)),
        Level.FAIL, "test PCs whose agent may not open a device", "pc-01 (evm-01)",
    ),
    "no adapter": (
        fleet(boards=(unavailable("console", "/dev/ttyUSB0 is not there; is the adapter plugged in?"),)),
        Level.FAIL, "boards whose console is not plugged in, or has another name than in lab.toml", "evm-01",
    ),
    "a name that nobody knows": (
        fleet(boards=(unavailable("ping", "Name or service not known"),)),
        Level.WARN, "boards with a probe that cannot look", "evm-01 (ping: Name or service not known)",
    ),
    "a banner": (fleet(banner="history not stored since 02:10"),
        Level.WARN, "history not stored since 02:10", ""),
}  # fmt: skip

SEATS: dict[str, tuple[Seat, Level, str]] = {
    "no broker": (
        seat(broker=Broker("connection refused")),
        Level.FAIL, "the broker mqtt://127.0.0.1:1883 (by default) cannot be used: connection refused",
    ),
    "commands denied": (
        seat(broker=Broker(protocol=5, statuses=1, may_command=False)),
        Level.FAIL, "commands of ops1 are not let through",
    ),
    "too many rights": (
        seat(broker=Broker(protocol=5, statuses=1, may_command=True, may_forge=("acknowledge for the collector",))),
        Level.FAIL, "the account ops1 may acknowledge for the collector",
    ),
    "no accounts at all": (
        seat(account=None, broker=Broker(protocol=5, statuses=1, may_command=True, may_forge=("acknowledge",))),
        Level.WARN, "the account of everybody may acknowledge",
    ),
    "an old broker": (
        seat(broker=Broker(protocol=4, statuses=1)),
        Level.WARN, "the broker speaks MQTT 3.1.1 only, and does not tell what it denies, so rights were not tried",
    ),
    "a subscription denied": (
        seat(broker=Broker(protocol=5, statuses=1, refused=("boardherd/v1/lab/+/status",), may_command=True)),
        Level.FAIL, "the broker does not grant boardherd/v1/lab/+/status",
    ),
    "nothing delivered": (
        seat(broker=Broker(protocol=5, statuses=0, may_command=True)),
        Level.FAIL, "the broker delivers nothing to ops1, although test PCs are online",
    ),
    "no collector": (
        seat(collector=Collector("connection refused")),
        Level.FAIL, "the collector at http://127.0.0.1:8080 does not answer: connection refused",
    ),
    "no store": (
        seat(collector=Collector(version="0.1.0", components=(Component("store", False, "the disk is full"),))),
        Level.FAIL, "the collector's store: the disk is full",
    ),
    "an old command line": (
        seat(version="0.0.9"),
        Level.WARN, "the command line is of version 0.0.9, the collector of 0.1.0",
    ),
    "a certificate that runs out": (
        seat(certificates=(("the broker", SOON),)),
        Level.WARN, f"the certificate of the broker runs out in 20 days, on {SOON:%Y-%m-%d}",
    ),
    "a certificate that has run out": (
        seat(certificates=(("the broker", SOON - timedelta(days=21)),)),
        Level.FAIL, f"the certificate of the broker has run out, on {SOON - timedelta(days=21):%Y-%m-%d}",
    ),
}  # fmt: skip


@pytest.mark.parametrize("situation", LABS)
def test_what_is_wrong_in_a_lab_is_said_once_and_nothing_else_is(situation: str) -> None:
    lab, level, what, about = LABS[situation]
    [finding] = diagnose(seat(), lab)
    assert (finding.level, finding.what) == (level, what)
    assert finding.about == ((about,) if about else ())


@pytest.mark.parametrize("situation", SEATS)
def test_what_is_wrong_at_the_seat_is_said_once_and_nothing_else_is(situation: str) -> None:
    where, level, what = SEATS[situation]
    [finding] = diagnose(where, fleet())
    assert (finding.level, finding.what, finding.about) == (level, what, ())


IN_ORDER: dict[str, FleetView] = {
    "all is well": fleet(),
    "a board is held, and its console is the holder's": fleet(
        boards=(unavailable("console", "/dev/ttyUSB0: permission denied", lock=LOCK),)
    ),
    "a console is somebody's": fleet(boards=(unavailable("console", "busy: process 12 has locked ttyUSB0"),)),
    "a console is quiet": fleet(boards=(unavailable("console", "quiet since it was opened"),)),
    "a board is off, so nothing looked yet": fleet(
        boards=(board(record={"probes": (), "verdict": Verdict.POWERED_OFF}),)
    ),
    "a PC is in maintenance": fleet(
        pcs=(pc(status=PcStatus.MAINTENANCE, clock_ahead_s=99.0),), boards=(board(power=()),)
    ),
    "a board is out of use": fleet(boards=(board(power=(), deactivated="by ops1"),)),
    "a relay is in maintenance": fleet(
        relays=(relay(port(observed=Power.UNKNOWN), status=RelayStatus.MAINTENANCE),)
    ),
    "a relay cannot be measured": fleet(relays=(relay(port(observed=Power.UNKNOWN, measurable=False)),)),
    "the broker tells, which knows no feeds": fleet(
        source="broker", banner="without history", boards=(board(power=()),)
    ),
    "five PCs share a module": fleet(pcs=MANY_PCS, relays=(relay(*SHARED[:5]),)),
    "six PCs share a daemon": fleet(pcs=MANY_PCS, relays=(relay(*SHARED, module="PDUDaemon"),)),
    "a clock is a little off": fleet(pcs=(pc(clock_ahead_s=-4.9),)),
}  # fmt: skip


@pytest.mark.parametrize("situation", IN_ORDER)
def test_nothing_is_said_where_nothing_is_set_up_wrong(situation: str) -> None:
    assert diagnose(seat(), IN_ORDER[situation]) == []


def test_what_hangs_on_a_pc_that_is_away_is_not_told_beside_it() -> None:
    away = pc(status=PcStatus.OFFLINE, online=False)
    dark = relay(port(observed=Power.UNKNOWN, reason="the PC is silent"))
    found = diagnose(seat(), fleet(pcs=(away,), boards=(board(power=()),), relays=(dark,)))
    assert [it.what for it in found] == ["test PCs that are not heard"]


def test_the_same_finding_at_several_places_is_one() -> None:
    boards = [
        unavailable("ping", "ICMP is not permitted").model_copy(update={"id": f"evm-{n}", "pc": f"pc-0{n}"})
        for n in (1, 1, 2)
    ]
    [finding] = diagnose(seat(), fleet(pcs=MANY_PCS, boards=boards))
    assert finding.about == ("pc-01", "pc-02")


def test_failures_come_first() -> None:
    warning, failure = (Finding(level, level.value, "do it") for level in (Level.WARN, Level.FAIL))
    assert grouped([warning, failure, warning]) == [failure, warning]


def test_a_lab_that_nobody_tells_of_is_a_finding() -> None:
    [finding] = diagnose(seat(), None, "no boardherd has ever spoken on the broker")
    assert (finding.level, finding.what) == (Level.FAIL, "no boardherd has ever spoken on the broker")


_WORDS = ("boardherd", "lab.toml", "docs/", "--", "ctl", "renew", "log", "broker")


def test_every_remedy_names_something_to_do() -> None:
    """A file, an option or a command: no finding leaves the reader alone."""
    found = [it for lab, *_ in LABS.values() for it in diagnose(seat(), lab)]
    found += [it for where, *_ in SEATS.values() for it in diagnose(where, fleet())]
    assert [it for it in found if not any(word in it.remedy for word in _WORDS)] == []
