"""Puts, pins and evicts until it is killed; says on standard output what is durable. Run by test_node_kill.py.

Usage: put_until_killed.py NODE_FOLDER ARTIST_FOLDER QUOTA. Of the artist's tracks the first is pinned.
"""

import random
import sys
from contextlib import suppress
from pathlib import Path

from digm.errors import Unavailable
from hub.node.index import places_of
from hub.node.storage import NodeStore
from hub.storage.catalogue import Catalogue
from hub.storage.chunk_store import ChunkStore


def main(data: Path, artist: Path, quota: int) -> None:
    source, catalogue = ChunkStore(artist), Catalogue.open(artist)
    roots = sorted(entry.track_root for entry in catalogue.tracks())
    node = NodeStore(data, quota)
    print("began", flush=True)
    while True:
        for root in roots:
            manifest = node.add_track(source.manifest(root))
            if root == roots[0] and not node.pins():
                node.pin(root, "order")
                print("pinned", root, flush=True)
            places = places_of(manifest)
            random.shuffle(places)
            for place in places:
                with suppress(Unavailable):
                    if node.put(place.hash, source.read(place.hash)) and root == roots[0]:
                        print("put", place.hash, flush=True)
        node.take_out(random.choice(places_of(node.add_track(source.manifest(roots[1])))).hash)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
