"""Situations of a lab, each with the evidence that it leaves and the verdict that a lab engineer would give.

The stories are told in seconds. Unless a situation says otherwise, the board has a switched supply, a console that is
watched, the probes ping and ssh, and 90 seconds to boot; two looks in a row must be missed before a probe counts as
unanswered, and a board may answer for 5 seconds after its power went off.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from boardherd_agent.watch.booting.boot_patterns import Notice, Stage
from boardherd_agent.watch.judging.evidence import (
    ConsoleState,
    Evidence,
    Heard,
    Item,
    Look,
    NetworkSeen,
    PowerSeen,
    RelaySeen,
    Stalled,
    WiringSeen,
)
from boardherd_agent.watch.judging.surroundings import TOGETHER
from boardherd_agent.watch.judging.verdict import Judgement, Rules, judge
from boardherd_shared.records import Blame, Power, Verdict

RULES = Rules(boot_time_s=90, misses=2, stale_s=180, settle_s=5)


@dataclass(frozen=True)
class Situation:
    """One row of the table."""

    name: str
    story: list[Item]
    now: float
    verdict: Verdict
    blame: Blame = Blame.NOBODY
    says: str = ""
    """What the reason must say."""
    not_said: str = ""
    """What it must not say."""
    probes: tuple[str, ...] = ("ping", "ssh")
    switched: bool = True
    console: bool = True


def at(seconds: float) -> int:
    """Return seconds as microseconds since the PC's boot."""
    return round(seconds * 1e6)


def yes(probe: str, *moments: float) -> list[Item]:
    return [Look(at(when), probe, "yes", "it answers", stack_up=True) for when in moments]


def no(probe: str, *moments: float) -> list[Item]:
    return [Look(at(when), probe, "no", "no answer") for when in moments]


def refused(probe: str, *moments: float) -> list[Item]:
    return [Look(at(when), probe, "no", "refused: the IP stack is up", stack_up=True) for when in moments]


def cannot(probe: str, when: float, why: str = "ICMP is not permitted") -> list[Item]:
    return [Look(at(when), probe, "unavailable", why)]


def in_loader(*moments: float) -> list[Item]:
    words = "in DFU mode (TI ROM, AM62x)"
    return [Look(at(when), "usb-1-1.4", "no", words, loader=words) for when in moments]


def alive(*moments: float) -> list[Item]:
    return [*yes("ping", *moments), *yes("ssh", *moments)]


def silent(*moments: float) -> list[Item]:
    return [*no("ping", *moments), *no("ssh", *moments)]


def power(state: Power, when: float, *, by_us: bool = False) -> PowerSeen:
    return PowerSeen(at(when), state, by_us)


def sign(stage: Stage, when: float, words: str = "words") -> Heard:
    return Heard(at(when), words, stage)


def says(words: str, *moments: float) -> list[Item]:
    return [Heard(at(when), words) for when in moments]


def link(*, up: bool, when: float, name: str = "eth0") -> Heard:
    words = f"am65-cpsw-nuss 46000000.ethernet {name}: Link is {'Up' if up else 'Down'}"
    return Heard(at(when), words, Notice.LINK_UP if up else Notice.LINK_DOWN)


def relay(text: str, when: float, *, at_fault: bool = False, partly: bool = False) -> RelaySeen:
    return RelaySeen(at(when), text, at_fault, partly)


def boot(when: float, *, upto: Stage = Stage.SHELL) -> list[Item]:
    """Return the signs of a boot on a TI K3, whose SPL shows twice, as far as ``upto``."""
    steps = [(0.0, Stage.SPL), (0.8, Stage.SPL), (1.5, Stage.UBOOT), (4.0, Stage.KERNEL), (4.3, Stage.KERNEL)]
    steps += [(14.0, Stage.LOGIN)]
    order = list(Stage)
    return [
        sign(stage, when + after, f"{stage} words")
        for after, stage in steps
        if order.index(stage) <= order.index(upto)
    ]


