"""USB devices as Linux shows them below /sys/bus/usb/devices, and what state a board on USB is in.

Only sysfs is read. A board that waits in its boot ROM, in DFU mode or in fastboot has power and has not booted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from boardherd_agent.watch.texts import brief

SYSFS = Path("/sys/bus/usb/devices")

_DFU_MODE = (0xFE, 0x01, 0x02)
"""Interface class, subclass and protocol of DFU mode (USB DFU 1.1, table 4.4); protocol 1 is only able to enter it."""
_FASTBOOT = (0xFF, 0x42, 0x03)
"""As Android's boot loader and U-Boot declare it; protocol 1 is adb."""
_ROM_RELEASE = 0x0200
"""bcdDevice of TI's boot ROMs; U-Boot reuses their ids and has its own release, 0x0224 for example (TI's SDK
documentation, listings of ``dfu-util -l`` in ROM and in U-Boot)."""

_TI = 0x0451
_TI_DFU = {0x6162: "AM65x", 0x6163: "J721E", 0x6164: "J7200", 0x6165: "K3"}
"""Boot ROMs that speak DFU (TI's SDK documentation; snagboot's table of boards). 6165 is AM62x, AM62A, AM62P, AM64x
and others."""

_ROMS = {
    (_TI, 0x6141): "in its boot ROM (TI AM335x), which waits for an image over USB",
    (_TI, 0xD022): "in its SPL (TI AM335x), which waits for an image over USB",
    (0x0525, 0xB4A4): "in its SPL, which waits for an image over USB (SDP)",
    **dict.fromkeys(
        ((0x15A2, product) for product in (0x4E, 0x4F, 0x54, 0x61, 0x63, 0x71, 0x76, 0x7D, 0x80)),
        "in its boot ROM (NXP i.MX), which waits for an image over USB",
    ),
    **dict.fromkeys(
        (
            (0x1FC9, product)
            for product in (
                0x126,
                0x128,
                0x129,
                0x12B,
                0x12F,
                0x134,
                0x135,
                0x13E,
                0x146,
                0x147,
                0x14E,
                0x159,
            )
        ),
        "in its boot ROM (NXP i.MX), which waits for an image over USB",
    ),
}
"""Ids of boards that wait for somebody to send them something, from snagboot's table of boards and labgrid."""

_GADGETS = {(0x0525, product) for product in range(0xA4A0, 0xA4B0)} | {
    (0x1D6B, product) for product in range(0x100, 0x107)
}
"""Ids that the gadget drivers of Linux use unless told otherwise (drivers/usb/gadget/legacy in its source)."""


@dataclass(frozen=True)
class UsbDevice:
    """What a device says of itself."""

    vendor: int
    product: int
    release: int = 0
    """bcdDevice."""
    serial: str = ""
    title: str = ""
    """Maker and product, in its own words."""
    interfaces: tuple[tuple[int, int, int], ...] = ()
    """Class, subclass and protocol of each."""

    @property
    def label(self) -> str:
        """How to name it to a person."""
        return " ".join(filter(None, (self.title, f"({self.vendor:04x}:{self.product:04x})")))


def waits_in(device: UsbDevice) -> str:
    """Return the state in which a board waits and has not booted, in words; empty if it is in none of them."""
    known = _ROMS.get((device.vendor, device.product))
    if known:
        return known
    if _DFU_MODE in device.interfaces:
        chip = _TI_DFU.get(device.product) if device.vendor == _TI else None
        if chip is None:
            return f"in DFU mode ({device.label})"
        where = f"TI ROM, {chip}" if device.release == _ROM_RELEASE else f"U-Boot, {device.label}"
        return f"in DFU mode ({where})"
    return "in fastboot" if _FASTBOOT in device.interfaces else ""


def is_gadget(device: UsbDevice) -> bool:
    """Tell whether it is a Linux that plays a USB device, as far as its ids show."""
    return (device.vendor, device.product) in _GADGETS


def at_port(root: Path, port: str) -> UsbDevice | None:
    """Return the device at a port path such as ``1-1.4``; None if there is none."""
    place = root / port
    vendor, product = _number(place, "idVendor"), _number(place, "idProduct")
    if vendor is None or product is None:
        return None  # not there, or pulled while it is read
    return UsbDevice(
        vendor,
        product,
        _number(place, "bcdDevice") or 0,
        _text(place, "serial"),
        brief(" ".join(filter(None, (_text(place, "manufacturer"), _text(place, "product")))), 80),
        tuple(_interfaces(root, port)),
    )


def with_serial(root: Path, serial: str) -> UsbDevice | None:
    """Return the device with this serial number; None if there is none."""
    ports = sorted(place.name for place in root.iterdir() if ":" not in place.name)
    return next((at_port(root, port) for port in ports if _text(root / port, "serial") == serial), None)


def missing_hub(root: Path, port: str) -> str:
    """Return the hub or the bus that should carry a port path and is not there; empty if it is."""
    hub = port.rpartition(".")[0] or f"usb{port.partition('-')[0]}"
    return "" if (root / hub).exists() else hub


def _interfaces(root: Path, port: str) -> Iterator[tuple[int, int, int]]:
    for place in sorted(root.glob(f"{port}:*")):
        numbers = [
            _number(place, name) for name in ("bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol")
        ]
        if None not in numbers:
            yield numbers[0] or 0, numbers[1] or 0, numbers[2] or 0


def _number(place: Path, name: str) -> int | None:
    with contextlib.suppress(ValueError):
        return int(_text(place, name), 16)
    return None


def _text(place: Path, name: str) -> str:
    with contextlib.suppress(OSError):
        return (place / name).read_bytes()[:256].decode("utf-8", "replace").strip()
    return ""
