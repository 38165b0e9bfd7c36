"""Power strips with SNMP, by a profile of their maker or by objects that lab.toml names itself.

Outlets are looked for under their plain numbers first. A strip that puts something before them, such as the
number of a module, is walked through once when it is opened. Native reboots are not used: a strip that loses
one in the middle could not be asked what became of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Literal, Self

from pydantic import Field, field_validator

from boardherd_agent.devices.codecs import snmp as codec
from boardherd_agent.devices.device import About, DeviceGarbled, DeviceRefused, Identity
from boardherd_agent.devices.snmp import EXTRA, NoSuchObject, SnmpOptions, SnmpTransport, Value
from boardherd_shared.inventory import RelayConfig

_MOST_OUTLETS = 256
_MOST_INTERFACES = 16
_OWN_KEYS = ("state_oid", "set_oid", "off_oid", "watts_oid", "on", "off", "read_on", "read_off")
"""What belongs to the profile ``generic`` only."""

ABOUT = About(
    title="SNMP power strips and PoE switches",
    models="profiles "
    + "; ".join(f"{name}: {profile.title}" for name, profile in codec.PROFILES.items())
    + "; generic: anything with one object for each outlet, named in lab.toml",
    connection="SNMP versions 1, 2c and 3 over UDP, port 161 (the key tcp_port names the UDP port here)",
    example="""
[relay.apc-1]
kind = "snmp"
profile = "apc-rpdu2"
address = "10.0.5.9"
port_count = 24
community = "an example"
write_community = "another example"

[relay.px-1]
kind = "snmp"
profile = "raritan"
address = "10.0.5.10"
port_count = 8
version = "3"
user = "boardherd"
auth = "sha256"
auth_password = "an example"
privacy_password = "another example"