ON: list[Item] = [power(Power.OFF, 1), power(Power.ON, 10, by_us=True)]
LONG_ON: list[Item] = [power(Power.ON, 1)]
OFF: list[Item] = [power(Power.ON, 1), power(Power.OFF, 100)]
GONE: list[Item] = [power(Power.ON, 1), power(Power.UNKNOWN, 4), relay("eth-1: no answer from 10.0.5.21", 4)]
OPEN = ConsoleState(at(1))
PULLED = ConsoleState(at(2), "/dev/serial/by-id/usb-FTDI is not there; is the adapter plugged in?")
LOCKED = ConsoleState(at(2), "left to ops1, who has locked the board")
PROVED = WiringSeen(at(1), "proved", "it fell silent and booted with eth-1:3")
SUSPECT = WiringSeen(at(1), "suspect", "evm-08 fell silent when evm-07 was cut")
TROUBLE = NetworkSeen(at(12), TOGETHER)
NO_CARRIER = NetworkSeen(at(12), "eth1 of this PC has no carrier: look at its cable")
FROZEN = Stalled(at(200), began=at(15))
PANIC = "Kernel panic - not syncing: VFS: Unable to mount root fs"
REBOOTED = relay("eth-1 rebooted 02:31:07, eth-1:3 should be ON", 100, at_fault=True)

V, B = Verdict, Blame
ALONE = ()
"""No probe but the console."""
USB = ("ping", "usb-1-1.4")
S = Situation

SETTLED = [
    S("the agent has just started", [], 1, V.UNKNOWN, says="still looking"),
    S("lab.toml names no probe and no console", LONG_ON, 9, V.UNKNOWN, says="no probe is configured", probes=ALONE,
      console=False),
    S("everything answers", [*LONG_ON, *alive(5)], 9, V.ALIVE, says="ping and ssh answer"),
    S("no relay powers it, and it answers", alive(5), 9, V.ALIVE, switched=False, not_said="relay"),
    S("it answers, its relay was never read", alive(5), 9, V.ALIVE, says="relay state unknown"),
    S("one look went unanswered so far", [*LONG_ON, *silent(5)], 9, V.UNKNOWN, not_said="unanswered"),
    S("two looks in a row went unanswered: it hangs", [*LONG_ON, *silent(5, 15)], 20, V.SILENT, B.BOARD,
      "ping and ssh unanswered, its relay is on"),
    S("one lost packet", [*LONG_ON, *yes("ping", 5), *no("ping", 15), *yes("ssh", 5)], 20, V.ALIVE),
    S("ping lost twice, ssh answers", [*LONG_ON, *yes("ping", 5), *no("ping", 15, 25), *yes("ssh", 5)], 30,
      V.DEGRADED, B.BOARD, "ssh answers, but ping: no answer"),
    S("ping is gone, ssh was missed once meanwhile", [*LONG_ON, *no("ping", 15, 25), *yes("ssh", 5), *no("ssh", 25)],
      30, V.DEGRADED, B.BOARD, "ssh answered before, but ping: no answer"),
    S("it may just have died: one probe is sure, the other not yet",
      [*LONG_ON, *alive(5), *no("ping", 15, 25), *no("ssh", 15)], 30, V.ALIVE, says="looking again"),
    S("it was silent and answers again", [*LONG_ON, *no("ping", 1, 2, 3), *alive(5)], 6, V.ALIVE),
    S("it was silent for a day and answers again", [*LONG_ON, *silent(*range(10, 80, 10)), *alive(81)], 82, V.ALIVE),
    S("its ssh server is down", [*LONG_ON, *yes("ping", 5), *refused("ssh", 5, 9)], 10, V.DEGRADED, B.BOARD, "refused"),
    S("its ssh server is down, and nothing else is asked", [*LONG_ON, *refused("ssh", 5, 9)], 10, V.DEGRADED, B.BOARD,
      "IP stack is up", probes=("ssh",)),
    S("it hangs, and no relay powers it", silent(5, 15), 20, V.SILENT, B.BOARD, "not switched from here",
      switched=False),
    S("it hung with last words", [*LONG_ON, OPEN, *says("rcu: stall on CPU", 3), *silent(5, 15)], 20,
      V.SILENT, B.BOARD, 'last words "rcu: stall on CPU"'),
    S("every look is too old to tell", [*LONG_ON, *alive(5)], 300, V.UNKNOWN, B.AGENT, "no recent look", console=False),
    S("ping still looks, ssh has not for minutes", [*LONG_ON, *alive(5), *yes("ping", 295)], 300, V.UNKNOWN, B.AGENT,
      "ssh: no recent look"),
    S("ping comes and goes", [*LONG_ON, *yes("ping", 1, 3, 5, 7), *no("ping", 2, 4, 6), *yes("ssh", 7)], 8,
      V.DEGRADED, B.NETWORK, "ping comes and goes"),
    S("its ssh server comes and goes, ping is steady",
      [*LONG_ON, *yes("ssh", 1, 3, 5, 7), *no("ssh", 2, 4, 6), *yes("ping", 7)], 8, V.DEGRADED, B.BOARD,
      "ssh comes and goes"),
    S("it came and went, and has answered for a while", [*LONG_ON, *no("ping", 2, 4, 6), *yes("ping", 1, 3, 5),
      *yes("ping", 7, 8, 9, 10, 11), *yes("ssh", 11)], 12, V.ALIVE),
    S("a single longer outage is no coming and going", [*LONG_ON, *yes("ping", 1), *no("ping", 2, 3, 4),
      *yes("ping", 5), *yes("ssh", 5)], 6, V.ALIVE),
]  # fmt: skip

