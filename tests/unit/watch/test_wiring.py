"""What a cut of power shows of the wiring: situations as a table, and what must hold in all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardherd_agent.watch.witnessing.wiring import Account, Cut, Round, Rules, judge

OFF, ON = 100.0, 105.0
"""When power went off and came on again in these situations, seconds."""

RULES = Rules(hold_up_s=5.0, boot_time_s=60.0)
SHORT = Rules(hold_up_s=2.0, boot_time_s=60.0)


def us(seconds: float) -> int:
    return round(seconds * 1e6)


def cut(off: float | None = OFF, on: float | None = ON) -> Cut:
    return Cut("pc-01", "evm-07", "eth-1:3", None if off is None else us(off), None if on is None else us(on))


def look(at: float, answered: bool | None, took: float = 0.01) -> Round:
    """Return a look that began so many seconds after the cut."""
    return Round(us(OFF + at), us(OFF + at + took), answered)


def board(
    name: str, *looks: Round, alive: bool = True, boots: tuple[float, ...] = (), excused: bool = False
) -> Account:
    """Return what was seen of a board; ``boots`` count from the cut."""
    return Account(name, alive, frozenset(looks), frozenset(us(OFF + at) for at in boots), excused)


SILENT = (look(3, False, 0.9), look(4, False, 0.9))
KEPT = (look(3, True), look(4, True), look(5, True))
B, C = board("evm-08", *SILENT), board("evm-09", *KEPT)

SITUATIONS = [
    ("it falls silent in its off time", cut(), RULES, board("evm-07", *SILENT), [], "proved", (),
     "evm-07 fell silent within 3.0 s of the cut of eth-1:3"),
    ("it lives on its supply for a while, then falls silent", cut(), RULES,
     board("evm-07", look(2, True), *SILENT), [], "proved", (), "fell silent within 3.0 s"),
    ("it stays off for good", cut(on=None), RULES,
     board("evm-07", look(5, False, 0.9), look(6, False, 0.9)), [], "proved", (), "within 5.0 s"),
    ("its console begins a boot when power is back", cut(), RULES,
     board("evm-07", alive=False, boots=(5.4,)), [], "proved", (), "began to boot 0.4 s after eth-1:3 came on"),
    ("it was off and its console begins a boot when it is switched on", cut(off=None), RULES,
     board("evm-07", alive=False, boots=(5.4,)), [], "proved", (), "began to boot 0.4 s"),
    ("its console begins a boot before the read-back is there", cut(), RULES,
     board("evm-07", alive=False, boots=(4.7,)), [], "proved", (), "began to boot 0.0 s"),
    ("the console shows a boot long after its boot time", cut(), RULES,
     board("evm-07", alive=False, boots=(80.0,)), [], "nothing", (), "its console has shown no boot"),
    ("the console showed a boot before the cut", cut(), RULES,
     board("evm-07", alive=False, boots=(-3.0,)), [], "nothing", (), "its console has shown no boot"),
    ("it was silent before, and there is no console", cut(), RULES,
     board("evm-07", *SILENT, alive=False), [B], "nothing", (), "was not answering before"),
    ("one look alone missed it", cut(), RULES, board("evm-07", look(3, True), look(4, False, 0.9)), [],
     "nothing", (), "too few looks"),
    ("no probe can look any more", cut(), RULES, board("evm-07", look(3, None), look(4, None)), [],
     "nothing", (), "too few looks"),
    ("it answers, another falls silent instead", cut(), RULES, board("evm-07", *KEPT), [B, C],
     "mixed_up", ("evm-08",), "evm-07 still answered 5.0 s after eth-1:3 went off, and evm-08 fell silent instead"),
    ("it answers, the other has only a console, which begins a boot", cut(), RULES, board("evm-07", *KEPT),
     [board("evm-08", alive=False, boots=(5.5,)), C], "mixed_up", ("evm-08",), "evm-08 fell silent instead"),
    ("it answers, another rebooted by itself long after", cut(), RULES, board("evm-07", *KEPT),
     [board("evm-08", alive=False, boots=(17.0,)), C], "not_cut", (), "no other board of pc-01 fell silent"),
    ("it answers, two others fall silent", cut(), RULES, board("evm-07", *KEPT),
     [B, board("evm-11", *SILENT), C], "mixed_up", ("evm-08", "evm-11"), "evm-08 and evm-11 fell silent instead"),
    ("it answers, the one that fell silent was switched itself", cut(), RULES, board("evm-07", *KEPT),
     [replace(B, excused=True), C], "not_cut", (), "no other board of pc-01 fell silent"),
    ("it answers, the one that is silent was silent before", cut(), RULES, board("evm-07", *KEPT),
     [replace(B, alive=False), C], "not_cut", (), "no other board of pc-01 fell silent"),
    ("it answers, another missed one packet", cut(), RULES, board("evm-07", *KEPT),
     [board("evm-08", look(3, False, 0.9), look(4, True))], "not_cut", (), "no other board of pc-01"),
    ("it answers and nobody else is there", cut(), RULES, board("evm-07", *KEPT), [], "not_cut", (),
     "evm-07 still answered 5.0 s after eth-1:3 went off, and no other board of pc-01 fell silent"),
    ("it goes on answering while it is off for good", cut(on=None), RULES,
     board("evm-07", look(5, True), look(6, True), look(7, True)), [C], "not_cut", (), "still answered 7.0 s"),
    ("it answers within what its supply may hold", cut(off=OFF, on=OFF + 2), RULES,
     board("evm-07", look(1, True), look(1.5, True), look(2, True)), [B], "nothing", (),
     "was off for 2.0 s only: supplies may hold up for 5 s"),
    ("the same, where supplies are known to be weak", cut(off=OFF, on=OFF + 2), SHORT,
     board("evm-07", look(1, True), look(1.5, True), look(2, True)), [C], "not_cut", (), "still answered 2.0 s"),
    ("the answer came so late that the board may have booted", cut(), SHORT,
     board("evm-07", look(3, False, 0.9), look(4.9, True, 3.0)), [B], "nothing", (), "evm-07 still answered"),
    ("it answers, yet its own console begins a boot", cut(), RULES, board("evm-07", *KEPT, boots=(5.4,)), [B],
     "nothing", (), "yet its console began a boot: check board_ip and serial_port"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("power", "rules", "named", "others", "kind", "fallen", "words"),
    [situation[1:] for situation in SITUATIONS],
    ids=[situation[0] for situation in SITUATIONS],
)
def test_what_a_cut_shows(
    power: Cut, rules: Rules, named: Account, others: list[Account], kind: str, fallen: tuple[str, ...], words: str
) -> None:  # fmt: skip
    finding = judge(power, named, others, rules)
    assert (finding.kind, finding.others) == (kind, fallen), finding.text
    assert words in finding.text


rounds = st.builds(
    look, st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 5.4, 9.0]), st.sampled_from([True, False, None])
)
accounts = st.builds(
    Account,
    st.sampled_from(["evm-08", "evm-09", "evm-10", "evm-11"]),
    st.booleans(),
    st.frozensets(rounds, max_size=5),
    st.frozensets(st.sampled_from([us(OFF + at) for at in (-2, 1, 5.2, 6, 30)]), max_size=2),
    st.booleans(),
)
cuts = st.sampled_from([cut(), cut(on=None), cut(off=None), cut(on=OFF + 2)])
everybody = st.lists(accounts, max_size=6, unique_by=lambda account: account.board)


@given(cuts, accounts, everybody, st.randoms())
def test_the_order_in_which_boards_are_named_changes_nothing(
    power: Cut, seen: Account, others: list[Account], random: object
) -> None:
    named = replace(seen, board="evm-07")
    shuffled = [*others, *others]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert judge(power, named, others, RULES) == judge(power, named, shuffled, RULES)


@given(cuts, accounts, everybody)
def test_a_board_that_was_off_or_switched_itself_is_never_suspect(
    power: Cut, seen: Account, others: list[Account]
) -> None:
    named = replace(seen, board="evm-07")
    finding = judge(power, named, others, RULES)
    assert not {account.board for account in others if account.excused} & set(finding.others)
    assert finding == judge(power, named, [it for it in others if not it.excused], RULES)


@given(cuts, accounts, everybody)
def test_others_say_nothing_unless_the_board_went_on_answering(
    power: Cut, seen: Account, others: list[Account]
) -> None:
    """A board that crashes, or that its own test reboots, while another is cycled, raises no suspicion."""
    quiet = replace(
        seen, board="evm-07", rounds=frozenset(it for it in seen.rounds if it.answered is not True)
    )
    assert judge(power, quiet, others, RULES) == judge(power, quiet, [], RULES)
