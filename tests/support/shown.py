"""A fleet to show: views made by hand, a store that holds rows in memory, and the web server around them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from boardherd_collector.counters import Counters
from boardherd_collector.health import BROKER, STORE, Health
from boardherd_collector.settings import HttpSettings
from boardherd_collector.stores.answers import (
    BoardRow,
    BootRow,
    CommandRow,
    Counts,
    EventRow,
    PcStatsRow,
    PortStateRow,
    StreamCounts,
    UsageRow,
)
from boardherd_collector.stores.base import BoardFilter, StoreError
from boardherd_collector.web.server import serve
from boardherd_shared.command import State
from boardherd_shared.model import BoardStatus, PcStatus, RelayStatus
from boardherd_shared.records import (
    Blame,
    BoardRecord,
    BootTimes,
    HostRecord,
    Power,
    ProbeResult,
    RelayRecord,
    Verdict,
    Wiring,
)
from boardherd_shared.records import (
    Health as HostHealth,
)
from boardherd_shared.views import BoardView, FleetView, PcView, PortView, RelayView
from support.ports import free_port

NOW = 1_790_000_000.0
"""The moment of the views, Unix seconds."""


def micros(ago_s: float) -> int:
    """Return the time ``ago_s`` before NOW, in microseconds."""
    return int((NOW - ago_s) * 1e6)


def sample(**fields: Any) -> HostRecord:
    """Return a full sample of a PC."""
    return HostRecord(
        **{
            "at": micros(2),
            "up": 5_000_000,
            "status": HostHealth.HEALTHY,
            "cpu_percent": 37.5,
            "load_1m": 1.25,
            "load_5m": 0.9,
            "load_15m": 0.5,
            "memory_total": 16_000_000_000,
            "memory_used": 6_400_000_000,
            "memory_free": 9_600_000_000,
            "memory_percent": 40.0,
            "swap_total": 2_000_000_000,
            "swap_used": 0,
            "disk_total": 500_000_000_000,
            "disk_used": 400_000_000_000,
            "disk_free": 75_000_000_000,
            "disk_percent": 84.2,
            "disk_read": 123_456_789,
            "disk_written": 987_654_321,
            "network_received": 2**40,
            "network_sent": 2**39,
            "process_count": 7,
            "thread_count": 31,
            "uptime_s": 400_000.0,
            "temperature_c": 54.0,
            "agent_cpu_percent": 0.8,
            "agent_memory": 41_000_000,
            "spool_parked": 1,
            "spool_oldest_s": 3.5,
            "spool_volatile": False,
            "envelopes_sent": 1200,
            "envelopes_resent": 4,
            "envelopes_acknowledged": 1190,
            "envelopes_refused": 1,
            "envelopes_lost": 0,
            "records_dropped": 0,
            "spool_bytes": 65_536,
            "spool_pending": 2,
        }
        | fields
    )


def pc(id_: str, **fields: Any) -> PcView:
    """Return a PC that is online."""
    return PcView(
        **{
            "id": id_,
            "status": PcStatus.ONLINE,
            "hostname": id_,
            "ip_address": "10.0.1.11",
            "os_version": "ubuntu_24_04",
            "text": "online",
            "last_seen_s": 2.0,
            "sample": sample(),
            "clock_ahead_s": 0.25,
            "inventory_current": True,
            "versions": {"boardherd": "0.1.0"},
        }
        | fields
    )


def probe(kind: str, answer: str = "yes", text: str = "", duration_s: float | None = None) -> ProbeResult:
    """Return what one probe saw five seconds ago."""
    return ProbeResult(probe=kind, answer=answer, at=micros(5), text=text, duration_s=duration_s)


_OWN = ("reason", "blame", "probes", "since", "wiring", "slow")


def board(id_: str, verdict: Verdict = Verdict.ALIVE, **fields: Any) -> BoardView:
    """Return a board with a verdict that is two hours old; what belongs to its record goes there."""
    own = {name: fields.pop(name) for name in _OWN if name in fields}
    alive = verdict in {Verdict.ALIVE, Verdict.DEGRADED}
    record = BoardRecord(
        **{"at": micros(5), "up": 5, "board": id_, "verdict": verdict, "since": micros(7200)} | own
    )
    return BoardView(
        **{
            "id": id_,
            "pc": "pc-01",
            "platform": "j721e",
            "test_farm": "HLOS",
            "status": BoardStatus.IDLE if alive else BoardStatus.OFFLINE,
            "verdict": verdict,
            "is_alive": alive,
            "text": f"{verdict} for 2 h",
            "age_s": 5.0,
            "state": record,
        }
        | fields
    )


def port(
    relay: str, number: int, observed: Power = Power.ON, board: str | None = None, **fields: Any
) -> PortView:
    """Return a port that is as asked; further fields go to its record."""
    age_s = fields.pop("age_s", 3.0)
    record = RelayRecord(
        **{
            "at": micros(3),
            "up": 5,
            "relay": relay,
            "port": number,
            "observed": observed,
            "asked": observed,
            "since": micros(600),
            "board": board,
            "switch_count": 12,
            "module": "ETH008 v4",
        }
        | fields
    )
    return PortView(relay=relay, port=number, pc="pc-01", board=board, text="", age_s=age_s, state=record)


def relay(id_: str, *ports: PortView, **fields: Any) -> RelayView:
    """Return a relay that answers."""
    return RelayView(
        **{
            "id": id_,
            "model_type": "ETH_008_B",
            "status": RelayStatus.ACTIVE,
            "module": "ETH008, hardware 10, firmware 4",
            "address": "10.0.5.21",
            "ports": ports,
        }
        | fields
    )


def fleet(**fields: Any) -> FleetView:
    """Return a small lab in which something of everything is going on."""
    return FleetView(**{"site": "lab", "at": NOW} | _SMALL_LAB() | fields)


def _SMALL_LAB() -> dict[str, Any]:  # noqa: N802
    login = probe("console", text="j721e-evm login:")
    ssh = probe("ssh", text="SSH-2.0-OpenSSH_9.3", duration_s=0.012)
    return {
        "pcs": (
            pc("pc-01", name="Bench 1", rack="r1"),
            pc("pc-02", status=PcStatus.OFFLINE, text="silent for 14 min", last_seen_s=840.0),
            pc("pc-03", status=PcStatus.INITIALIZING, sample=None, inventory_current=False, text="starting"),
        ),
        "boards": (
            board(
                "evm-01",
                name="J721E_EVM #1",
                power=("eth-1:1",),
                probes=(login, ssh, probe("tcp")),
                wiring=Wiring(state="proved", at=micros(7300)),
            ),
            board(
                "evm-02",
                Verdict.SILENT,
                name="J721E_EVM #2",
                power=("eth-1:2",),
                reason="nothing answers though it has power",
                blame=Blame.BOARD,
                probes=(
                    probe("console", "no", 'last words "Kernel panic - not syncing: VFS"'),
                    probe("ssh", "no", "connection refused"),
                ),
            ),
            board(
                "evm-03",
                Verdict.POWERED_OFF,
                power=("eth-1:3",),
                platform="am62x",
                reason="eth-1:3 is off",
                since=micros(95),
                probes=(probe("ssh", "no", "no route to host"),),
            ),
            board(
                "evm-04",
                Verdict.BOOTING,
                power=("eth-1:4", "pdu-1:12"),
                platform="am62px",
                test_farm="RTOS",
                reason="U-Boot seen, waiting for login",
                since=micros(11),
                probes=(probe("console", "yes", "U-Boot 2024.04-ti"), probe("ssh", "no", "timeout")),
            ),
            board(
                "evm-05",
                Verdict.UNKNOWN,
                pc="pc-02",
                power=("pdu-1:3",),
                text="agent pc-02 silent for 14 min",
                age_s=840.0,
                probes=(probe("ping", "unavailable", "no permission for ICMP"),),
            ),
            board(
                "evm-06", Verdict.DEGRADED, reason="console lives, ssh does not answer", power=("eth-1:5",)
            ),
        ),
        "relays": (
            relay(
                "eth-1",
                port("eth-1", 1, board="evm-01", switched_at=micros(7300), switched_by="ci-nightly"),
                port("eth-1", 2, board="evm-02", switched_at=micros(900), switched_by="ops1"),
                port("eth-1", 3, Power.OFF, board="evm-03", expected="on", asked=Power.OFF),
                port("eth-1", 4, board="evm-04"),
                port("eth-1", 5, board="evm-06", asked=Power.OFF, reason="switched by somebody else"),
                name="Rack 1, top",
            ),
            relay(
                "pdu-1",
                port("pdu-1", 3, Power.UNKNOWN, board="evm-05", reason="10.0.5.9 does not answer: timed out"),
                port("pdu-1", 12, board="evm-04", watts=11.5),
                status=RelayStatus.FAULT,
                model_type="CUSTOM",
                module="",
                address="10.0.5.9",
            ),
        ),
    }


@dataclass
class ShownFleet:
    """Stands for the collector's fleet: shows the view it was given."""

    current: FleetView = field(default_factory=fleet)
    version: int = 1

    def view(self, now: float) -> FleetView:
        """Return the current view."""
        return self.current

    def show(self, view: FleetView) -> None:
        """Change the fleet."""
        self.current = view
        self.version += 1


