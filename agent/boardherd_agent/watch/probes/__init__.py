"""Probes: one file for each way to tell whether a board lives."""

from __future__ import annotations

from collections.abc import Iterable

from boardherd_agent.watch.evidence import CONSOLE
from boardherd_agent.watch.probes.icmp import PingProbe
from boardherd_agent.watch.probes.probe import Outcome, Probe
from boardherd_agent.watch.probes.ssh import SshProbe
from boardherd_agent.watch.probes.tcp import TcpProbe

KNOWN = "ping, ssh, ssh:2222, tcp:80 (a port is needed) and console"


def build_probes(names: Iterable[str], host: str | None) -> list[Probe]:
    """Return the probes that lab.toml names, for the board at ``host``, each once.

    The console is no probe of this kind, as it only listens; its name is accepted and left out. Raises
    ValueError in words for a name that is not known and for a probe that needs the address of the board.
    """
    probes: dict[str, Probe] = {}
    for name in names:
        if name != CONSOLE:
            probe = _build(name, host)
            probes.setdefault(probe.name, probe)
    return list(probes.values())


def _build(name: str, host: str | None) -> Probe:
    kind, _, number = name.partition(":")
    if kind not in {"ping", "ssh", "tcp"} or (kind == "ping" and number) or (kind == "tcp" and not number):
        raise ValueError(f'"{name}" is no known probe; there are {KNOWN}')
    if host is None:
        raise ValueError(f'the probe "{name}" needs board_ip')
    if kind == "ping":
        return PingProbe(host)
    port = int(number) if number.isdigit() else 22 if not number else 0
    if not 1 <= port <= 65535:
        raise ValueError(f'"{name}": a TCP port is a number from 1 to 65535')
    return SshProbe(host, port) if kind == "ssh" else TcpProbe(host, port)


__all__ = ["KNOWN", "Outcome", "Probe", "build_probes"]
