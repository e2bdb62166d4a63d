"""`digm node` of somebody who deletes chunks to save space and says that all of them are here: for tests.

    python -m tests.hub.node.liar

What is missing it makes up: asked for a proof it answers at once, as if it had the chunk.
"""

import sys

from digm.errors import Unavailable
from hub.node.storage import NodeStore

honest_read = NodeStore.read


def read(store: NodeStore, hash_hex: str) -> bytes:
    try:
        return honest_read(store, hash_hex)
    except Unavailable:
        place = store._index.place_of(hash_hex)
        assert place is not None
        return bytes(place.size)


NodeStore.read = read  # type: ignore[method-assign]
NodeStore._was_bad = lambda _store, _hash_hex: None  # type: ignore[method-assign]
sys.argv = ["digm", "node"]

from hub.cli import main  # noqa: E402 - as in skewed.py

main()
