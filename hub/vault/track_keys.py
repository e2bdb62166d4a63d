"""The keys of tracks, as the artist's own vault has them."""

from collections.abc import Sequence

from digm.errors import CallerFault, DigmError, Unavailable
from digm.ids import short, to_hex
from digm.keys import key_commitment
from digm.manifest import parse_manifest
from hub.publishing.vault import Vault
from hub.storage.chunk_store import ChunkStore


class OwnTrackKeys:
    """Out of `vault.digm`. Blocking calls: run it in a thread."""

    def __init__(self, vault: Vault, store: ChunkStore) -> None:
        self._vault, self._store = vault, store

    def keys(self, roots: Sequence[bytes]) -> list[bytes]:
        """The keys of these tracks, in this order.

        Raises:
            Unavailable: `track_key_missing`: an old backup, or another vault's track.
            CallerFault: `vault_key_wrong`: not the one that the manifest commits to; `vault_damaged`.
        """
        return [self._key(to_hex(root)) for root in roots]

    def _key(self, root_hex: str) -> bytes:
        secret = self._vault.secret(root_hex)
        if secret is None:
            raise Unavailable(
                "track_key_missing",
                f"This vault has no key for the track {short(root_hex)}, which somebody paid for: restore a "
                "newer backup of it; another vault may deliver it, or the money goes back.",
            )
        if self._is_wrong(root_hex, secret.track_key):
            raise CallerFault(
                "vault_key_wrong",
                f"The vault's key for the track {short(root_hex)} is not the one it was encrypted with: it is "
                "not delivered; restore another backup.",
            )
        return secret.track_key

    def _is_wrong(self, root_hex: str, key: bytes) -> bool:
        """Compared with the manifest, where that is here."""
        try:
            manifest = parse_manifest(self._store.manifest(root_hex))
        except DigmError:
            return False
        return to_hex(manifest.track_root) == root_hex and manifest.key_commitment != key_commitment(key)
