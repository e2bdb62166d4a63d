"""What the hub and an artist process say to each other on `/vault` (WebSocket, `digm.vault.1`, JSON text).

hub: challenge; artist: hello; hub: welcome; then for each listener hub: grant_request, artist: grant or
refused. The hub carries sealed grants and cannot read them. Unknown fields are ignored, unknown types are
errors.
"""

import msgspec

from digm.errors import PeerFault

SUBPROTOCOL = "digm.vault.1"
VERSION = 1
MAX_MESSAGE_BYTES = 1024 * 1024  # a grant of 16,000 chunk keys
HELLO_CONTEXT = b"digm/1 vault"


class Challenge(msgspec.Struct, frozen=True, tag="challenge"):
    """The hub's first message: sign this."""

    nonce: str


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """Proves the artist key: `signature` is Ed25519 over `hello_bytes(nonce, host)`."""

    artist_key: str
    signature: str
    version: int = VERSION


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    """The link is up: requests for this artist's tracks come this way."""


class GrantRequest(msgspec.Struct, frozen=True, tag="grant_request"):
    """A listener's page asks for the keys of a track, sealed to `player_key` (X25519)."""

    id: int
    track_root: str
    player_key: str


class Granted(msgspec.Struct, frozen=True, tag="grant"):
    """The answer; `not_after` (unix seconds) is the same as inside the sealed part.

    Attributes:
        bond: the artist's signature for hubs that carry it to others (`digm.carried_grants`); older vaults
            give none, and are asked only by the pages of the hub that they are linked to.
    """

    id: int
    enc: str
    sealed: str
    signature: str
    not_after: int
    bond: str = ""

    @property
    def grant(self) -> dict[str, str]:
        """The part that a page gets."""
        return {"enc": self.enc, "sealed": self.sealed, "signature": self.signature}


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The vault will not or cannot: `code` is stable."""

    id: int
    code: str


class Bye(msgspec.Struct, frozen=True, tag="bye"):
    """The hub ends the link; `code` says why."""

    code: str


FromHub = Challenge | Welcome | GrantRequest | Bye
FromArtist = Hello | Granted | Refused
_FROM_HUB = msgspec.json.Decoder(FromHub)
_FROM_ARTIST = msgspec.json.Decoder(FromArtist)


def hello_bytes(nonce: bytes, host: str) -> bytes:
    """What an artist signs: bound to the dialled host, so that one hub cannot pass it on to another."""
    return HELLO_CONTEXT + nonce + host.encode()


def decode_from_hub(text: str | bytes) -> FromHub:
    """Read one message at the artist's end.

    Raises:
        PeerFault: `bad_message`.
    """
    try:
        message: FromHub = _FROM_HUB.decode(text)
    except msgspec.DecodeError as error:
        raise PeerFault("bad_message", "The hub's message could not be understood.") from error
    return message


def decode_from_artist(text: str | bytes) -> FromArtist:
    """Read one message at the hub's end.

    Raises:
        PeerFault: `bad_message`.
    """
    try:
        message: FromArtist = _FROM_ARTIST.decode(text)
    except msgspec.DecodeError as error:
        raise PeerFault("bad_message", "The artist's message could not be understood.") from error
    return message


def encode(message: msgspec.Struct) -> str:
    """Write one message."""
    return msgspec.json.encode(message).decode()
