"""Where the lab is, and who asks.

Sources, strongest first: flags, environment (``BOARDHERD_BROKER``, ``BOARDHERD_API``, ``BOARDHERD_SITE``,
``BOARDHERD_OPERATOR``, ``BOARDHERD_API_TOKEN_FILE``, ``BOARDHERD_SOCKET``), the configuration file
(``BOARDHERD_CONFIG``, or ``~/.config/boardherd/config.toml``), the connection file of a running demo, defaults.

Broker and API belong to one lab: where only one of them is named, the other is looked for on the same host,
and the demo's file counts only when nothing stronger names either.
"""

from __future__ import annotations

import getpass
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from boardherd_shared.ids import OPERATOR_PATTERN, Operator, Slug
from boardherd_shared.link import BrokerSettings
from boardherd_shared.messages import explain
from boardherd_shared.settings import ConfigError, load

DEFAULT_TIMEOUT_S = 15.0
DEFAULT_SOCKET = Path("/run/boardherd/agent.sock")
_API_PORT = 8080


def _broker(value: object) -> object:
    """Read a bare address as a table of nothing else."""
    return {"url": value} if isinstance(value, str) else value


def _http(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f'"{url}" is no address of the collector; write http://host:8080')
    return url.rstrip("/")


Broker = Annotated[BrokerSettings, BeforeValidator(_broker)]


class Source(BaseModel):
    """What one source says; also the form of the configuration file and of a demo's connection file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    broker: Broker | None = Field(None, description="address of the broker, or a table with credentials")
    api: Annotated[str, AfterValidator(_http)] | None = Field(
        None, description="address of the collector: http://host:8080"
    )
    api_token_file: Path | None = Field(None, description="file with the collector's bearer token")
    site: Slug | None = Field(None, description="the lab's id; found by looking when there is only one")
    operator: Operator | None = Field(None, description="who asks; the broker user name by default")
    socket: Path | None = Field(None, description="socket of the agent on this machine, for --local")


class DemoSource(Source):
    """A demo's connection file; it may say more than is needed here."""

    model_config = ConfigDict(extra="ignore", frozen=True)


@dataclass(frozen=True)
class Settings:
    """Everything the client needs to know."""

    broker: BrokerSettings
    api: str
    operator: str
    site: str | None = None
    """None: to be found out."""
    api_token_file: Path | None = None
    socket: Path = DEFAULT_SOCKET
    """Where the agent of this machine listens."""
    timeout: float = DEFAULT_TIMEOUT_S
    """Seconds to wait for somebody to answer a command."""
    origin: str = "by default"
    """Where the addresses came from, for error messages: "from the environment"."""


def demo_connection_file(env: Mapping[str, str] = os.environ) -> Path:
    """Return where a running demo says how to reach it, as JSON with broker, api, site and operator.

    The file is below ``$XDG_RUNTIME_DIR``, or else in a directory of the user's own among the temporary files.
    Who writes it makes the directory with mode 0700; a file that belongs to somebody else is not believed.
    """
    runtime = env.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "boardherd" / "demo.json"
    user = os.getuid() if hasattr(os, "getuid") else login_name()
    return Path(tempfile.gettempdir()) / f"boardherd-{user}" / "boardherd" / "demo.json"


def config_file(env: Mapping[str, str] = os.environ) -> Path:
    """Return where the operator's configuration file is, or would be."""
    if named := env.get("BOARDHERD_CONFIG"):
        return Path(named)
    home = env.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "boardherd" / "config.toml"


def login_name() -> str:
    """Return the name of the logged-in user, made valid as an operator's name."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user id without a name, as in containers
        return "operator"
    name = re.sub(r"[^A-Za-z0-9._@-]", "-", name).lstrip("._@-")[:63]
    return name if re.fullmatch(OPERATOR_PATTERN, name) else "operator"


def resolve(
    flags: Mapping[str, str | None],
    env: Mapping[str, str] = os.environ,
    timeout: float = DEFAULT_TIMEOUT_S,
) -> Settings:
    """Return the settings in force.

    Args:
        flags: what the command line says: any of broker, api, site, operator, socket.
        env: the environment.
        timeout: seconds to wait for an answer.

    Raises:
        ConfigError: a source makes no sense; the message names it.
    """
    sources = [("the command line", _parse("the command line", dict(flags))), *_surroundings(env)]
    place, origin = _place(sources, env)

    def first(key: str) -> Any:
        values = (getattr(source, key) for _, source in [*sources, ("", place)])
        return next((value for value in values if value is not None), None)

    broker, api = _pair(place)
    return Settings(
        broker=broker,
        api=api,
        operator=first("operator") or _valid_user(broker) or login_name(),
        site=first("site"),
        api_token_file=first("api_token_file"),
        socket=first("socket") or DEFAULT_SOCKET,
        timeout=timeout,
        origin=origin,
    )


def _surroundings(env: Mapping[str, str]) -> list[tuple[str, Source]]:
    """Return what environment and configuration file say."""
    keys = ("broker", "api", "api_token_file", "site", "operator", "socket")
    said = _parse("the environment", {key: env.get(f"BOARDHERD_{key.upper()}") or None for key in keys})
    path = config_file(env)
    written = load(path, Source) if path.exists() or "BOARDHERD_CONFIG" in env else Source()
    return [("the environment", said), (str(path), written)]


def _place(sources: list[tuple[str, Source]], env: Mapping[str, str]) -> tuple[Source, str]:
    """Return what says where the lab is, and the name of that source."""
    for name, source in sources:
        if source.broker is None and source.api is None:
            continue
        # A weaker source may complete a stronger one: --broker beside BOARDHERD_API is one lab on purpose.
        fill = {
            key: getattr(source, key) or next((getattr(s, key) for _, s in sources if getattr(s, key)), None)
            for key in ("broker", "api")
        }
        return Source(**fill), f"from {name}"
    path = demo_connection_file(env)
    demo = _demo(path)
    return (demo, f"from the demo's file {path}") if demo else (Source(), "by default")


def _demo(path: Path) -> Source | None:
    """Return a demo's connection file, or None if there is none of our own."""
    try:
        if hasattr(os, "getuid") and path.stat().st_uid != os.getuid():
            return None
        return DemoSource.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _parse(name: str, values: dict[str, str | None]) -> Source:
    try:
        return Source.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{name}: {explain(error)}") from error


def _pair(place: Source) -> tuple[BrokerSettings, str]:
    """Return broker and API, the one derived from the other's host where only one is known."""
    if place.broker is None:
        host = urlsplit(place.api).hostname if place.api else None
        broker = BrokerSettings(url=f"mqtt://{_bracketed(host)}:1883") if host else BrokerSettings()
    else:
        broker = place.broker
    return broker, place.api or f"http://{_bracketed(broker.host)}:{_API_PORT}"


def _bracketed(host: str) -> str:
    """Return ``host`` as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def _valid_user(broker: BrokerSettings) -> str | None:
    """Return the broker user name where it can stand in a topic: the ACL allows that one and no other."""
    return broker.user if broker.user and re.fullmatch(OPERATOR_PATTERN, broker.user) else None
