"""How long ``boardherd inventory check`` takes, from the start of the process to its end, and how that grows.

    PYTHONPATH=tests python -m bench.inventory

A lab of 60 PCs and 300 boards is to be checked in under 2 s on a machine that does nothing else; one of four times the
size shows whether the cost is in proportion. Printed as JSON, medians: the whole process by the clock on the wall, its
processor time (both of its processes, which run at the same time: rules here, drivers in the agent's program), and that
of the rules alone; ``growth`` is by how much the rules cost more for four times the size.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from boardherd_shared.inventory import Inventory

_RUNS = 7
_PER_PC = 5


def lab(pcs: int) -> str:
    """Return a lab.toml of ``pcs`` test PCs with a relay and five boards each, written as people write one."""
    head = [
        'site = "lab"',
        'admins = ["ops-lead"]',
        'codes.platform = ["am68x"]',
        'defaults.board = { off_time = "5s", normally = "on", probes = ["ping", "ssh"], max_lock = "8h" }',
    ]
    boards: list[str] = []
    for pc in range(1, pcs + 1):
        net = f"{pc // 200}.%d.{pc % 200 + 1}"
        head.append(f'pc.pc-{pc:03} = {{ rack = "r{pc % 10}", ip = "10.{net % 4}" }}')
        relay = f'model_type = "ETH_008_B", address = "10.{net % 5}", password = "secret:eth"'
        head.append(f"relay.eth-{pc:03} = {{ {relay} }}")
        for board in range(1, _PER_PC + 1):
            boards += _board(pc, board)
    return "\n".join([*head, *boards]) + "\n"


def _board(pc: int, board: int) -> list[str]:
    return [
        f"[board.evm-{pc:03}-{board}]",
        f'name = "J721E #{pc}.{board}"',
        f'pc = "pc-{pc:03}"',
        'platform = "j721e"',
        'test_farm = "HLOS"',
        'capabilities = ["CMD", "CAMERA"] # on CSI0',
        f'board_ip = "10.{pc // 200 + 8}.{pc % 200}.{board}"',
        f'hardware_serial_number = "SN-{pc}-{board}"',
        f'serial_port = "usb-FTDI_FT4232H_{pc}-if0{board}"',
        "power = [",
        f'  "eth-{pc:03}:{board}",',
        "]",
        "",
    ]


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the median duration of several runs, by a clock."""
    took = []
    for _ in range(_RUNS):
        began = clock()
        work()
        took.append(clock() - began)
    return statistics.median(took)


def cpu_of_children() -> float:
    """Return the processor time that ended child processes have taken, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(directory: Path, pcs: int) -> dict[str, float | int]:
    """Return the figures of one size."""
    text = lab(pcs)
    path = directory / f"lab-{pcs}.toml"
    path.write_text(text)
    inventory = Inventory.parse(text)
    command = [sys.executable, "-m", "boardherd", "inventory", "check", str(path)]

    def run() -> None:
        subprocess.run(command, check=True, capture_output=True)

    return {
        "pcs": len(inventory.lab.pc),
        "boards": len(inventory.lab.board),
        "lines": text.count("\n"),
        "process_s": round(seconds(run), 3),
        "process_cpu_s": round(seconds(run, cpu_of_children), 3),
        "rules_cpu_s": round(seconds(lambda: Inventory.parse(text), time.process_time), 4),
    }


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory:
        small, large = measure(Path(directory), 60), measure(Path(directory), 240)
    start = seconds(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))
    print(
        json.dumps(
            {
                "small": small,
                "large": large,
                "python_start_s": round(start, 3),
                "growth": round(large["rules_cpu_s"] / small["rules_cpu_s"], 2),
                "limit_s": 2.0,
                "kept": small["process_s"] < 2.0,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
