"""Messages of `GET /signal` (WebSocket, subprotocol `digm.signal.1`), decoded and checked, for hub and peers.

JSON text, one object a message, at most 64 KiB, `{"type": "join", ...}`. Unknown fields are ignored, unknown
types and anything out of bounds are a PeerFault with a code. The session that a peer keeps with the hub is
digm.signalling_client; the hub's half is hub/signalling; SDP is digm.sdp's.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from digm.errors import CallerFault, PeerFault
from digm.ids import is_hex_id
from digm.sdp import check_candidate, check_sdp

SUBPROTOCOL = "digm.signal.1"
VERSION = "1"
HELLO_CONTEXT = b"digm/1 hello"  # Ed25519 signs this and the hub's nonce

MAX_MESSAGE_BYTES = 65_536
MAX_PEERS = 10
MAX_ICE_SERVERS = 8
MAX_TOKEN_CHARS = 128
MAX_TEXT_CHARS = 500


def hello_message(nonce: str) -> bytes:
    """What a peer signs to prove its id: `"digm/1 hello" || nonce`. The nonce is 64 hex digits, checked."""
    return HELLO_CONTEXT + bytes.fromhex(nonce)


# -- messages; every id is 64 lower-case hex digits


@dataclass(frozen=True, slots=True)
class Challenge:
    """hub: the first message; the nonce is fresh for every connection."""

    nonce: str


@dataclass(frozen=True, slots=True)
class Hello:
    """peer: proves its id. `signature` is 128 hex digits over `hello_message(nonce)`."""

    peer: str
    signature: str
    version: str = VERSION


@dataclass(frozen=True, slots=True)
class IceServer:
    """One entry for RTCPeerConnection's iceServers."""

    urls: tuple[str, ...]
    username: str | None = None
    credential: str | None = None


@dataclass(frozen=True, slots=True)
class Welcome:
    """hub: the session is open. Announce each swarm at least every `heartbeat_s`."""

    session: str
    heartbeat_s: float
    ice_servers: tuple[IceServer, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Join:
    """peer: enter the swarm of a track. `share` of the chunks held 0..1; `want` this many peers."""

    track: str
    token: str
    share: float
    want: int = MAX_PEERS


@dataclass(frozen=True, slots=True)
class PeerShare:
    """Somebody in a swarm, and how much of the track they say they hold."""

    peer: str
    share: float


@dataclass(frozen=True, slots=True)
class Peers:
    """hub: the answer to `join`. Whoever receives it makes the offers."""

    track: str
    peers: tuple[PeerShare, ...]


@dataclass(frozen=True, slots=True)
class Announce:
    """peer: still here, holding this share."""

    track: str
    share: float


@dataclass(frozen=True, slots=True)
class Leave:
    """peer: no longer in the swarm."""

    track: str


@dataclass(frozen=True, slots=True)
class Offer:
    """both: an SDP offer for one other member of the swarm."""

    track: str
    sender: str
    recipient: str
    sdp: str


@dataclass(frozen=True, slots=True)
class Answer:
    """both: the SDP answer to an offer."""

    track: str
    sender: str
    recipient: str
    sdp: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """both: a trickled ICE candidate; None says that there are no more."""

    track: str
    sender: str
    recipient: str
    candidate: str | None
    sdp_mid: str | None = None
    sdp_m_line_index: int | None = None


@dataclass(frozen=True, slots=True)
class PeerJoined:
    """hub: a newcomer; it offers, we wait."""

    track: str
    peer: str
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """hub: gone from the swarm. Connections with it live on by themselves."""

    track: str
    peer: str


@dataclass(frozen=True, slots=True)
class Error:
    """hub: a message was refused; the session goes on unless the hub closes it."""

    code: str
    message: str
    track: str | None = None


@dataclass(frozen=True, slots=True)
class Bye:
    """hub: it is going away; come back after this long."""

    code: str
    reconnect_after_s: float


Message = (
    Challenge | Hello | Welcome | Join | Peers | Announce | Leave | Offer | Answer | Candidate | PeerJoined
    | PeerLeft | Error | Bye
)  # fmt: skip


# -- fields: each check returns the value as the dataclass holds it, or raises ValueError with what was wanted

Check = Callable[[Any], Any]
_SIGNATURE = re.compile(r"[0-9a-f]{128}")


def _id(value: Any) -> str:
    if not is_hex_id(value):
        raise ValueError("64 lower-case hex digits")
    return str(value)


def _signature(value: Any) -> str:
    if not isinstance(value, str) or not _SIGNATURE.fullmatch(value):
        raise ValueError("128 lower-case hex digits")
    return value


def _text(most: int) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, str) or len(value) > most or len(_utf8(value)) > most:
            raise ValueError(f"text of at most {most} bytes")
        return value

    return check


def _number(low: float, high: float) -> Check:
    def check(value: Any) -> float:
        if type(value) not in (int, float) or not low <= value <= high:
            raise ValueError(f"a number from {low} to {high}")
        return float(value)

    return check


def _integer(low: int, high: int) -> Check:
    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return check


