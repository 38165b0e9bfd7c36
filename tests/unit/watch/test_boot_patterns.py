"""Bytes of a console into signs of a boot."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardherd_agent.watch.booting.boot_patterns import MAX_LINE, BootReader, Sign, Stage

BOOT = (
    b"\x00\xff\r\n"
    b"U-Boot SPL 2024.04-ti (Nov 20 2026 - 10:00:00 +0000)\r\n"
    b"Trying to boot from MMC2\r\n\r\n"
    b"\x1b[2J\x1b[1;1HU-Boot 2024.04-ti (Nov 20 2026)\r\n"
    b"Hit any key to stop autoboot:  2 \x08\x08\x08 1 \x08\x08\x08 0 \r\n"
    b"Starting kernel ...\r\n\r\n"
    b"[    0.000000] Linux version 6.6.32 (builder@host) #1 SMP\r\n"
    b"\x1b[0;32m[  OK  ]\x1b[0m Started Getty on ttyS2.\r\n\r\n"
    b"am62xx-evm login: "
)


def stages(data: bytes) -> list[Stage]:
    return [sign.stage for sign in BootReader().feed(data)]


def test_a_whole_boot_is_recognised_in_its_order() -> None:
    reader = BootReader()
    found = [sign.stage for sign in reader.feed(BOOT)]
    assert found == [Stage.SPL, Stage.UBOOT, Stage.KERNEL, Stage.KERNEL, Stage.LOGIN]
    assert reader.last_line == "am62xx-evm login:"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"U-Boot SPL 2024.04\n", [Stage.SPL]),
        (b"  U-Boot 2024.04\n", []),  # a banner stands at the beginning of its line
        (b"\x1b[31mU-Boot 2021.01\x1b[0m\n", [Stage.UBOOT]),
        (b"\x1b]0;a title with U-Boot 2021\x07U-Boot 2021.01\n", [Stage.UBOOT]),
        (b"\x1b(B\x1b7U-Boot 2021.01\n", [Stage.UBOOT]),
        (b"U-Boot 2021.01", []),  # not before the line is complete
        (b"10%\r20%\rU-Boot 2021.01\r\n", [Stage.UBOOT]),
        (b"=> ", [Stage.UBOOT_PROMPT]),
        (b"x => ", []),
        (b"foo login: ", [Stage.LOGIN]),
        (b"foo login: root\r\n", [Stage.LOGIN]),
        (b" login: ", []),
        (b"root@am62xx-evm:~# ", [Stage.SHELL]),
        (b"[root@j721e /]# ", [Stage.SHELL]),
        (b"/ # ", [Stage.SHELL]),
        (b"# ", [Stage.SHELL]),
        (b"~ $ ", [Stage.SHELL]),
        (b"Total pages: 12 # ", []),
        (b"[  2.1] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n", [Stage.PANIC]),
        (b"[  2.2] ---[ end Kernel panic - not syncing: VFS ]---\r\n", []),
        (b"\x9b\xc3\x28 \xfe\xff\n", []),
    ],
)
def test_signs(data: bytes, expected: list[Stage]) -> None:
    assert stages(data) == expected


def test_last_words_are_the_last_line_with_anything_on_it() -> None:
    reader = BootReader()
    reader.feed(b"Kernel panic - not syncing: VFS\r\n\r\n   \r\n")
    assert reader.last_line == "Kernel panic - not syncing: VFS"
    reader.feed(b"half a li")
    assert reader.last_line == "half a li"


def test_an_endless_line_and_an_endless_sequence_stay_bounded() -> None:
    reader = BootReader()
    reader.feed(b"\x1b[" + b"1" * 100_000 + b"x" * 100_000)
    assert len(reader._line) <= MAX_LINE
    assert [sign.stage for sign in reader.feed(b"\nU-Boot 2024.04\n")] == [Stage.UBOOT]


def _cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


PIECES = st.sampled_from([
    b"U-Boot SPL 2024.04\r\n", b"U-Boot 2024.04\n", b"\x1b[0m", b"\x1b]0;t\x07", b"\x1b", b"\r", b"\n", b"\x08",
    b"=> ", b"evm login: ", b"root@evm:~# ", b"Kernel panic - not syncing: x\n", b"Linux version 6\n",
    b"\xc3\xa4", b"ab ",
])  # fmt: skip


@given(st.lists(PIECES | st.binary(max_size=8), max_size=30).map(b"".join), st.lists(st.integers(0, 999)))
def test_chunking_never_changes_the_outcome(data: bytes, cuts: list[int]) -> None:
    whole, cut = BootReader(), BootReader()
    expected = whole.feed(data)
    found: list[Sign] = []
    for chunk in _cut(data, cuts):
        found += cut.feed(chunk)
    assert found == expected
    assert cut.last_line == whole.last_line
    assert all(char.isprintable() for char in cut.last_line)


def test_a_k3_board_begins_with_two_spls_and_firmware_between_them_is_no_sign() -> None:
    """TI's K3: the SPL of the R5 starts TF-A and OP-TEE, then comes the SPL of the application cores."""
    assert stages(
        b"\r\nU-Boot SPL 2023.04-ti-g1234567890ab (Jun 01 2024 - 09:00:00 +0000)\r\n"
        b"SYSFW ABI: 3.1 (firmware rev 0x0009)\r\nSPL initial stack usage: 13424 bytes\r\n"
        b"Starting ATF on ARM64 core...\r\n\r\nNOTICE:  BL31: v2.9(release)\r\nI/TC: OP-TEE version: 4.1.0\r\n\r\n"
        b"U-Boot SPL 2023.04-ti-g1234567890ab (Jun 01 2024 - 09:00:00 +0000)\r\n\r\n\r\n"
        b"U-Boot 2023.04-ti-g1234567890ab (Jun 01 2024 - 09:00:00 +0000)\r\n\r\nSoC:   AM62X SR1.0 HS-FS\r\n"
        b"Hit any key to stop autoboot:  2 \b\b\b 1 \b\b\b 0 \r\n=> md.l 0x43000000\r\n"
    ) == [Stage.SPL, Stage.SPL, Stage.UBOOT, Stage.UBOOT_PROMPT]


def test_a_flood_costs_little() -> None:
    """What a flood of lines without a sign leaves behind is its last line and nothing else."""
    reader = BootReader()
    for _ in range(200):
        assert (
            reader.feed(b"[   12.345678] am65-cpsw-nuss: some message of a kernel, value 12\r\n" * 100) == []
        )
    assert reader.last_line.endswith("value 12")
    assert len(reader._line) + len(reader._last) < 2 * MAX_LINE
