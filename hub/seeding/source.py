"""What a seeding peer gives, and as whom: a hub's tracks; for a node's see hub.node.seeding."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.config import Settings
from hub.seeding.held_tracks import Library, SeedTrack
from hub.signalling.tokens import load_swarm_secret, swarm_token
from hub.storage.catalogue import Catalogue
from hub.storage.chunk_store import ChunkStore
from hub.storage.secret_files import load_secret


class Tracks(Protocol):
    """What there is to give. A track that stays is the same object: sessions see its chunks come and go."""

    @property
    def tracks(self) -> dict[str, SeedTrack]:
        """By track root in hex."""
        ...

    def refresh(self) -> None:
        """Look again. Blocks. Raises DigmError where that is not possible just now."""
        ...


@dataclass(frozen=True)
class SeedSource:
    """What is given, and what proves to the hub who gives.

    Attributes:
        token: (track root, expiry in unix seconds) -> what opens a swarm.
    """

    tracks: Tracks
    store: ChunkStore
    key: Ed25519PrivateKey
    token: Callable[[bytes, int], str]

    @classmethod
    def of_hub(cls, settings: Settings, catalogue: Catalogue) -> "SeedSource":
        """The tracks that are published in a data folder, whose secrets we share with the hub.

        Raises:
            CallerFault: `bad_secret`, `data_not_writable`.
        """
        store, secret = ChunkStore(settings.data), load_swarm_secret(settings.data)
        return cls(
            Library(catalogue, store),
            store,
            Ed25519PrivateKey.from_private_bytes(load_secret(settings.data, "seed")),
            lambda root, expiry: swarm_token(secret, root, expiry),
        )
