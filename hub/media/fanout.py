"""Decode once, feed many: each consumer in a thread of its own, with a short queue in front of it.

FFmpeg gives up the interpreter lock while it works, so encoders and meters run side by side. A slow consumer
holds the decoder back (the queue is bounded); a failed one stops everything.
"""

import queue
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from av.audio.frame import AudioFrame

_BATCHES_AHEAD = 3


class Consumer(Protocol):
    """Takes decoded sound in order. Must not change a frame: others read it too."""

    def consume(self, frames: list[AudioFrame]) -> None:
        """Take the next frames."""

    def finish(self) -> None:
        """Take note that there are no more."""


class _Feed:
    def __init__(self, consumers: Sequence[Consumer], failed: threading.Event) -> None:
        self.queue: queue.Queue[list[AudioFrame] | None] = queue.Queue(_BATCHES_AHEAD)
        self.error: BaseException | None = None
        self._consumers, self._failed = consumers, failed
        self.thread = threading.Thread(target=self._run, name=type(consumers[0]).__name__, daemon=True)

    def _run(self) -> None:
        while True:
            batch = self.queue.get()
            # After a failure the queue is still emptied, so that the decoder never waits for the dead.
            if not self._failed.is_set():
                self._hand_on(batch)
            if batch is None:
                return

    def _hand_on(self, batch: list[AudioFrame] | None) -> None:
        try:
            for consumer in self._consumers:
                if batch is None:
                    consumer.finish()
                else:
                    consumer.consume(batch)
        except BaseException as error:
            self.error = error
            self._failed.set()


class Fanout:
    """Hands batches of frames to groups of consumers, one thread a group.

    Raises, from `put` and at the end of the block: what a consumer raised.
    """

    def __init__(self, groups: Sequence[Sequence[Consumer]]) -> None:
        self._failed = threading.Event()
        self._feeds = [_Feed(group, self._failed) for group in groups]

    def __enter__(self) -> Self:
        for feed in self._feeds:
            feed.thread.start()
        return self

    def put(self, batch: list[AudioFrame]) -> None:
        """Hand a batch to every group; waits while one of them is too far behind."""
        if self._failed.is_set():
            self._raise()
        for feed in self._feeds:
            feed.queue.put(batch)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._failed.set()
        for feed in self._feeds:
            feed.queue.put(None)
        for feed in self._feeds:
            feed.thread.join()
        if error is None:
            self._raise()

    def _raise(self) -> None:
        for feed in self._feeds:
            if feed.error is not None:
                raise feed.error
