"""What this room asks of its neighbours: the backbone, the node's key and its store, as they look from here."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from digm.bitfield import Bitfield
from digm.manifest import Manifest

Handler = Callable[[str, bytes], Awaitable[bytes]]
ChunkCounts = Callable[[bytes, bytes], Mapping[int, int] | None]
"""(track root, manifest's hash) -> number of chunks by rendition id; None where that manifest is not here."""


class Found(Protocol):
    """A node that `find_providers` found, or one that is connected."""

    @property
    def peer_id(self) -> str: ...


class Connected(Found, Protocol):
    """A connected node."""

    @property
    def latency_ms(self) -> float | None: ...


class Network(Protocol):
    """The backbone (`hub.backbone.backbone.Backbone`); its errors are named there."""

    @property
    def peer_id(self) -> str: ...
    @property
    def multiaddrs(self) -> list[str]: ...
    async def publish(self, topic_payload: bytes) -> None: ...
    async def provide(self, key: bytes) -> bool: ...
    async def find_providers(self, key: bytes) -> Sequence[Found]: ...
    async def request(
        self, peer: str, protocol: str, payload: bytes, *, timeout_s: float, most_bytes: int
    ) -> bytes: ...
    def serve(
        self, protocol: str, handler: Handler, *, most_bytes: int, timeout_s: float, parallel: int
    ) -> None: ...
    async def fetch_chunk(
        self, peer: str, track_root: bytes, rendition: int, chunk: int, size: int
    ) -> bytes: ...
    def peers(self) -> Sequence[Connected]: ...


class Identity(Protocol):
    """The node's Ed25519 key."""

    @property
    def node_key(self) -> bytes: ...
    def sign(self, message: bytes) -> bytes: ...


class Missing(Protocol):
    """A chunk that a track lacks; `rendition` is None for the cover."""

    @property
    def hash(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def rendition(self) -> int | None: ...
    @property
    def chunk(self) -> int: ...


class Held(Protocol):
    """A track whose manifest is held."""

    @property
    def track_root(self) -> str: ...
    @property
    def manifest_hash(self) -> str: ...
    @property
    def pinned_by(self) -> tuple[str, ...]: ...


class Manifests(Protocol):
    """Exact manifests by track root in hex."""

    def manifest(self, root_hex: str) -> bytes: ...


class Readable(Protocol):
    """What lies on this machine and can be proven: of a node's store, or of a hub's. Calls block."""

    @property
    def chunks(self) -> Manifests: ...
    def tracks(self) -> Sequence[Held]: ...
    def availability(self, track_root: str) -> dict[int, Bitfield]: ...
    def read(self, hash_hex: str) -> bytes: ...


class Lost(Missing, Protocol):
    """A chunk that was held and is not any more."""

    @property
    def track_root(self) -> str: ...


class Pinned(Protocol):
    """A promise to keep a track, made to somebody."""

    @property
    def pinned_by(self) -> str: ...


class Store(Readable, Protocol):
    """The node's chunks (`hub.node.storage.NodeStore`). Calls block: they are made in threads."""

    def free_bytes(self) -> int: ...
    def add_track(self, document: bytes) -> Manifest: ...
    def pin(self, track_root: str, pinned_by: str, until: float) -> None: ...
    def unpin(self, track_root: str, pinned_by: str) -> None: ...
    def pins(self) -> Sequence[Pinned]: ...
    def end_expired_pins(self) -> Sequence[object]: ...
    def missing(self, track_root: str) -> Sequence[Missing]: ...
    def lost(self) -> Sequence[Lost]: ...
    def put(self, hash_hex: str, data: bytes) -> bool: ...