POWER_OFF = [
    S("we switched it off", [*OFF, *silent(101, 110)], 120, V.POWERED_OFF, says="its relay is off"),
    S("it was off before anything was looked at", OFF, 101, V.POWERED_OFF),
    S("it still answers 2 s after we cut its power", [*OFF, *yes("ping", 102)], 103, V.POWERED_OFF),
    S("it fell silent late after all", [*OFF, *yes("ping", 106), *no("ping", 120)], 121, V.POWERED_OFF),
    S("its gateway refuses connections while it is off", [*OFF, *refused("ssh", 110)], 111, V.POWERED_OFF),
    S("the relay module rebooted and dropped its contacts", [*OFF, REBOOTED, *silent(101, 110)], 120, V.POWERED_OFF,
      B.RELAY, "eth-1 rebooted 02:31:07, eth-1:3 should be ON"),
    S("somebody pressed the button of the relay", [*OFF, relay("eth-1:3 switched from outside 14:02:11,"
      " it should be ON", 100)], 101, V.POWERED_OFF, says="switched from outside"),
    S("its power came back after the module rebooted", [*OFF, REBOOTED, power(Power.ON, 130), relay("", 130),
      *alive(140)], 141, V.ALIVE, not_said="rebooted"),
    S("one of its two feeds is off", [*OFF, relay("eth-1:5 is off", 100, partly=True), *silent(101, 110)], 120,
      V.POWERED_OFF, says="one of its feeds is off: eth-1:5 is off"),
    S("one of its two feeds is off, it runs on the other", [*OFF, relay("eth-1:5 is off", 100, partly=True),
      *alive(110)], 120, V.DEGRADED, says="eth-1:5 is off; ping and ssh answer all the same"),
    S("the module dropped one of its two feeds", [*OFF, relay("eth-1 rebooted 02:31:07, eth-1:5 should be ON", 100,
      at_fault=True, partly=True), *alive(110)], 120, V.DEGRADED, B.RELAY, "rebooted"),
    S("it is off, but answers: nobody ever proved its wiring", [*OFF, *yes("ping", 110)], 111, V.DEGRADED, B.WIRING,
      "check the wiring"),
    S("it is off, but boots on its console", [*OFF, OPEN, sign(Stage.UBOOT, 110)], 111, V.DEGRADED, B.WIRING,
      "its console talks"),
    S("it is off, but answers, and its wiring was proved: a welded contact", [*OFF, PROVED, *alive(110)], 111,
      V.DEGRADED, B.RELAY, "the contact must be welded"),
    S("it is off, but answers, and its wiring is suspect", [*OFF, SUSPECT, *alive(110)], 111, V.DEGRADED, B.WIRING,
      "evm-08 fell silent when evm-07 was cut"),
    S("it is off and silent, but its wiring is suspect", [*OFF, SUSPECT, *silent(110, 120)], 121, V.UNKNOWN, B.WIRING,
      "evm-08"),
    S("it is off while the network is down", [*OFF, NetworkSeen(at(100), TOGETHER), *silent(110, 120)], 121,
      V.POWERED_OFF, not_said="network"),
]  # fmt: skip