def _optional(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _limits(value: Any) -> dict[str, int]:
    if not isinstance(value, dict) or len(value) > 32 or any(type(v) is not int for v in value.values()):
        raise ValueError("an object of whole numbers")
    return value


def _ice_servers(value: Any) -> tuple[IceServer, ...]:
    if not isinstance(value, list) or len(value) > MAX_ICE_SERVERS:
        raise ValueError(f"a list of at most {MAX_ICE_SERVERS} servers")
    text, optional = _text(MAX_TEXT_CHARS), _optional(_text(MAX_TEXT_CHARS))
    servers = []
    for item in value:
        urls = item.get("urls") if isinstance(item, dict) else None
        if not isinstance(urls, list) or not 1 <= len(urls) <= 8:
            raise ValueError("servers with 1 to 8 urls each")
        servers.append(
            IceServer(tuple(map(text, urls)), optional(item.get("username")), optional(item.get("credential")))
        )
    return tuple(servers)


def _peer_shares(value: Any) -> tuple[PeerShare, ...]:
    if not isinstance(value, list) or len(value) > MAX_PEERS or not all(isinstance(i, dict) for i in value):
        raise ValueError(f"a list of at most {MAX_PEERS} peers")
    return tuple(PeerShare(_id(item.get("peer")), _share(item.get("share", 0.0))) for item in value)


def _sdp(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("text")
    check_sdp(value)
    return value


def _candidate(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise PeerFault("candidate_bad", "A candidate is text, or null at the end of them.")
    check_candidate(value)
    return value


_share = _number(0.0, 1.0)
_track = {"track": _id}
_pair = {"track": _id, "from": _id, "to": _id}

# message type -> (its name in JSON, its fields in the order of the dataclass)
SCHEMA: Mapping[type, tuple[str, Mapping[str, Check]]] = {
    Challenge: ("challenge", {"nonce": _id}),
    Hello: ("hello", {"peer": _id, "signature": _signature, "version": _text(32)}),
    Welcome: (
        "welcome",
        {"session": _text(64), "heartbeat_s": _number(1, 3600), "ice_servers": _ice_servers, "limits": _limits},
    ),
    Join: (
        "join",
        {**_track, "token": _text(MAX_TOKEN_CHARS), "share": _share, "want": _integer(0, MAX_PEERS)},
    ),
    Peers: ("peers", {**_track, "peers": _peer_shares}),
    Announce: ("announce", {**_track, "share": _share}),
    Leave: ("leave", _track),
    Offer: ("offer", {**_pair, "sdp": _sdp}),
    Answer: ("answer", {**_pair, "sdp": _sdp}),
    Candidate: (
        "candidate",
        {
            **_pair,
            "candidate": _candidate,
            "sdp_mid": _optional(_text(64)),
            "sdp_m_line_index": _optional(_integer(0, 255)),
        },
    ),
    PeerJoined: ("peer_joined", {**_track, "peer": _id, "share": _share}),
    PeerLeft: ("peer_left", {**_track, "peer": _id}),
    Error: (
        "error",
        {"code": _text(64), "message": _text(MAX_TEXT_CHARS), "track": _optional(_id)},
    ),
    Bye: ("bye", {"code": _text(64), "reconnect_after_s": _number(0, 3600)}),
}

FROM_PEER = (Hello, Join, Announce, Leave, Offer, Answer, Candidate)
FROM_HUB = (Challenge, Welcome, Peers, Offer, Answer, Candidate, PeerJoined, PeerLeft, Error, Bye)
_DEFAULTS: Mapping[str, Any] = {
    "version": "", "want": MAX_PEERS, "share": 0.0, "ice_servers": [], "limits": {},
}  # fmt: skip


def encode(message: Message) -> str:
    """Write one message.

    Raises:
        CallerFault: `bad_message`, it breaks one of the bounds that its receiver enforces.
    """
    name, fields = SCHEMA[type(message)]
    values = [getattr(message, slot) for slot in type(message).__dataclass_fields__]
    document = {"type": name, **{key: _plain(value) for key, value in zip(fields, values, strict=True)}}
    text = json.dumps(document, separators=(",", ":"))
    try:
        _read(document, (type(message),))
    except PeerFault as fault:
        raise CallerFault("bad_message", str(fault)) from fault
    if len(text) > MAX_MESSAGE_BYTES:
        raise CallerFault("bad_message", f"A message of {len(text)} bytes is too long.")
    return text


def decode_from_peer(text: str) -> Message:
    """Read what a peer sent to the hub.

    Raises:
        PeerFault: `message_too_long`, `message_not_json`, `message_type`, `message_field` (data: field),
            `sdp_too_long`, `sdp_malformed`, `sdp_media`, `candidate_bad`.
    """
    return _decode(text, FROM_PEER)


def decode_from_hub(text: str) -> Message:
    """Read what the hub sent to a peer. Raises PeerFault as `decode_from_peer`."""
    return _decode(text, FROM_HUB)


def _decode(text: str, allowed: tuple[type, ...]) -> Message:
    if len(text) > MAX_MESSAGE_BYTES or len(_utf8(text)) > MAX_MESSAGE_BYTES:
        raise PeerFault("message_too_long", f"A message has at most {MAX_MESSAGE_BYTES} bytes.")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PeerFault("message_not_json", "The message is not JSON.") from error
    if not isinstance(document, dict):
        raise PeerFault("message_not_json", "The message is not a JSON object.")
    return _read(document, allowed)


def _read(document: dict[str, Any], allowed: tuple[type, ...]) -> Message:
    for kind in allowed:
        name, fields = SCHEMA[kind]
        if document.get("type") != name:
            continue
        values = []
        for key, check in fields.items():
            try:
                values.append(check(document.get(key, _DEFAULTS.get(key))))
            except ValueError as error:
                raise PeerFault("message_field", f"{name}.{key} is not {error}.", field=key) from error
        message: Message = kind(*values)
        return message
    raise PeerFault("message_type", "There is no such message in this direction.")


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, IceServer | PeerShare):
        filled = ((slot, getattr(value, slot)) for slot in type(value).__dataclass_fields__)
        return {slot: _plain(item) for slot, item in filled if item is not None}
    return value


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
