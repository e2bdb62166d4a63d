"""Something that changes and is waited for: a number that grows, and who waits for it to be another one."""

import asyncio


class News:
    """Belongs to one event loop; `tell` may be called in it only."""

    def __init__(self) -> None:
        self.version = 1
        self._changed = asyncio.Event()

    def tell(self) -> None:
        """Something is different now."""
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, after: int, within_s: float) -> None:
        """Until the version is another one than `after`, or the time is over."""
        if self.version != after:
            return
        changed = self._changed
        try:
            async with asyncio.timeout(within_s):
                await changed.wait()
        except TimeoutError:
            return