BOOTS = [
    S("just powered on", ON, 11, V.BOOTING, says="powered on, waiting for ping and ssh"),
    S("it answered before it was powered on", [*ON, *alive(9)], 12, V.BOOTING),
    S("U-Boot shows on the console", [*ON, OPEN, sign(Stage.UBOOT, 12)], 13, V.BOOTING, says="U-Boot seen"),
    S("ping is there, ssh not yet", [*ON, *yes("ping", 20), *no("ssh", 20)], 21, V.BOOTING, says="waiting for ssh"),
    S("it has booted", [*ON, *yes("ping", 20), *yes("ssh", 25)], 26, V.ALIVE),
    S("looks are missed while it boots", [*ON, *silent(20, 30, 40)], 50, V.BOOTING),
    S("its boot time is over, and nothing came", [*ON, *silent(98, 99)], 101, V.SILENT, B.BOARD),
    S("its boot time is over, and only ping came", [*ON, *yes("ping", 99), *no("ssh", 98, 99)], 101, V.DEGRADED,
      B.BOARD),
    S("it booted quickly and died", [*ON, *alive(20), *silent(40, 50)], 51, V.SILENT, B.BOARD),
    S("it waits at the U-Boot prompt", [*ON, OPEN, sign(Stage.UBOOT_PROMPT, 15, "=>"), *silent(98, 99)], 101,
      V.SILENT, B.BOARD, "stopped at U-Boot prompt"),
    S("SPL finds nothing to boot", [*ON, OPEN, sign(Stage.SPL, 11), *silent(108, 109),
      *says("### ERROR ### Please RESET the board ###", 12)], 110, V.SILENT, B.BOARD, "stopped at SPL"),
    S("U-Boot tries to boot from the network for ever", [*ON, OPEN, sign(Stage.UBOOT, 12), *silent(110, 111),
      *says("ARP Retry count exceeded; starting again", 112)], 113, V.DEGRADED, B.BOARD, "got no further than U-Boot"),
    S("the kernel still boots when the boot time is over", [*ON, OPEN, *boot(11, upto=Stage.KERNEL), *silent(110, 111),
      *says("A start job is running for Wait for Network", 112)], 113, V.DEGRADED, B.BOARD,
      "still talks, but got no further than kernel in 90 s"),
    S("it came up to a login prompt, but not to the network", [*ON, OPEN, *boot(11), *silent(108, 109)], 110,
      V.DEGRADED, B.NETWORK, "login prompt on the console, but ping and ssh unanswered since it booted"),
    S("somebody else switched it on", [power(Power.OFF, 1), power(Power.ON, 10)], 12, V.BOOTING),
    S("it has been on since nobody knows when", LONG_ON, 2, V.UNKNOWN, says="still looking"),
    S("the relay module was away for a moment", [*LONG_ON, power(Power.UNKNOWN, 5), power(Power.ON, 9)], 10, V.UNKNOWN),
    S("the kernel panics in the boot", [*ON, OPEN, sign(Stage.PANIC, 20, f"[ 2.1] {PANIC}")], 21, V.SILENT, B.BOARD,
      PANIC),
    S("the kernel of a running board panics", [*LONG_ON, OPEN, *alive(5), sign(Stage.PANIC, 9, PANIC)], 10,
      V.SILENT, B.BOARD, PANIC),
    S("the kernel panicked, yet everything answers", [*LONG_ON, OPEN, sign(Stage.PANIC, 3, PANIC), *alive(5)], 10,
      V.DEGRADED, B.BOARD, "yet the console shows"),
    S("the kernel panicked, only its USB gadget is still there", [*LONG_ON, OPEN, *yes("ping", 5),
      *yes("usb-1-1.4", 5, 15), sign(Stage.PANIC, 9, PANIC), *no("ping", 15)], 16, V.SILENT, B.BOARD, PANIC,
      probes=USB),
    S("the panic was in a life before", [*ON, OPEN, sign(Stage.PANIC, 5, PANIC), *alive(20)], 21, V.ALIVE),
    S("it waits in the ROM bootloader", [*ON, OPEN, *no("ping", 108, 109), *in_loader(108, 109)], 110, V.DEGRADED,
      B.BOARD, "in DFU mode (TI ROM, AM62x)", probes=USB),
    S("the ROM bootloader shows for a moment while it boots", [*ON, OPEN, *no("ping", 12), *in_loader(12)], 13,
      V.BOOTING, says="in DFU mode", probes=USB),
    S("somebody shut it down", [*LONG_ON, OPEN, *alive(5), link(up=False, when=8),
      Heard(at(9), "reboot: Power down", Notice.HALTED), *silent(15, 25)], 30, V.SILENT, B.BOARD,
      'somebody shut it down, last words "reboot: Power down"'),
]  # fmt: skip

