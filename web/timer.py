"""One thing to do at one time: sans-IO cores name their next deadline, a Timer keeps it."""

import asyncio
from collections.abc import Callable

from web.browser import now_s


class Timer:
    """Calls back once at the time it was last set to."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None

    def set(self, at_s: float | None) -> None:
        """Move it to a time of `now_s`; None stops it."""
        self.stop()
        if at_s is not None:
            self._handle = asyncio.get_running_loop().call_later(max(0.0, at_s - now_s()), self._fire)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        self._handle = None
        self._callback()
