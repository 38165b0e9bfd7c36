"""What simulated boards print while they boot, as data.

Modelled on TI's K3 evaluation modules: the ROM loads a U-Boot SPL, that loads U-Boot, that counts down and
starts Linux. The lines that tools look for are verbatim: ``U-Boot SPL 20..``, ``U-Boot 20..``, ``Hit any key
to stop autoboot``, the prompt ``=> ``, ``Starting kernel ...``, ``Linux version 6``, `` login: `` and
``Kernel panic - not syncing``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Flavour:
    """What differs from platform to platform. Every field may stand in a text as ``{field}``."""

    platform: str
    family: str
    """The board's name as the vendor prints it, ``J721E_EVM``."""
    host: str
    """Host name of the Linux on it."""
    soc: str
    model: str
    ram: str
    tty: str
    cpu: str
    """MIDR of the first core, in square brackets on the kernel's first line."""


@dataclass(frozen=True)
class Step:
    """Something that a board prints, and what begins to work with it."""

    after: float
    """How long after the step before, as a share of the whole boot time."""
    text: str
    """May hold a flavour's fields, and ``{clock}`` for the kernel's time stamp."""
    opens: Literal["tcp", "ssh"] | None = None


_A72, _A53 = "0x411fd080", "0x410fd034"

FLAVOURS = {
    flavour.platform: flavour
    for flavour in (
        Flavour("j721e", "J721E_EVM", "j721e-evm", "J721E SR1.1 GP", "J721E EVM", "4 GiB", "ttyS2", _A72),
        Flavour("am62x", "AM62X_SK", "am62xx-evm", "AM62X SR1.0 HS-FS", "AM625 SK", "2 GiB", "ttyS2", _A53),
        Flavour(
            "j784s4", "J784S4_EVM", "j784s4-evm", "J784S4 SR1.0 HS-FS", "J784S4 EVM", "32 GiB", "ttyS2", _A72
        ),
        Flavour(
            "j721s2", "J721S2_EVM", "j721s2-evm", "J721S2 SR1.0 HS-FS", "J721S2 EVM", "16 GiB", "ttyS2", _A72
        ),
        Flavour(
            "am62px", "AM62PX_SK", "am62pxx-evm", "AM62PX SR1.0 HS-FS", "AM62P5 SK", "8 GiB", "ttyS2", _A53
        ),
        Flavour("j7200", "J7200_EVM", "j7200-evm", "J7200 SR2.0 HS-FS", "J7200 EVM", "4 GiB", "ttyS2", _A72),
        Flavour("j722s", "J722S_EVM", "j722s-evm", "J722S SR1.0 HS-FS", "J722S EVM", "8 GiB", "ttyS2", _A53),
        Flavour(
            "j742s2", "J742S2_EVM", "j742s2-evm", "J742S2 SR1.0 HS-FS", "J742S2 EVM", "16 GiB", "ttyS2", _A72
        ),
    )
}
"""The platforms that can be simulated, by the code of the domain model."""

SPL = (
    Step(
        0.05,
        "\nU-Boot SPL 2025.01-00531-gbee9a5c6d4f7 (Mar 12 2026 - 09:14:02 +0000)\n"
        "SYSFW ABI: 4.0 (firmware rev 0x000b '11.0.7--v11.00.07')\n",
    ),
    Step(
        0.04,
        "Initialized 1 DRAM controllers\nSPL initial stack usage: 13400 bytes\nTrying to boot from MMC2\n",
    ),
)

NO_BOOT = (
    "spl: mmc init failed with error: -110\nSPL: failed to boot from all boot devices\n"
    "### ERROR ### Please RESET the board ###\n"
)
"""The end of a board that finds nothing to boot: it stays in SPL until it is reset."""

U_BOOT = (
    Step(
        0.04,
        "Authentication passed\nStarting ATF on ARM64 core...\n\n"
        "NOTICE:  BL31: v2.12.0(release):v2.12.0\nI/TC: OP-TEE version: 4.5.0\nI/TC: Primary CPU initializing\n",
    ),
    Step(
        0.06,
        "\nU-Boot 2025.01-00531-gbee9a5c6d4f7 (Mar 12 2026 - 09:14:02 +0000)\n\n"
        "SoC:   {soc}\nModel: Texas Instruments {model}\nDRAM:  {ram}\n",
    ),
    Step(
        0.05,
        "Core:  142 devices, 33 uclasses, devicetree: separate\nMMC:   mmc@4f80000: 0, mmc@4fb0000: 1\n"
        "Loading Environment from nowhere... OK\nIn:    serial@2800000\nOut:   serial@2800000\n"
        "Err:   serial@2800000\nNet:   eth0: ethernet@46000000port@1\n",
    ),
)

