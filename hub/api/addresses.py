"""How listeners see this hub: its own URL, the gateway's, the signalling address, and the client's address.

Taken from the settings, else from the request. The Host header is the client's word, so it must look like a
host before it appears in a page, a header or an answer; X-Forwarded-* is believed from configured proxies
only.
"""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web

from digm.errors import CallerFault
from hub.config import Settings

_HOST = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>\d{1,5}))?"
)


@dataclass(frozen=True)
class Addresses:
    """Absolute URLs without a trailing slash.

    Attributes:
        hubs: all hubs that share the swarms, if there are several.
    """

    hub: str
    gateway: str
    client: str
    hubs: tuple[str, ...] = ()

    @property
    def signal(self) -> str:
        """`ws://` or `wss://` URL of the signalling WebSocket."""
        return self.sockets + "/signal"

    @property
    def sockets(self) -> str:
        """The hub's origin for WebSockets; `connect-src 'self'` does not cover it in every browser."""
        return "ws" + self.hub.removeprefix("http")

    @property
    def other_sockets(self) -> tuple[str, ...]:
        """The same of the other hubs, to which a player may be sent."""
        return tuple("ws" + hub.removeprefix("http") for hub in self.hubs if hub != self.hub)

    @property
    def host(self) -> str:
        """Host and port of the hub, as in a Host header."""
        return urlsplit(self.hub).netloc


def addresses_of(request: web.Request, settings: Settings) -> Addresses:
    """Where the sender of this request sees hub and gateway.

    Raises:
        CallerFault: `bad_host`.
    """
    scheme, host, client = _as_seen(request, settings)
    hub = settings.public_url or f"{scheme}://{_checked(host)}"
    return Addresses(hub, gateway_beside(hub, settings), client, settings.hubs)


def gateway_beside(hub: str, settings: Settings) -> str:
    """The gateway's URL for who sees the hub at this one."""
    if settings.gateway_url is not None:
        return settings.gateway_url
    parts = urlsplit(hub)
    name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{'https' if settings.gateway_cert else parts.scheme}://{name}:{settings.gateway_port}"


def client_address(request: web.Request, settings: Settings) -> str:
    """The address of whoever sent the request, as far as proxies are trusted to tell it."""
    return _as_seen(request, settings)[2]


def dialled_host(request: web.Request, settings: Settings) -> str:
    """The host that the other side dialled, whatever the public URL is."""
    return _checked(_as_seen(request, settings)[1])


def _as_seen(request: web.Request, settings: Settings) -> tuple[str, str, str]:
    client = request.remote or ""
    scheme, host = request.scheme, request.headers.get("Host", "")
    if _is_trusted(client, settings.trusted_proxies):
        forwarded = request.headers.get("X-Forwarded-For", "").split(",")
        # The last entry is the one our own proxy wrote; those before it are the client's word.
        client = forwarded[-1].strip() or client
        claimed = request.headers.get("X-Forwarded-Proto", scheme).strip()
        scheme = claimed if claimed in ("http", "https") else scheme
        host = request.headers.get("X-Forwarded-Host", host).strip()
    return scheme, host, client


def _is_trusted(address: str, proxies: tuple[str, ...]) -> bool:
    if not proxies:
        return False
    try:
        return any(
            ipaddress.ip_address(address) in ipaddress.ip_network(proxy, strict=False) for proxy in proxies
        )
    except ValueError:
        return False


def _checked(host: str) -> str:
    match = _HOST.fullmatch(host)
    if match is None or int(match["port"] or 0) > 65_535:
        raise CallerFault("bad_host", "The request has no usable Host header.")
    return host
