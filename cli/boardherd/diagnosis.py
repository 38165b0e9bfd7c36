"""What is misconfigured in a lab, and what to do about it: a pure judgement on what can be seen from outside.

Troubles of the day (a board that hangs) are what ``status`` and ``why`` are for; here it is about what somebody has
to set up differently. The same finding at several places is one finding.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from boardherd.seat import Seat
from boardherd.tables import ago
from boardherd_shared.model import PcStatus, RelayStatus
from boardherd_shared.records import Power, ProbeResult, Verdict
from boardherd_shared.views import BoardView, FleetView, PcView, PortView, RelayView

CLOCK_AHEAD_S = 5.0
"""Beyond this the collector corrects a PC's times."""
SPOOL_WAITS_S = 3600.0
"""An envelope that has waited so long while its PC is online tells that something does not flow."""
SERVED_CONNECTIONS = 5
"""A Devantech module answers so many; a sixth is accepted and stays mute."""
_FAILS_DAYS, _WARNS_DAYS = 7, 30
_MODULE = re.compile(r"(ETH|WIFI)\d+")
_BENIGN = re.compile(r"quiet|busy:|lost:|left to|not looked")
"""What a probe says that cannot look just now, with nothing wrong about it."""
_UNPLUGGED = re.compile(r"is not there|nothing is behind it|is no serial port")
_ACL = "docs/install.md, The broker: each account needs its own block of rights"


class Level(StrEnum):
    """How bad it is."""

    FAIL = "fail"
    """Something that the lab is for does not work."""
    WARN = "warn"
    """It works, and somebody should look at it."""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be, wherever it is so."""

    level: Level
    what: str
    remedy: str
    """The command to run or the file to edit."""
    about: tuple[str, ...] = ()
    """Where it is so: ids, with what differs between them in brackets."""

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def diagnose(seat: Seat, fleet: FleetView | None, missing: str = "") -> list[Finding]:
    """Return what is wrong, the worst first.

    Args:
        seat: what can be seen from the operator's place.
        fleet: what is current in the lab; None when neither broker nor collector told.
        missing: why there is no fleet.
    """
    found = [*_broker(seat), *_collector(seat), *_certificates(seat, fleet)]
    if fleet is None and not seat.broker.trouble:
        found.append(_fail(missing, "--site ID, or start an agent or the collector"))
    if fleet is not None:
        found += [*_reading(seat, fleet), *_fleet(seat, fleet)]
    return grouped(found)


def grouped(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings with what is the same told once, failures first, otherwise in order."""
    together: dict[tuple[Level, str, str], dict[str, None]] = {}
    for it in findings:
        together.setdefault((it.level, it.what, it.remedy), {}).update(dict.fromkeys(it.about))
    merged = [Finding(*key, about=tuple(about)) for key, about in together.items()]
    return sorted(merged, key=lambda it: it.level is not Level.FAIL)


def _fail(what: str, remedy: str, *about: str) -> Finding:
    return Finding(Level.FAIL, what, remedy, about)


def _warn(what: str, remedy: str, *about: str) -> Finding:
    return Finding(Level.WARN, what, remedy, about)


def _broker(seat: Seat) -> Iterator[Finding]:
    """Yield what is wrong between here and the broker."""
    broker = seat.broker
    if broker.trouble:
        yield _fail(
            f"the broker {seat.broker_place} ({seat.origin}) cannot be used: {broker.trouble}",
            "--broker, BOARDHERD_BROKER or ~/.config/boardherd/config.toml; systemctl status mosquitto on its server",
        )
        return
    if broker.refused:
        yield _fail(f"the broker does not grant {', '.join(broker.refused)}", _ACL)
    if broker.may_command is False:
        yield _fail(
            f"commands of {seat.operator} are not let through",
            "--as NAME must be the broker user name, and mosquitto_operators must have it (ansible)",
        )
    if broker.may_forge:
        what = f"the account {seat.account or 'of everybody'} may {' and '.join(broker.may_forge)}"
        yield Finding(Level.FAIL if seat.account else Level.WARN, what, _ACL)
    if broker.protocol != 5:
        yield _warn(
            "the broker speaks MQTT 3.1.1 only, and does not tell what it denies, so rights were not tried",
            "a broker with MQTT 5, such as Mosquitto 2",
        )