COUNTDOWN = ("Hit any key to stop autoboot:  3 ", "\b\b\b 2 ", "\b\b\b 1 ")
COUNT_SHARE = 0.1
"""How long each number of the countdown stands, as a share of the whole boot time."""
COUNTDOWN_END = "\b\b\b 0 \n"

U_BOOT_PROMPT = "=> "
U_BOOT_UNKNOWN = "Unknown command '{command}' - try 'help'\n"
U_BOOT_HELP = "boot  - boot default, i.e., run 'bootcmd'\nreset - Perform RESET of the CPU\n"
U_BOOT_RESET = "resetting ...\n"

LINUX = (
    Step(
        0.04,
        "switch to partitions #0, OK\nmmc1 is current device\nSD/MMC found on device 1\n"
        "19024384 bytes read in 201 ms (90.3 MiB/s)\nWorking FDT set to 88000000\n\nStarting kernel ...\n\n",
    ),
    Step(
        0.04,
        "{clock} Booting Linux on physical CPU 0x0000000000 [{cpu}]\n"
        "{clock} Linux version 6.12.17-ti-00769-gc6c7f5b7d5b4 (oe-user@oe-host) "
        "(aarch64-oe-linux-gcc (GCC) 13.3.0, GNU ld (GNU Binutils) 2.42) #1 SMP PREEMPT\n"
        "{clock} Machine model: Texas Instruments {model}\n"
        "{clock} Kernel command line: console={tty},115200n8 root=/dev/mmcblk1p2 rw rootfstype=ext4 rootwait\n",
    ),
    Step(
        0.06,
        "{clock} printk: legacy console [{tty}] enabled\n"
        "{clock} am65-cpsw-nuss 46000000.ethernet: initialized cpsw ale version 1.4\n"
        "{clock} mmc1: new ultra high speed SDR104 SDHC card at address aaaa\n"
        "{clock} EXT4-fs (mmcblk1p2): mounted filesystem with ordered data mode. Quota mode: none.\n"
        "{clock} VFS: Mounted root (ext4 filesystem) on device 179:2.\n",
    ),
    Step(
        0.06,
        "{clock} systemd[1]: systemd 255.17 running in system mode\n"
        "{clock} systemd[1]: Hostname set to <{host}>.\n"
        "[  OK  ] Reached target Local File Systems.\n",
    ),
    Step(
        0.09,
        "{clock} am65-cpsw-nuss 46000000.ethernet eth0: Link is Up - 1Gbps/Full - flow control off\n",
        "tcp",
    ),
    Step(0.07, "[  OK  ] Reached target Network is Online.\n[  OK  ] Started OpenSSH Daemon.\n", "ssh"),
    Step(0.10, "[  OK  ] Started Serial Getty on {tty}.\n[  OK  ] Reached target Multi-User System.\n"),
)

LOGIN = "\n\nArago Project {host} -\n\nArago 2025.01 {host} -\n"
LOGIN_PROMPT = "\n{host} login: "
LOGIN_REFUSED = "\nLogin incorrect\n"

LINK_DOWN = "{clock} am65-cpsw-nuss 46000000.ethernet eth0: Link is Down\n"
LINK_UP = "{clock} am65-cpsw-nuss 46000000.ethernet eth0: Link is Up - 1Gbps/Full - flow control off\n"

PANIC = (
    "{clock} /dev/root: Can't open blockdev\n"
    "{clock} Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(179,2)\n"
    "{clock} CPU: 0 UID: 0 PID: 1 Comm: swapper/0 Not tainted 6.12.17-ti-00769-gc6c7f5b7d5b4 #1\n"
    "{clock} Hardware name: Texas Instruments {model} (DT)\n"
    "{clock} ---[ end Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(179,2) ]---\n"
)
