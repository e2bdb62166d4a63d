"""Where the relay listens, and which addresses belong to it or to the hub."""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from aioice import ice

from digm.errors import CallerFault
from hub.config import Settings
from hub.relay.forbidden import Address, PeerRules

EVERYWHERE = ("", "0.0.0.0", "::")
_gathered = ice.get_host_addresses  # as it is before hub.seeding.ice replaces it


@dataclass(frozen=True)
class Place:
    """Where one relay is.

    Args:
        hosts: IP addresses that clients reach it at and that it relays from.
    """

    hosts: tuple[str, ...]
    rules: PeerRules


async def find_place(settings: Settings) -> Place:
    """Look at the machine and at where the hub is.

    Raises:
        CallerFault: `bad_setting`, no address to listen on.
    """
    interfaces = _gathered(True, True)
    hosts = tuple(settings.turn_host) or _hosts_of(settings.host, interfaces)
    if not hosts:
        raise CallerFault("bad_setting", "There is no address to relay from: set DIGM_TURN_HOST.")
    hub = await _addresses_of(
        urlsplit(url).hostname or ""
        for url in (settings.public_url, settings.gateway_url, settings.signal_url)
        if url
    )
    own = [*interfaces, *hosts, *([settings.turn_external_ip] if settings.turn_external_ip else [])]
    allowed = tuple(ipaddress.ip_network(text) for text in settings.turn_allow)
    return Place(hosts, PeerRules(allowed, frozenset(map(ipaddress.ip_address, own)) | hub))


def _hosts_of(host: str, interfaces: list[str]) -> tuple[str, ...]:
    if host in EVERYWHERE:
        return tuple(text for text in interfaces if not ipaddress.ip_address(text).is_link_local)
    return ("127.0.0.1",) if host == "localhost" else (host,)


async def _addresses_of(names: Iterable[str]) -> frozenset[Address]:
    found: set[Address] = set()
    loop = asyncio.get_running_loop()
    for name in set(names):
        # A name that does not resolve here is not one that the relay could be sent to by address either.
        with contextlib.suppress(OSError, UnicodeError):
            for entry in await loop.getaddrinfo(name, None, type=socket.SOCK_DGRAM):
                found.add(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]))
    return frozenset(found)
