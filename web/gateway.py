"""Chunks over HTTP from a gateway. What comes is not believed: its hash is checked where all sources meet."""

import asyncio
from collections.abc import Callable
from typing import Any

from digm.errors import Unavailable
from digm.scheduler import Failure
from web import browser
from web.browser import JsBytes, now_s

_BY_STATUS = {
    404: Failure.NOT_HELD,
    410: Failure.NOT_HELD,
    416: Failure.WRONG_SIZE,
    429: Failure.BUSY,
    503: Failure.BUSY,
}
SILENT_S = 2.0  # who was asked for so long in vain is not asked first any more
MOST_SENDERS = 64


class Gateway:
    """The gateways of a track; the next one is asked when one does not answer or does not have it.

    Args:
        gateways: which one is asked, shared with the head start (static/digm-gateways.js).
    """

    def __init__(self, gateways: Any) -> None:
        self._gateways = gateways
        self._damaged: set[str] = set()
        self._senders: dict[str, str] = {}

    def __bool__(self) -> bool:
        return not self._gateways.isEmpty

    def was_wrong(self, chunk_hash: str) -> None:
        """What came under this name was something else: the browser's own cache must not give it again."""
        self._damaged.add(chunk_hash)
        self._gateways.failed(self._senders.get(chunk_hash, ""))

    async def fetch(
        self,
        chunk_hash: str,
        frames: JsBytes,
        first_frame: int,
        on_progress: Callable[[int], None],
        *,
        is_whole: bool,
    ) -> Failure | None:
        """Fetch frames of a chunk.

        Args:
            frames: filled; as long as what is wanted.
            on_progress: told how many bytes came so far.
            is_whole: this is all of the chunk.
        Returns:
            None when all bytes are there, or why they are not.
        """
        attempt, came = self._gateways.attempt(), 0

        def progressed(received: int) -> None:
            nonlocal came
            came = received
            on_progress(received)

        while True:
            self._remember(chunk_hash, attempt.url)
            began = now_s()
            try:
                failure = await self._fetch_from(
                    attempt.url, chunk_hash, frames, first_frame, progressed, is_whole=is_whole
                )
            except asyncio.CancelledError:
                if not came and now_s() - began > SILENT_S:  # it was given up, not only not wanted any more
                    self._gateways.failed(attempt.url)
                raise
            if failure is None:
                return None
            # What came already stays: only its rest is asked for again, and then elsewhere.
            if came or not await attempt.next():
                self._gateways.failed(attempt.url)
                return failure

    async def _fetch_from(
        self,
        url: str,
        chunk_hash: str,
        frames: JsBytes,
        first_frame: int,
        on_progress: Callable[[int], None],
        *,
        is_whole: bool,
    ) -> Failure | None:
        try:
            status, received = await browser.fetch_frames(
                f"{url}/{chunk_hash}",
                frames,
                first_frame,
                is_whole=is_whole,
                is_fresh=chunk_hash in self._damaged,
                on_progress=on_progress,
            )
        except Unavailable:
            return Failure.UNREACHABLE
        if status not in (200, 206):
            return _BY_STATUS.get(status, Failure.UNREACHABLE)
        return None if received == len(frames) and (is_whole or status == 206) else Failure.WRONG_SIZE

    def _remember(self, chunk_hash: str, url: str) -> None:
        """Who is asked for a chunk, of the latest of them."""
        self._senders.pop(chunk_hash, None)
        self._senders[chunk_hash] = url
        if len(self._senders) > MOST_SENDERS:
            del self._senders[next(iter(self._senders))]
