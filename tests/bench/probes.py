"""What it costs to look at many boards: CPU, memory, and how evenly the looks are spread.

Run as ``PYTHONPATH=tests python -m bench.probes``; prints JSON. The agent's own bench of boards, as the agent runs it
at default intervals, in a process of its own; the boards are loopback addresses, each with an SSH server. See
README.md beside this file for what the figures mean.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import contextlib
import cProfile
import json
import os
import pstats
import resource
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structlog

from boardherd_agent.bench import Bench
from boardherd_agent.reporting import Reporter
from boardherd_agent.watch.probing.echo import V4, parse
from boardherd_agent.watch.probing.icmp import PingError, open_socket
from boardherd_agent.watch.probing.prober import Pace
from boardherd_shared.clock import SystemClock
from boardherd_shared.inventory import Inventory
from boardherd_shared.topics import Topics

SSH_PORT = 2222
PROMISED_PERCENT = 3.0
"""Of one core, for 300 boards at default intervals."""
WINDOW_S = 0.1
MANY, FEW = 300, 30


def address_of(number: int) -> str:
    """Return the loopback address of a board."""
    return f"127.77.{number // 250}.{number % 250 + 1}"


def inventory_of(boards: int, probes: list[str]) -> Inventory:
    """Return the inventory of a PC with so many boards."""
    lines = [
        'site = "bench"',
        "pc.pc-01 = {}",
        f'defaults.board = {{ pc = "pc-01", probes = {json.dumps(probes)} }}',
    ]
    lines += [f'board.evm-{number:03} = {{ board_ip = "{address_of(number)}" }}' for number in range(boards)]
    return Inventory.parse("\n".join(lines))


# The boards, in a process of their own


class Boards:
    """SSH servers on loopback addresses, and an ear for echo requests; notes when it was looked at."""

    def __init__(self) -> None:
        self.looks: list[float] = []
        self.pings_heard = False

    def listen(self, boards: int) -> None:
        """Open a server for each board."""
        loop = asyncio.get_running_loop()
        for number in range(boards):
            listener = socket.create_server((address_of(number), SSH_PORT), backlog=8)
            listener.setblocking(False)
            loop.add_reader(listener, self._accept, listener)
        with contextlib.suppress(OSError):
            ear = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            ear.setblocking(False)
            loop.add_reader(ear, self._hear, ear)
            self.pings_heard = True

    def _accept(self, listener: socket.socket) -> None:
        visitor, _ = listener.accept()
        self.looks.append(time.monotonic())
        visitor.setblocking(False)
        visitor.send(b"SSH-2.0-OpenSSH_9.6\r\n")
        asyncio.get_running_loop().add_reader(visitor, self._leave, visitor)

    def _leave(self, visitor: socket.socket) -> None:
        with contextlib.suppress(OSError):
            visitor.recv(100)
        asyncio.get_running_loop().remove_reader(visitor)
        visitor.close()

    def _hear(self, ear: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                packet = ear.recv(2048)
                reply = parse(V4, packet)
                if reply is not None and reply.trouble is None:  # one for each request: this kernel answers
                    self.looks.append(time.monotonic())


async def play_boards(boards: int) -> None:
    """Be the boards until standard input ends, then print when they were looked at."""
    here = Boards()
    here.listen(boards)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(json.dumps({"looks": here.looks, "pings_heard": here.pings_heard}))


# The agent's part, in a process of its own


def _rss_mib() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def watch(boards: int, seconds: float, probes: list[str], profile: str) -> dict[str, Any]:
    """Watch the boards, and return what that cost once they are all known."""
    records: Counter[str] = Counter()
    clock, empty_mib = SystemClock(), _rss_mib()
    reporter = Reporter(
        "pc-01",
        Topics("bench"),
        clock,
        put=lambda record: records.update([type(record).__name__]),
        retain=lambda _topic, _payload: records.update(["retained"]),
    )
    pace = Pace()
    inventory = inventory_of(boards, probes)
    bench = Bench(inventory, "pc-01", {}, {}, pace, clock, reporter, lambda _status: None)
    began = time.monotonic()
    task = asyncio.create_task(bench.run_watches(), name="watches")
    await asyncio.sleep(pace.steady + pace.timeout)
    start_cpu = time.process_time()
    profiler = cProfile.Profile() if profile else None
    if profiler:
        profiler.enable()
    steady = time.monotonic()
    await asyncio.sleep(seconds)
    spent = time.process_time() - start_cpu
    ended = time.monotonic()
    if profiler:
        profiler.disable()
        _write_profile(profiler, Path(profile))
    verdicts = Counter(record.verdict.value for record in bench.board_records())
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return {
        "boards": boards,
        "verdicts": dict(verdicts),
        "core_percent": round(100 * spent / (ended - steady), 3),
        "core_percent_at_start": round(100 * start_cpu / (steady - began), 3),
        "rss_mib": round(_rss_mib(), 1),
        "kib_of_a_board": round(1024 * (_rss_mib() - empty_mib) / boards, 1),
        "records": dict(records),
        "_times": [began, steady, ended],
    }


def _write_profile(profiler: cProfile.Profile, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        pstats.Stats(profiler, stream=file).sort_stats("tottime").print_stats(60)


# Both


def measured(boards: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one bench of boards, and return its figures."""
    with _child("boards", boards, arguments) as played:
        assert played.stdout is not None
        played.stdout.readline()
        with _child("watch", boards, arguments) as watching:
            output, _ = watching.communicate(timeout=arguments.seconds + 120)
        heard, _ = played.communicate(timeout=60)
    figures: dict[str, Any] = json.loads(output)
    seen = json.loads(heard)
    began, steady, ended = figures.pop("_times")
    looks = sorted(seen["looks"])
    calm = [at for at in looks if steady <= at < ended]
    figures["looks_per_s"] = round(len(calm) / (ended - steady), 2)
    figures["us_of_a_look"] = round(1e4 * figures["core_percent"] / max(0.01, figures["looks_per_s"]))
    figures["most_looks_in_100_ms"] = _most(calm)
    figures["most_looks_in_100_ms_at_start"] = _most([at for at in looks if began <= at < steady])
    figures["pings_heard"] = seen["pings_heard"]
    return figures


