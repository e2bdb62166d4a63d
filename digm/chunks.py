"""The geometry of encrypted audio: frames inside chunks, and what binds each frame to its place.

The cipher belongs to the room around this one (`cryptography` on a server, WebCrypto in the page): here are the
nonce and the additional data that both must use. AES-256-GCM, NIST SP 800-38D.
"""

import struct

from digm.errors import CallerFault

FRAME_BYTES = 65_536
TAG_BYTES = 16
FRAME_PLAINTEXT_BYTES = FRAME_BYTES - TAG_BYTES
FRAMES_PER_CHUNK = (1, 2, 4, 8, 16)
MAX_CHUNK_BYTES = FRAMES_PER_CHUNK[-1] * FRAME_BYTES

# A chunk never holds more audio than this, however quiet the music: it bounds what a preview that ends inside
# a chunk gives away, how long a seek waits, and what silence would tell through the lengths of segments.
MAX_CHUNK_SECONDS = 8

MAX_RENDITIONS = 16
MAX_CHUNKS = 65_536

_FRAME_PLACE = struct.Struct(">HIHB")
_CHUNK_PLACE = struct.Struct(">HI")


def chunk_place(rendition: int, chunk: int) -> bytes:
    """`u16 rendition || u32 chunk`, big-endian: where a chunk stands in its track.

    Raises:
        CallerFault: `bad_place`, a number outside of its range.
    """
    try:
        return _CHUNK_PLACE.pack(rendition, chunk)
    except struct.error as fault:
        raise CallerFault("bad_place", f"No track has rendition {rendition}, chunk {chunk}.") from fault


def frame_nonce(frame: int) -> bytes:
    """The 12-byte GCM nonce of a frame: 8 zero bytes and a u32 counter.

    A counter is enough: the key belongs to one chunk, and a chunk is encrypted once.
    """
    return frame.to_bytes(12, "big")


def frame_additional_data(rendition: int, chunk: int, frame: int, is_last_frame: bool) -> bytes:
    """What a frame's tag covers beside its bytes: its place, so that frames cannot be swapped or cut off.

    Args:
        is_last_frame: true for the last frame of the whole rendition, so that a shortened track is noticed.
    Raises:
        CallerFault: `bad_place`.
    """
    try:
        return b"digm/1 frame" + _FRAME_PLACE.pack(rendition, chunk, frame, is_last_frame)
    except struct.error as fault:
        raise CallerFault("bad_place", f"No track has frame {rendition}/{chunk}/{frame}.") from fault