RESTARTS = [
    S("it restarted though its power stayed on", [*LONG_ON, OPEN, *alive(5), sign(Stage.UBOOT, 8)], 10, V.BOOTING,
      says="restarted without a power cycle, U-Boot seen"),
    S("it restarted, and ping answers again", [*LONG_ON, OPEN, *alive(5), sign(Stage.UBOOT, 8), *yes("ping", 20)],
      21, V.BOOTING, says="restarted without a power cycle, U-Boot seen on the console, waiting for ssh"),
    S("it restarted while the relay module was away", [*LONG_ON, power(Power.UNKNOWN, 6), OPEN, *alive(5),
      sign(Stage.UBOOT, 8)], 10, V.BOOTING, says="restarted, U-Boot seen"),
    S("it restarted, and no relay powers it", [OPEN, *alive(5), sign(Stage.UBOOT, 8)], 10, V.BOOTING,
      says="restarted, U-Boot seen", switched=False),
    S("it restarted in the middle of its boot", [*ON, OPEN, sign(Stage.KERNEL, 20), sign(Stage.SPL, 30)], 31,
      V.BOOTING, says="restarted without a power cycle, SPL seen"),
    S("it restarted after a panic", [*LONG_ON, OPEN, sign(Stage.PANIC, 5, PANIC), sign(Stage.SPL, 9)], 10,
      V.BOOTING, says="restarted without a power cycle, SPL seen"),
    S("the console alone: it restarted", [*LONG_ON, OPEN, sign(Stage.LOGIN, 5), sign(Stage.UBOOT, 9)], 10,
      V.BOOTING, says="restarted without a power cycle, U-Boot seen", probes=ALONE),
    S("it boots when the agent begins to look", [*LONG_ON, OPEN, sign(Stage.SPL, 6), sign(Stage.UBOOT, 8)], 10,
      V.BOOTING, says="U-Boot seen", not_said="restarted"),
    S("it boots when the agent begins to look, silent so far", [*LONG_ON, OPEN, *silent(5, 6), sign(Stage.KERNEL, 8)],
      10, V.BOOTING, says="kernel seen", not_said="restarted"),
    S("its kernel comes late", [*ON, OPEN, sign(Stage.UBOOT_PROMPT, 15), sign(Stage.KERNEL, 150)], 151, V.BOOTING,
      says="kernel seen", not_said="restarted"),
    S("we cycled it, and it had answered before", [power(Power.ON, 1), *alive(5), power(Power.OFF, 6), *ON[1:], OPEN,
      sign(Stage.UBOOT, 12)], 13, V.BOOTING, says="U-Boot seen", not_said="restarted"),
    S("a boot loop: its kernel panics and restarts, again and again",
      [*ON, OPEN, *(item for start in range(11, 200, 30) for item in [*boot(start, upto=Stage.KERNEL),
      sign(Stage.PANIC, start + 20, PANIC)]), *silent(195, 198)], 200, V.DEGRADED, B.BOARD,
      f'restarted 6 times in 2 min, "{PANIC}"'),
    S("a boot loop that answers ping for a moment each time",
      [*ON, OPEN, *(item for start in range(11, 200, 40) for item in [*boot(start), *yes("ping", start + 20)]),
      *yes("ping", 198), *yes("ssh", 199)], 200, V.DEGRADED, B.BOARD, "restarted 4 times in 2 min"),
    S("the boot loop is over, it has stayed up since",
      [*ON, OPEN, *(item for start in range(11, 200, 40) for item in boot(start)), *alive(260, 270)], 275, V.ALIVE,
      not_said="restarted"),
    S("the boot loop is over, a power cycle has mended it",
      [*ON, OPEN, *(item for start in range(11, 200, 30) for item in boot(start)), power(Power.OFF, 200),
      power(Power.ON, 210, by_us=True), *boot(211), *alive(225)], 226, V.ALIVE, not_said="restarted"),
    S("SPL shows twice in each boot of a TI K3: no restart", [*ON, OPEN, *boot(11), *alive(30)], 31, V.ALIVE,
      not_said="restarted"),
]  # fmt: skip