def _collector(seat: Seat) -> Iterator[Finding]:
    """Yield what is wrong between here and the collector, and with it."""
    collector = seat.collector
    if collector.trouble:
        yield _fail(
            f"the collector at {seat.api_place} does not answer: {collector.trouble}",
            "--api, BOARDHERD_API or BOARDHERD_API_TOKEN_FILE; systemctl status boardherd-collector on its server",
        )
        return
    for part in collector.components:
        if not part.ok:
            yield _fail(
                f"the collector's {part.name}: {part.text}", "journalctl -u boardherd-collector on its server"
            )
    if collector.version != seat.version:
        yield _warn(
            f"the command line is of version {seat.version}, the collector of {collector.version}",
            "install the same version everywhere; docs/install.md",
        )


def _certificates(seat: Seat, fleet: FleetView | None) -> Iterator[Finding]:
    for name, until in seat.certificates:
        now = datetime.fromtimestamp(
            fleet.at if fleet else datetime.now(until.tzinfo).timestamp(), until.tzinfo
        )
        days = (until - now).days
        if days < _WARNS_DAYS:
            words = f"runs out in {days} days" if until > now else "has run out"
            level = Level.FAIL if days < _FAILS_DAYS else Level.WARN
            yield Finding(level, f"the certificate of {name} {words}, on {until:%Y-%m-%d}", "renew it")


def _reading(seat: Seat, fleet: FleetView) -> Iterator[Finding]:
    """Yield that the broker keeps back what it has: it grants subscriptions that it never serves."""
    online = any(pc.online for pc in fleet.pcs)
    if online and fleet.source == "collector" and not seat.broker.trouble and not seat.broker.statuses:
        yield _fail(
            f"the broker delivers nothing to {seat.account or 'us'}, although test PCs are online", _ACL
        )


def _fleet(seat: Seat, fleet: FleetView) -> Iterator[Finding]:
    """Yield what is wrong with PCs, relays and boards; what hangs on a PC that is away is left out."""
    if fleet.banner and fleet.source == "collector":
        yield _warn(fleet.banner, "journalctl -u boardherd-collector on its server")
    for pc in fleet.pcs:
        if pc.status is not PcStatus.MAINTENANCE:
            yield from _pc(pc, seat)
    here = {pc.id for pc in fleet.pcs if pc.online and pc.status is not PcStatus.MAINTENANCE}
    for relay in fleet.relays:
        if relay.status is not RelayStatus.MAINTENANCE:
            yield from _relay(relay, [port for port in relay.ports if port.pc in here])
    for board in fleet.boards:
        if board.pc in here and board.deactivated is None:
            yield from _board(board, told_by_collector=fleet.source == "collector")


def _pc(pc: PcView, seat: Seat) -> Iterator[Finding]:
    if not pc.known:
        yield _warn(
            "test PCs that are not in lab.toml",
            "add pc.NAME = {} to lab.toml, and bring it to all machines",
            pc.id,
        )
    if not pc.online:
        what, remedy = (
            "test PCs that are not heard",
            "systemctl status boardherd-agent on the PC, then boardherd-agent selftest",
        )
        yield _fail(what, remedy, f"{pc.id} ({pc.text})" if pc.text else pc.id)
        return
    if pc.inventory_current is False:
        remedy = "bring lab.toml there (ansible-playbook site.yml --tags agent), then systemctl reload boardherd-agent"
        yield _warn("test PCs that act on another lab.toml than the collector", remedy, pc.id)
    running, wanted = pc.versions.get("boardherd", ""), seat.collector.version
    if running and wanted and running != wanted:
        what = f"test PCs that run another version than the collector ({wanted})"
        yield _warn(what, "install the same version everywhere; docs/install.md", f"{pc.id} ({running})")
    if pc.clock_ahead_s is not None and abs(pc.clock_ahead_s) > CLOCK_AHEAD_S:
        off = f"{abs(pc.clock_ahead_s):.0f} s {'ahead' if pc.clock_ahead_s > 0 else 'behind'}"
        yield _warn("test PCs whose clock is wrong", "timedatectl set-ntp true on the PC", f"{pc.id} ({off})")
    yield from _spool(pc)


def _spool(pc: PcView) -> Iterator[Finding]:
    sample = pc.sample
    if sample is None:
        return
    if sample.spool_volatile:
        what = "test PCs that keep everything in memory only, for their disk cannot be written"
        yield _fail(what, "look at the disk of state_dir on the PC: boardherd-agent selftest", pc.id)
    if sample.spool_oldest_s is not None and sample.spool_oldest_s > SPOOL_WAITS_S:
        what = "test PCs whose spool holds something that is not acknowledged"
        remedy = "look at the collector's log; boardherd-agent selftest on the PC tells whether its rights are right"
        yield _warn(what, remedy, f"{pc.id} (for {ago(sample.spool_oldest_s)})")
    if sample.spool_parked:
        what = "test PCs that put envelopes aside, refused by the collector or never acknowledged"
        yield _warn(what, "look at the collector's log for why", f"{pc.id} ({sample.spool_parked})")


