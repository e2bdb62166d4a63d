"""The keys of tracks: those of the artist's own vault, and those that other artists gave to it."""

from collections.abc import Sequence
from dataclasses import dataclass

from digm.errors import CallerFault, DigmError, Unavailable
from digm.ids import short, to_hex
from digm.keys import key_commitment
from digm.manifest import parse_manifest
from hub.publishing.vault import Vault
from hub.storage.chunk_store import ChunkStore
from hub.vault.held import HeldKeys


@dataclass(frozen=True)
class Wanted:
    """A track whose key is to be delivered.

    Attributes:
        artist_key: who must have signed its manifest, as the chain says; None: nobody says so.
    """

    root: bytes
    artist_key: bytes | None


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
        return [self.checked(root, self.key(root)) for root in roots]

    def key(self, root: bytes) -> bytes | None:
        """None: it is not here. Raises CallerFault `vault_damaged`."""
        secret = self._vault.secret(to_hex(root))
        return secret.track_key if secret is not None else None

    def checked(self, root: bytes, key: bytes | None) -> bytes:
        """A key that is there, and is the track's as far as can be seen here. Raises as `keys`."""
        if key is None:
            raise Unavailable(
                "track_key_missing",
                f"This vault has no key for the track {short(root)}, which somebody paid for: restore a "
                "newer backup of it; another vault may deliver it, or the money goes back.",
            )
        if self._is_wrong(to_hex(root), key):
            raise CallerFault(
                "vault_key_wrong",
                f"The vault's key for the track {short(root)} is not the one it was encrypted with: it is "
                "not delivered; restore another backup.",
            )
        return key

    def _is_wrong(self, root_hex: str, key: bytes) -> bool:
        """Compared with the manifest, where that is here."""
        try:
            manifest = parse_manifest(self._store.manifest(root_hex))
        except DigmError:
            return False
        return to_hex(manifest.track_root) == root_hex and manifest.key_commitment != key_commitment(key)


class AllTrackKeys:
    """The own ones, else those that this vault was given as a second one."""

    def __init__(self, own: OwnTrackKeys, held: HeldKeys) -> None:
        self._own, self._held = own, held

    def keys(self, wanted: Sequence[Wanted]) -> list[bytes]:
        """The keys of these tracks, in this order. Raises as `OwnTrackKeys.keys`; what is wrong with a file."""
        return [
            self._own.checked(one.root, self._own.key(one.root) or self._held.key(one.root, one.artist_key))
            for one in wanted
        ]
