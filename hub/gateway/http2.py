"""What Hypercorn's HTTP/2 needs to be told: what comes for a stream that is answered already is no error; a
client that resets what it asked for, again and again, is one (CVE-2023-44487); so is half an answer; and a
client that takes nothing makes no room."""

from typing import Any

import h2.errors
import h2.events
import h2.exceptions
import hypercorn.protocol
import hypercorn.protocol.h2
import structlog
from hypercorn.events import Closed
from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.h2 import BUFFER_HIGH_WATER, BufferCompleteError, H2Protocol, StreamBuffer
from priority.priority import MissingStreamError

from digm.token_bucket import TokenBucket

log = structlog.get_logger()
# Somebody who skips through an album cancels a few requests at each step.
RESETS_AT_ONCE = 200
RESETS_PER_S = 20.0


class _AnsweredStream:
    """Takes the place of a stream that is gone, and forgets what still comes for it."""

    idle = True

    async def handle(self, event: object) -> None:
        """Nothing is to be done."""


class _Streams(dict[int, Any]):
    def __missing__(self, _stream_id: int) -> _AnsweredStream:
        return _AnsweredStream()


class _BoundedBuffer(StreamBuffer):
    """What an answer is ahead of its client: `BUFFER_HIGH_WATER`, and what it said last.

    Hypercorn 0.18 wakes the answer whenever it looks for something to send, though the client's window is shut:
    whole bodies are copied for clients that take nothing.
    """

    async def push(self, data: bytes) -> None:
        if self._complete:
            raise BufferCompleteError
        self.buffer.extend(data)
        await self._is_empty.clear()
        if len(self.buffer) >= BUFFER_HIGH_WATER:
            await self._paused.clear()
            await self._paused.wait()

    async def pop(self, max_length: int) -> bytes:
        data = bytes(self.buffer[:max_length])
        del self.buffer[:max_length]
        if len(self.buffer) < BUFFER_HIGH_WATER:
            await self._paused.set()
        if not self.buffer:
            await self._is_empty.set()
        return data


class PatientH2Protocol(H2Protocol):
    """A client may go on sending its body after the answer (RFC 9113 §8.1).

    Hypercorn 0.18 looks the stream up, fails with a KeyError, and ends the connection with all its streams.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.streams = _Streams()
        self._resets = TokenBucket(RESETS_PER_S, RESETS_AT_ONCE, self.context.time())

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        # Counted before anything is started for the requests that came along with their own resets.
        for event in events:
            if isinstance(event, h2.events.StreamReset) and not self._resets.take(1, self.context.time()):
                log.info("rapid_reset_stopped")
                self.connection.close_connection(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
                await self._flush()
                await self.send(Closed())
                return
        await super()._handle_events(events)

    async def stream_send(self, event: Any) -> None:
        """As Hypercorn does it; but a stream whose answer was given up is reset, and its bytes are let go."""
        if isinstance(event, StreamClosed) and event.stream_id in self.stream_buffers:
            buffer = self.stream_buffers[event.stream_id]
            if not buffer._complete:
                await buffer.close()
                try:
                    self.priority.unblock(event.stream_id)
                    self.connection.reset_stream(event.stream_id, h2.errors.ErrorCodes.CANCEL)
                    await self._flush()
                except (h2.exceptions.ProtocolError, MissingStreamError):
                    log.debug("stream_was_closed_already")
        await super().stream_send(event)


def forget_late_bodies() -> None:
    """Make Hypercorn use it, for the whole process."""
    vars(hypercorn.protocol)["H2Protocol"] = PatientH2Protocol
    vars(hypercorn.protocol.h2)["StreamBuffer"] = _BoundedBuffer
