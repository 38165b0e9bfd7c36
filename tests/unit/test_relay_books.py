"""The books of ports under everything that can happen, in any order, against a model that keeps them its own way."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from boardherd_agent.devices.causes import Link
from boardherd_agent.devices.ports import PortBook, PortStatus, PortUse
from boardherd_shared.records import Power
from support.clock import FakeClock

ON, OFF, UNKNOWN = Power.ON, Power.OFF, Power.UNKNOWN
USES = {
    1: PortUse("evm-01", expected="on"),
    2: PortUse("evm-02", polarity="NC"),
    3: PortUse("evm-01", expected="off", line="reset"),
}
PORTS = st.sampled_from(sorted(USES))
POWERS = st.sampled_from([ON, OFF])
BLINK_S = 0.3


@dataclass
class Contact:
    """The truth about one port: the device's contact, and what was asked of it."""

    power: Power
    asked: Power = UNKNOWN
    moves: int = 0
    """By our doing."""
    pulse_ends: float | None = None
    quiet_until: float = 0.0
    """Until then an unfinished pulse explains what differs."""
    unseen: bool = False
    """Whether the end of a pulse has not been read yet."""
    doubtful: bool = False
    """Whether an outage or somebody else had a hand in it, so that the count may differ."""

    def put(self, power: Power) -> None:
        self.moves += self.power is not power
        self.power = power


@dataclass
class Device:
    """The device: three contacts and a clock that ends pulses."""

    contacts: dict[int, Contact] = field(default_factory=dict)

    def tick(self, now: float) -> None:
        for contact in self.contacts.values():
            if contact.pulse_ends is not None and now >= contact.pulse_ends:
                contact.pulse_ends = None
                contact.put(contact.asked)
                contact.unseen = True


class Books(RuleBasedStateMachine):
    """Does to a device and to its books what the world and the worker do."""

    @initialize(energised=st.sets(st.integers(1, 3)))
    def begin(self, energised: set[int]) -> None:
        self.clock = FakeClock()
        self.told: dict[int, PortStatus] = {}
        self.book = PortBook(
            "eth-1", USES, self.clock, lambda status: self.told.update({status.port: status})
        )
        self.device = Device({port: Contact(self.meaning(port, port in energised)) for port in USES})
        self.link = Link.FRESH
        self.fresh = False

    def meaning(self, port: int, energised: bool) -> Power:
        return ON if energised == (USES[port].polarity == "NO") else OFF

    @property
    def now(self) -> float:
        return self.clock.up() / 1e6

    def read(self) -> None:
        outputs = {port: self.book.energised(port, it.power) for port, it in self.device.contacts.items()}
        strayed = self.book.measured(outputs, self.link)
        assert not strayed or self.link is not Link.HELD or not self.fresh
        for port in strayed:
            assert self.device.contacts[port].power is not self.device.contacts[port].asked is not UNKNOWN
        self.link, self.fresh = Link.HELD, True
        for contact in self.device.contacts.values():
            contact.unseen = False

    @rule()
    def poll(self) -> None:
        self.read()

    @rule(port=PORTS, power=POWERS, by=st.sampled_from(["ops1", "ci"]), works=st.booleans())
    def switch(self, port: int, power: Power, by: str, works: bool) -> None:
        self.read()
        contact = self.device.contacts[port]
        with self.book.driving(port):
            self.book.asked(port, power)
            contact.asked, contact.pulse_ends, contact.quiet_until = power, None, 0.0
            if not works:
                self.book.refused(port, "it said no")
                return
            self.book.acknowledged(port, by, moved=contact.power is not power)
            contact.put(power)
            self.read()
        assert self.book.status(port).observed is power
        assert self.book.status(port).switched_by == by

    @rule(port=PORTS, power=POWERS, seconds=st.sampled_from([BLINK_S, 5.0]))
    def pulse(self, port: int, power: Power, seconds: float) -> None:
        self.read()
        contact = self.device.contacts[port]
        with self.book.driving(port):
            self.book.pulsing(port, power, seconds)
            self.book.acknowledged(port, "ops1", moved=contact.power is not power)
            contact.put(power)
            contact.asked = OFF if power is ON else ON
            contact.pulse_ends = self.now + seconds
            contact.quiet_until = contact.pulse_ends + 1.0
            self.read()

    @rule(port=PORTS)
    def interrupt(self, port: int) -> None:
        self.book.interrupted(port)
        self.link, self.fresh = max(self.link, Link.FRESH), False

    @rule(seconds=st.sampled_from([0.1, BLINK_S, 4.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.device.tick(self.now)
        self.fresh = False

    @rule(port=PORTS, power=POWERS)
    def meddle(self, port: int, power: Power) -> None:
        contact = self.device.contacts[port]
        contact.doubtful |= contact.power is not power or contact.pulse_ends is not None or contact.unseen
        contact.power, contact.pulse_ends = power, None
        self.fresh = False

    @rule()
    def lose(self) -> None:
        self.book.lost("no route to host")
        self.link, self.fresh = Link.OUTAGE, False

    @rule()
    def reboot(self) -> None:
        for port, contact in self.device.contacts.items():
            contact.doubtful |= contact.pulse_ends is not None or contact.unseen
            contact.power, contact.pulse_ends = self.meaning(port, False), None
        self.link, self.fresh = max(self.link, Link.BROKEN), False

    @rule(port=PORTS)
    @precondition(lambda self: self.fresh)
    def accept(self, port: int) -> None:
        if self.book.status(port).observed is UNKNOWN:
            return
        contact = self.device.contacts[port]
        contact.doubtful |= contact.pulse_ends is not None
        contact.asked = contact.power
        contact.pulse_ends = None
        self.book.accepted(port, "ops1")
        status = self.book.status(port)
        assert (status.asked, status.drift_since, status.reason) == (contact.power, None, "")

    @invariant()
    def what_was_read_is_what_is_there(self) -> None:
        for port, contact in self.device.contacts.items():
            observed = self.book.status(port).observed
            assert observed is UNKNOWN or not self.fresh or observed is contact.power

    @invariant()
    def asked_is_what_was_asked(self) -> None:
        for port, contact in self.device.contacts.items():
            assert self.book.status(port).asked is contact.asked

    @invariant()
    def drift_is_what_differs_and_has_a_beginning(self) -> None:
        for port, contact in self.device.contacts.items():
            status = self.book.status(port)
            if status.drift_since is not None:
                assert status.drifts
                assert status.drift_since <= self.clock.wall()
            elif status.drifts and self.now >= contact.quiet_until and self.fresh:
                raise AssertionError(f"{status} drifts and does not say so")

    @invariant()
    def a_port_that_drifts_says_why_when_we_saw_it_happen(self) -> None:
        for port in USES:
            status = self.book.status(port)
            if status.observed == status.wanted:
                assert (
                    status.reason in {"", "it said no", "interrupted while switching"}
                    or "own clock" in status.reason
                )

    @invariant()
    def every_move_of_ours_is_counted(self) -> None:
        for port, contact in self.device.contacts.items():
            if not contact.doubtful and self.fresh:
                assert self.book.status(port).switch_count == contact.moves

    @invariant()
    def what_was_told_last_is_what_holds(self) -> None:
        for port, told in self.told.items():
            now = self.book.status(port)
            assert (told.observed, told.asked, told.reason, told.drift_since) == (
                now.observed,
                now.asked,
                now.reason,
                now.drift_since,
            )


Books.TestCase.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
TestBooks = Books.TestCase