@dataclass
class Rows:
    """Stands for a store, as far as the web side asks one."""

    event_rows: list[EventRow] = field(
        default_factory=lambda: [
            EventRow(
                at=NOW - 11,
                pc="pc-01",
                event="command",
                subject="board/evm-04",
                text="ops1: cycle of evm-04 is running: on",
            ),
            EventRow(
                at=NOW - 830,
                pc="pc-02",
                event="transition",
                subject="agent",
                text="pc-02 is silent: the connection was lost",
            ),
        ]
    )
    command_rows: list[CommandRow] = field(
        default_factory=lambda: [
            CommandRow(
                id="4c1e",
                pc="pc-01",
                action="cycle",
                target="board/evm-04",
                operator="ops1",
                state=State.RUNNING,
                text="off for 5.0 s, switched on, waiting for it to come alive",
                began_at=NOW - 17,
                changed_at=NOW - 11,
            ),
            CommandRow(
                id="77aa",
                pc="pc-01",
                action="on",
                target="relay/eth-1/9",
                operator="ci-nightly",
                on_behalf_of="maria",
                state=State.REFUSED,
                code="unknown_target",
                text="eth-1 has 8 ports, there is no port 9",
                began_at=NOW - 300,
                changed_at=NOW - 300,
            ),
        ]
    )
    port_rows: list[PortStateRow] = field(
        default_factory=lambda: [
            PortStateRow(
                timestamp=NOW - 900,
                relay="eth-1",
                port=2,
                pc="pc-01",
                observed=Power.ON,
                asked=Power.ON,
                expected="on",
                drift=False,
                since=NOW - 900,
                switched_at=NOW - 900,
                switched_by="ops1",
                change=True,
            )
        ]
    )
    usage_rows: list[UsageRow] = field(
        default_factory=lambda: [
            UsageRow(
                board="evm-02",
                who="ci-nightly",
                purpose="busy",
                started_at=NOW - 7200,
                ended_at=NOW - 3600,
                deadline=NOW - 3000,
                end_reported=True,
            )
        ]
    )
    trouble: str = ""
    asked: list[tuple[str, Any]] = field(default_factory=list)
    """Every question with its arguments."""

    async def events(self, subject: str | None = None, limit: int = 100, since: int = 0) -> list[EventRow]:
        return self._answer("events", (subject, limit, since), self.event_rows)

    async def commands(self, target: str | None = None, limit: int = 100) -> list[CommandRow]:
        return self._answer("commands", (target, limit), self.command_rows)

    async def boots(self, board: str | None = None, limit: int = 100) -> list[BootRow]:
        rows = [BootRow(at=NOW - 60, board="evm-01", pc="pc-01", times=BootTimes(console_s=1.9, ssh_s=19.8))]
        return self._answer("boots", (board, limit), rows)

    async def losses(self, limit: int = 100) -> list[Any]:
        return self._answer("losses", limit, [])

    async def dead_letters(self, limit: int = 100) -> list[Any]:
        return self._answer("dead_letters", limit, [])

    async def host_history(self, pc: str, since: int, limit: int = 10_000) -> list[PcStatsRow]:
        return self._answer("host_history", (pc, since), [PcStatsRow(timestamp=NOW - 10, status="HEALTHY")])

    async def boards(self, wanted: BoardFilter) -> list[BoardRow]:
        return self._answer("boards", wanted, [])

    async def board_history(self, board: str, since: int, limit: int = 1000) -> list[Any]:
        return self._answer("board_history", (board, since, limit), [])

    async def switches(self, relay: str, port: int, limit: int = 100) -> list[CommandRow]:
        return self._answer("switches", (relay, port, limit), self.command_rows)

    async def port_history(
        self, ports: Sequence[tuple[str, int]], since: int, limit: int = 1000
    ) -> list[Any]:
        return self._answer("port_history", (list(ports), since, limit), self.port_rows)

    async def usage(self, board: str, since: int, limit: int = 1000) -> list[UsageRow]:
        return self._answer("usage", (board, since, limit), self.usage_rows)

    async def host_trend(self, pc: str, since: int, step: str, limit: int = 10_000) -> list[Any]:
        return self._answer("host_trend", (pc, since, step), [])

    async def summary(self, by: str) -> list[Any]:
        return self._answer("summary", by, [])

    async def report(self, since: int, until: int) -> list[Any]:
        return self._answer("report", (since, until), [])

    async def disks(self, within_s: float, since: int) -> list[Any]:
        return self._answer("disks", (within_s, since), [])

    async def counts(self) -> Counts:
        stream = StreamCounts(
            stream="ab" * 16, pc="pc-01", watermark=41, envelopes=41, lost_envelopes=0, records={"host": 41}
        )
        return self._answer("counts", None, Counts(rows={"pc_stats": 41}, streams=(stream,)))

    def _answer(self, question: str, arguments: Any, answer: Any) -> Any:
        self.asked.append((question, arguments))
        if self.trouble:
            raise StoreError(self.trouble)
        return answer


