"""Chunks over HTTP from a gateway. What comes is not believed: its hash is checked where all sources meet."""

from collections.abc import Callable

from digm.errors import Unavailable
from digm.scheduler import Failure
from web import browser
from web.browser import JsBytes

_BY_STATUS = {
    404: Failure.NOT_HELD,
    410: Failure.NOT_HELD,
    416: Failure.WRONG_SIZE,
    429: Failure.BUSY,
    503: Failure.BUSY,
}


class Gateway:
    """One or several gateways of a track; the next one is asked when one does not answer.

    Args:
        urls: where `/{chunk hash}` is answered.
    """

    def __init__(self, urls: list[str]) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._current = 0
        self._damaged: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._urls)

    def was_wrong(self, chunk_hash: str) -> None:
        """What came under this name was something else: the browser's own cache must not give it again."""
        self._damaged.add(chunk_hash)
        self._move_on()

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
        url = f"{self._urls[self._current]}/{chunk_hash}"
        try:
            status, received = await browser.fetch_frames(
                url,
                frames,
                first_frame,
                is_whole=is_whole,
                is_fresh=chunk_hash in self._damaged,
                on_progress=on_progress,
            )
        except Unavailable:
            self._move_on()
            return Failure.UNREACHABLE
        if status not in (200, 206):
            self._move_on()
            return _BY_STATUS.get(status, Failure.UNREACHABLE)
        return None if received == len(frames) and (is_whole or status == 206) else Failure.WRONG_SIZE

    def _move_on(self) -> None:
        self._current = (self._current + 1) % len(self._urls)
