"""Which STUN and TURN servers a hub hands to a session, and with which credentials."""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from digm.signalling import MAX_ICE_SERVERS, IceServer
from hub.config import Settings
from hub.relay.credentials import TTL_S, turn_credentials

HOST_PLACE = "{host}"
_AUTHORITY = re.compile(r"([0-9A-Za-z.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


def ice_servers(
    settings: Settings,
    secret: bytes,
    session: str,
    unix_now: float,
    *,
    asked_host: str = "",
    elders: Sequence[IceServer] = (),
) -> tuple[tuple[IceServer, ...], int]:
    """The servers for one session.

    Args:
        secret: `load_relay_secret`.
        session: the hub's session id; the credentials are bound to it.
        asked_host: the Host header of the session's request (with or without a port): it stands in for
            `{host}` in `DIGM_TURN_URLS`, unless `DIGM_PUBLIC_URL` names one.
        elders: relays of elder nodes that are healthy, nearest first, complete with their own credentials.
    Returns:
        the servers, and for how many seconds their credentials are good (0: there are none that expire).
    """
    host = _host_of(urlsplit(settings.public_url).netloc if settings.public_url else asked_host)
    turn_urls = _filled_in(settings.turn_urls, host)
    # A TURN server answers STUN binding requests too, and aiortc does not think of that by itself.
    stun_urls = (*settings.stun_urls, *(() if settings.stun_urls else _as_stun(turn_urls)))
    servers = [IceServer((url,)) for url in stun_urls]
    if turn_urls:
        username, password = turn_credentials(secret, session, unix_now)
        servers.append(IceServer(turn_urls, username, password))
    servers.extend(elders)
    return tuple(servers[:MAX_ICE_SERVERS]), TTL_S if turn_urls or elders else 0


def _filled_in(urls: Sequence[str], host: str) -> tuple[str, ...]:
    return tuple(url.replace(HOST_PLACE, host) for url in urls if host or HOST_PLACE not in url)


def _as_stun(turn_urls: Sequence[str]) -> tuple[str, ...]:
    plain = (url for url in turn_urls if url.startswith("turn:") and "transport=tcp" not in url)
    return tuple("stun:" + url.removeprefix("turn:").partition("?")[0] for url in plain)[:1]


def _host_of(authority: str) -> str:
    """The host of `HOST[:PORT]` with its brackets; "" if it is none; a browser may send anything."""
    found = _AUTHORITY.fullmatch(authority)
    return found[1] if found else ""