[relay.strip-1]                # objects of its own, {port} where the outlet's number stands
kind = "snmp"
profile = "generic"
address = "10.0.5.11"
version = "2c"
community = "an example"
state_oid = "1.3.6.1.4.1.17420.1.2.9.1.13.{port}"
on = 1
off = 0
""",
    tested="a simulator on pysnmp's responder, for each profile and version, and snmpsim for apc-spdu; pysnmp is at "
    "both ends of the wire there, but the tables of objects were written twice; not with hardware",
    read_back="yes; with a strip that switches with a delay, what it delivers now",
    metering="power of each outlet in watts, with apc-rpdu2 and raritan where the model measures it",
    after_power_loss="as set in the strip for each outlet",
    extra=EXTRA,
    notes="A strip does not answer a wrong community, which looks as if it were off. Versions 1 and 2c send the "
    "community in clear text. Encryption in version 3 needs the library cryptography too. Makers differ within a "
    "series: objects of which one source only tells are marked. Native reboots and delayed switching are not used.",
)


class Options(SnmpOptions):
    """Keys of an SNMP relay in lab.toml beside the common ones."""

    profile: Literal[
        "generic", "apc-spdu", "apc-rpdu", "apc-rpdu2", "apc-epdu", "raritan", "eaton", "sentry3", "poe"
    ] = Field(description="what kind of strip it is; generic for objects that are named here")
    state_oid: str | None = Field(
        None, description="generic: object that tells what an outlet does, with {port} at the end"
    )
    set_oid: str | None = Field(
        None, description="generic: object that switches an outlet; state_oid by default"
    )
    off_oid: str | None = Field(
        None, description="generic: object that switches off, if it is another; set_oid by default"
    )
    watts_oid: str | None = Field(
        None, description="generic: object that tells the power of an outlet in watts, with {port}"
    )
    on: int | None = Field(None, description="generic: what is written to switch on")
    off: int | None = Field(None, description="generic: what is written to switch off")
    read_on: tuple[int, ...] = Field(
        (), description="generic: states that mean on; what is written to switch on by default"
    )
    read_off: tuple[int, ...] = Field(
        (), description="generic: states that mean off; what is written to switch off by default"
    )

    @field_validator("state_oid", "set_oid", "off_oid")
    @classmethod
    def _object(cls, text: str | None) -> str | None:
        return None if text is None else codec.template(text)

    @field_validator("watts_oid")
    @classmethod
    def _measurement(cls, text: str | None) -> str | None:
        return None if text is None else codec.watts_template(text)


class Driver:
    """One strip; see the contract in :mod:`boardherd_agent.devices.device`."""

    reads_back = True

    def __init__(self, config: RelayConfig, options: Options) -> None:
        """Describe the strip; ValueError if its address is missing, or keys do not fit together."""
        if config.address is None:
            raise ValueError('an snmp relay needs "address"')
        self._config = config
        self._profile = _profile(options)
        self._snmp = SnmpTransport(config, options)
        self._indexes: dict[int, str] = {}
        self._measures = bool(self._profile.watts)
        self.identity = Identity("not asked yet")

    async def __aenter__(self) -> Self:
        try:
            await self._snmp.open()
            await self._identify()
        except BaseException:
            await self._snmp.close()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._snmp.close()

    async def read(self) -> Mapping[int, bool]:
        """Return for each outlet whether it delivers power; one that the strip knows nothing of is left out.

        Raises DeviceError.
        """
        values = await self._values(self._profile.state)
        states = {port: codec.energised(self._profile, value) for port, value in values.items()}
        return {port: state for port, state in states.items() if state is not None}

    async def set(self, port: int, energised: bool) -> None:
        """Set one outlet and wait for the acknowledgement; raises DeviceError."""
        if port not in self._indexes:
            raise DeviceRefused(f"{self.identity.model} has no outlet {port}")
        profile = self._profile
        command = profile.command if energised else profile.off_command or profile.command
        value = profile.on if energised else profile.off
        await self._snmp.set(codec.object_of(command, self._indexes[port]), value)

    async def watts(self) -> Mapping[int, float]:
        """Return the power of the outlets that are measured; raises DeviceError."""
        if not self._measures:
            return {}
        try:
            values = await self._values(self._profile.watts)
        except NoSuchObject:  # a model of the series that does not measure
            self._measures = False
            return {}
        return {port: float(value) for port, value in values.items() if value >= 0}

    async def _identify(self) -> None:
        description, found = await self._describe(), await self._find()
        self.identity = Identity(
            description.model,
            description.hardware,
            description.firmware,
            await self._mac() if self._config.mac else "",
            found,
        )

    async def _describe(self) -> codec.Description:
        try:
            [text] = await self._snmp.get([codec.SYS_DESCR])
        except NoSuchObject:
            text = b""
        return codec.describe(text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text))

    async def _find(self) -> int | None:
        """Find out how the outlets are numbered; return how many there are, if all of them had to be looked at."""
        self._indexes = {port: str(port) for port in range(1, self._config.port_count + 1)}
        try:
            await self._values(self._profile.state)
        except NoSuchObject as error:
            column = codec.column_of(self._profile.state)
            self._indexes = codec.ports_of(list(await self._snmp.walk(column, _MOST_OUTLETS)))
            if not self._indexes:
                raise DeviceRefused(f"{error}; is the profile right?") from error
            return len(self._indexes)
        return None

    async def _values(self, template: str) -> dict[int, int]:
        """Return a number for each outlet."""
        oids = [codec.object_of(template, index) for index in self._indexes.values()]
        values = await self._snmp.get(oids)
        return {
            port: _number(value, oid) for port, value, oid in zip(self._indexes, values, oids, strict=True)
        }

    async def _mac(self) -> str:
        """Return the hardware address: the one in the inventory if any interface has it, else the first."""
        column = await self._snmp.walk(codec.PHYS_ADDRESS, _MOST_INTERFACES)
        macs = [mac for value in column.values() if isinstance(value, bytes) and (mac := codec.mac(value))]
        wanted = str(self._config.mac).replace("-", ":")
        return wanted if wanted in macs else next(iter(macs), "")


def _number(value: Value, oid: str) -> int:
    if isinstance(value, bytes):
        raise DeviceGarbled(f"{oid} is {value[:32]!r} where a number belongs")
    return value


def _profile(options: Options) -> codec.Profile:
    """Return the profile that is named, or that the keys of lab.toml make; ValueError in words."""
    if options.profile != "generic":
        if odd := [key for key in _OWN_KEYS if key in options.model_fields_set]:
            raise ValueError(f'"{odd[0]}" is for profile = "generic" only')
        return codec.PROFILES[options.profile]
    if options.state_oid is None or options.on is None or options.off is None:
        raise ValueError('profile = "generic" needs "state_oid", "on" and "off"')
    says_on, says_off = options.read_on or (options.on,), options.read_off or (options.off,)
    if both := set(says_on) & set(says_off):
        raise ValueError(f"the state {min(both)} cannot mean both on and off")
    return codec.Profile(
        "generic",
        options.state_oid,
        options.set_oid or options.state_oid,
        options.on,
        options.off,
        says_on,
        says_off,
        off_command=options.off_oid or "",
        watts=options.watts_oid or "",
    )
