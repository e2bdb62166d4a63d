"""Listening receipts: what a listener says, signed, that somebody gave it of a track (docs/paid-listening.md).

One receipt is for one giver, one track, one stretch of time and one session of a listener, and says everything
that was received in it so far: a later one of the same four takes the place of an earlier one. Only frames of
chunks whose hash was right count. What such a receipt proves, and what it does not, is written in the docs; no
money depends on one. Signing and checking signatures is left to the room around this one.

| bytes | field |
| --- | --- |
| 1 | version, 1 |
| 32 | track root |
| 32 | giver: its Ed25519 key, by which the swarm knows it |
| 32 | listener: the Ed25519 key of its session |
| 4 | bucket: unix time / 600 s |
| 1 | ranges, 1 to 32, each: 2 rendition, 4 first chunk, 4 chunks, 4 frames |
| 64 | the listener's signature over `digm/1 receipt` and all before it |
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from digm.chunks import FRAME_BYTES, FRAMES_PER_CHUNK
from digm.errors import CallerFault, PeerFault
from digm.manifest import Rendition

CONTEXT = b"digm/1 receipt"
VERSION = 1
BUCKET_S = 600
MAX_RANGES = 32
SIGNATURE_BYTES = 64
_HEAD, _RANGE = struct.Struct(">B32s32s32sIB"), struct.Struct(">HIII")
MAX_RECEIPT_BYTES = _HEAD.size + MAX_RANGES * _RANGE.size + SIGNATURE_BYTES


@dataclass(frozen=True, slots=True)
class Taken:
    """So many frames of consecutive chunks of a rendition; not each of these chunks came from here whole."""

    rendition: int
    first_chunk: int
    chunks: int
    frames: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one listener had from one giver; see the module.

    Attributes:
        bucket: `unix time // BUCKET_S`, by the listener's clock.
        signature: empty before signing.
    """

    track_root: bytes
    giver: bytes
    listener: bytes
    bucket: int
    taken: tuple[Taken, ...]
    signature: bytes = b""

    @property
    def frames(self) -> int:
        return sum(one.frames for one in self.taken)

    @property
    def bytes_taken(self) -> int:
        """Of ciphertext."""
        return self.frames * FRAME_BYTES

    @property
    def body(self) -> bytes:
        """Everything but the signature. Raises CallerFault `bad_receipt`."""
        try:
            head = _HEAD.pack(VERSION, self.track_root, self.giver, self.listener, self.bucket, len(self.taken))
            ranges = [_RANGE.pack(one.rendition, one.first_chunk, one.chunks, one.frames) for one in self.taken]
        except struct.error as error:
            raise CallerFault("bad_receipt", f"A field of the receipt is out of range: {error}.") from error
        if not 1 <= len(self.taken) <= MAX_RANGES:
            raise CallerFault("bad_receipt", f"A receipt has 1 to {MAX_RANGES} ranges.")
        return head + b"".join(ranges)

    @property
    def signed_part(self) -> bytes:
        """What the listener's key signs."""
        return CONTEXT + self.body

    def encode(self) -> bytes:
        return self.body + self.signature

    def check(self, renditions: Sequence[Rendition], now_s: float) -> None:
        """Whether the track has so much to give, in a time that is now.

        Raises:
            PeerFault: `receipt_range`, `receipt_time`, `receipt_own`.
        """
        if self.giver == self.listener:
            raise PeerFault("receipt_own", "Nobody gives receipts to itself.")
        if abs(self.bucket - int(now_s) // BUCKET_S) > 1:
            raise PeerFault("receipt_time", "The receipt is for another time than now: check the clock.")
        shapes = {one.id: one for one in renditions}
        seen: dict[int, int] = {}
        for one in self.taken:
            shape = shapes.get(one.rendition)
            end = one.first_chunk + one.chunks
            # In order and apart, so that no frame is counted twice.
            if shape is None or one.first_chunk < seen.get(one.rendition, 0) or end > shape.chunk_count:
                raise PeerFault("receipt_range", "The receipt names chunks that the track does not have.")
            most = sum(shape.chunk_frames(chunk) for chunk in range(one.first_chunk, end))
            if not 1 <= one.frames <= most:
                raise PeerFault("receipt_range", "The receipt names more frames than these chunks have.")
            seen[one.rendition] = end


def decode_receipt(data: bytes) -> Receipt:
    """Read one; whether it is true of its track is for `Receipt.check`, whether it is signed for the caller.

    Raises:
        PeerFault: `receipt_malformed`, `receipt_version`.
    """
    if not _HEAD.size + _RANGE.size + SIGNATURE_BYTES <= len(data) <= MAX_RECEIPT_BYTES:
        raise PeerFault("receipt_malformed", "This is not as long as a receipt.")
    version, root, giver, listener, bucket, count = _HEAD.unpack_from(data)
    if version != VERSION:
        raise PeerFault("receipt_version", f"Receipts of version {VERSION} are read here.")
    if not 1 <= count <= MAX_RANGES or len(data) != _HEAD.size + count * _RANGE.size + SIGNATURE_BYTES:
        raise PeerFault("receipt_malformed", "The receipt is not as long as it says.")
    end = len(data) - SIGNATURE_BYTES
    taken = tuple(Taken(*fields) for fields in _RANGE.iter_unpack(data[_HEAD.size : end]))
    if any(not 1 <= one.chunks <= one.frames <= one.chunks * max(FRAMES_PER_CHUNK) for one in taken):
        raise PeerFault("receipt_malformed", "The receipt has a range of nothing, or of too much.")
    return Receipt(root, giver, listener, bucket, taken, data[end:])


def taken_of(frames: Mapping[tuple[int, int], int]) -> tuple[Taken, ...]:
    """Frames by (rendition, chunk), as few ranges; beyond MAX_RANGES the last ones are left out."""
    runs: list[Taken] = []
    for (rendition, chunk), count in sorted(frames.items()):
        last = runs[-1] if runs else None
        if last and last.rendition == rendition and last.first_chunk + last.chunks == chunk:
            runs[-1] = Taken(rendition, last.first_chunk, last.chunks + 1, last.frames + count)
        else:
            runs.append(Taken(rendition, chunk, 1, count))
    return tuple(runs[:MAX_RANGES])
