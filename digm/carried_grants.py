"""Listening grants that one hub gets for another's page: the bytes on `/digm/grant/1.0.0` (docs/backbone.md).

A page asks the hub that it was loaded from; the artist's vault may be linked to another one. What travels is
sealed to the page's key and signed by the artist, so who carries it can neither read nor make it. The artist
also signs for whom and until when a grant is (`bond`), which a hub can check: who hands out old ones, or those
of other pages, is found out before the page is told anything.
"""

import hashlib
import struct
from dataclasses import dataclass

from digm.errors import CallerFault, PeerFault
from digm.grants import SealedGrant
from digm.ids import ID_BYTES
from digm.signed_document import MAX_TIME_S, Verify

# It must not begin as any other message does that an artist's key signs: "digm/1 grant" is one.
_BOND_CONTEXT = b"digm/1 bond of a grant"
_RECORD_CONTEXT = b"digm/1 vault"
_SIGNATURE_BYTES = 64
_NOT_AFTER = struct.Struct(">Q")
_HEAD_BYTES = ID_BYTES + 2 * _SIGNATURE_BYTES + _NOT_AFTER.size
REQUEST_BYTES = 3 * ID_BYTES
ACCOUNT_SIGNATURE_BYTES = 65
MAX_PROOF_BYTES = 2_048 + ACCOUNT_SIGNATURE_BYTES
MAX_REQUEST_BYTES = REQUEST_BYTES + MAX_PROOF_BYTES
MAX_SEALED_BYTES = 512 * 1024  # what fits into a message of the vault link
MAX_CARRIED_BYTES = _HEAD_BYTES + MAX_SEALED_BYTES
LONGEST_S = 400 * 24 * 3600  # a grant that is to live longer is refused


@dataclass(frozen=True)
class CarriedRequest:
    """Whose grant, of which track, for which page: 32 bytes each.

    Attributes:
        player_key: the page's X25519 key.
        proof: of an account that may hear more than everybody (`digm.sign_in`): the message in UTF-8, and
            behind it the account's signature of 65 bytes; empty: none.
    """

    artist_key: bytes
    track_root: bytes
    player_key: bytes
    proof: bytes = b""

    def encode(self) -> bytes:
        """96 bytes, and the proof."""
        return self.artist_key + self.track_root + self.player_key + self.proof

    @classmethod
    def decode(cls, frame: bytes) -> "CarriedRequest":
        """Read a request.

        Raises:
            PeerFault: `bad_grant_request`.
        """
        proof = frame[REQUEST_BYTES:]
        if len(frame) < REQUEST_BYTES or (
            proof and not ACCOUNT_SIGNATURE_BYTES < len(proof) <= MAX_PROOF_BYTES
        ):
            raise PeerFault(
                "bad_grant_request", f"It has {REQUEST_BYTES} bytes, or a whole proof more, not {len(frame)}."
            )
        player_at = 2 * ID_BYTES
        return cls(frame[:ID_BYTES], frame[ID_BYTES:player_at], frame[player_at:REQUEST_BYTES], proof)


@dataclass(frozen=True)
class CarriedGrant:
    """The answer.

    Attributes:
        not_after: seconds since 1970; the same as inside the sealed part.
        bond: the artist's signature over `bound_part`.
    """

    grant: SealedGrant
    not_after: int
    bond: bytes

    def encode(self) -> bytes:
        """`enc ‖ signature ‖ bond ‖ u64 not_after ‖ sealed`.

        Raises:
            CallerFault: `grant_too_large`.
        """
        if len(self.grant.sealed) > MAX_SEALED_BYTES:
            raise CallerFault("grant_too_large", f"A sealed grant has at most {MAX_SEALED_BYTES} bytes.")
        stamp = _NOT_AFTER.pack(self.not_after)
        return self.grant.enc + self.grant.signature + self.bond + stamp + self.grant.sealed

    @classmethod
    def decode(cls, body: bytes) -> "CarriedGrant":
        """Read an answer; `check` it before it is used.

        Raises:
            PeerFault: `bad_carried_grant`.
        """
        if not _HEAD_BYTES < len(body) <= MAX_CARRIED_BYTES:
            raise PeerFault("bad_carried_grant", f"An answer cannot have {len(body)} bytes.")
        signature_at, bond_at = ID_BYTES, ID_BYTES + _SIGNATURE_BYTES
        not_after: int = _NOT_AFTER.unpack_from(body, bond_at + _SIGNATURE_BYTES)[0]
        if not_after > MAX_TIME_S:
            raise PeerFault("bad_carried_grant", "An answer is for no time that there is.")
        sealed = SealedGrant(body[:signature_at], body[_HEAD_BYTES:], body[signature_at:bond_at])
        return cls(sealed, not_after, body[bond_at : bond_at + _SIGNATURE_BYTES])

    def check(self, request: CarriedRequest, now_s: float, verify: Verify) -> None:
        """Whether the artist made it for this request and it is of use still.

        Args:
            now_s: seconds since 1970.
        Raises:
            PeerFault: `carried_grant_forged`, `carried_grant_over`: it has expired, or would live for years.
        """
        grant = self.grant
        if not (
            verify(request.artist_key, grant.signature, grant.signed_part)
            and verify(request.artist_key, self.bond, bound_part(request, grant, self.not_after))
        ):
            raise PeerFault("carried_grant_forged", "The artist did not make this grant for this page.")
        if not now_s < self.not_after <= now_s + LONGEST_S:
            raise PeerFault("carried_grant_over", "The grant that came has expired, or would live for years.")


def bound_part(request: CarriedRequest, grant: SealedGrant, not_after: int) -> bytes:
    """What an artist signs beside a sealed grant, so that others than the page see for whom it is."""
    digest = hashlib.sha256(grant.signed_part).digest()
    return _BOND_CONTEXT + request.track_root + request.player_key + _NOT_AFTER.pack(not_after) + digest


def vault_record(artist_key: bytes) -> bytes:
    """Under which 32 bytes hubs provide, in the DHT, that an artist's vault is linked to them."""
    return hashlib.sha256(_RECORD_CONTEXT + artist_key).digest()
