"""Messages of `GET /signal` (WebSocket, subprotocol `digm.signal.1`), decoded and checked, for hub and peers.

JSON text, one object a message, at most 64 KiB, `{"type": "join", ...}`. Unknown fields are ignored, unknown
types and anything out of bounds are a PeerFault with a code. What a single field may hold is
digm.signalling_fields'; the session that a peer keeps with the hub is digm.signalling_client; the hub's half is
hub/signalling; SDP is digm.sdp's.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from digm import signalling_fields as fields
from digm.errors import CallerFault, PeerFault
from digm.signalling_fields import Check
from digm.signalling_fields import IceServer as IceServer
from digm.signalling_fields import PeerShare as PeerShare

SUBPROTOCOL = "digm.signal.1"
VERSION = "1"
HELLO_CONTEXT = b"digm/1 hello"  # Ed25519 signs this and the hub's nonce

MAX_MESSAGE_BYTES = 65_536
MAX_PEERS = fields.MAX_PEERS
MAX_TOKEN_CHARS = 128
MAX_TEXT_CHARS = fields.MAX_TEXT_CHARS
MAX_ICE_SERVERS = fields.MAX_ICE_SERVERS
LISTENER, NODE = "listener", "node"  # roles: a page that plays, a process that gives


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
    role: str = LISTENER


@dataclass(frozen=True, slots=True)
class Welcome:
    """hub: the session is open. Announce each swarm at least every `heartbeat_s`.

    `ice_ttl_s`: how long the credentials in `ice_servers` work; 0 for as long as one likes.
    """

    session: str
    heartbeat_s: float
    ice_servers: tuple[IceServer, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    ice_ttl_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Join:
    """peer: enter the swarm of a track. `share` of the chunks held 0..1; `want` this many peers."""

    track: str
    token: str
    share: float
    want: int = MAX_PEERS


@dataclass(frozen=True, slots=True)
class Peers:
    """hub: the answer to `join`. Who receives it offers, except to nodes: they make the offers themselves.

    `listeners`: members that are no nodes, the asker included.
    """

    track: str
    peers: tuple[PeerShare, ...]
    listeners: int = 0


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
    """hub: a newcomer; it offers, unless one of the two is a node: then the node does."""

    track: str
    peer: str
    share: float = 0.0
    role: str = LISTENER


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """hub: gone from the swarm. Connections with it live on by themselves."""

    track: str
    peer: str


@dataclass(frozen=True, slots=True)
class Report:
    """peer: that one broke a rule, for example `wrong_hash`. The hub sends others there last."""

    track: str
    peer: str
    code: str


@dataclass(frozen=True, slots=True)
class Ice:
    """peer: the credentials of the ICE servers will expire; the answer is `ice_servers`."""


@dataclass(frozen=True, slots=True)
class IceServers:
    """hub: fresh credentials, for this session only."""

    ice_servers: tuple[IceServer, ...]
    ttl_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Redirect:
    """hub: the swarm lives on another hub, at this `/signal` address."""

    track: str
    url: str


@dataclass(frozen=True, slots=True)
class OfferRelay:
    """node: others may use the TURN server that it runs; the hub checks that it answers and hands it out.

    `secret`: with which the hub makes credentials for it; None: the hub's own relay secret.
    """

    urls: tuple[str, ...]
    secret: str | None = None


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
    | PeerLeft | Report | Ice | IceServers | Redirect | OfferRelay | Error | Bye
)  # fmt: skip


# -- what each field may hold

_track = {"track": fields.hex_id}
_pair = {"track": fields.hex_id, "from": fields.hex_id, "to": fields.hex_id}
_code = fields.text(64)
_ttl_s = fields.number(0, 86_400)

# message type -> (its name in JSON, its fields in the order of the dataclass)
SCHEMA: Mapping[type, tuple[str, Mapping[str, Check]]] = {
    Challenge: ("challenge", {"nonce": fields.hex_id}),
    Hello: (
        "hello",
        {"peer": fields.hex_id, "signature": fields.signature, "version": fields.text(32), "role": fields.role},
    ),
    Welcome: (
        "welcome",
        {
            "session": fields.text(64),
            "heartbeat_s": fields.number(1, 3600),
            "ice_servers": fields.ice_servers,
            "limits": fields.limits,
            "ice_ttl_s": _ttl_s,
        },
    ),
    Join: (
        "join",
        {
            **_track,
            "token": fields.text(MAX_TOKEN_CHARS),
            "share": fields.share,
            "want": fields.integer(0, MAX_PEERS),
        },
    ),
    Peers: ("peers", {**_track, "peers": fields.peer_shares, "listeners": fields.integer(0, 2**31)}),
    Announce: ("announce", {**_track, "share": fields.share}),
    Leave: ("leave", _track),
    Offer: ("offer", {**_pair, "sdp": fields.sdp}),
    Answer: ("answer", {**_pair, "sdp": fields.sdp}),
    Candidate: (
        "candidate",
        {
            **_pair,
            "candidate": fields.candidate,
            "sdp_mid": fields.optional(fields.text(64)),
            "sdp_m_line_index": fields.optional(fields.integer(0, 255)),
        },
    ),
    PeerJoined: (
        "peer_joined",
        {**_track, "peer": fields.hex_id, "share": fields.share, "role": fields.role},
    ),
    PeerLeft: ("peer_left", {**_track, "peer": fields.hex_id}),
    Report: ("report", {**_track, "peer": fields.hex_id, "code": _code}),
    Ice: ("ice", {}),
    IceServers: ("ice_servers", {"ice_servers": fields.ice_servers, "ttl_s": _ttl_s}),
    Redirect: ("redirect", {**_track, "url": fields.hub_url}),
    OfferRelay: ("offer_relay", {"urls": fields.turn_urls, "secret": fields.optional(fields.hex_id)}),
    Error: (
        "error",
        {"code": _code, "message": fields.text(MAX_TEXT_CHARS), "track": fields.optional(fields.hex_id)},
    ),
    Bye: ("bye", {"code": _code, "reconnect_after_s": fields.number(0, 3600)}),
}

FROM_PEER = (Hello, Join, Announce, Leave, Offer, Answer, Candidate, Report, Ice, OfferRelay)
FROM_HUB = (
    Challenge, Welcome, Peers, Offer, Answer, Candidate, PeerJoined, PeerLeft, IceServers, Redirect, Error, Bye,
)  # fmt: skip
# A field that is not there reads like this; so do an older peer's messages.
DEFAULTS: Mapping[str, Any] = {
    "version": "", "want": MAX_PEERS, "share": 0.0, "ice_servers": [], "limits": {}, "role": LISTENER,
    "listeners": 0, "ice_ttl_s": 0.0, "ttl_s": 0.0,
}  # fmt: skip


def encode(message: Message) -> str:
    """Write one message.

    Raises:
        CallerFault: `bad_message`, it breaks one of the bounds that its receiver enforces.
    """
    name, checks = SCHEMA[type(message)]
    values = [getattr(message, slot) for slot in type(message).__dataclass_fields__]
    document = {"type": name, **{key: _plain(value) for key, value in zip(checks, values, strict=True)}}
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
    if len(text) > MAX_MESSAGE_BYTES or len(fields.utf8(text)) > MAX_MESSAGE_BYTES:
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
        name, checks = SCHEMA[kind]
        if document.get("type") != name:
            continue
        values = []
        for key, check in checks.items():
            try:
                values.append(check(document.get(key, DEFAULTS.get(key))))
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
