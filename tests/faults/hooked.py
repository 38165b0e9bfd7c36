"""Runs a program of ours so that a signal blocks its event loop, as a call that never should be there would.

``python -m faults.hooked MODULE ARGUMENTS``: each SIGUSR1 has the main thread sleep for as many seconds as
the environment says in :data:`SECONDS`. The process lives on meanwhile: its sockets are open, its other threads work.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import time

SECONDS = "FAULTS_BLOCK_S"


def _block(number: int, frame: object) -> None:
    del number, frame
    time.sleep(float(os.environ[SECONDS]))


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _block)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
