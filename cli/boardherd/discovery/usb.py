"""USB devices by what the system knows of them: serial adapters, and relay boards that are no serial ports.

Nothing is opened. udev's names below ``/dev/serial/by-id`` stay the same whatever the order of plugging in; what
stands behind them is read from sysfs. Many relay boards share their USB numbers with plain adapters, so what is
said of those is a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from boardherd.discovery.found import Found

BY_ID = Path("/dev/serial/by-id")
SYSFS = Path("/sys")

_INTERFACE = re.compile(r"(?P<adapter>.+)-if(?P<number>\d\d)(-port\d+)?")
_PORT = re.compile(r"-port0$")
_USB_RELAY = re.compile(r"USBRelay([1-8])")
_FOUR_UARTS = (
    "an FT4232H: four UARTs of one adapter, as on TI's evaluation modules; one of them is the console"
)
_ADAPTERS = {
    ("0403", "6011"): _FOUR_UARTS,
    ("0403", "6010"): "an FT2232H: two UARTs of one adapter",
    ("0403", "6001"): "an FT232R adapter: a console, or a relay board of KMTronic or Denkovi",
    ("0403", "6015"): "an FT230X adapter",
    ("10c4", "ea60"): "a CP2102 adapter",
    ("10c4", "ea70"): "a CP2105: two UARTs of one adapter",
    ("10c4", "ea71"): "a CP2108: four UARTs of one adapter",
    ("1a86", "7523"): "a CH340 adapter: a console, or a relay board such as LCUS",
    ("1a86", "55d4"): "a CH9102 adapter",
    ("067b", "2303"): "a PL2303 adapter",
    ("0451", "bef3"): "a debug probe of TI (XDS110)",
}
_RELAYS = {
    ("04d8", "ffee"): (
        "usb_rly",
        "Devantech USB-RLY",
        "other products of the maker have the same USB numbers",
    ),
    ("5131", "2007"): ("", "LCUS relay board (HID)", "there is no driver for it: its state cannot be read"),
}
_MAYBE_RELAYS = {("1a86", "7523"): "lcus", ("0403", "6001"): "kmtronic"}
_NUMATO = "2a19"
_DCTTECH = ("16c0", "05df")


@dataclass(frozen=True)
class _Usb:
    """What sysfs says of a USB device."""

    vendor: str
    product_id: str
    product: str

    @property
    def numbers(self) -> tuple[str, str]:
        return self.vendor, self.product_id


def serial_ports(by_id: Path = BY_ID, sysfs: Path = SYSFS) -> list[Found]:
    """Return the serial adapters that are plugged in, the ports of one adapter together."""
    try:
        names = sorted(place.name for place in by_id.iterdir())
    except OSError:
        return []
    adapters: dict[str, list[str]] = {}
    for name in names:
        match = _INTERFACE.fullmatch(name)
        adapters.setdefault(match["adapter"] if match else name, []).append(_PORT.sub("", name))
    return [
        _serial(ports, _device_of(by_id / names_of(names, ports[0]), sysfs)) for ports in adapters.values()
    ]


def names_of(names: list[str], port: str) -> str:
    """Return the name below by-id that ``port`` stands for: with or without udev's ending."""
    return port if port in names else f"{port}-port0"


def hid_boards(sysfs: Path = SYSFS) -> list[Found]:
    """Return the relay boards that are HID devices."""
    found = []
    for device in _devices(sysfs):
        if device.numbers == _DCTTECH and (match := _USB_RELAY.fullmatch(device.product)):
            keys = {"kind": "hid_relay", "port_count": int(match[1])}
            text = 'add "serial", its five characters, if several of them are plugged in'
            found.append(Found("relay", device.product, "USB", keys, int(match[1]), text=text))
        elif (known := _RELAYS.get(device.numbers)) and not known[0]:
            found.append(Found("other", known[1], "USB", text=known[2]))
    return found


def _serial(ports: list[str], device: _Usb | None) -> Found:
    first, others = ports[0], tuple(ports[1:])
    keys = {"serial_port": first}
    if device is None:
        return Found("console", "serial adapter", first, keys, others=others)
    if device.numbers in _RELAYS:
        kind, title, text = _RELAYS[device.numbers]
        return Found("relay", title, first, {"kind": kind} | keys, text=text, sure=False)
    if device.vendor == _NUMATO and "relay" in device.product.lower():
        return Found(
            "relay", device.product, first, {"kind": "numato"} | keys, text="by its name", sure=False
        )
    text = _ADAPTERS.get(device.numbers, device.product or "of a maker that is not known here")
    if kind := _MAYBE_RELAYS.get(device.numbers, ""):
        text += f"; if it is a relay: kind {kind}"
    return Found("console", "serial adapter", first, keys, text=text, others=others)


def _device_of(port: Path, sysfs: Path) -> _Usb | None:
    """Return the USB device behind a serial port: the first folder upwards that has USB numbers."""
    tty = port.resolve().name
    place = (sysfs / "class" / "tty" / tty / "device").resolve()
    for folder in (place, *place.parents):
        if folder == sysfs or not folder.is_relative_to(sysfs.resolve()):
            return None
        if device := _read(folder):
            return device
    return None


def _devices(sysfs: Path) -> Iterator[_Usb]:
    try:
        folders = sorted((sysfs / "bus" / "usb" / "devices").iterdir())
    except OSError:
        return
    for folder in folders:
        if device := _read(folder):
            yield device


def _read(folder: Path) -> _Usb | None:
    def text(name: str) -> str:
        try:
            return (folder / name).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""

    vendor, product_id = text("idVendor").lower(), text("idProduct").lower()
    return _Usb(vendor, product_id, text("product")) if vendor and product_id else None