def healthy() -> Health:
    """Return a health in which everything works."""
    health = Health(now=lambda: NOW)
    health.set(STORE, ok=True, text="SQLite, /var/lib/boardherd-collector/boardherd.db")
    health.set(BROKER, ok=True, text="mqtt://127.0.0.1:1883")
    return health


class Site:
    """The web server on a loopback port, in front of a fleet made by hand."""

    def __init__(self, token_file: Path | None = None, fleet: Any = None, store: Any = None) -> None:
        """Prepare to show ``fleet`` and ``store``, such as the collector's own, or the hand-made ones."""
        self.fleet = fleet or ShownFleet()
        self.health = healthy()
        self.counters = Counters()
        self.rows = store or Rows()
        self._http = HttpSettings(port=free_port(), token_file=token_file)
        self.url = f"http://127.0.0.1:{self._http.port}"
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Serve, on the same port each time."""
        url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(
            serve(
                self._http,
                fleet=self.fleet,
                health=self.health,
                counters=self.counters,
                store=self.rows,
                on_listening=url.set_result,
            ),
            name="web under test",
        )
        await asyncio.wait([self._task, url], return_when=asyncio.FIRST_COMPLETED)
        assert url.done(), await self._task

    async def stop(self) -> None:
        """Stop serving."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.stop()
