"""Power strips and plugs with a web interface, found by the pages with which they introduce themselves.

Only GET requests leave here, and only for pages that read: Shelly's ``/shelly`` and ``Shelly.GetStatus``, NETIO's
``/netio.json``, Gude's status without a command, Tasmota's ``Status``, and the states of a Digital Loggers switch.
One connection to an address, one request after the other. A login is never tried.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

import httpx

from boardherd.discovery.found import Found

HTTP_PORT = 80
_MOST_BYTES = 64 * 1024
_PLAIN = {"Accept-Encoding": "identity"}
_REALM = re.compile(r'realm="([^"]*)"')
_REALMS = {
    "shelly": ("shelly", "Shelly"),
    "netio": ("netio", "NETIO"),
    "gude": ("gude", "Gude"),
    "dli": ("dli", "Digital Loggers"),
    "digital loggers": ("dli", "Digital Loggers"),
    "tasmota": ("tasmota", "Tasmota"),
}
"""Words by which a login page gives its maker away."""


@dataclass(frozen=True)
class _Page:
    status: int
    body: Any
    """The JSON in it, None for anything else."""
    realm: str = ""


class _Site:
    """The web server at one address."""

    def __init__(self, http: httpx.AsyncClient, address: str, port: int) -> None:
        self.address, self.port = address, port
        self._http = http

    async def get(self, path: str) -> _Page:
        """Return a page; raises httpx.HTTPError when the device does not answer as a web server does."""
        async with self._http.stream("GET", path) as response:
            body = b""
            async for part in response.aiter_raw():
                body += part
                if len(body) > _MOST_BYTES:
                    # without its connection the reading ends in order, as a TransportError
                    await response.extensions["network_stream"].aclose()
            realm = _REALM.search(response.headers.get("www-authenticate", ""))
            return _Page(response.status_code, _json(body), realm[1] if realm else "")

    def relay(self, kind: str, title: str, states: list[bool] | None, text: str = "", mac: str = "") -> Found:
        """Return a relay at this address."""
        keys: dict[str, Any] = {"kind": kind, "address": self.address}
        keys |= {"tcp_port": self.port} if self.port != HTTP_PORT else {}
        keys |= {"mac": mac} if mac else {}
        if not states:
            return Found("relay", title, self.address, keys, text=text)
        keys |= {"port_count": len(states)} if len(states) != 8 else {}
        return Found("relay", title, self.address, keys, len(states), sum(states), text)


async def ask(address: str, *, port: int = HTTP_PORT, connect_s: float, within_s: float) -> Found | None:
    """Return the power strip at ``address``; None when there is no web server, or one of something else."""
    limits = httpx.Timeout(within_s, connect=connect_s)
    host = f"[{address}]" if ":" in address else address
    try:
        async with httpx.AsyncClient(
            base_url=f"http://{host}:{port}", timeout=limits, trust_env=False, headers=_PLAIN
        ) as http:
            return await _recognise(_Site(http, address, port))
    except (httpx.HTTPError, httpx.InvalidURL):
        return None


async def _recognise(site: _Site) -> Found | None:
    for look in (_shelly, _netio, _gude, _tasmota):
        if found := await look(site):
            return found
    return None


async def _shelly(site: _Site) -> Found | None:
    page = await site.get("/shelly")
    if page.status == httpx.codes.UNAUTHORIZED:  # of a Shelly this page is open always
        return _by_realm(site, page.realm)
    about = page.body
    if not isinstance(about, dict) or "mac" not in about or not ({"gen", "type"} & about.keys()):
        return None
    first = "gen" not in about
    title = f"Shelly {about.get('model') or about.get('type')}"
    text = f"generation {about.get('gen', 1)}, firmware {about.get('ver') or about.get('fw')}"
    if about.get("auth_en") or about.get("auth"):
        return site.relay("shelly", title, None, f"{text}; add its password", _mac(about["mac"]))
    status = await site.get("/status" if first else "/rpc/Shelly.GetStatus")
    states = _shelly_states(status.body, first=first)
    return site.relay("shelly", title, states, text, _mac(about["mac"]))


def _shelly_states(status: Any, *, first: bool) -> list[bool]:
    if not isinstance(status, dict):
        return []
    if first:
        relays = status.get("relays")
        return (
            [bool(it.get("ison")) for it in relays if isinstance(it, dict)]
            if isinstance(relays, list)
            else []
        )
    parts = (value for key, value in status.items() if key.startswith("switch:"))
    return [bool(part.get("output")) for part in parts if isinstance(part, dict)]


async def _netio(site: _Site) -> Found | None:
    page = await site.get("/netio.json")
    if page.status == httpx.codes.UNAUTHORIZED:
        return _by_realm(site, page.realm)
    agent, outputs = _part(page.body, "Agent", dict), _part(page.body, "Outputs", list)
    if agent is None or outputs is None:
        return None
    states = [it.get("State") == 1 for it in outputs if isinstance(it, dict)]
    text = f"firmware {agent.get('Version', '?')}; add user and password to switch it"
    return site.relay(
        "netio", f"NETIO {agent.get('Model', '')}".strip(), states, text, _mac(agent.get("MAC", ""))
    )


async def _gude(site: _Site) -> Found | None:
    for path in ("/status.json", "/statusjsn.js"):
        page = await site.get(f"{path}?components=17")
        outputs, misc = _part(page.body, "outputs", list), _part(page.body, "misc", dict)
        if outputs is not None and misc is not None:
            states = [it.get("state") == 1 for it in outputs if isinstance(it, dict)]
            title = f"Gude {misc.get('product_name', '')}".strip()
            text = f"firmware {misc.get('firm_v', '?')}"
            return site.relay("gude", title, states, text, _mac(misc.get("mac_addr", "")))
    return None


async def _tasmota(site: _Site) -> Found | None:
    page = await site.get("/cm?cmnd=Status%2011")
    if isinstance(page.body, dict) and "WARNING" in page.body:
        return site.relay("tasmota", "Tasmota", None, "add its password")
    status = _part(page.body, "StatusSTS", dict)
    if status is None:
        return None
    states = [value == "ON" for key, value in status.items() if re.fullmatch(r"POWER\d*", key)]
    network = _part((await site.get("/cm?cmnd=Status%205")).body, "StatusNET", dict) or {}
    return site.relay("tasmota", "Tasmota", states, "", _mac(network.get("Mac", "")))


def _by_realm(site: _Site, realm: str) -> Found | None:
    """Return what a login page seems to belong to; None where its words say nothing."""
    for word, (kind, title) in _REALMS.items():
        if word in realm.lower():
            found = site.relay(kind, title, None, f'guessed from its login "{realm}"; add user and password')
            return replace(found, sure=False)
    return None


def _part(body: Any, key: str, kind: type[Any]) -> Any:
    """Return a part of a JSON object, None if it is not there or of another kind."""
    value = body.get(key) if isinstance(body, dict) else None
    return value if isinstance(value, kind) else None


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _mac(text: object) -> str:
    """Return a hardware address as lab.toml has it; empty for anything else."""
    digits = re.sub(r"[:-]", "", str(text)).upper()
    return ":".join(re.findall("..", digits)) if re.fullmatch("[0-9A-F]{12}", digits) else ""
