"""The taking side of a peer session: what we asked one peer for, how far it is, and since when it is silent."""

from dataclasses import dataclass

from digm.chunks import FRAME_BYTES
from digm.errors import CallerFault, PeerFault
from digm.manifest import Rendition
from digm.wire import MIN_PAYLOAD_BYTES, Data

MAX_ABANDONED = 256  # cancelled requests whose late data is recognised


def frames_of(shape: Rendition | None, chunk: int, first_frame: int, frame_count: int) -> tuple[int, int, int]:
    """The frames of a chunk that are to be asked for (`frame_count` = 0: to its end).

    Returns:
        how many they are, and their byte range within the chunk.
    Raises:
        CallerFault: `bad_request`, there are no such frames.
    """
    if shape is None or not 0 <= chunk < shape.chunk_count:
        raise CallerFault("bad_request", f"There is no chunk {chunk} in this rendition.")
    count = frame_count or shape.chunk_frames(chunk) - first_frame
    if first_frame < 0 or count < 1 or first_frame + count > shape.chunk_frames(chunk):
        raise CallerFault("bad_request", f"There are no frames {first_frame}+{count} in chunk {chunk}.")
    return count, first_frame * FRAME_BYTES, (first_frame + count) * FRAME_BYTES


@dataclass(slots=True)
class Download:
    """One request of ours.

    Attributes:
        at: offset of the next byte within the chunk.
        end: offset after the last byte that was asked for.
        heard_at: when a byte came, or when its turn began.
        late_until: once it is abandoned, what is still under way may come until then.
    """

    request_id: int
    rendition: int
    chunk: int
    at: int
    end: int
    heard_at: float
    late_until: float = 0.0


class DownloadList:
    """Open requests, oldest first, and cancelled ones whose data may still be under way.

    Args:
        silence_s: without a byte for so long, an open request is due.
        late_data_s: so long after a request was abandoned, its data is no longer excused.
    """

    def __init__(self, silence_s: float, late_data_s: float) -> None:
        self._silence_s = silence_s
        self._late_data_s = late_data_s
        self._open: dict[int, Download] = {}
        self._abandoned: dict[int, Download] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, download: Download) -> None:
        self._open[download.request_id] = download

    def remove(self, request_id: int) -> Download | None:
        """The peer will send nothing (more) for it. Returns it if it was open."""
        self._abandoned.pop(request_id, None)
        return self._open.pop(request_id, None)

    def abandon(self, request_id: int, now: float) -> Download | None:
        """We want no more of it, but what is in flight until CANCEL arrives is no fault. Returns it if open."""
        download = self._open.pop(request_id, None)
        if download is not None:
            download.late_until = now + self._late_data_s
            self._abandoned[request_id] = download
            if len(self._abandoned) > MAX_ABANDONED:
                del self._abandoned[next(iter(self._abandoned))]
        return download

    def clear(self) -> None:
        self._open.clear()
        self._abandoned.clear()

    def take(self, data: Data, now: float) -> tuple[Download, bool] | None:
        """Count a piece in.

        Returns:
            its request and whether that is complete now; None when the request was cancelled.
        Raises:
            PeerFault: `unexpected_data`, nobody asked, or it was cancelled long ago; `data_out_of_order`, a
                gap, a repetition, or too much; `data_crumbs`, pieces so small that they only cost work.
        """
        download = self._open.get(data.request_id) or self._abandoned.get(data.request_id)
        if download is None or (download.late_until and now > download.late_until):
            raise PeerFault("unexpected_data", f"Nobody asked for data {data.request_id}.")
        size = len(data.payload)
        if data.offset != download.at or download.at + size > download.end:
            raise PeerFault("data_out_of_order", f"Data {data.request_id} is not the piece that comes next.")
        if size < MIN_PAYLOAD_BYTES and download.at + size < download.end:
            raise PeerFault("data_crumbs", f"A piece of {size} bytes is not the end of data {data.request_id}.")
        download.at += size
        download.heard_at = now
        is_done = download.at == download.end
        if is_done:
            self._open.pop(data.request_id, None)
            for waiting in self._open.values():  # their turn begins only now
                waiting.heard_at = now
        if self._abandoned.get(data.request_id) is not download:
            return download, is_done
        if is_done:
            del self._abandoned[data.request_id]
        return None

    def silence_due(self) -> list[tuple[int, float]]:
        """When each open request counts as silent.

        Answers come oldest first, so a request is not silent while an older one is being answered.
        """
        due, heard_at = [], 0.0
        for request_id, download in self._open.items():
            heard_at = max(heard_at, download.heard_at)
            due.append((request_id, heard_at + self._silence_s))
        return due
