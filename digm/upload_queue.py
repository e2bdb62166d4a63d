"""The giving side of a peer session: what one peer asked for, in order, bounded, at the rate that is allowed.

The bytes stay with the shell. A request that gets a slot is announced to it; it loads the chunk, says `ready`,
and then takes pieces, each with the header to put in front, as long as its channel has room.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from digm.chunks import FRAME_BYTES
from digm.token_bucket import TokenBucket
from digm.wire import MAX_PAYLOAD_BYTES, Request, data_header


@dataclass(frozen=True, slots=True)
class UploadPiece:
    """One DATA message to send: `header` followed by `chunk_bytes[start:end]` of the chunk that was asked for.

    Attributes:
        start, end: byte range within the chunk.
        is_last: the request is answered with this piece; the shell may let the chunk go.
    """

    request_id: int
    rendition: int
    chunk: int
    start: int
    end: int
    header: bytes
    is_last: bool


@dataclass(slots=True)
class _Upload:
    request: Request
    at: int
    end: int
    is_ready: bool = False


class UploadQueue:
    """Requests of one peer: a bounded queue in front of a few slots, served oldest first.

    Oldest first, not round robin: one whole chunk now is worth more to a listener than two halves later.

    Args:
        slots: requests whose bytes the shell holds at the same time.
        queue_limit: requests that wait behind them; one more is refused.
        bucket: bytes a second, usually shared by all sessions of a process.
    """

    def __init__(self, slots: int, queue_limit: int, bucket: TokenBucket) -> None:
        self._slots = slots
        self._queue_limit = queue_limit
        self._bucket = bucket
        self._waiting: deque[_Upload] = deque()
        self._active: dict[int, _Upload] = {}

    def __contains__(self, request_id: int) -> bool:
        return request_id in self._active or any(u.request.request_id == request_id for u in self._waiting)

    def __len__(self) -> int:
        return len(self._active) + len(self._waiting)

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= self._queue_limit and len(self._active) >= self._slots

    @property
    def has_free_slot_for_waiting(self) -> bool:
        return bool(self._waiting) and len(self._active) < self._slots

    def add(self, request: Request) -> None:
        start = request.first_frame * FRAME_BYTES
        self._waiting.append(_Upload(request, start, start + request.frame_count * FRAME_BYTES))

    def promote(self) -> Iterator[Request]:
        """Move waiting requests into free slots; each that is returned is to be loaded by the shell."""
        while self._waiting and len(self._active) < self._slots:
            upload = self._waiting.popleft()
            self._active[upload.request.request_id] = upload
            yield upload.request

    def ready(self, request_id: int) -> None:
        """The shell has the bytes. Nothing happens when the request is gone by now."""
        if upload := self._active.get(request_id):
            upload.is_ready = True

    def remove(self, request_id: int) -> bool:
        """Forget a request. True when the shell may hold bytes for it."""
        if self._active.pop(request_id, None):
            return True
        for upload in self._waiting:
            if upload.request.request_id == request_id:
                self._waiting.remove(upload)
                break
        return False

    def clear(self) -> tuple[list[int], list[int]]:
        """Forget everything. Returns the request ids that had a slot, and those that waited."""
        active, waiting = list(self._active), [u.request.request_id for u in self._waiting]
        self._active.clear()
        self._waiting.clear()
        return active, waiting

    def clear_waiting(self) -> list[int]:
        """Forget what waits and let what has a slot finish. Returns the request ids."""
        waiting = [u.request.request_id for u in self._waiting]
        self._waiting.clear()
        return waiting

    def next_piece(self, now: float) -> UploadPiece | None:
        """The next piece that the rate allows now; a request that is answered frees its slot."""
        upload = self._next_ready()
        if upload is None:
            return None
        end = min(upload.end, upload.at + MAX_PAYLOAD_BYTES)
        if not self._bucket.take(end - upload.at, now):
            return None
        request = upload.request
        piece = UploadPiece(
            request.request_id, request.rendition, request.chunk, upload.at, end,
            data_header(request.request_id, upload.at, end - upload.at), end == upload.end,
        )  # fmt: skip
        upload.at = end
        if piece.is_last:
            del self._active[request.request_id]
        return piece

    def next_piece_at(self, now: float) -> float | None:
        """When the rate allows the next piece; None when none is ready to go."""
        upload = self._next_ready()
        if upload is None:
            return None
        return self._bucket.ready_at(min(upload.end - upload.at, MAX_PAYLOAD_BYTES), now)

    def _next_ready(self) -> _Upload | None:
        return next((upload for upload in self._active.values() if upload.is_ready), None)
