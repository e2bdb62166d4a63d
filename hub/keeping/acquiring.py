"""Gets the bytes of an order on the chain, and makes sure that they are what the chain says.

Before a node takes a place it has every chunk, has seen that its renditions are those of the registry, and has
computed the audit root itself: a publisher who lied about one of them could have it slashed.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from digm.chain_tracks import ChainTrack
from digm.errors import PeerFault
from digm.ids import short, to_hex
from digm.manifest import Manifest, manifest_hash
from hub.chain.state import FoundTrack
from hub.keeping.proofs import AuditTrees, renditions_of
from hub.pinning.fetching import TrackFetcher
from hub.pinning.network import Network, Store

KEPT_BEHIND_S = 30 * 86_400
"""A pin ends when the chain says so, not by the node's clock; this is for chains that never speak again."""
_DOMAIN = b"digm/1 chain order\n"


def order_name(chain_id: int, contract: str, order_id: int) -> str:
    """Under which name the store keeps a track for an order on a chain: 64 hex digits."""
    place = bytes.fromhex(contract.removeprefix("0x"))
    return hashlib.sha256(
        _DOMAIN + chain_id.to_bytes(32, "big") + place + order_id.to_bytes(32, "big")
    ).hexdigest()


@dataclass(frozen=True)
class ChainWish:
    """A track as the registry has it (`hub.pinning.fetching.Wanted`)."""

    said: ChainTrack
    artist_key: bytes | None
    renditions: Sequence[dict[str, int]]

    @property
    def track_root(self) -> bytes:
        return self.said.track_root

    def check_manifest(self, document: bytes, manifest: Manifest) -> None:
        """Refuse what could not be proven, or is not by whom the chain names.

        Raises:
            PeerFault: `chain_mismatch`.
        """
        is_this = manifest_hash(document) == self.said.manifest_hash
        # Another edition of the same bytes will do, if it is by the same artist.
        is_by_artist = self.artist_key is not None and manifest.artist_key == self.artist_key
        what = (manifest.track_root, manifest.audit_root, renditions_of(manifest))
        if what != (self.said.track_root, self.said.audit_root, list(self.renditions)):
            raise _mismatch(self.said)
        if not (is_this or is_by_artist):
            raise _mismatch(self.said)


def _mismatch(said: ChainTrack) -> PeerFault:
    return PeerFault(
        "chain_mismatch",
        f"What the chain says of {short(said.track_root)} does not go with its manifest or its bytes.",
    )


class Acquirer:
    """Fetches, verifies and keeps.

    Args:
        claimants: peer ids of those that claim a track, the best first.
    """

    def __init__(
        self,
        network: Network,
        store: Store,
        trees: AuditTrees,
        claimants: Callable[[bytes], list[str]],
        renditions: Callable[[bytes], Any],
    ) -> None:
        self._network, self._store, self._trees = network, store, trees
        self._claimants, self._renditions = claimants, renditions

    async def acquire(self, track: FoundTrack, name: str, ends_at: int) -> None:
        """Have it, whole and proven to be what the chain says, kept under this name.

        Raises:
            PeerFault: `chain_mismatch`: this order is to be left alone. Unavailable: `no_source`, `quota_full`,
                `disk_full`, ...
        """
        said, root = track.said, to_hex(track.said.track_root)
        renditions = [dict(one) for one in await self._renditions(said.track)]
        wish = ChainWish(said, track.artist_key, renditions)
        fetcher = TrackFetcher(self._network, self._store, wish, lambda: self._claimants(said.track_root))
        await fetcher.hold_manifest()
        await asyncio.to_thread(self._store.pin, root, name, ends_at + KEPT_BEHIND_S)
        await fetcher.hold_chunks()
        await fetcher.hold_cover()
        if await asyncio.to_thread(self._trees.compute, root) != said.audit_root:
            raise _mismatch(said)


def is_ready(store: Store, trees: AuditTrees, said: ChainTrack) -> bool:
    """Whether a track that was acquired is still here, whole. Blocks. Raises Unavailable `track_not_held`."""
    root = to_hex(said.track_root)
    if trees.known(root) != said.audit_root:
        return False
    return not any(place.rendition is not None for place in store.missing(root))
