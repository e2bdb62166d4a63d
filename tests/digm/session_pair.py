"""Two peer sessions joined in memory: a listener that has nothing and a seed that has everything."""

import random

from digm.bitfield import Bitfield
from digm.manifest import Rendition
from digm.media import AudioConfig
from digm.peer_events import DataReceived, UploadWanted
from digm.peer_session import PeerSession

ROOT = bytes([5] * 32)
CONFIG = AudioConfig(
    "flac", 44_100, 2, 16, 44_100, bytes.fromhex("10001000000000000000 0ac442f0" + "00" * 20), 0, 0
)


def rendition(number: int, chunks: int, frames: int, last: int) -> Rendition:
    return Rendition(
        id=number, config=CONFIG, bit_rate=1, frames_per_chunk=frames, last_chunk_frames=last,
        duration=chunks * 176_400, init=b"", chunk_hashes=(bytes(32),) * chunks,
        fragments=tuple(((0, 176_400 * i),) for i in range(chunks)),
    )  # fmt: skip


RENDITIONS = (rendition(0, 5, 8, 3), rendition(1, 9, 1, 1))


def chunk_bytes(number: int, chunk: int) -> bytes:
    return random.Random(f"{number}/{chunk}").randbytes(RENDITIONS[number].chunk_bytes(chunk))


def everything() -> dict[int, Bitfield]:
    return {r.id: Bitfield.full(r.chunk_count) for r in RENDITIONS}


def nothing() -> dict[int, Bitfield]:
    return {r.id: Bitfield(r.chunk_count) for r in RENDITIONS}


def session_of(held: dict[int, Bitfield], **options: object) -> PeerSession:
    return PeerSession(ROOT, RENDITIONS, held, 0.0, **options)


class Pair:
    """A listener and a seed, joined; the seed's shell loads chunks as soon as they are wanted."""

    def __init__(self, **seed_options: object) -> None:
        self.now = 0.0
        self.listener = session_of(nothing())
        self.seed = session_of(everything(), **seed_options)
        self.heard: list = []
        self.seed_heard: list = []
        self.loaded: dict[int, bytes] = {}
        self.is_loading = True
        self.run()

    def run(self, pieces: int = 1_000_000) -> None:
        """Until nothing moves any more, or so many pieces were sent."""
        for _ in range(10_000):
            moved = False
            for message in self.listener.to_send():
                self._seed_events(self.seed.receive(message, self.now))
                moved = True
            self._seed_events(self.seed.tick(self.now))
            for message in self.seed.to_send():
                self.heard += self.listener.receive(message, self.now)
                moved = True
            while pieces and (piece := self.seed.next_piece(0, self.now)):
                payload = self.loaded[piece.request_id][piece.start : piece.end]
                self.heard += self.listener.receive(piece.header + payload, self.now)
                pieces -= 1
                moved = True
            if not moved:
                return

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.heard += self.listener.tick(self.now)
        self.run()

    def received(self, request_id: int) -> bytes:
        return b"".join(e.payload for e in self.of(DataReceived) if e.request_id == request_id)

    def of(self, kind: type) -> list:
        return [event for event in self.heard if isinstance(event, kind)]

    def _seed_events(self, events: list) -> None:
        self.seed_heard += events
        for event in events:
            if isinstance(event, UploadWanted) and self.is_loading:
                self.loaded[event.request_id] = chunk_bytes(event.rendition, event.chunk)
                self.seed.upload_ready(event.request_id)
