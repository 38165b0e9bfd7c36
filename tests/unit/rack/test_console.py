"""What simulated boards print, and how their prompts take lines."""

from __future__ import annotations

import re

import pytest

from boardherd.rack import console
from boardherd.rack.console import FLAVOURS, Flavour
from boardherd.rack.serial_line import LineInput
from boardherd_shared.model import Platform


def printed(flavour: Flavour) -> str:
    texts = [step.text for step in (*console.SPL, *console.U_BOOT)]
    texts += [*console.COUNTDOWN, console.COUNTDOWN_END]
    texts += [step.text for step in console.LINUX] + [console.LOGIN, console.LOGIN_PROMPT]
    return "".join(texts).format(clock="[    0.000000]", **vars(flavour))


def test_every_platform_of_the_domain_can_be_simulated() -> None:
    assert set(FLAVOURS) == set(Platform)


@pytest.mark.parametrize("flavour", FLAVOURS.values(), ids=FLAVOURS)
def test_the_lines_that_tools_look_for_come_in_order(flavour: Flavour) -> None:
    """The patterns are those of labgrid and LAVA."""
    text = printed(flavour)
    at = 0
    for pattern in (
        r"^U-Boot SPL 20[0-9][0-9]",
        r"^U-Boot 20\d\d",
        r"Hit any key to stop autoboot",
        r"Starting kernel",
        r"Linux version \d",
        rf"{flavour.host} login: \Z",
    ):
        match = re.compile(pattern, re.MULTILINE).search(text, at)
        assert match, pattern
        at = match.end()
    assert "Kernel panic - not syncing" in console.PANIC


def test_the_shares_of_a_boot_make_a_whole() -> None:
    steps = (*console.SPL, *console.U_BOOT, *console.LINUX)
    shares = sum(step.after for step in steps) + len(console.COUNTDOWN) * console.COUNT_SHARE
    assert shares == pytest.approx(1)
    assert [step.opens for step in steps if step.opens] == ["tcp", "ssh"]


@pytest.mark.parametrize(
    ("typed", "lines", "echoed"),
    [
        (b"boot\n", ["boot"], "boot\n"),
        (b"boot\r", ["boot"], "boot\n"),
        (b"boot\r\nreset\r\n", ["boot", "reset"], "boot\nreset\n"),
        (b"\r\r\n\n", ["", "", ""], "\n\n\n"),
        (b"bu\x7fot\n", ["bot"], "bu\b \bot\n"),
        (b"\b\b\n", [""], "\n"),
        (b"\xff\x1b{}\n", ["{}"], "{}\n"),
        (b"no end", [], "no end"),
    ],
)
def test_prompts_take_lines(typed: bytes, lines: list[str], echoed: str) -> None:
    for chunks in ([typed], [bytes([byte]) for byte in typed]):
        echo: list[str] = []
        line_input = LineInput(echo.append)
        assert [line for chunk in chunks for line in line_input.feed(chunk)] == lines
        assert "".join(echo) == echoed


def test_an_endless_line_is_cut() -> None:
    line_input = LineInput(lambda text: None)
    assert [len(line) for line in line_input.feed(b"x" * 100_000 + b"\n")] == [200]