PARENTS = [
    S("the relay module is dead, the board answers", [*GONE, *alive(5)], 9, V.ALIVE,
      says="relay state unknown (eth-1: no answer from 10.0.5.21)"),
    S("the relay module is dead, and the board is silent", [*GONE, *silent(5, 15)], 20, V.UNKNOWN, B.RELAY,
      "eth-1: no answer from 10.0.5.21"),
    S("its relay was never read, and it is silent", silent(5, 15), 20, V.UNKNOWN, B.RELAY, "relay state is unknown"),
    S("the relay module is back, and the board is silent", [*GONE, power(Power.ON, 20), relay("", 20), *silent(5, 15)],
      21, V.SILENT, B.BOARD, not_said="no answer from"),
    S("the relay module is dead, and the kernel panics", [*GONE, OPEN, *alive(5), sign(Stage.PANIC, 9, PANIC)], 10,
      V.SILENT, B.BOARD, PANIC),
    S("its wiring is suspect, and it answers", [*LONG_ON, SUSPECT, *alive(5)], 9, V.DEGRADED, B.WIRING,
      "evm-08 fell silent when evm-07 was cut"),
    S("its wiring is suspect, and it is silent", [*LONG_ON, SUSPECT, *silent(5, 15)], 20, V.UNKNOWN, B.WIRING,
      "evm-08"),
    S("its wiring is suspect, and its kernel panics", [*LONG_ON, SUSPECT, OPEN, *alive(5), sign(Stage.PANIC, 9, PANIC)],
      10, V.SILENT, B.BOARD, PANIC),
    S("its wiring is suspect while it boots", [*ON, SUSPECT], 12, V.BOOTING, says="its wiring is suspect"),
    S("its wiring was suspect, a person accepted it", [*LONG_ON, SUSPECT, WiringSeen(at(8), "unproved"), *alive(9)], 10,
      V.ALIVE, not_said="suspect"),
    S("its network cable is pulled: its kernel says so", [*LONG_ON, OPEN, *alive(5), link(up=False, when=8),
      *silent(15, 25)], 30, V.DEGRADED, B.NETWORK, 'its kernel says "eth0: Link is Down"'),
    S("its network cable was pulled and is back", [*LONG_ON, OPEN, *alive(5), link(up=False, when=8), *silent(15, 25),
      link(up=True, when=28), *alive(29)], 30, V.ALIVE),
    S("its kernel lost an unused link long before it hung", [*LONG_ON, OPEN, link(up=False, when=3, name="eth1"),
      *alive(5), *silent(15, 25)], 30, V.SILENT, B.BOARD, not_said="Link is Down,"),
    S("it hangs, though another link of it is up", [*LONG_ON, OPEN, *alive(5), link(up=True, when=7),
      link(up=False, when=8, name="eth1"), *silent(15, 25)], 30, V.SILENT, B.BOARD),
    S("its cable is pulled, its USB gadget is still there", [*LONG_ON, OPEN, *yes("ping", 5), *yes("usb-1-1.4", 5, 25),
      link(up=False, when=8), *no("ping", 15, 25)], 30, V.DEGRADED, B.NETWORK, "Link is Down", probes=USB),
    S("its console talks, the network does not", [*LONG_ON, OPEN, *silent(5, 15), *says("# ", 17)], 20, V.DEGRADED,
      B.NETWORK, "the console talks"),
    S("all boards of the PC fell silent together", [*LONG_ON, *alive(5), *silent(15, 25), TROUBLE], 30, V.UNKNOWN,
      B.NETWORK, "fell silent together"),
    S("all boards fell silent together, this one's console talks", [*LONG_ON, OPEN, *alive(5), *silent(15, 25), TROUBLE,
      *says("# ", 27)], 30, V.DEGRADED, B.NETWORK, "the console talks"),
    S("all boards fell silent together, this one answers again", [*LONG_ON, *alive(5), *silent(15, 25), TROUBLE,
      *alive(29)], 30, V.ALIVE),
    S("the network is back, this board was not asked since", [*LONG_ON, *alive(5), *silent(15, 25), TROUBLE,
      NetworkSeen(at(28))], 30, V.UNKNOWN, says="still looking"),
    S("the network is back, but this board is not", [*LONG_ON, *alive(5), *silent(15, 25), TROUBLE, NetworkSeen(at(28)),
      *silent(29, 33)], 34, V.SILENT, B.BOARD),
    S("the PC lost its own network", [*LONG_ON, *alive(5), *silent(15, 25), NO_CARRIER], 30, V.UNKNOWN, B.NETWORK,
      "eth1 of this PC has no carrier"),
    S("the PC lost its route to the board", [*LONG_ON, NetworkSeen(at(12), "this PC has no route to 10.0.6.7"),
      *cannot("ping", 15, "Network is unreachable"), *cannot("ssh", 15, "Network is unreachable")], 20, V.UNKNOWN,
      B.NETWORK, "no route to 10.0.6.7", console=False),
    S("the network is down, and the kernel panics", [*LONG_ON, OPEN, *silent(15, 25), TROUBLE,
      sign(Stage.PANIC, 26, PANIC)], 30, V.SILENT, B.BOARD, PANIC),
    S("network and relay module are both away", [*GONE, *alive(3), *silent(15, 25), TROUBLE], 30, V.UNKNOWN, B.NETWORK,
      "fell silent together"),
]  # fmt: skip

