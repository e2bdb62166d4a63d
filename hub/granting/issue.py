"""How a vault makes a listening grant: what the manifest lets anyone hear, sealed to one page, signed.

Runs where the track keys are, in the artist process. A track is free, or free for its preview; and whole, for a
while, for accounts that hold what the artist asks for (`hub.vault.premium`). Who bought it needs no grant.
"""

from collections import OrderedDict

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.bindings._rust import openssl as rust_openssl
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from digm.carried_grants import CarriedGrant, CarriedRequest, bound_part
from digm.errors import CallerFault, PeerFault, Unavailable
from digm.grants import GRANT_INFO, ChunkKeys, Grant, SealedGrant, encode_grant, make_grant, signed_part
from digm.ids import from_hex, to_hex
from digm.keys import chunk_key, key_commitment
from digm.manifest import Manifest, parse_manifest
from hub.publishing.vault import Vault
from hub.storage.chunk_store import ChunkStore

SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
ENC_BYTES = 32
MAX_MANIFESTS = 64


class GrantIssuer:
    """Makes grants for the tracks of one vault. Blocking calls: run it in a thread.

    Args:
        grant_seconds: how long a grant is valid.
    """

    def __init__(self, vault: Vault, store: ChunkStore, grant_seconds: int) -> None:
        self._vault = vault
        self._store = store
        self._grant_seconds = grant_seconds
        self._manifests: OrderedDict[str, Manifest] = OrderedDict()

    def issue(
        self, track_root_hex: str, player_key_hex: str, now_s: float, whole_until_s: int | None = None
    ) -> CarriedGrant:
        """Make, seal and sign a grant.

        Args:
            player_key_hex: the X25519 public key of the page that asks.
            now_s: seconds since 1970.
            whole_until_s: so long the page may hear the whole track, also where others hear its preview; None:
                what anyone may hear.
        Raises:
            Unavailable: `track_not_ours`, `track_not_held`. PeerFault: `bad_player_key`, `manifest_*`.
            CallerFault: `bad_id`, `vault_key_wrong`.
        """
        secret = self._vault.secret(track_root_hex)
        if secret is None:
            raise Unavailable("track_not_ours", "This vault holds no key for that track.")
        manifest = self._manifest(track_root_hex)
        if key_commitment(secret.track_key) != manifest.key_commitment:
            raise CallerFault(
                "vault_key_wrong", "The vault's key is not the one that this track was encrypted with."
            )
        not_after, player_key = int(now_s) + self._grant_seconds, from_hex(player_key_hex)
        if whole_until_s is None or manifest.preview_s is None:
            grant = make_grant(manifest, secret.track_key, player_key, not_after)
        else:
            not_after = min(not_after, whole_until_s)
            grant = _premium_grant(manifest, secret.track_key, player_key, not_after)
        sealed = self._seal(grant)
        request = CarriedRequest(self._vault.artist_key, grant.track_root, grant.player_key)
        return CarriedGrant(sealed, not_after, self._vault.sign(bound_part(request, sealed, not_after)))

    def is_whole_for_all(self, track_root_hex: str) -> bool:
        """Whether anyone may hear all of a track. Raises as `issue`."""
        return self._manifest(track_root_hex).preview_s is None

    def _seal(self, grant: Grant) -> SealedGrant:
        enc, sealed = seal(encode_grant(grant), grant.player_key, grant.track_root)
        return SealedGrant(enc, sealed, self._vault.sign(signed_part(enc, sealed)))

    def _manifest(self, track_root_hex: str) -> Manifest:
        """The parsed manifest, believed only with this artist's signature: the disk may be somebody else's."""
        known = self._manifests.get(track_root_hex)
        if known is not None:
            self._manifests.move_to_end(track_root_hex)
            return known
        manifest = parse_manifest(self._store.manifest(track_root_hex))
        if to_hex(manifest.track_root) != track_root_hex or manifest.artist_key != self._vault.artist_key:
            raise PeerFault(
                "manifest_not_ours", "The stored manifest is not this artist's manifest of the track."
            )
        try:
            key = Ed25519PublicKey.from_public_bytes(manifest.artist_key)
            key.verify(manifest.signature, manifest.signed_part)
        except InvalidSignature as error:
            raise PeerFault("manifest_signature", "The stored manifest has a wrong signature.") from error
        self._manifests[track_root_hex] = manifest
        if len(self._manifests) > MAX_MANIFESTS:
            self._manifests.popitem(last=False)
        return manifest


def _premium_grant(manifest: Manifest, track_key: bytes, player_key: bytes, not_after: int) -> Grant:
    """The keys of all chunks, and never the track's: that is bought, and this is for a while."""
    runs = [
        ChunkKeys(one.id, 0, tuple(chunk_key(track_key, one.id, chunk) for chunk in range(one.chunk_count)))
        for one in manifest.renditions
    ]
    return Grant(manifest.track_root, player_key, not_after, chunk_keys=tuple(runs))


def seal(plaintext: bytes, player_key: bytes, track_root: bytes) -> tuple[bytes, bytes]:
    """HPKE base mode, single shot (RFC 9180 §6.1).

    Returns:
        the encapsulated key (32 bytes) and the ciphertext with its tag.
    Raises:
        PeerFault: `bad_player_key`, not a usable X25519 key.
    """
    # cryptography 50 takes an `aad` only here; its public `Suite.encrypt` has none yet. The tests open what
    # comes out with an RFC 9180 written from primitives, so that a changed layout cannot go unnoticed.
    try:
        sealed = rust_openssl.hpke._encrypt_with_aad(
            SUITE, plaintext, X25519PublicKey.from_public_bytes(player_key), info=GRANT_INFO, aad=track_root
        )
    except ValueError as error:
        raise PeerFault("bad_player_key", "The player's key cannot be sealed to.") from error
    return sealed[:ENC_BYTES], sealed[ENC_BYTES:]
