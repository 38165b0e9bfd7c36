"""A simulated device on trial: what it can be told, its stanza for lab.toml, its faults by name."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from boardherd.rack import devices
from boardherd.rack.devices.device import SimulatedDevice

SLOW_S = 2.0
"""How much longer a slow device takes over each answer."""
GARBAGE = bytes.fromhex("55 AA 55 AA 55")

FAULTS: Mapping[str, str] = {
    "hang": "takes requests and does not answer",
    "dead": "is as if unplugged",
    "reboot": "loses its connections and, where the real one does, its outputs",
    "refuse": "says no to every switch",
    "garble": "answers nonsense",
    "slow": f"answers {SLOW_S:g} s late",
    "heal": "is well again",
}
"""What can be done to a device, and what that means."""

_PORT_COUNTS = ("outlets", "relays", "channels", "outputs", "coils", "ports")
"""What the number of ports is called, among the options of a kind."""
_ARGUMENT = re.compile(r"^ {4}(?P<name>\w+): (?P<text>.+(?:\n {8,}\S.*)*)$", re.MULTILINE)
_NOT_IN_WORDS = ("Callable", "Contacts", "User")
"""What the type of an option has in it that only a program can give."""


@dataclass(frozen=True)
class Option:
    """One thing that a simulator can be told."""

    type: str
    """As it stands in the code: ``int``, ``str | None``."""
    default: Any
    text: str
    """What it means."""

    def read(self, text: str) -> Any:
        """Return the value that a person wrote; raises ValueError."""
        if "str" in self.type or "Path" in self.type:
            return text
        if self.type.startswith("bool"):
            if text not in {"true", "false"}:
                raise ValueError("write true or false")
            return text == "true"
        if self.type.startswith(("int", "float")):
            return (int if self.type.startswith("int") else float)(text)
        return int(text) if text.isdecimal() else text


def options_of(kind: str) -> dict[str, Option]:
    """Return what the simulator of ``kind`` can be told, by name; raises ValueError for an unknown kind."""
    simulate: Any = devices.load(kind).simulate
    makers = _makers(simulate) if isinstance(simulate, type) else [simulate]
    options: dict[str, Option] = {}
    for maker in makers if _takes_any(makers[-1]) else makers[-1:]:
        options |= dict(_described(maker))
    return options


def make(kind: str, given: Mapping[str, str], *, ports: int | None, tcp_port: int | None) -> SimulatedDevice:
    """Return a device, not yet alive; raises ValueError, in words, for what it cannot be told.

    Args:
        kind: the driver that speaks to it.
        given: its options as a person wrote them.
        ports: how many ports it has, its usual number if not given.
        tcp_port: where it listens, any free port if not given.
    """
    options = options_of(kind)
    values: dict[str, Any] = {}
    for name, text in given.items():
        if name not in options:
            raise ValueError(f'a {kind} has no option "{name}"; it has {", ".join(options)}')
        try:
            values[name] = options[name].read(text)
        except ValueError as error:
            raise ValueError(f"{name}={text}: {error}") from error
    if ports is not None:
        count = next((name for name in _PORT_COUNTS if name in options), None)
        if count is None:
            raise ValueError(f"the number of ports of a {kind} follows from its model (see --options)")
        values[count] = ports
    if tcp_port is not None:
        if "port" not in options:
            raise ValueError(f"a {kind} is not reached over TCP; its place is an option (see --options)")
        values["port"] = tcp_port
    try:
        return devices.load(kind).simulate(**values)
    except (TypeError, KeyError) as error:
        raise ValueError(f"a {kind} cannot be like this: {error}") from error


def stanza(device: SimulatedDevice, relay: str) -> str:
    """Return what stands in lab.toml about a device that is alive; complete, with its number of ports."""
    return "\n".join(
        [f"[relay.{relay}]", *(f"{key} = {_toml(value)}" for key, value in keys(device).items())]
    )


def keys(device: SimulatedDevice) -> dict[str, Any]:
    """Return what :func:`stanza` writes, as values."""
    known = {key: value for key, value in device.stanza().items() if value is not None}
    return {"port_count": max(device.outputs)} | known


async def inflict(device: SimulatedDevice, fault: str) -> None:
    """Do what :data:`FAULTS` says to a device; it stays like that until ``heal``."""
    match fault:
        case "hang" | "dead" | "reboot" | "heal":
            await getattr(device, fault)()
        case "refuse":
            device.answer_fail = True
        case "garble":
            device.garble = GARBAGE
        case "slow":
            device.delay = SLOW_S
        case _:
            raise ValueError(f'there is no fault "{fault}"; there are {", ".join(FAULTS)}')


def _makers(simulated: type) -> list[Any]:
    """Return what makes a device of a class, its bases' before its own."""
    return [vars(cls)["__init__"] for cls in reversed(simulated.__mro__) if "__init__" in vars(cls)]


def _takes_any(maker: Any) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(maker).parameters.values())


def _described(maker: Any) -> Iterator[tuple[str, Option]]:
    """Yield the keywords of a function that can be written in words, with what its docstring says of them."""
    found = _ARGUMENT.finditer(inspect.getdoc(maker) or "")
    texts = {match["name"]: " ".join(match["text"].split()) for match in found}
    for name, parameter in inspect.signature(maker).parameters.items():
        type_ = str(parameter.annotation)
        if parameter.kind is parameter.KEYWORD_ONLY and not any(word in type_ for word in _NOT_IN_WORDS):
            yield name, Option(type_, parameter.default, texts.get(name, ""))


def _toml(value: Any) -> str:
    """Return a value as TOML; its texts are written as in JSON, which is the same."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(inner) for inner in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
