"""Who may do what on this machine: the agent that runs, where its process can be seen, else whoever runs the selftest.

systemd gives the agent groups and capabilities that its user has not got elsewhere, and root may do what the agent
may not. So where an agent runs, its process is asked, not us.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_CAP_NET_RAW = 13
_PROC = Path("/proc")


class Rights(Protocol):
    """What somebody may do."""

    @property
    def who(self) -> str:
        """Of whom this tells, for a sentence."""
        ...

    def may_open(self, device: str) -> bool:
        """Whether a device may be read and written."""
        ...

    def ping_by(self) -> str:
        """By which means ping is permitted; empty when it is not."""
        ...


class OwnRights:
    """What this process may do, by trying."""

    who = "whoever runs this"

    def may_open(self, device: str) -> bool:
        """Whether a device may be read and written."""
        return os.access(device, os.R_OK | os.W_OK)

    def ping_by(self) -> str:
        """By which means ping is permitted; empty when it is not."""
        kinds = ((socket.SOCK_DGRAM, "datagram sockets"), (socket.SOCK_RAW, "raw sockets"))
        for kind, words in kinds:
            with contextlib.suppress(OSError):
                socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP).close()
                return words
        return ""


@dataclass(frozen=True)
class ProcessRights:
    """What a process may do, by what Linux says of it; limits of its control group are not seen."""

    who: str
    uid: int
    groups: frozenset[int]
    capabilities: int
    proc: Path = _PROC

    def may_open(self, device: str) -> bool:
        """Whether a device may be read and written."""
        try:
            status = Path(device).stat()
        except OSError:
            return False
        if self.uid == 0:
            return True
        if self.uid == status.st_uid:
            needed = stat.S_IRUSR | stat.S_IWUSR
        elif status.st_gid in self.groups:
            needed = stat.S_IRGRP | stat.S_IWGRP
        else:
            needed = stat.S_IROTH | stat.S_IWOTH
        return status.st_mode & needed == needed

    def ping_by(self) -> str:
        """By which means ping is permitted; empty when it is not."""
        if self._is_in_ping_groups():
            return "datagram sockets"
        return "raw sockets" if self.capabilities >> _CAP_NET_RAW & 1 else ""

    def _is_in_ping_groups(self) -> bool:
        try:
            words = (self.proc / "sys/net/ipv4/ping_group_range").read_text().split()
            first, last = (int(word) for word in words)
        except (OSError, ValueError):
            return False
        return any(first <= group <= last for group in self.groups)


def rights_of_agent(state_dir: Path, proc: Path = _PROC) -> ProcessRights | None:
    """Return the rights of the agent that has its spool in ``state_dir``; None where its process cannot be seen."""
    try:
        pid = int((state_dir / "spool.lock").read_text())
        words = (proc / str(pid) / "cmdline").read_bytes()
        if b"boardherd" not in words:  # the number has gone to somebody else
            return None
        return _parse(pid, (proc / str(pid) / "status").read_text(), proc)
    except (OSError, ValueError, KeyError):
        return None


def _parse(pid: int, status: str, proc: Path) -> ProcessRights:
    """Return what ``/proc/PID/status`` says, see proc(5); raises KeyError or ValueError."""
    fields: Mapping[str, str] = {
        key: value for key, colon, value in (line.partition(":") for line in status.splitlines()) if colon
    }
    uid, gid = (int(fields[key].split()[1]) for key in ("Uid", "Gid"))  # the effective one is the second
    groups = frozenset({gid, *map(int, fields["Groups"].split())})
    return ProcessRights(f"the agent (process {pid})", uid, groups, int(fields["CapEff"], 16), proc)
