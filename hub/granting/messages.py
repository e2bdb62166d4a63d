"""What the hub and an artist process say to each other on `/vault` (WebSocket, `digm.vault.1`, JSON text).

hub: challenge; artist: hello; hub: welcome; then for each listener hub: grant_request, artist: grant or
refused. The hub carries sealed grants and cannot read them. Unknown fields are ignored, unknown types are
errors.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from digm.carried_grants import ACCOUNT_SIGNATURE_BYTES, MAX_PROOF_BYTES
from digm.errors import CallerFault, PeerFault

SUBPROTOCOL = "digm.vault.1"
VERSION = 1
MAX_MESSAGE_BYTES = 1024 * 1024  # a grant of 16,000 chunk keys
HELLO_CONTEXT = b"digm/1 vault"


class Challenge(msgspec.Struct, frozen=True, tag="challenge"):
    """The hub's first message: sign this."""

    nonce: str


class PremiumTerm(msgspec.Struct, frozen=True, omit_defaults=True):
    """A condition under which accounts hear whole tracks, for pages to tell.

    Attributes:
        kind: `hold` (so much of a token), `pass` (of an issuer's); what is of another kind nobody shows.
        amount: of the token's smallest units, decimal.
    """

    kind: Annotated[str, Meta(max_length=16)]
    token: Annotated[str, Meta(max_length=42)] = ""
    amount: Annotated[str, Meta(max_length=80)] = ""
    issuer: Annotated[str, Meta(max_length=42)] = ""


PremiumTerms = Annotated[tuple[PremiumTerm, ...], Meta(max_length=8)]


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """Proves the artist key: `signature` is Ed25519 over `hello_bytes(nonce, host)`."""

    artist_key: str
    signature: str
    version: int = VERSION
    premium: PremiumTerms = ()


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    """The link is up: requests for this artist's tracks come this way."""


class Proof(msgspec.Struct, frozen=True):
    """An account that shows itself: a message of `digm.sign_in`, and its signature in hex (65 bytes)."""

    message: str
    signature: str

    def encode(self) -> bytes:
        """As it travels between hubs (`digm.carried_grants`).

        Raises:
            CallerFault: `bad_sign_in`.
        """
        try:
            signature = bytes.fromhex(self.signature.removeprefix("0x"))
            data = self.message.encode() + signature
        except ValueError as error:
            raise _bad_proof() from error
        if len(signature) != ACCOUNT_SIGNATURE_BYTES or not self.message or len(data) > MAX_PROOF_BYTES:
            raise _bad_proof()
        return data

    @classmethod
    def decode(cls, data: bytes) -> "Proof | None":
        """Out of a request from another hub; None: there is none. Raises PeerFault `bad_grant_request`."""
        if not data:
            return None
        try:
            message = data[:-ACCOUNT_SIGNATURE_BYTES].decode()
        except UnicodeDecodeError as error:
            raise PeerFault("bad_grant_request", "The proof of an account is no text.") from error
        return cls(message, data[-ACCOUNT_SIGNATURE_BYTES:].hex())


def _bad_proof() -> CallerFault:
    return CallerFault(
        "bad_sign_in", 'Send a proof like {"message": "EIP-4361 text", "signature": "130 hex digits"}.'
    )


class GrantRequest(msgspec.Struct, frozen=True, tag="grant_request", omit_defaults=True):
    """A listener's page asks for the keys of a track, sealed to `player_key` (X25519).

    Attributes:
        proof: of an account that may hear more than everybody; vaults from before there was one do not read it.
    """

    id: int
    track_root: str
    player_key: str
    proof: Proof | None = None


class Granted(msgspec.Struct, frozen=True, tag="grant"):
    """The answer; `not_after` (unix seconds) is the same as inside the sealed part.

    Attributes:
        bond: the artist's signature for hubs that carry it to others (`digm.carried_grants`); older vaults
            give none, and are asked only by the pages of the hub that they are linked to.
        premium: as it is now; None: as it was said before.
    """

    id: int
    enc: str
    sealed: str
    signature: str
    not_after: int
    bond: str = ""
    premium: PremiumTerms | None = None

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
