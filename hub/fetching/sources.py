"""Those who can be asked for chunks, behind one face: gateways over HTTP, nodes over libp2p, peers over WebRTC.

What comes is not verified here; hub.fetching.downloads is the one gate.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp

from digm.backbone_messages import COVER, MANIFEST, PEER
from digm.bitfield import Bitfield
from digm.errors import Unavailable
from digm.ids import from_hex
from digm.manifest import MAX_MANIFEST_BYTES
from hub.fetching.allotment import Wanted

if TYPE_CHECKING:
    from hub.backbone.backbone import Backbone

PIECE_BYTES = 65_536
MANIFEST_WITHIN_S = 60.0  # 4 MiB at 0.6 Mbit/s
NOT_HELD = "not_held"
"""The code by which a source says that it does not have a chunk."""
_MISSING = (404, 410)
_BUSY = (429, 503)
Progress = Callable[[int], None]


class ChunkSource(Protocol):
    """One place that may have chunks of the track.

    Attributes:
        name: a URL or a peer id, as people see it.
        kind: `http`, `libp2p` or `webrtc`.
        slots: chunks at once.
        silence_s: without a byte for so long, it is given up.
        wrongs_allowed: wrong chunks in a row after which it is left.
    """

    name: str
    kind: str
    slots: int
    silence_s: float
    wrongs_allowed: int

    def holds(self, wanted: Wanted) -> bool:
        """Whether it says that it has a chunk; True where it says nothing."""
        ...

    def claimed(self, wanted: Sequence[Wanted]) -> int | None:
        """How many of these it says that it has; None where it says nothing."""
        ...

    async def fetch(self, wanted: Wanted, on_progress: Progress) -> bytes:
        """A chunk, of the right size, not verified.

        Raises:
            Unavailable: `not_held`: it never will; anything else: ask again later.
            PeerFault: it broke a rule.
        """
        ...

    def part(self, code: str) -> None:
        """It broke a rule, and is not asked any more."""
        ...

    async def manifest(self) -> bytes:
        """The track's manifest, not verified.

        Raises:
            Unavailable, PeerFault.
        """
        ...


class GatewaySource:
    """A gateway, or anything else that serves `{url}/{chunk hash}`: a folder behind nginx will do."""

    kind = "http"
    slots = 4
    silence_s = 8.0
    wrongs_allowed = 3  # one chunk may be damaged on its disk (docs/peers.md)

    def __init__(self, http: aiohttp.ClientSession, url: str, track_root: str) -> None:
        self.name = url
        self._http = http
        self._root = track_root

    def holds(self, _wanted: Wanted) -> bool:
        return True

    def claimed(self, _wanted: Sequence[Wanted]) -> int | None:
        return None

    async def fetch(self, wanted: Wanted, on_progress: Progress) -> bytes:
        return await self._get(f"{self.name}/{wanted.name}", wanted.size, wanted.size, on_progress)

    def part(self, _code: str) -> None:
        pass

    async def manifest(self) -> bytes:
        url = f"{self.name}/{self._root}/manifest.json"
        return await self._get(url, None, MAX_MANIFEST_BYTES, within_s=MANIFEST_WITHIN_S)

    async def cover(self, name: str, size: int) -> bytes:
        """A picture by its hash, not verified. Raises like `fetch`."""
        return await self._get(f"{self.name}/{name}", size, size)

    async def _get(
        self,
        url: str,
        size: int | None,
        most: int,
        on_progress: Progress = lambda _received: None,
        within_s: float | None = None,
    ) -> bytes:
        """A body of that size, or of at most so many bytes; within a time, or for as long as bytes come."""
        try:
            async with asyncio.timeout(within_s), self._http.get(url) as answer:
                _check_status(answer.status)
                body = bytearray()
                async for piece in answer.content.iter_chunked(PIECE_BYTES):
                    body += piece
                    if len(body) > most:
                        raise Unavailable("wrong_size", f"It sent more than the {most} bytes that there are.")
                    on_progress(len(body))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unavailable("unreachable", f"It does not answer: {_said(error)}.") from error
        if size is not None and len(body) != size:
            raise Unavailable("wrong_size", f"It sent {len(body)} bytes where there are {size}.")
        return bytes(body)


def _check_status(status: int) -> None:
    if status in _MISSING:
        raise Unavailable(NOT_HELD, "It does not have it.")
    if status in _BUSY:
        raise Unavailable("busy", f"It is busy (HTTP {status}).")
    if status != 200:
        raise Unavailable("unreachable", f"It answers with HTTP {status}.")


def _said(error: BaseException) -> str:
    return f"{str(error) or type(error).__name__:.160}"


class NodeSource:
    """A node of the backbone, over libp2p."""

    kind = "libp2p"
    slots = 2
    silence_s = 10.0
    wrongs_allowed = 1

    def __init__(self, backbone: "Backbone", peer_id: str, track_root: str) -> None:
        self.name = peer_id
        self._backbone = backbone
        self._root = from_hex(track_root)
        self._availability: Mapping[int, Bitfield] | None = None

    def holds(self, wanted: Wanted) -> bool:
        """As it said when it was first asked; before that anything may be."""
        return self._availability is None or wanted.chunk in self._availability.get(wanted.rendition, ())

    def claimed(self, wanted: Sequence[Wanted]) -> int | None:
        return None if self._availability is None else sum(map(self.holds, wanted))

    async def fetch(self, wanted: Wanted, on_progress: Progress) -> bytes:
        try:
            if self._availability is None:
                self._availability = await self._backbone.availability(
                    self.name, self._root, timeout_s=PEER.timeout_s
                )
            return await self._backbone.fetch_chunk(
                self.name, self._root, wanted.rendition, wanted.chunk, wanted.size,
                timeout_s=PEER.timeout_s, on_progress=on_progress,
            )  # fmt: skip
        except Unavailable as fault:
            raise _as_not_held(fault) from fault

    def part(self, _code: str) -> None:
        pass

    async def manifest(self) -> bytes:
        return await self._backbone.request(
            self.name, MANIFEST.name, self._root, timeout_s=MANIFEST.timeout_s, most_bytes=MAX_MANIFEST_BYTES
        )

    async def cover(self, _name: str, size: int) -> bytes:
        """The track's picture, not verified. Raises like `manifest`."""
        return await self._backbone.request(
            self.name, COVER.name, self._root, timeout_s=COVER.timeout_s, most_bytes=size
        )


def _as_not_held(fault: Unavailable) -> Unavailable:
    """A node says in three ways that it does not have a chunk."""
    reason: Any = fault.data.get("reason")
    if fault.code == NOT_HELD or reason in ("not_held", "track_not_held"):
        return Unavailable(NOT_HELD, "It does not have it.")
    return fault
