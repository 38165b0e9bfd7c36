"""The objects of power strips, maker by maker, for the simulated one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Make:
    """The objects of one maker, without the outlet's number, and their values."""

    state: str
    says_on: int
    says_off: int
    command: str
    on: int
    off: int
    off_command: str = ""
    says_going_on: int | None = None
    says_going_off: int | None = None
    """What the state is between a command and the contact; as before unless given."""
    watts: str = ""
    after_watts: str = ""
    description: str = "A power strip"


def _apc(table: str, model: str, watts: str = "") -> Make:
    description = (
        "APC Web/SNMP Management Card (MB:v4.1.0 PF:v6.8.2 PN:apc_hw05_aos_682.bin AF1:v6.8.0 "
        f"AN1:apc_hw05_rpdu2g_680.bin MN:{model} HR:05 SN: 5A1234E00000 MD:01/02/2020)"
    )
    return Make(f"{_APC}.{table}", 1, 2, f"{_APC}.{table}", 1, 2, watts=watts, description=description)


_APC = "1.3.6.1.4.1.318.1.1"
_EATON = "1.3.6.1.4.1.534.6.6.7.6.6.1"
MAKES = {
    "apc-spdu": _apc("4.4.2.1.3", "AP9211"),
    "apc-rpdu": _apc("12.3.3.1.1.4", "AP7921"),
    "apc-rpdu2": _apc("26.9.2.4.1.5", "AP8941", f"{_APC}.26.9.4.3.1.7"),
    "apc-epdu": _apc("30.6.2.1.4", "EPDU1016S"),
    "raritan": Make(
        "1.3.6.1.4.1.13742.6.4.1.2.1.3.1",
        7,
        8,
        "1.3.6.1.4.1.13742.6.4.1.2.1.2.1",
        1,
        0,
        watts="1.3.6.1.4.1.13742.6.5.4.3.1.4.1",
        after_watts="5",
        description="PX2 030610",
    ),
    "eaton": Make(
        f"{_EATON}.2.0", 1, 0, f"{_EATON}.4.0", 1, 0, f"{_EATON}.3.0", says_going_on=3, says_going_off=2
    ),
    "sentry3": Make("1.3.6.1.4.1.1718.3.2.3.1.10.1.1", 5, 4, "1.3.6.1.4.1.1718.3.2.3.1.11.1.1", 1, 2),
    "poe": Make("1.3.6.1.2.1.105.1.1.1.3.1", 1, 2, "1.3.6.1.2.1.105.1.1.1.3.1", 1, 2),
}
"""What can be simulated, by the name of the driver's profile."""