def _relay(relay: RelayView, ports: Sequence[PortView]) -> Iterator[Finding]:
    """Yield what is wrong with a relay, as the PCs that are there see it."""
    pcs = {port.pc for port in ports}
    if _MODULE.match(relay.module) and len(pcs) > SERVED_CONNECTIONS:
        what = f"relays that more than {SERVED_CONNECTIONS} test PCs share, and the module serves that many connections"
        yield _fail(
            what, "rewire the boards, or have fewer PCs drive them (pc of the boards in lab.toml)", relay.id
        )
    states = [port.state for port in ports if port.state]
    if states and all(state.observed is Power.UNKNOWN and state.measurable for state in states):
        reason = next((state.reason for state in states if state.reason), "no answer")
        remedy = f"ping {relay.address or 'it'}; boardherd discover; boardherd-agent selftest on its PC"
        yield _fail("relays that do not answer", remedy, f"{relay.id} ({reason})")
        return
    for state in states:
        if state.drift_since is not None:
            wanted = state.asked if state.asked is not Power.UNKNOWN else state.expected
            where = f"{state.relay}:{state.port} (is {state.observed}, wanted {wanted})"
            what = "relay ports that are not as they were asked for, or not as lab.toml calls normal"
            yield _warn(
                what, "boardherd relay restore PORT, or boardherd relay accept BOARD --reason ...", where
            )


def _board(board: BoardView, *, told_by_collector: bool) -> Iterator[Finding]:
    if board.contested_by:
        what = "boards that several test PCs declare, of which only the first is obeyed"
        where = f"{board.id} ({board.pc}, also {', '.join(board.contested_by)})"
        yield _fail(what, "bring the same lab.toml to all of them, and restart their agents", where)
    if told_by_collector and not board.power:
        yield _warn(
            "boards without a power feed, so nobody can switch them",
            'power = ["RELAY:PORT"] in lab.toml',
            board.id,
        )
    if board.fault is not None:
        remedy = "mend it, then boardherd relay accept BOARD --reason ..."
        yield _fail(
            "boards that are taken out until somebody accepts them", remedy, f"{board.id} ({board.fault})"
        )
    if board.state is None:
        return
    wiring = board.state.wiring
    if wiring is not None and wiring.state == "suspect":
        what, where = "boards whose wiring is suspect, so power is refused", f"{board.id} ({wiring.text})"
        remedy = "look at the cables and at power in lab.toml, then boardherd relay accept BOARD --reason ..."
        yield _fail(what, remedy, where)
    if not board.state.probes and board.verdict not in {Verdict.POWERED_OFF, Verdict.BOOTING}:
        what = "boards without a probe, so nobody can tell whether they live"
        yield _warn(
            what, 'probes = ["ping", "ssh", "console"] in lab.toml, with board_ip or serial_port', board.id
        )
    for probe in board.state.probes:
        yield from _probe(board, probe)


def _probe(board: BoardView, probe: ProbeResult) -> Iterator[Finding]:
    """Yield why a probe cannot look, unless that is as it should be."""
    if probe.answer == "unavailable" and board.lock is None and not _BENIGN.match(probe.text):
        yield _cannot_look(board, probe)


def _cannot_look(board: BoardView, probe: ProbeResult) -> Finding:
    if "ICMP is not permitted" in probe.text:
        remedy = 'sysctl -w net.ipv4.ping_group_range="0 2147483647", or AmbientCapabilities=CAP_NET_RAW in the unit'
        return _fail("test PCs that may not ping", remedy, str(board.pc))
    if "permission denied" in probe.text:
        remedy = "usermod -aG dialout boardherd-agent on the PC, then systemctl restart boardherd-agent"
        return _fail("test PCs whose agent may not open a device", remedy, f"{board.pc} ({board.id})")
    if probe.probe == "console" and _UNPLUGGED.search(probe.text):
        what = "boards whose console is not plugged in, or has another name than in lab.toml"
        return _fail(
            what, "boardherd discover on the PC tells the names; then serial_port in lab.toml", board.id
        )
    remedy = "boardherd-agent selftest on the PC; probes in lab.toml"
    return _warn("boards with a probe that cannot look", remedy, f"{board.id} ({probe.probe}: {probe.text})")
