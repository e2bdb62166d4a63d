"""What the registry on the chain says of tracks, told from its events in order. It checks no signatures.

An account says that a track is its own, and names the Ed25519 key that signs its manifests. Anybody can publish
anybody's root under an own account, so a track is believed only where that key signed `binding_message`, and
the manifest too (docs/chain.md).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from digm.errors import CallerFault

ADDRESS_BYTES, WORD_BYTES = 20, 32
NO_KEY = bytes(WORD_BYTES)
_DOMAIN = b"digm/1 chain artist\n"


def binding_message(chain_id: int, registry: bytes, account: bytes) -> bytes:
    """What an artist's key signs to say that an account on the chain is the artist's.

    Args:
        registry, account: addresses, 20 bytes each.
    Raises:
        CallerFault: `bad_argument`.
    """
    if len(registry) != ADDRESS_BYTES or len(account) != ADDRESS_BYTES or not 0 <= chain_id < 1 << 256:
        raise CallerFault("bad_argument", "A binding is for a chain id and two addresses of 20 bytes.")
    # As a contract encodes a number and two addresses: 32 bytes each.
    words = (
        chain_id.to_bytes(WORD_BYTES, "big"),
        registry.rjust(WORD_BYTES, b"\0"),
        account.rjust(WORD_BYTES, b"\0"),
    )
    return _DOMAIN + b"".join(words)


@dataclass(frozen=True)
class ChainTrack:
    """A track as its account published it.

    Attributes:
        track: its id on the chain, of account and root.
        block: in which it was published.
        artist: the account that published it, with checksum.
        owner: whose it is now; only the artist's own manifests are the artist's word.
        version: of its manifest, from 1 on.
    """

    track: bytes
    artist: str
    owner: str
    track_root: bytes
    audit_root: bytes
    manifest_hash: bytes
    chunk_count: int
    byte_size: int
    version: int = 1
    is_withdrawn: bool = False
    block: int = 0


@dataclass(frozen=True)
class Binding:
    """The key that an account names, with the signature that has to be checked."""

    key: bytes
    signature: bytes


class ChainTracks:
    """Tracks and keys after some events.

    Attributes:
        tracks: by id, in the order in which they were published, the withdrawn among them.
        bindings: by account.
    """

    def __init__(self) -> None:
        self.tracks: dict[bytes, ChainTrack] = {}
        self.bindings: dict[str, Binding] = {}

    @classmethod
    def of(cls, events: Iterable[tuple[str, Mapping[str, Any]]]) -> "ChainTracks":
        """After all of these, name and arguments each."""
        found = cls()
        for name, arguments in events:
            found.apply(name, arguments)
        return found

    def apply(self, name: str, arguments: Mapping[str, Any], block: int = 0) -> None:
        """One more event, of a block; one that says nothing of tracks or keys changes nothing."""
        handler = _HANDLERS.get(name)
        if handler is not None:
            handler(self, {**arguments, "block": block})

    def listed(self) -> list[ChainTrack]:
        """What is not withdrawn."""
        return [track for track in self.tracks.values() if not track.is_withdrawn]

    def _published(self, said: Mapping[str, Any]) -> None:
        self.tracks[said["track"]] = ChainTrack(
            track=said["track"],
            artist=said["artist"],
            owner=said["artist"],
            track_root=said["track_root"],
            audit_root=said["audit_root"],
            manifest_hash=said["manifest_hash"],
            chunk_count=said["chunk_count"],
            byte_size=said["byte_size"],
            block=said["block"],
        )

    def _change(self, track: bytes, **changes: Any) -> None:
        if track in self.tracks:
            self.tracks[track] = replace(self.tracks[track], **changes)

    def _revised(self, said: Mapping[str, Any]) -> None:
        self._change(said["track"], manifest_hash=said["manifest_hash"], version=said["version"])

    def _withdrawn(self, said: Mapping[str, Any]) -> None:
        self._change(said["track"], is_withdrawn=True)

    def _transferred(self, said: Mapping[str, Any]) -> None:
        self._change(said["track"], owner=said["receiver"])

    def _bound(self, said: Mapping[str, Any]) -> None:
        if said["key"] == NO_KEY:
            self.bindings.pop(said["artist"], None)
        else:
            self.bindings[said["artist"]] = Binding(said["key"], said["signature"])


_HANDLERS: dict[str, Callable[[ChainTracks, Mapping[str, Any]], None]] = {
    "TrackPublished": ChainTracks._published,
    "ManifestRevised": ChainTracks._revised,
    "TrackWithdrawn": ChainTracks._withdrawn,
    "TrackTransferred": ChainTracks._transferred,
    "ArtistKeyBound": ChainTracks._bound,
}
