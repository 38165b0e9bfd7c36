"""Becomes a Python program; without the right to send ICMP while a file is there.

Run as ``python launch.py FILE [what follows python ...]``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

FORBIDDEN = ["setpriv", "--inh-caps=-net_raw", "--bounding-set=-net_raw", "--"]

marker, *arguments = sys.argv[1:]
command = [*(FORBIDDEN if Path(marker).exists() else []), sys.executable, *arguments]
os.execvp(command[0], command)
