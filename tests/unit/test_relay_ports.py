"""The books of a device's ports: asked, measured, expected, and the words for what is odd."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardherd_agent.devices.causes import Link
from boardherd_agent.devices.ports import PortBook, PortStatus, PortUse
from boardherd_shared.records import Power
from support.clock import FakeClock

ON, OFF, UNKNOWN = Power.ON, Power.OFF, Power.UNKNOWN


class TickingClock(FakeClock):
    """Every look at the wall clock is one second later."""

    def wall(self) -> int:
        self.advance(1)
        return super().wall()


class Book(PortBook):
    """A book that keeps what it told."""

    def __init__(self, uses: dict[int, PortUse] | None = None) -> None:
        self.told: list[PortStatus] = []
        uses = uses or {1: PortUse("evm-01"), 2: PortUse("evm-02")}
        super().__init__("eth-1", uses, TickingClock(), self.told.append)

    def read(self, *energised: int, link: Link = Link.HELD, ours: int | None = None) -> list[int]:
        outputs = {port: port in energised for port in range(1, 9)}
        if ours is None:
            return self.measured(outputs, link)
        with self.driving(ours):
            return self.measured(outputs, link)

    def seen(self, port: int) -> tuple[Power, str]:
        status = self.status(port)
        return status.observed, status.reason


def test_a_port_is_unknown_until_it_has_been_read() -> None:
    book = Book()
    assert book.seen(1) == (UNKNOWN, "not read yet")
    book.read(1)
    assert (book.seen(1), book.seen(2)) == ((ON, ""), (OFF, ""))
    assert [status.port for status in book.told] == [1, 2]


def test_the_normally_closed_contact_turns_everything_around() -> None:
    book = Book({1: PortUse("evm-01", polarity="NC")})
    book.read(1)
    assert book.seen(1) == (OFF, "")
    assert book.energised(1, OFF)
    assert not book.energised(1, ON)


@given(st.sampled_from(["NO", "NC"]), st.sampled_from([ON, OFF]))
def test_what_is_set_is_what_is_read(polarity: str, power: Power) -> None:
    book = Book({1: PortUse("evm-01", polarity=polarity)})  # type: ignore[arg-type]
    book.measured({1: book.energised(1, power)}, Link.HELD)
    assert book.seen(1) == (power, "")


def test_a_port_cannot_be_set_to_unknown() -> None:
    with pytest.raises(ValueError, match="on or off"):
        Book().energised(1, UNKNOWN)


def test_a_change_that_nobody_asked_for_is_named_until_it_is_undone() -> None:
    book = Book()
    book.read(1)
    book.asked(1, ON)
    book.read()
    assert book.seen(1) == (OFF, "switched from outside")
    book.read()
    assert book.seen(1) == (OFF, "switched from outside")
    book.read(1)
    assert book.seen(1) == (ON, "")


def test_a_change_that_was_asked_for_needs_no_word() -> None:
    book = Book()
    book.read()
    book.asked(1, ON)
    book.read(1, ours=1)
    assert book.seen(1) == (ON, "")


def test_a_reboot_is_told_from_outside_switching() -> None:
    book = Book()
    book.read(1, 5)
    book.lost("no route to host")
    book.read(link=Link.BROKEN)
    assert book.seen(1) == (OFF, "module rebooted")
    assert book.seen(2) == (OFF, "")


@pytest.mark.parametrize(
    ("before", "after", "link"),
    [((1, 5), (), Link.HELD), ((1, 5), (5,), Link.BROKEN)],
    ids=["the connection held", "another output is still energised"],
)
def test_what_is_no_reboot(before: tuple[int, ...], after: tuple[int, ...], link: Link) -> None:
    book = Book()
    book.read(*before)
    book.read(*after, link=link)
    assert book.seen(1) == (OFF, "switched from outside")


def test_a_reboot_shows_through_our_own_switch() -> None:
    book = Book()
    book.read(2)
    book.asked(1, ON)
    book.read(1, link=Link.BROKEN, ours=1)
    assert (book.seen(1), book.seen(2)) == ((ON, ""), (OFF, "module rebooted"))


def test_our_own_switch_over_a_lost_connection_is_no_reboot() -> None:
    book = Book()
    book.read(1)
    book.asked(1, OFF)
    book.read(link=Link.BROKEN, ours=1)
    assert book.seen(1) == (OFF, "")


def test_a_silent_device_leaves_its_ports_unknown_and_never_off() -> None:
    book = Book()
    book.read(1)
    book.lost("10.0.5.21 does not answer")
    assert book.seen(1) == (UNKNOWN, "10.0.5.21 does not answer")
    book.read(1, link=Link.OUTAGE)
    assert book.seen(1) == (ON, "")


def test_the_reason_of_before_an_outage_comes_back_with_the_state() -> None:
    book = Book()
    book.read(1)
    book.read()
    book.lost("silence")
    book.read(link=Link.BROKEN)
    assert book.seen(1) == (OFF, "switched from outside")


def test_a_port_that_the_module_does_not_have_is_unknown() -> None:
    book = Book({9: PortUse("evm-09")})
    book.read(1)
    assert book.seen(9) == (UNKNOWN, "the module has no such port")


def test_changes_are_told_once_and_times_begin_with_them() -> None:
    book = Book()
    book.read(1)
    book.told.clear()
    since = book.status(1).since
    book.read(1)
    assert not book.told
    assert book.status(1).since == since
    book.read()
    assert [status.port for status in book.told] == [1]
    assert book.status(1).since > since


def test_switches_are_counted_where_they_changed_something() -> None:
    use = PortUse("evm-01", asked=ON, switch_count=41, switched_at=7, switched_by="ops1")
    book = Book({1: use})
    status = book.status(1)
    assert (status.asked, status.switch_count, status.switched_at, status.switched_by) == (ON, 41, 7, "ops1")
    book.acknowledged(1, "ci\n", moved=False)
    book.acknowledged(1, "ci\n", moved=True)
    assert (book.status(1).switch_count, book.status(1).switched_by) == (42, "ci")


def test_a_status_becomes_a_record_whatever_the_device_said() -> None:
    book = Book()
    book.module = "ETH008 hardware 2 firmware 28"
    book.lost("nonsense \x00\x1b" + "x" * 1000)
    record = book.status(1).record(TickingClock(), change=False)
    assert (record.relay, record.port, record.board) == ("eth-1", 1, "evm-01")
    assert (record.observed, record.change) == (UNKNOWN, False)
    assert record.module == "ETH008 hardware 2 firmware 28"
    assert record.reason.startswith("nonsense x")


def test_a_port_in_nobodys_use_is_unknown_too() -> None:
    book = Book()
    assert 3 not in book
    assert book.seen(3) == (UNKNOWN, "no board here uses it")
    assert book.status(3).record(TickingClock(), change=True).board is None


def test_drift_has_a_beginning_that_outlasts_an_outage() -> None:
    book = Book({1: PortUse("evm-01", expected="on")})
    book.read(1)
    assert book.status(1).drift_since is None
    book.read()
    since = book.status(1).drift_since
    assert since is not None
    book.lost("no route to host")
    assert book.status(1).drift_since is None, "what is unknown is not known to drift"
    book.read(link=Link.OUTAGE)
    assert book.status(1).drift_since == since
    book.read(1)
    assert book.status(1).drift_since is None
    assert book.status(1).record(TickingClock(), change=True).drift_since is None


def test_what_was_asked_counts_before_what_is_normal() -> None:
    book = Book({1: PortUse("evm-01", expected="on")})
    book.asked(1, OFF)
    book.read()
    assert book.status(1).drift_since is None
    book.read(1)
    assert book.status(1).drift_since is not None


def test_our_own_switch_is_no_drift_until_it_has_failed() -> None:
    book = Book()
    book.read()
    book.told.clear()
    with book.driving(1):
        book.asked(1, ON)
        book.measured(dict.fromkeys(range(1, 9), False), Link.HELD)
        assert book.status(1).drift_since is None
        book.remark(1, "asked on, but the module still says off")
    assert book.status(1).drift_since is not None
    assert [status.drift_since is None for status in book.told] == [True, True, False]


def test_only_what_an_outage_led_astray_is_to_be_brought_back() -> None:
    book = Book({1: PortUse("evm-01", asked=ON), 2: PortUse("evm-02"), 3: PortUse("evm-03", asked=ON)})
    assert book.read(1, 2) == [], "port 3 was off before anybody looked"
    assert book.read(link=Link.OUTAGE) == [1], "nothing was ever asked of port 2"
    assert book.read(link=Link.OUTAGE) == [], "once"


def test_a_reboot_ends_a_pulse() -> None:
    book = Book({1: PortUse("evm-01"), 2: PortUse("evm-02")})
    book.read(1, 2)
    with book.driving(1):
        book.pulsing(1, OFF, 20)
        book.acknowledged(1, "ops1", moved=True)
        book.measured({1: False, 2: True}, Link.HELD)
    assert book.seen(1) == (OFF, "off for a while by the module's own clock")
    assert book.read(link=Link.BROKEN) == [1]
    assert book.seen(1) == (OFF, "module rebooted")


def test_a_pulse_survives_a_connection_that_breaks() -> None:
    clock = FakeClock()
    book = PortBook("eth-1", {1: PortUse("evm-01"), 2: PortUse("evm-02")}, clock, lambda _: None)
    book.measured({1: True, 2: True}, Link.HELD)
    with book.driving(1):
        book.pulsing(1, OFF, 20)
        book.measured({1: False, 2: True}, Link.HELD)
    book.lost("no route to host")
    assert book.measured({1: False, 2: True}, Link.OUTAGE) == []
    assert book.status(1).drift_since is None
    clock.advance(22)
    assert book.measured({1: False, 2: True}, Link.HELD) == [1], "the module may have forgotten it"
    assert book.status(1).reason == "changed while the module did not answer"


def test_a_line_says_whose_it_is() -> None:
    book = Book({1: PortUse("evm-01", expected="off", line="reset")})
    book.read()
    record = book.status(1).record(TickingClock(), change=True)
    assert (record.board, record.line, record.expected) == ("evm-01", "reset", "off")