AGENT = [
    S("the agent may not ping, ssh answers", [*LONG_ON, *cannot("ping", 5), *yes("ssh", 5)], 9, V.ALIVE,
      says="ping unavailable: ICMP is not permitted"),
    S("the agent may not ping, and ping is all there is", [*LONG_ON, *cannot("ping", 5)], 9, V.UNKNOWN, B.AGENT,
      "ICMP is not permitted", probes=("ping",), console=False),
    S("the agent may not ping, and the console is quiet", [*LONG_ON, OPEN, *cannot("ping", 5)], 9, V.UNKNOWN, B.AGENT,
      "ICMP is not permitted", probes=("ping",)),
    S("the agent may not ping, ssh is silent", [*LONG_ON, *cannot("ping", 5), *no("ssh", 5, 15)], 20, V.SILENT, B.BOARD,
      "ssh unanswered"),
    S("no probe can look", [*LONG_ON, *cannot("ping", 5), *cannot("ssh", 5, "Too many open files")], 9, V.UNKNOWN,
      B.AGENT, "Too many open files", console=False),
    S("the serial adapter is pulled, the network answers", [*LONG_ON, PULLED, *alive(5)], 9, V.ALIVE,
      says="console unavailable: /dev/serial/by-id/usb-FTDI is not there"),
    S("the serial adapter is pulled, and the console is all there is", [*LONG_ON, PULLED, Stalled(at(3), at(2))], 9,
      V.UNKNOWN, B.AGENT, "is not there", "stood still", probes=ALONE),
    S("somebody has the console open, the network answers",
      [*LONG_ON, ConsoleState(at(2), "busy: process 17 has locked ttyUSB0"), *alive(5)], 9, V.ALIVE,
      not_said="console"),
    S("somebody has the console open, and it is all there is", [*LONG_ON, ConsoleState(at(2), "busy: process 17")], 9,
      V.UNKNOWN, B.AGENT, "busy", probes=ALONE),
    S("its console is left to who locked it, the network answers", [*LONG_ON, LOCKED, *alive(5)], 9, V.ALIVE,
      not_said="console"),
    S("its console is left to who locked it, and it is all there is", [*LONG_ON, LOCKED], 9, V.UNKNOWN,
      says="left to ops1, who has locked the board", probes=ALONE),
    S("the agent was frozen in the middle of a boot", [*ON, *silent(12, 13, 14), Stalled(at(150), began=at(15))], 151,
      V.BOOTING),
    S("the agent was frozen for longer than its looks count", [*ON, *silent(12, 13, 14), FROZEN], 201, V.UNKNOWN,
      B.AGENT, "the agent itself stood still for 185 s", console=False),
    S("the agent was frozen, the boot it missed is over by now", [*ON, *silent(12, 13, 14), FROZEN, *alive(201)], 202,
      V.ALIVE),
    S("the agent was frozen, and looks again", [*LONG_ON, *yes("ping", 5), *no("ping", 14), FROZEN, *no("ping", 199)],
      201, V.UNKNOWN, B.AGENT, "stood still for 185 s", probes=("ping",), console=False),
    S("the agent was frozen for some seconds with looks under way", [*LONG_ON, *no("ping", 60, 61),
      Stalled(at(70), began=at(62))], 71, V.UNKNOWN, B.AGENT, "the agent itself stood still for 8 s", probes=("ping",)),
    S("the agent was frozen, the board had been silent long before", [*LONG_ON, *silent(20, 40, 60, 100),
      Stalled(at(170), began=at(120))], 171, V.SILENT, B.BOARD),
    S("the agent was frozen, the board answered before", [*LONG_ON, *alive(61), *silent(62), Stalled(at(70), at(63))],
      71, V.ALIVE),
]  # fmt: skip

