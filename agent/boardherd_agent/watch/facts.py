"""What the agent finds out about its PC once: name, address, operating system, size."""

from __future__ import annotations

import os
import platform
import re
import shlex
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from boardherd_agent.watch.samplers.memory import memory_total
from boardherd_agent.watch.texts import brief
from boardherd_shared.messages import HostFacts

_OS_RELEASE = (Path("/etc/os-release"), Path("/usr/lib/os-release"))
_LOOKUP_S = 1.0
_ELSEWHERE = ("192.0.2.1", 9)
"""An address of TEST-NET-1 (RFC 5737): nobody is there, and nothing is sent to it."""
_MACOS = {13: "macos_ventura", 14: "macos_sonoma"}
_WINDOWS_11_BUILD = 22000


def host_facts() -> HostFacts:
    """Return the facts about this PC. Blocks for at most about a second, if the name service is slow."""
    hostname = socket.gethostname()
    code, text = _operating_system()
    return HostFacts(
        hostname=brief(hostname),
        domain_name=brief(_domain_name(hostname)),
        ip_address=primary_address(),
        os_version=brief(code),
        os_text=brief(text),
        cpu_count=os.cpu_count() or 0,
        memory_total=memory_total(),
    )


def primary_address() -> str | None:
    """Return the address that connections to elsewhere would come from; None without a route.

    Connecting a datagram socket only asks the routing table; no packet leaves the PC.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(_ELSEWHERE)
        except OSError:
            return None
        address: str = sock.getsockname()[0]
    return None if address.startswith(("0.", "127.")) else address


def _domain_name(hostname: str) -> str:
    """Return the fully qualified name, or nothing if there is none or the name service takes too long."""
    if "." in hostname:
        return hostname
    found: list[str] = []
    # The resolver cannot be interrupted, so it works in a thread that nobody has to wait for.
    thread = threading.Thread(target=lambda: found.append(socket.getfqdn(hostname)), daemon=True)
    thread.start()
    thread.join(_LOOKUP_S)
    name = found[0] if found else ""
    return name if "." in name and not name.startswith("localhost") else ""


def _operating_system() -> tuple[str, str]:
    """Return the code and the pretty name of the system that runs here."""
    if sys.platform == "win32":
        build = int(platform.version().split(".")[-1])
        return windows_code(platform.release(), build), f"Windows {platform.version()}"
    if sys.platform == "darwin":
        return macos_code(platform.mac_ver()[0]), f"macOS {platform.mac_ver()[0]}"
    for path in _OS_RELEASE:
        try:
            release = parse_os_release(path.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            continue
        return linux_code(release), release.get("PRETTY_NAME", release.get("NAME", ""))
    return slugged(platform.system()), platform.platform()


def parse_os_release(text: str) -> dict[str, str]:
    """Return the assignments of an os-release(5) file; lines that are none are skipped."""
    values = {}
    for line in text.splitlines():
        key, sign, value = line.strip().partition("=")
        if not sign or key.startswith("#"):
            continue
        try:
            values[key] = " ".join(shlex.split(value))
        except ValueError:
            values[key] = value
    return values


def linux_code(release: Mapping[str, str]) -> str:
    """Return the code of a Linux: ``ubuntu_24_04``, ``centos_9``, ``debian_12``."""
    return slugged(f"{release.get('ID', 'linux')} {release.get('VERSION_ID', '')}")


def windows_code(release: str, build: int) -> str:
    """Return ``windows_10`` or ``windows_11``; Windows 11 calls itself 10 and is told by its build number."""
    return "windows_11" if release == "10" and build >= _WINDOWS_11_BUILD else slugged(f"windows {release}")


def macos_code(version: str) -> str:
    """Return ``macos_ventura``, ``macos_sonoma``, or the major version for others."""
    major = version.partition(".")[0]
    return _MACOS.get(int(major), f"macos_{major}") if major.isdigit() else "macos"


def slugged(text: str) -> str:
    """Return ``text`` in lower case with everything but letters and digits as single underscores."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