def _most(times: list[float]) -> int:
    """Return the most of ``times`` within any window."""
    return max(
        (bisect.bisect_left(times, at + WINDOW_S) - place for place, at in enumerate(times)), default=0
    )


@contextlib.contextmanager
def _child(part: str, boards: int, arguments: argparse.Namespace) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "bench.probes", "--part", part, "--boards", str(boards)]
    command += ["--seconds", str(arguments.seconds), "--probes", arguments.probes]
    command += ["--profile", arguments.profile if boards == arguments.boards else ""]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def _can_ping() -> bool:
    try:
        open_socket(socket.AF_INET).close()
    except PingError:
        return False
    return True


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.probes", description=__doc__.partition("\n")[0])
    parser.add_argument("--boards", type=int, default=MANY, help="boards on the one agent")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="how long to measure, after the first looks"
    )
    parser.add_argument("--probes", default=f"ping,ssh:{SSH_PORT}", help="probes of each board")
    parser.add_argument(
        "--profile", default="", help="a file for the profile; measuring costs, so ignore the rest then"
    )
    parser.add_argument("--strict", action="store_true", help="end with 1 if a promise is missed")
    parser.add_argument("--part", choices=("boards", "watch"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Measure many boards and few, and print both."""
    arguments = _arguments()
    if arguments.part == "boards":
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (4096, max(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        )
        asyncio.run(play_boards(arguments.boards))
        return 0
    if arguments.part == "watch":
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
        probes = arguments.probes.split(",")
        print(json.dumps(asyncio.run(watch(arguments.boards, arguments.seconds, probes, arguments.profile))))
        return 0
    many, few = measured(arguments.boards, arguments), measured(FEW, arguments)
    kept = many["core_percent"] < PROMISED_PERCENT
    report = {
        "cores": os.cpu_count(),
        "icmp": "real" if _can_ping() else "not permitted here: the ping probe is unavailable",
        "promises": {f"below {PROMISED_PERCENT:g} % of a core": kept},
        "many": many,
        "few": few,
        "ratio_of_cpu": round(many["core_percent"] / max(0.001, few["core_percent"]), 2),
        "ratio_of_boards": round(arguments.boards / FEW, 2),
    }
    print(json.dumps(report, indent=2))
    return 1 if arguments.strict and not kept else 0


if __name__ == "__main__":
    sys.exit(main())
