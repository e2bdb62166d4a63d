"""Who claims which track root on the chain, and whose turn it is to be listed. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from operator import itemgetter

from digm.ids import to_hex
from hub.chain.state import FoundTrack

MOST_LISTED = 20_000
MOST_CLAIMS = 64  # of one root, the earliest

Claims = Mapping[str, tuple[FoundTrack, ...]]
"""By root in hex: tracks whose account is an artist's by the artist's own signature, the earliest first."""


def claims_of(tracks: Iterable[FoundTrack], most: int = MOST_LISTED) -> Claims:
    """What a hub may list of all that is on the chain.

    Everybody's first track comes before anybody's second, and so on: who publishes ten thousand takes nobody's
    place, and is fetched behind the others.

    Args:
        tracks: in the order in which they were published.
    """
    seen = Counter[bytes]()
    ranked: list[tuple[int, int, FoundTrack]] = []
    for place, found in enumerate(tracks):
        if found.artist_key is not None:
            ranked.append((seen[found.artist_key], place, found))
            seen[found.artist_key] += 1
    ranked.sort(key=itemgetter(0, 1))
    by_root: dict[str, list[tuple[int, FoundTrack]]] = {}
    for _, place, found in ranked:
        root = to_hex(found.said.track_root)
        if root in by_root or len(by_root) < most:
            by_root.setdefault(root, []).append((place, found))
    return {
        root: tuple(found for _, found in sorted(placed, key=itemgetter(0))[:MOST_CLAIMS])
        for root, placed in by_root.items()
    }
