"""What every simulated device offers, whatever protocol it speaks.

A module in this package is named after the driver's ``kind`` and offers ``simulate(**options)``, which makes a
:class:`SimulatedDevice`; every option has a default and a sentence in the docstring of what it makes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Self

from boardherd.rack.devices.contacts import Contacts, Transition


class SimulatedDevice(ABC):
    """A device that behaves, alive inside ``async with``, on this machine only.

    Its contacts survive connections. Its faults may be changed at any time; :meth:`heal` ends them all:

    * ``delay``: seconds that every answer takes longer than usual;
    * ``answer_fail``: it says no to every switch, in the way of its protocol, and does not carry it out;
    * ``garble``: bytes sent in place of every answer (in place of the body, where the protocol has one);
    * :meth:`hang`, :meth:`dead` and :meth:`reboot`.
    """

    def __init__(self, contacts: Contacts) -> None:
        """Describe a device that owns ``contacts``; nothing is opened before its context is entered."""
        self.contacts = contacts
        self.delay = 0.0
        self.answer_fail = False
        self.garble: bytes | None = None
        self.connections_max = 0
        """The most connections that were open at once; 0 for devices without connections."""

    @property
    def outputs(self) -> dict[int, bool]:
        """For each output that exists whether it is energised, as a copy."""
        return self.contacts.states

    @property
    def transitions(self) -> list[Transition]:
        """Every movement of a contact, oldest first."""
        return self.contacts.transitions

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return 0

    def switch(self, port: int, energised: bool) -> None:
        """Switch an output behind every client's back, as a button on the device would."""
        self.contacts.set(port, energised, cause="outside")

    @abstractmethod
    async def __aenter__(self) -> Self:
        """Switch the device on; it can be reached when this returns."""

    @abstractmethod
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Take everything down and leave nothing behind."""

    @abstractmethod
    def stanza(self) -> dict[str, Any]:
        """Return the keys of lab.toml with which a relay reaches this device, ``kind`` among them."""

    def environment(self) -> dict[str, str]:
        """Return the variables that the agent needs in its environment to reach this device; none as a rule."""
        return {}

    @abstractmethod
    async def hang(self) -> None:
        """Take what comes, and neither act nor answer until :meth:`heal`."""

    @abstractmethod
    async def dead(self) -> None:
        """Be as if unplugged from the network or the USB port until :meth:`heal`; the outputs stay as they are."""

    @abstractmethod
    async def reboot(self) -> None:
        """Lose all connections and, where the real device does, the outputs; return when it is back."""

    @abstractmethod
    async def heal(self) -> None:
        """End every fault; what came during a hang stays lost."""
