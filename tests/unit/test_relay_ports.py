"""The books of a device's ports: asked, measured, expected, and the words for what is odd."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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

    def read(self, *energised: int, reopened: bool = False, ours: int | None = None) -> None:
        outputs = {port: port in energised for port in range(1, 9)}
        self.measured(outputs, reopened=reopened, ours=ours)

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
    book.measured({1: book.energised(1, power)}, reopened=False, ours=None)
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
    book.read(reopened=True)
    assert book.seen(1) == (OFF, "module rebooted")
    assert book.seen(2) == (OFF, "")


@pytest.mark.parametrize(
    ("before", "after", "reopened"),
    [((1, 5), (), False), ((1, 5), (5,), True)],
    ids=["the connection held", "another output is still energised"],
)
def test_what_is_no_reboot(before: tuple[int, ...], after: tuple[int, ...], reopened: bool) -> None:
    book = Book()
    book.read(*before)
    book.read(*after, reopened=reopened)
    assert book.seen(1) == (OFF, "switched from outside")


def test_a_reboot_shows_through_our_own_switch() -> None:
    book = Book()
    book.read(2)
    book.asked(1, ON)
    book.read(1, reopened=True, ours=1)
    assert (book.seen(1), book.seen(2)) == ((ON, ""), (OFF, "module rebooted"))


def test_our_own_switch_over_a_lost_connection_is_no_reboot() -> None:
    book = Book()
    book.read(1)
    book.asked(1, OFF)
    book.read(reopened=True, ours=1)
    assert book.seen(1) == (OFF, "")


def test_a_silent_device_leaves_its_ports_unknown_and_never_off() -> None:
    book = Book()
    book.read(1)
    book.lost("10.0.5.21 does not answer")
    assert book.seen(1) == (UNKNOWN, "10.0.5.21 does not answer")
    book.read(1, reopened=True)
    assert book.seen(1) == (ON, "")


def test_the_reason_of_before_an_outage_comes_back_with_the_state() -> None:
    book = Book()
    book.read(1)
    book.read()
    book.lost("silence")
    book.read(reopened=True)
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
    book.switched(1, "ci\n", moved=False)
    book.switched(1, "ci\n", moved=True)
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
