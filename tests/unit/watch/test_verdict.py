"""Evidence into verdicts: the table, and what no order of arrival may change."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardherd_agent.watch.boot_patterns import Stage
from boardherd_agent.watch.evidence import ConsoleState, Evidence, Heard, Look, PowerSeen
from boardherd_agent.watch.verdict import Rules, console_answer, judge
from boardherd_shared.records import Blame, Power, Verdict

RULES = Rules(boot_time_s=90, misses=2, stale_s=180, settle_s=5)
Item = Look | PowerSeen | Heard | ConsoleState


def at(seconds: float) -> int:
    return round(seconds * 1e6)


def yes(probe: str, when: float) -> Look:
    return Look(at(when), probe, "yes", "it answers", stack_up=True)


def no(probe: str, when: float, *, stack_up: bool = False) -> Look:
    return Look(at(when), probe, "no", "refused: the IP stack is up" if stack_up else "no answer", stack_up)


def alive(when: float) -> list[Look]:
    return [yes("ping", when), yes("ssh", when)]


def silent(*moments: float) -> list[Look]:
    return [no(probe, when) for probe in ("ping", "ssh") for when in moments]


def nothing_looks(when: float) -> list[Look]:
    return [blind("ping", when), blind("ssh", when)]


def blind(probe: str, when: float) -> Look:
    return Look(at(when), probe, "unavailable", "not permitted")


def power(state: Power, when: float, *, by_us: bool = False) -> PowerSeen:
    return PowerSeen(at(when), state, by_us)


def sign(stage: Stage, when: float, words: str = "words") -> Heard:
    return Heard(at(when), words, stage)


ON = [power(Power.OFF, 1), power(Power.ON, 10, by_us=True)]
LONG_ON = [power(Power.ON, 1)]
OFF = [power(Power.ON, 1), power(Power.OFF, 100)]
OPEN = ConsoleState(1)
PANIC = "Kernel panic - not syncing: VFS: Unable to mount root fs"


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    title: str
    items: list[Item]
    now: float
    verdict: Verdict
    blame: Blame = Blame.NOBODY
    says: str = ""
    not_said: str = ""
    probes: tuple[str, ...] = ("ping", "ssh")
    switched: bool = True
    console: bool = True


V, B = Verdict, Blame
ALONE = ()
"""No probe but the console."""
TABLE = [
    Case("nothing seen yet", [], 1, V.UNKNOWN, says="still looking"),
    Case("nothing configured", LONG_ON, 9, V.UNKNOWN, says="no probe is configured", probes=ALONE, console=False),
    Case("both answer", [*LONG_ON, *alive(5)], 9, V.ALIVE, says="ping and ssh answer"),
    Case("no relay, both answer", [*alive(5)], 9, V.ALIVE, switched=False),
    Case("relay unknown, both answer", [*alive(5)], 9, V.ALIVE, says="relay state unknown"),
    Case("relay went unknown, both answer", [*LONG_ON, power(Power.UNKNOWN, 4), *alive(5)], 9,
         V.ALIVE, says="relay state unknown"),
    Case("one look is not enough for silence", [*LONG_ON, no("ping", 5), no("ssh", 5)], 9, V.UNKNOWN),
    Case("two misses each are silence", [*LONG_ON, *silent(5, 15)], 20,
         V.SILENT, B.BOARD, "ping and ssh unanswered, its relay is on"),
    Case("one lost packet changes nothing", [*LONG_ON, yes("ping", 5), no("ping", 15), yes("ssh", 5)], 20, V.ALIVE),
    Case("two lost looks do", [*LONG_ON, yes("ping", 5), no("ping", 15), no("ping", 25), yes("ssh", 5)], 30,
         V.DEGRADED, B.BOARD, "ssh answers, but ping: no answer"),
    Case("a look that was lost meanwhile", [*LONG_ON, *silent(15, 25)[:2], yes("ssh", 5), no("ssh", 25)], 30,
         V.DEGRADED, B.BOARD, "ssh answered before, but ping: no answer"),
    Case("about to fall silent", [*LONG_ON, *alive(5), *silent(15, 25)[:3]], 30, V.ALIVE, says="looking again"),
    Case("good news at once", [*LONG_ON, *(no("ping", t) for t in (1, 2, 3)), *alive(5)], 6, V.ALIVE),
    Case("ssh refused while ping answers", [*LONG_ON, yes("ping", 5), *(no("ssh", t, stack_up=True) for t in (5, 9))],
         10, V.DEGRADED, B.BOARD, "refused"),
    Case("ssh refused and nothing else to ask", [*LONG_ON, *(no("ssh", t, stack_up=True) for t in (5, 9))], 10,
         V.DEGRADED, B.BOARD, "IP stack is up", probes=("ssh",)),
    Case("relay unknown and silence", [*silent(5, 15)], 20, V.UNKNOWN, B.RELAY),
    Case("no relay and silence", [*silent(5, 15)], 20, V.SILENT, B.BOARD,
         "not switched from here", switched=False),
    Case("power off explains silence", [*OFF, *silent(101, 110)], 120,
         V.POWERED_OFF, says="relay is off"),
    Case("power off, before anything was looked at", OFF, 101, V.POWERED_OFF),
    Case("an answer right after switching off", [*OFF, yes("ping", 102)], 103, V.POWERED_OFF),
    Case("an answer long after switching off", [*OFF, yes("ping", 110)],
         111, V.DEGRADED, B.WIRING, "check the wiring"),
    Case("it fell silent after all", [*OFF, yes("ping", 106), no("ping", 120)], 121, V.POWERED_OFF),
    Case("a boot on the console while off", [*OFF, OPEN, sign(Stage.UBOOT, 110)], 111, V.DEGRADED, B.WIRING),
    Case("a refusal while off is the gateway's", [*OFF, no("ssh", 110, stack_up=True)], 111, V.POWERED_OFF),
    Case("just powered on", ON, 11, V.BOOTING, says="powered on, waiting for ping and ssh"),
    Case("answers from before the power-on do not count", [*ON, *alive(9)], 12, V.BOOTING),
    Case("booting, U-Boot seen", [*ON, OPEN, sign(Stage.UBOOT, 12)], 13, V.BOOTING, says="U-Boot seen"),
    Case("booting, ping is there", [*ON, yes("ping", 20), no("ssh", 20)], 21, V.BOOTING, says="waiting for ssh"),
    Case("booted", [*ON, yes("ping", 20), yes("ssh", 25)], 26, V.ALIVE),
    Case("misses while booting are no silence", [*ON, *silent(20, 30, 40)], 50,
         V.BOOTING),
    Case("boot time over, nothing", [*ON, *silent(98, 99)], 101, V.SILENT, B.BOARD),
    Case("boot time over, half there", [*ON, yes("ping", 99), no("ssh", 98), no("ssh", 99)],
         101, V.DEGRADED, B.BOARD),
    Case("died after a quick boot", [*ON, *alive(20), *silent(40, 50)],
         51, V.SILENT, B.BOARD),
    Case("stuck in U-Boot", [*ON, OPEN, sign(Stage.UBOOT_PROMPT, 15, "=>"), *silent(98, 99)],
         101, V.SILENT, B.BOARD, "stopped at U-Boot prompt"),
    Case("switched on by somebody else", [power(Power.OFF, 1), power(Power.ON, 10)], 12, V.BOOTING),
    Case("on since nobody knows when", LONG_ON, 2, V.UNKNOWN, says="still looking"),
    Case("module away for a while is no power-on", [*LONG_ON, power(Power.UNKNOWN, 5), power(Power.ON, 9)],
         10, V.UNKNOWN),
    Case("panic ends a boot at once", [*ON, OPEN, sign(Stage.PANIC, 20, f"[ 2.1] {PANIC}")],
         21, V.SILENT, B.BOARD, PANIC),
    Case("panic of a running board", [*LONG_ON, OPEN, *alive(5), sign(Stage.PANIC, 9, PANIC)], 10,
         V.SILENT, B.BOARD, PANIC),
    Case("panic, yet it answers later", [*LONG_ON, OPEN, sign(Stage.PANIC, 3, PANIC), *alive(5)], 10,
         V.DEGRADED, B.BOARD, "yet the console shows"),
    Case("panic of a life before", [*ON, OPEN, sign(Stage.PANIC, 5, PANIC), *alive(20)], 21, V.ALIVE),
    Case("restarted though its power stayed on", [*LONG_ON, OPEN, *alive(5), sign(Stage.UBOOT, 8)], 10, V.BOOTING,
         says="restarted without a power cycle, U-Boot seen"),
    Case("restarted, and one probe answers again", [*LONG_ON, OPEN, *alive(5), sign(Stage.UBOOT, 8), yes("ping", 20)],
         21, V.BOOTING, says="restarted without a power cycle, U-Boot seen on the console, waiting for ssh"),
    Case("restarted, the relay was away", [*LONG_ON, power(Power.UNKNOWN, 6), OPEN, *alive(5), sign(Stage.UBOOT, 8)],
         10, V.BOOTING, says="restarted, U-Boot seen"),
    Case("restarted, no relay", [OPEN, *alive(5), sign(Stage.UBOOT, 8)], 10, V.BOOTING,
         says="restarted, U-Boot seen", switched=False),
    Case("restarted in the middle of its boot", [*ON, OPEN, sign(Stage.KERNEL, 20), sign(Stage.SPL, 30)], 31,
         V.BOOTING, says="restarted without a power cycle, SPL seen"),
    Case("restarted after a panic", [*LONG_ON, OPEN, sign(Stage.PANIC, 5, PANIC), sign(Stage.SPL, 9)], 10,
         V.BOOTING, says="restarted without a power cycle, SPL seen"),
    Case("console alone: restarted", [*LONG_ON, OPEN, sign(Stage.LOGIN, 5), sign(Stage.UBOOT, 9)], 10,
         V.BOOTING, says="restarted without a power cycle, U-Boot seen", probes=ALONE),
    Case("boots when the agent begins to look", [*LONG_ON, OPEN, sign(Stage.SPL, 6), sign(Stage.UBOOT, 8)], 10,
         V.BOOTING, says="U-Boot seen", not_said="restarted"),
    Case("boots when the agent begins to look, silent so far", [*LONG_ON, OPEN, *silent(5, 6), sign(Stage.KERNEL, 8)],
         10, V.BOOTING, says="kernel seen", not_said="restarted"),
    Case("boots slowly, the kernel comes late", [*ON, OPEN, sign(Stage.UBOOT_PROMPT, 15), sign(Stage.KERNEL, 150)],
         151, V.BOOTING, says="kernel seen", not_said="restarted"),
    Case("answered before we cycled it", [power(Power.ON, 1), *alive(5), power(Power.OFF, 6), *ON[1:], OPEN,
         sign(Stage.UBOOT, 12)], 13, V.BOOTING, says="U-Boot seen", not_said="restarted"),
    Case("silence has last words", [*LONG_ON, OPEN, Heard(at(3), "rcu: stall on CPU"), *silent(5, 15)],
         20, V.SILENT, B.BOARD, 'last words "rcu: stall on CPU"'),
    Case("the console talks, the network does not", [*LONG_ON, OPEN, *silent(5, 15), Heard(at(17), "# ")],
         20, V.DEGRADED, B.NETWORK, "the console talks"),
    Case("ping not permitted, ssh answers", [*LONG_ON, blind("ping", 5), yes("ssh", 5)],
         9, V.ALIVE, says="ping unavailable"),
    Case("no probe can look", [*LONG_ON, *nothing_looks(5)], 9, V.UNKNOWN, B.AGENT, "not permitted"),
    Case("looks grew stale", [*LONG_ON, *alive(5)], 300, V.UNKNOWN, B.AGENT, "no recent look"),
    Case("console alone: login", [*LONG_ON, OPEN, sign(Stage.LOGIN, 5)],
         9, V.ALIVE, says="login prompt", probes=ALONE),
    Case("console alone: boots", [*ON, OPEN, sign(Stage.KERNEL, 15)],
         20, V.BOOTING, says="kernel seen", probes=ALONE),
    Case("console alone: got stuck", [*ON, OPEN, sign(Stage.KERNEL, 15)],
         200, V.DEGRADED, B.BOARD, "kernel", probes=ALONE),
    Case("console alone: mute since power-on", [*ON, OPEN], 101, V.SILENT, B.BOARD, probes=ALONE),
    Case("console alone: quiet", [*LONG_ON, OPEN], 9, V.UNKNOWN, says="quiet", probes=ALONE),
    Case("console alone: quiet, relay unknown", [OPEN], 9, V.UNKNOWN, B.RELAY, probes=ALONE),
    Case("console alone: bare metal talks", [*LONG_ON, OPEN, Heard(at(5), "tick 17")],
         9, V.ALIVE, says="talks", probes=ALONE),
    Case("console alone: panic", [*LONG_ON, OPEN, sign(Stage.PANIC, 5, PANIC)],
         9, V.SILENT, B.BOARD, PANIC, probes=ALONE),
    Case("console busy and nothing else", [*LONG_ON, ConsoleState(at(2), "busy")],
         9, V.UNKNOWN, B.AGENT, "busy", probes=ALONE),
    Case("console speaks up for blind probes", [*LONG_ON, OPEN, *nothing_looks(5), sign(Stage.SHELL, 6)], 9,
         V.ALIVE, says="shell prompt"),
]  # fmt: skip


def evidence_of(case: Case, items: list[Item]) -> Evidence:
    evidence = Evidence(probes=case.probes, switched=case.switched, console=case.console)
    for item in items:
        evidence = evidence.add(item)
    return evidence


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.title)
def test_the_table(case: Case) -> None:
    judgement = judge(evidence_of(case, case.items), at(case.now), RULES)
    assert (judgement.verdict, judgement.blame) == (case.verdict, case.blame), judgement.reason
    assert case.says in judgement.reason
    assert not case.not_said or case.not_said not in judgement.reason


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.title)
def test_the_order_of_arrival_changes_no_row(case: Case) -> None:
    expected = judge(evidence_of(case, case.items), at(case.now), RULES)
    for seed in range(10):
        items = [*case.items, *case.items]  # twice: redelivery changes nothing either
        random.Random(seed).shuffle(items)
        assert judge(evidence_of(case, items), at(case.now), RULES) == expected


MOMENTS = st.integers(0, 60).map(lambda second: at(second * 5))
LOOKS = st.builds(
    Look,
    up=MOMENTS,
    probe=st.sampled_from(["ping", "ssh"]),
    answer=st.sampled_from(["yes", "no", "unavailable"]),
    text=st.sampled_from(["a", "b"]),
    stack_up=st.booleans(),
)
READINGS = st.builds(PowerSeen, up=MOMENTS, power=st.sampled_from(Power), by_us=st.booleans())
HEARD = st.builds(
    Heard, up=MOMENTS, words=st.sampled_from(["x", "y"]), stage=st.none() | st.sampled_from(Stage)
)
STATES = st.builds(ConsoleState, up=MOMENTS, trouble=st.sampled_from(["", "busy"]))


@given(
    st.lists(LOOKS | READINGS | HEARD | STATES, max_size=25), st.randoms(), st.booleans(), st.integers(0, 400)
)
def test_any_order_of_arrival_gives_the_same_verdict(
    items: list[Item], chance: random.Random, switched: bool, now: int
) -> None:
    case = Case("", [], 0, V.UNKNOWN, switched=switched)
    one, reverse = evidence_of(case, items), evidence_of(case, items[::-1])
    chance.shuffle(items)
    shuffled = evidence_of(case, items)
    assert one == reverse == shuffled
    assert judge(one, at(now), RULES) == judge(shuffled, at(now), RULES)
    assert console_answer(one, V.ALIVE) == console_answer(shuffled, V.ALIVE)


@given(st.lists(LOOKS | READINGS | HEARD | STATES, max_size=25), st.integers(0, 400))
def test_power_that_is_off_explains_silence_and_an_answer_blames_the_wiring(
    items: list[Item], now: int
) -> None:
    off = [*items, power(Power.OFF, 400)]
    judgement = judge(evidence_of(Case("", [], 0, V.UNKNOWN), off), at(now), RULES)
    assert (judgement.verdict, judgement.blame) in {(V.POWERED_OFF, B.NOBODY), (V.DEGRADED, B.WIRING)}


@pytest.mark.parametrize(
    ("items", "answer", "says"),
    [
        ([ConsoleState(at(1), "busy: process 17 has locked ttyUSB0")], "unavailable", "process 17"),
        ([OPEN], "unavailable", "quiet"),
        ([*ON, OPEN], "no", "nothing since power-on"),
        ([*ON, OPEN, sign(Stage.UBOOT, 12, "U-Boot 2024.04")], "no", "U-Boot: U-Boot 2024.04"),
        ([*ON, OPEN, sign(Stage.UBOOT, 12), sign(Stage.LOGIN, 20, "evm login:")], "yes", "evm login:"),
        ([OPEN, Heard(at(5), "tick")], "yes", "tick"),
        ([*ON, OPEN, sign(Stage.PANIC, 12, PANIC)], "no", PANIC),
        ([*OFF, OPEN, sign(Stage.LOGIN, 20)], "no", "power is off"),
    ],
)
def test_what_the_console_says_for_itself(items: list[Item], answer: str, says: str) -> None:
    found, text = console_answer(evidence_of(Case("", [], 0, V.UNKNOWN), items), V.UNKNOWN)
    assert found == answer
    assert says in text


def test_a_prompt_is_no_sign_of_life_of_a_board_that_fell_silent() -> None:
    evidence = evidence_of(Case("", [], 0, V.UNKNOWN), [OPEN, sign(Stage.LOGIN, 5, "evm login:")])
    assert console_answer(evidence, V.ALIVE)[0] == "yes"
    assert console_answer(evidence, V.SILENT) == ("unavailable", "quiet, last line: evm login:")
