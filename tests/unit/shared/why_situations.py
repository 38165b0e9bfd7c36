"""A lab made by hand in which one thing after the other is wrong, for the table of ``why``."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from boardherd_shared.model import BoardStatus, PcStatus, RelayStatus
from boardherd_shared.records import (
    Blame,
    BoardRecord,
    BootTimes,
    Power,
    ProbeResult,
    RelayRecord,
    Verdict,
    Wiring,
)
from boardherd_shared.views import BoardView, FleetView, LockView, PcView, PortView, RelayView
from boardherd_shared.why import Why, explain

NOW = time.mktime((2026, 3, 20, 9, 54, 0, 0, 0, -1))
"""Six minutes to ten in whichever time zone the tests run."""
MIN, HOUR = 60.0, 3600.0


def us(ago_s: float) -> int:
    """Return a time so many seconds before NOW, in microseconds."""
    return round((NOW - ago_s) * 1e6)


@dataclass(frozen=True)
class Command:
    action: str
    operator: str
    began_at: float
    state: str = "succeeded"
    on_behalf_of: str | None = None


@dataclass(frozen=True)
class Event:
    at: float
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Boot:
    at: float
    times: BootTimes


@dataclass(frozen=True)
class Use:
    who: str
    ended_at: float | None


CYCLED = Command("cycle", "ci-nightly", NOW - 40 * MIN)
FREED = Use("ci-nightly", NOW - 14 * MIN)


def ping(
    answer: str = "yes", text: str = "answered", ago: float = 5, took: float | None = None
) -> ProbeResult:
    took = 0.012 if answer == "yes" and took is None else took
    return ProbeResult(probe="ping", answer=answer, at=us(ago), text=text, duration_s=took)


def ssh(answer: str = "yes", text: str = "SSH-2.0-OpenSSH_9.3", ago: float = 5) -> ProbeResult:
    return ProbeResult(probe="ssh", answer=answer, at=us(ago), text=text)


def console(answer: str, text: str, ago: float) -> ProbeResult:
    return ProbeResult(probe="console", answer=answer, at=us(ago), text=text)


NO_PING = ping("no", "no answer within 1 s")
NO_SSH = ssh("no", "no answer within 3 s")
PANIC = console("no", "Kernel panic - not syncing: VFS", 13 * MIN + 58)


def lock(owner: str = "ci-1", **more: Any) -> LockView:
    said = {"use": "busy", "since": NOW - HOUR, "until": NOW + HOUR} | more
    return LockView(owner=owner, **said)


@dataclass
class Lab:
    """One board, what powers it and who watches it, all of it well until a situation says otherwise."""

    verdict: Verdict = Verdict.ALIVE
    blame: Blame = Blame.NOBODY
    reason: str = ""
    since: float = 2 * HOUR
    probes: tuple[ProbeResult, ...] = (ping(), ssh())
    wiring: Wiring | None = field(default_factory=lambda: Wiring(state="proved", at=us(2 * HOUR)))
    slow: str | None = None
    told: bool = True
    """Whether its agent has ever said anything of it."""
    board: dict[str, Any] = field(default_factory=dict)
    port: dict[str, Any] = field(default_factory=dict)
    second_port: dict[str, Any] | None = None
    relay: dict[str, Any] = field(default_factory=dict)
    pc: dict[str, Any] | None = field(default_factory=dict)
    others: tuple[BoardView, ...] = ()
    source: str = "collector"
    banner: str | None = None
    commands: tuple[Command, ...] = (CYCLED,)
    events: tuple[Event, ...] = ()
    boots: tuple[Boot, ...] = ()
    uses: tuple[Use, ...] | None = (FREED,)
    operator: str = ""

    def fleet(self) -> FleetView:
        feeds = ("eth-1:3",) if self.second_port is None else ("eth-1:3", "eth-1:4")
        ports = [self._port(3, self.port)]
        ports += [] if self.second_port is None else [self._port(4, self.second_port)]
        relay = {"model_type": "ETH_008_B", "status": RelayStatus.ACTIVE, "address": "10.0.5.21"} | self.relay
        pc = {"status": PcStatus.ONLINE, "text": "online", "last_seen_s": 2.0, "online": True}
        return FleetView(
            site="lab",
            source=self.source,
            banner=self.banner,
            at=NOW,
            pcs=() if self.pc is None else (PcView(**({"id": "pc-01"} | pc | self.pc)),),
            boards=(self._board(feeds), *self.others),
            relays=(RelayView(id="eth-1", ports=tuple(ports), **relay),),
        )

    def _board(self, feeds: tuple[str, ...]) -> BoardView:
        alive = self.verdict in {Verdict.ALIVE, Verdict.DEGRADED}
        record = BoardRecord(
            at=us(5),
            up=1,
            board="evm-07",
            verdict=self.verdict,
            blame=self.blame,
            reason=self.reason,
            since=us(self.since),
            probes=self.probes,
            wiring=self.wiring,
            slow=self.slow,
        )
        view = {
            "id": "evm-07",
            "name": "J721E_EVM #7",
            "pc": "pc-01",
            "power": feeds,
            "status": BoardStatus.IDLE if alive else BoardStatus.OFFLINE,
            "verdict": self.verdict,
            "is_alive": alive,
            "age_s": 5.0,
            "state": record if self.told else None,
        }
        return BoardView.model_validate(view | self.board)

    def _port(self, number: int, said: dict[str, Any]) -> PortView:
        record = {
            "at": us(3),
            "up": 1,
            "relay": "eth-1",
            "port": number,
            "observed": Power.ON,
            "asked": Power.ON,
            "since": us(40 * MIN),
            "board": "evm-07",
            "switched_at": us(40 * MIN),
            "switched_by": "ci-nightly",
            "module": "ETH008",
        }
        state = RelayRecord.model_validate(record | said)
        return PortView(relay="eth-1", port=number, pc="pc-01", board="evm-07", age_s=3.0, state=state)

    def why(self) -> Why:
        return explain(
            self.fleet(),
            "evm-07",
            commands=self.commands,
            boots=self.boots,
            events=self.events,
            uses=self.uses,
            now=NOW,
            operator=self.operator,
        )


def silent(**more: Any) -> Lab:
    said = {
        "blame": Blame.BOARD,
        "since": 14 * MIN,
        "probes": (NO_PING, NO_SSH),
        "reason": "ping and ssh unanswered",
    }
    return Lab(Verdict.SILENT, **(said | more))


def away(text: str = "silent for 14 min", **more: Any) -> Lab:
    """Return a lab whose test PC is not heard."""
    pc = {"status": PcStatus.OFFLINE, "text": text, "last_seen_s": 14 * MIN, "online": False} | more.pop(
        "pc", {}
    )
    words = f"agent pc-01: {text}"
    lab = Lab(pc=pc, probes=(ping(ago=14 * MIN), ssh(ago=14 * MIN)), **more)
    lab.port = {"observed": Power.UNKNOWN, "reason": f"{words}; was ON"}
    lab.board |= {"verdict": Verdict.UNKNOWN, "is_alive": False, "status": BoardStatus.OFFLINE, "text": words}
    lab.board.setdefault("age_s", 14 * MIN)
    return lab


def _cut_off(number: int) -> BoardView:
    id_ = f"evm-1{number}"
    record = BoardRecord(
        at=us(5), up=1, board=id_, verdict=Verdict.SILENT, blame=Blame.NETWORK, since=us(60), reason="cut off"
    )
    return BoardView(
        id=id_, pc="pc-01", status=BoardStatus.OFFLINE, verdict=Verdict.SILENT, is_alive=False, state=record
    )


def _without_pc(owner: str | None = "pc-01") -> Lab:
    lab = Lab(pc=None, told=False)
    words = "no test PC controls it" if owner is None else "agent pc-01 has not said anything about it yet"
    lab.board = {"pc": owner, "verdict": Verdict.UNKNOWN, "is_alive": False, "text": words, "age_s": None}
    return lab


def _unsaid(**more: Any) -> Lab:
    lab = Lab(told=False, **more)
    text = "agent pc-01 has not said anything about it yet"
    lab.board = {"verdict": Verdict.UNKNOWN, "is_alive": False, "text": text, "age_s": None}
    return lab


_OFF = {"observed": Power.OFF, "asked": Power.OFF}
SITUATIONS: dict[str, Lab] = {
    "alive": Lab(),
    "alive, locked by somebody": Lab(board={"lock": lock(reason="nightly 12"), "status": BoardStatus.BUSY}),
    "alive, locked by a service for a person": Lab(board={"lock": lock(on_behalf_of="maria")}),
    "alive, and the lock is one's own": Lab(board={"lock": lock("anna")}, operator="anna"),
    "alive, and the lock is over": Lab(board={"lock": lock(until=NOW - 1)}),
    "alive, booted slower than ever": Lab(slow="login took 41 s, usually 19 s"),
    "alive, the boot was slow by its history": Lab(
        boots=(Boot(NOW - HOUR, BootTimes(ssh_s=61, slow="ssh took 61 s, usually 20 s")),)
    ),
    "alive, deactivated by a person": Lab(
        board={"status": BoardStatus.DEACTIVATED, "deactivated": "ops-lead: DDR is broken"}
    ),
    "alive, its PC in maintenance": Lab(pc={"status": PcStatus.MAINTENANCE, "maintenance": "ops1: new disk"}),
    "alive, not switched from here": Lab(board={"power": ()}, wiring=None),
    "alive, nobody ever had it": Lab(uses=()),
    "hung: kernel panic on the console": silent(probes=(NO_PING, NO_SSH, PANIC)),
    "hung: the console fell quiet": silent(
        probes=(NO_PING, NO_SSH, console("unavailable", "quiet, last line: j721e-evm login:", 15 * MIN))
    ),
    "hung: somebody else has the console, an event has the words": silent(
        probes=(NO_PING, NO_SSH, console("unavailable", "busy: held by minicom (pid 812)", 5)),
        events=(Event(NOW - 14 * MIN, ("Oops: 0000 [#1]", "Fatal exception")), Event(NOW - HOUR, ("old",))),
    ),
    "hung, and a cycle did not help": silent(
        commands=(Command("cycle", "ops1", NOW - 16 * MIN, "failed"), CYCLED),
        port={"switched_at": us(16 * MIN), "switched_by": "ops1"},
    ),
    "hung, being cycled now": silent(commands=(Command("cycle", "ops1", NOW - 5, "running"),)),
    "hung, locked by another": silent(board={"lock": lock()}),
    "hung, locked by oneself": silent(board={"lock": lock("anna")}, operator="anna"),
    "hung, cycled so often that the breaker tripped": silent(
        board={"status": BoardStatus.ERROR, "fault": "evm-07 was power-cycled 5 times within an hour"}
    ),
    "hung, not switched from here": silent(board={"power": ()}, wiring=None),
    "hung, with two feeds": silent(second_port={}),
    "degraded: ssh is refused": Lab(
        Verdict.DEGRADED, Blame.BOARD, "ping answers, but ssh: refused", 3 * MIN,
        probes=(ping(), ssh("no", "refused: the IP stack is up")),
    ),
    "booting": Lab(
        Verdict.BOOTING, reason="U-Boot seen on the console, waiting for ssh", since=11,
        probes=(NO_PING, NO_SSH, console("no", "U-Boot: U-Boot 2024.04-ti", 3)),
        commands=(Command("cycle", "ops1", NOW - 17, "running"),), port={"switched_at": us(11), "switched_by": "ops1"},
    ),
    "powered off by a person": Lab(
        Verdict.POWERED_OFF, reason="its relay is off", since=95, probes=(NO_PING, NO_SSH),
        commands=(Command("off", "ops1", NOW - 95),),
        port=_OFF | {"switched_at": us(95), "switched_by": "ops1"},
    ),
    "powered off, locked by another": Lab(
        Verdict.POWERED_OFF, since=95, probes=(NO_PING,), port=_OFF, board={"lock": lock()}
    ),
    "module rebooted: off, and should be on": Lab(
        Verdict.POWERED_OFF, Blame.RELAY, "its relay is off", 443 * MIN, probes=(NO_PING, NO_SSH),
        commands=(Command("on", "ops1", NOW - 9 * HOUR),),
        port={"observed": Power.OFF, "drift_since": us(443 * MIN), "reason": "module rebooted 02:31",
              "switched_at": us(9 * HOUR), "switched_by": "ops1"},
    ),
    "off, normally on, and nobody asked": Lab(
        Verdict.POWERED_OFF, since=HOUR, probes=(NO_PING,), commands=(),
        port={"observed": Power.OFF, "asked": Power.UNKNOWN, "expected": "on", "switched_at": None},
    ),
    "one of two feeds switched off by hand": silent(
        second_port={"observed": Power.OFF, "drift_since": us(20 * MIN), "reason": "switched by somebody else"}
    ),
    "relay module dead, board answers": Lab(
        reason="ping and ssh answer; relay state unknown",
        port={"observed": Power.UNKNOWN, "reason": "10.0.5.21 does not answer: timed out"},
        relay={"status": RelayStatus.FAULT},
    ),
    "relay module dead, board silent": Lab(
        Verdict.UNKNOWN, Blame.RELAY, "ping and ssh unanswered, and the relay state is unknown", 8 * MIN,
        probes=(NO_PING, NO_SSH), relay={"status": RelayStatus.FAULT},
        port={"observed": Power.UNKNOWN, "reason": "10.0.5.21 does not answer: timed out"},
    ),
    "relay in maintenance, board off": Lab(
        Verdict.POWERED_OFF, since=HOUR, probes=(NO_PING,), port=_OFF,
        relay={"status": RelayStatus.MAINTENANCE, "maintenance": "ops1: new fuse"},
    ),
    "module that cannot be read": silent(port={"measurable": False}),
    "miswired: the relay is off, and the board answers": Lab(
        Verdict.DEGRADED, Blame.WIRING, "its relay is off, yet ping and ssh answer: check the wiring", 2 * MIN,
        wiring=Wiring(), port=_OFF,
    ),
    "miswired: another board fell silent in its place": Lab(
        reason="ping and ssh answer",
        wiring=Wiring(state="suspect", at=us(14 * MIN), text="evm-08 fell silent when evm-07 was switched off"),
    ),
    "welded: the relay is off, the wiring was proved, and the board answers": Lab(
        Verdict.DEGRADED, Blame.RELAY,
        "its relay is off, yet ping and ssh answer; its wiring was proved, so the contact must be welded", 2 * MIN,
        port=_OFF,
    ),
    "wiring never proved": Lab(wiring=Wiring()),
    "wiring proved as its port says": Lab(wiring=None, port={"proved_at": us(3 * HOUR)}),
    "network cable of the board": Lab(
        Verdict.DEGRADED, Blame.NETWORK, "the console talks, but ping: no answer", 4 * MIN,
        probes=(NO_PING, NO_SSH, console("yes", "login prompt: j721e-evm login:", 20)),
    ),
    "switch of the rack: every board of the PC": Lab(
        Verdict.SILENT, Blame.NETWORK, "all 3 boards of pc-01 fell silent together, and none lost its power", 60,
        probes=(NO_PING, NO_SSH), others=(_cut_off(1), _cut_off(2)),
    ),
    "ICMP is forbidden": Lab(
        Verdict.UNKNOWN, Blame.AGENT, "no probe can look (ping: ICMP is not permitted)", 5 * MIN,
        probes=(ping("unavailable", "ICMP is not permitted: widen the sysctl net.ipv4.ping_group_range"),),
    ),
    "serial adapter pulled": Lab(
        probes=(ping(), ssh(), console("unavailable", "no such device: usb-FTDI_FT4232H_0A12-if00", 5))
    ),
    "still looking": Lab(Verdict.UNKNOWN, reason="still looking", since=4, probes=(NO_PING,)),
    "no probe is configured": Lab(Verdict.UNKNOWN, reason="no probe is configured for it", probes=()),
    "its PC is frozen": away(),
    "its PC was stopped": away("stopped for 14 min"),
    "its PC lost the broker": away("offline for 14 min", commands=()),
    "its PC was never heard": away("never heard of", pc={"last_seen_s": None}, told=False),
    "its PC is not in the fleet": _without_pc(),
    "no PC controls it": _without_pc(owner=None),
    "its agent has not said anything about it": _unsaid(),
    "its agent runs another lab.toml": _unsaid(pc={"inventory_current": False}),
    "two agents declare it": Lab(board={"contested_by": ("pc-03",)}),
    "the collector's history is away": silent(banner="history not stored since 02:10", uses=None, commands=()),
    "told by the broker alone": silent(source="broker", commands=(), uses=None),
}  # fmt: skip