CONSOLE_ALONE = [
    S("the console alone: login prompt", [*LONG_ON, OPEN, sign(Stage.LOGIN, 5)], 9, V.ALIVE, says="login prompt",
      probes=ALONE),
    S("the console alone: it boots", [*ON, OPEN, sign(Stage.KERNEL, 15)], 20, V.BOOTING, says="kernel seen",
      probes=ALONE),
    S("the console alone: it got stuck in the kernel", [*ON, OPEN, sign(Stage.KERNEL, 15)], 200, V.DEGRADED, B.BOARD,
      "kernel", probes=ALONE),
    S("the console alone: mute since power-on", [*ON, OPEN], 101, V.SILENT, B.BOARD, probes=ALONE),
    S("the console alone: quiet", [*LONG_ON, OPEN], 9, V.UNKNOWN, says="quiet", probes=ALONE),
    S("the console alone: quiet, and the relay module is dead", [OPEN], 9, V.UNKNOWN, B.RELAY, probes=ALONE),
    S("the console alone: bare metal talks", [*LONG_ON, OPEN, *says("tick 17", 5)], 9, V.ALIVE, says="talks",
      probes=ALONE),
    S("the console alone: panic", [*LONG_ON, OPEN, sign(Stage.PANIC, 5, PANIC)], 9, V.SILENT, B.BOARD, PANIC,
      probes=ALONE),
    S("the console alone: somebody shut it down", [*LONG_ON, OPEN, sign(Stage.SHELL, 5),
      Heard(at(8), "reboot: System halted", Notice.HALTED)], 9, V.SILENT, B.BOARD, "somebody shut it down",
      probes=ALONE),
    S("the console alone: boot loop", [*ON, OPEN, *(item for start in range(11, 200, 30)
      for item in boot(start, upto=Stage.KERNEL))], 200, V.DEGRADED, B.BOARD, "restarted 6 times", probes=ALONE),
    S("the console speaks up for probes that cannot look", [*LONG_ON, OPEN, *cannot("ping", 5), *cannot("ssh", 5),
      sign(Stage.SHELL, 6)], 9, V.ALIVE, says="shell prompt"),
    S("an old prompt does not speak up for a board that was silent", [*LONG_ON, OPEN, sign(Stage.LOGIN, 2),
      *silent(5, 15)], 300, V.UNKNOWN, B.AGENT, "no recent look"),
]  # fmt: skip

SITUATIONS = [*SETTLED, *POWER_OFF, *BOOTS, *RESTARTS, *PARENTS, *AGENT, *CONSOLE_ALONE]


def evidence_of(situation: Situation, items: Iterable[Item] | None = None) -> Evidence:
    """Return the evidence that a situation's story leaves, or ``items`` on the same board."""
    evidence = Evidence(probes=situation.probes, switched=situation.switched, console=situation.console)
    for item in situation.story if items is None else items:
        evidence = evidence.add(item)
    return evidence


def judged(situation: Situation) -> Judgement:
    """Return the verdict on a situation."""
    return judge(evidence_of(situation), at(situation.now), RULES)


def rows() -> list[tuple[str, str, str, str]]:
    """Return each situation with the verdict, the part to blame and the reason that it gets, for the documentation."""
    return [
        (situation.name, str(it.verdict), str(it.blame), it.reason)
        for situation in SITUATIONS
        if (it := judged(situation))
    ]
