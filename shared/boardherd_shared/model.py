"""The choices of the domain: codes that are stored, and the labels that are shown."""

from __future__ import annotations

from enum import StrEnum


class Choice(StrEnum):
    """A code with a label."""

    label: str

    def __new__(cls, code: str, label: str) -> Choice:  # noqa: PYI034 - enum members are of the class itself
        """Make a member whose value is ``code``."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.label = label
        return member


class Capability(Choice):
    """What a board can be used for. A lab may add codes of its own."""

    CMD = "CMD", "Command Execution"
    CAMERA = "CAMERA", "Camera Testing"
    DISPLAY = "DISPLAY", "Display Output"
    SOUND = "SOUND", "Sound/Audio"
    FILE = "FILE", "File System"
    SENSOR = "SENSOR", "Sensor Reading"
    GPIO = "GPIO", "GPIO Control"
    ADC = "ADC", "Analog-to-Digital"
    NETWORK = "NETWORK", "Network Connectivity"


class RelayModel(Choice):
    """What a relay is, in the lab's words; the driver is a separate setting."""

    POWER_EXTENSION = "POWER_EXTENSION", "Power Extension"
    ETH_008_A = "ETH_008_A", "Ethernet 008 Type A"
    ETH_008_B = "ETH_008_B", "Ethernet 008 Type B"
    ETH_016 = "ETH_016", "Ethernet 016"
    CUSTOM = "CUSTOM", "Custom"


class RelayStatus(Choice):
    """How a relay stands. INACTIVE turns ACTIVE at the first answer; MAINTENANCE is a person's."""

    ACTIVE = "ACTIVE", "Active"
    INACTIVE = "INACTIVE", "Inactive"
    MAINTENANCE = "MAINTENANCE", "Maintenance"
    FAULT = "FAULT", "Fault"


class PcStatus(Choice):
    """How a test PC stands. MAINTENANCE is set and cleared by a person only."""

    ONLINE = "ONLINE", "Online"
    OFFLINE = "OFFLINE", "Offline"
    MAINTENANCE = "MAINTENANCE", "Maintenance"
    INITIALIZING = "INITIALIZING", "Initializing"


class OsVersion(Choice):
    """Operating systems of test PCs. Detected by the agent; others are stored as lower-case codes."""

    UBUNTU_18_04 = "ubuntu_18_04", "Ubuntu 18.04"
    UBUNTU_20_04 = "ubuntu_20_04", "Ubuntu 20.04"
    UBUNTU_22_04 = "ubuntu_22_04", "Ubuntu 22.04"
    UBUNTU_24_04 = "ubuntu_24_04", "Ubuntu 24.04"
    CENTOS_7 = "centos_7", "CentOS 7"
    CENTOS_8 = "centos_8", "CentOS 8"
    CENTOS_9 = "centos_9", "CentOS 9"
    WINDOWS_10 = "windows_10", "Windows 10"
    WINDOWS_11 = "windows_11", "Windows 11"
    MACOS_VENTURA = "macos_ventura", "macOS Ventura"
    MACOS_SONOMA = "macos_sonoma", "macOS Sonoma"


class Platform(Choice):
    """TI platforms. A lab may add codes of its own (``codes.platform`` in lab.toml)."""

    J721S2 = "j721s2", "TI J721S2"
    J721E = "j721e", "TI J721E"
    J722S = "j722s", "TI J722S"
    J742S2 = "j742s2", "TI J742S2"
    J784S4 = "j784s4", "TI J784S4"
    J7200 = "j7200", "TI J7200"
    AM62X = "am62x", "TI AM62x"
    AM62PX = "am62px", "TI AM62Px"


class DeviceType(Choice):
    """What kind of hardware a board is."""

    EVM = "EVM", "Evaluation Module"
    SOCKET_BOARD = "SOCKET_BOARD", "Socket Board"
    BREAKOUT_BOARD = "BREAKOUT_BOARD", "Breakout Board"
    CUSTOM = "CUSTOM", "Custom"


class TestFarm(Choice):
    """Which farm a board belongs to."""

    __test__ = False  # pytest would take the name for a test class

    HLOS = "HLOS", "HLOS (Linux/QNX)"
    RTOS = "RTOS", "RTOS (Real-Time OS)"
    BAREMETAL = "BAREMETAL", "Bare-metal"
    STAGING = "STAGING", "Staging"
    INTEGRATION = "INTEGRATION", "Integration"


class BoardStatus(Choice):
    """The one status of a board that people see, made of four that do not fight."""

    IDLE = "IDLE", "Idle"
    BUSY = "BUSY", "Busy"
    UPDATING_SDK = "UPDATING_SDK", "Updating SDK"
    OFFLINE = "OFFLINE", "Offline"
    DEACTIVATED = "DEACTIVATED", "Deactivated"
    ERROR = "ERROR", "Error"
