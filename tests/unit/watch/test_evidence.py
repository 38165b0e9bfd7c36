"""What a kernel says of its links and of its end, kept as evidence; and what is worked out of evidence once."""

from __future__ import annotations

import pytest

from boardherd_agent.watch.booting.boot_patterns import BootReader, Notice, interface
from boardherd_agent.watch.judging.evidence import Evidence, Heard, Look
from boardherd_shared.records import Power
from unit.watch.situations import OFF, ON, at, boot, power


@pytest.mark.parametrize(
    ("line", "notice", "name"),
    [
        ("[ 59.2] am65-cpsw-nuss 46000000.ethernet eth0: Link is Down", Notice.LINK_DOWN, "eth0"),
        (
            "am65-cpsw-nuss 46000000.ethernet eth0: Link is Up - 1Gbps/Full - flow control off",
            Notice.LINK_UP,
            "eth0",
        ),
        ("e1000e 0000:00:19.0 eth1: NIC Link is Down", Notice.LINK_DOWN, "eth1"),
        ("igb 0000:01:00.0 eth1: igb: eth2 NIC Link is Up 1000 Mbps Full Duplex", Notice.LINK_UP, "eth2"),
        ("icssg-prueth lan1 end0.5: Link is Down", Notice.LINK_DOWN, "end0.5"),
        ("Link is Down", Notice.LINK_DOWN, ""),
        ("[ 99.9] reboot: Power down", Notice.HALTED, ""),
        ("reboot: System halted", Notice.HALTED, ""),
        ("reboot: Restarting system", None, ""),
        ("the Link is Upstairs", None, ""),
    ],
)
def test_a_kernel_speaks_of_its_links_and_its_end(line: str, notice: Notice | None, name: str) -> None:
    found = [(sign.stage, interface(sign.line)) for sign in BootReader().feed(line.encode() + b"\r\n")]
    assert found == ([(notice, name)] if notice else [])


def test_what_was_printed_before_on_the_same_line_is_left_out() -> None:
    evidence = Evidence()
    for up, words, notice in [
        (1, "evm login: [ 5.0] cpsw eth0: Link is Down", Notice.LINK_DOWN),
        (2, "Link is Down", Notice.LINK_DOWN),
        (3, "evm login: [ 9.0] reboot: Power down", Notice.HALTED),
    ]:
        evidence = evidence.add(Heard(up, words, notice))
    assert evidence.links == {"eth0": (1, False, "eth0: Link is Down"), "": (2, False, "Link is Down")}
    assert evidence.halted == (3, "reboot: Power down")


def test_a_console_full_of_links_is_kept_in_bounds() -> None:
    evidence = Evidence()
    for number in range(1000):
        evidence = evidence.add(Heard(number + 1, f"eth{number}: Link is Up", Notice.LINK_UP))
    assert len(evidence.links) == 8
    assert "eth999" in evidence.links


def test_what_is_worked_out_once_is_worked_out_anew_for_evidence_that_grew() -> None:
    evidence = Evidence(probes=("ping",))
    for item in ON:
        evidence = evidence.add(item)
    assert (evidence.powered_on, evidence.life, evidence.restarts) == (at(10), at(10), [])
    for item in [*boot(11), *boot(60)]:
        evidence = evidence.add(item)
    assert (evidence.restarted, evidence.restarts) == (at(64.3), [at(60)])
    assert evidence.life == at(64.3)
    grown = evidence.add(power(Power.OFF, 70)).add(power(Power.ON, 80, by_us=True))
    assert (grown.powered_on, grown.life, grown.restarts) == (at(80), at(80), [])
    assert evidence.powered_on == at(10), "evidence itself never changes"


def test_equal_evidence_is_equal_whatever_was_asked_of_it_before() -> None:
    one = Evidence().add(OFF[0]).add(Look(5, "ping", "yes"))
    assert one.life is None
    assert one == Evidence().add(Look(5, "ping", "yes")).add(OFF[0])
