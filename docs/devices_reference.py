"""The page of relay devices, made from what each driver says of itself."""

from __future__ import annotations

from collections.abc import Iterator

from boardherd_agent.devices.device import About
from boardherd_agent.devices.drivers import kinds, load
from reference import keys_of

_MADE = "<!-- Made from the drivers by `make docs`; change the drivers, not this page. -->\n"

_INTRODUCTION = """\
Every way of switching a port that boardherd knows. In `lab.toml` a relay names its `kind`; `devantech` may be left
out where `model_type` is an ETH model. Ports count from 1 everywhere, also where the device itself counts from 0.

All kinds pass one suite of tests, through the same code that runs on a test PC: switch, read back, refuse a port that
is not there, a device that is silent, slow, garbled, unplugged, rebooted or switched by somebody else, two clients at
once, wiring on the normally closed contact, and a switch that is broken off in the middle. None was tried on every
model that it names; the last column says on what it was.

Try a kind without hardware: `boardherd simulate device KIND` is such a device, prints what to write into `lab.toml`,
and shows each movement of a contact. `--fault hang@30s`, or a key, breaks it.
"""

_COLUMNS = """\
* **read-back**: whether boardherd can ask the device what its outputs do. Where it cannot, a port's state is unknown
  and never shown as off; a switch then ends with "acknowledged; this device cannot be read back".
* **times a pulse**: a power cycle of a board with one feed and an off time within this range runs inside the device,
  and ends even if the test PC dies in the middle.
* **measures**: shown as the power that a port delivers.
* **after power loss**: what the outputs do when the device comes back; see `after_outage` for what boardherd does then.
"""

_OTHERS = """\
A device that is not here may be switched by a program (`command`), by a PDUDaemon that knows it (`pdudaemon`), or get a
driver: see [adding a device](adding-a-device.md)."""

_ROW = "| {} |"


def devices() -> str:
    """Return the page."""
    abouts = {kind: load(kind).ABOUT for kind in kinds()}
    lines = [
        "# Relay devices\n",
        _MADE,
        _INTRODUCTION,
        *_table(abouts),
        "",
        _COLUMNS,
        *(text for kind, about in abouts.items() for text in _section(kind, about)),
        _OTHERS,
    ]
    return "\n".join(lines) + "\n"


def _table(abouts: dict[str, About]) -> Iterator[str]:
    yield "| kind | devices | connection | read-back | times a pulse | measures | after power loss | tested with |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for kind, about in abouts.items():
        cells = [
            f"[`{kind}`](#{kind})",
            about.title,
            about.connection,
            about.read_back,
            about.pulse or "no",
            about.metering or "nothing",
            about.after_power_loss or "not known",
            about.tested,
        ]
        yield _ROW.format(" | ".join(_cell(text) for text in cells))


def _section(kind: str, about: About) -> Iterator[str]:
    yield f"## `{kind}`\n"
    yield f"{about.title}: {about.models}.\n"
    yield f"```toml\n{about.example.strip()}\n```\n"
    if about.extra:
        yield f"Needs a library that `pip install 'boardherd-agent[{about.extra}]'` brings.\n"
    if about.notes:
        yield f"{about.notes}\n"
    yield "Its own keys, beside those that [every relay has](configuration.md):\n"
    yield keys_of(load(kind).Options)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
