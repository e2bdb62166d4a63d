"""What a field of a signalling message may hold: one check for each kind, shared by hub and peers.

A check takes what JSON held and returns what the message holds, or raises ValueError with what was wanted (or a
PeerFault where the refusal has a name of its own). The messages are digm.signalling's.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from digm.errors import PeerFault
from digm.ids import is_hex_id
from digm.sdp import check_candidate, check_sdp

Check = Callable[[Any], Any]
ROLES = ("listener", "node")
MAX_PEERS = 10
MAX_ICE_SERVERS = 8
MAX_URLS = 8  # of one ICE server
MAX_TEXT_CHARS = 500
MAX_LIMITS = 32
_SIGNATURE = re.compile(r"[0-9a-f]{128}")
TURN_URL = re.compile(r"turns?:[A-Za-z0-9.:\[\]-]{1,255}(\?transport=(udp|tcp))?")
HUB_URL = re.compile(r"wss?://[A-Za-z0-9.:\[\]-]{1,255}(/[A-Za-z0-9._~/-]{0,200})?")


@dataclass(frozen=True, slots=True)
class IceServer:
    """One entry for RTCPeerConnection's iceServers."""

    urls: tuple[str, ...]
    username: str | None = None
    credential: str | None = None


@dataclass(frozen=True, slots=True)
class PeerShare:
    """Somebody in a swarm: how much of the track they say they hold, and whether they listen or only give."""

    peer: str
    share: float
    role: str = ROLES[0]


def hex_id(value: Any) -> str:
    """64 lower-case hex digits."""
    if not is_hex_id(value):
        raise ValueError("64 lower-case hex digits")
    return str(value)


def signature(value: Any) -> str:
    """Ed25519, 64 bytes in hex."""
    if not isinstance(value, str) or not _SIGNATURE.fullmatch(value):
        raise ValueError("128 lower-case hex digits")
    return value


def text(most: int) -> Check:
    """Text of at most so many bytes in UTF-8."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or len(value) > most or len(utf8(value)) > most:
            raise ValueError(f"text of at most {most} bytes")
        return value

    return check


def number(low: float, high: float) -> Check:
    """A number, both bounds included; no NaN, no booleans."""

    def check(value: Any) -> float:
        if type(value) not in (int, float) or not low <= value <= high:
            raise ValueError(f"a number from {low} to {high}")
        return float(value)

    return check


def integer(low: int, high: int) -> Check:
    """A whole number, both bounds included."""

    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return check


def one_of(*choices: str) -> Check:
    """One of a few words."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return value

    return check


def optional(check: Check) -> Check:
    """Null, or what the check lets through."""
    return lambda value: None if value is None else check(value)


def limits(value: Any) -> dict[str, int]:
    """The numbers that `welcome` tells."""
    if (
        not isinstance(value, dict)
        or len(value) > MAX_LIMITS
        or any(type(v) is not int for v in value.values())
    ):
        raise ValueError("an object of whole numbers")
    return value


def ice_servers(value: Any) -> tuple[IceServer, ...]:
    """For RTCPeerConnection."""
    if not isinstance(value, list) or len(value) > MAX_ICE_SERVERS:
        raise ValueError(f"a list of at most {MAX_ICE_SERVERS} servers")
    line, maybe = text(MAX_TEXT_CHARS), optional(text(MAX_TEXT_CHARS))
    servers = []
    for item in value:
        urls = item.get("urls") if isinstance(item, dict) else None
        if not isinstance(urls, list) or not 1 <= len(urls) <= MAX_URLS:
            raise ValueError(f"servers with 1 to {MAX_URLS} urls each")
        servers.append(
            IceServer(tuple(map(line, urls)), maybe(item.get("username")), maybe(item.get("credential")))
        )
    return tuple(servers)


def turn_urls(value: Any) -> tuple[str, ...]:
    """Where a relay that offers itself can be reached (RFC 7065)."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_URLS:
        raise ValueError(f"a list of 1 to {MAX_URLS} urls")
    if not all(isinstance(url, str) and TURN_URL.fullmatch(url) for url in value):
        raise ValueError("a list of turn: and turns: urls")
    return tuple(value)


def hub_url(value: Any) -> str:
    """The `/signal` address of a hub."""
    if not isinstance(value, str) or not HUB_URL.fullmatch(value):
        raise ValueError("a ws:// or wss:// url")
    return value


def peer_shares(value: Any) -> tuple[PeerShare, ...]:
    """The members that a hub names."""
    if not isinstance(value, list) or len(value) > MAX_PEERS or not all(isinstance(i, dict) for i in value):
        raise ValueError(f"a list of at most {MAX_PEERS} peers")
    return tuple(
        PeerShare(hex_id(item.get("peer")), share(item.get("share", 0.0)), role(item.get("role", ROLES[0])))
        for item in value
    )


def sdp(value: Any) -> str:
    """A description with one data channel."""
    if not isinstance(value, str):
        raise ValueError("text")
    check_sdp(value)
    return value


def candidate(value: Any) -> str | None:
    """An ICE candidate; null at the end of them."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise PeerFault("candidate_bad", "A candidate is text, or null at the end of them.")
    check_candidate(value)
    return value


def utf8(value: str) -> bytes:
    """The bytes of a text, also of one that JSON's escapes left with half a surrogate pair."""
    return value.encode("utf-8", "surrogatepass")


share = number(0.0, 1.0)
role = one_of(*ROLES)
