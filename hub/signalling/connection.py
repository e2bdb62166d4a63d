"""One socket of signalling: an asyncio protocol between hub.signalling.frames and hub.signalling.session.

It takes the transport over from aiohttp after the upgrade. It has no task and no queue: a message is dealt with
in the call that brings it, and what goes out goes to the transport's buffer. A peer that says too much is not
read for a while; one that does not read is closed, and nobody waits for it.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol, cast

from aiohttp import WSCloseCode

from digm.signalling import MAX_MESSAGE_BYTES
from digm.token_bucket import TokenBucket
from hub.signalling.addresses import Address
from hub.signalling.allowance import BATCH
from hub.signalling.frames import FrameFault, FrameReader, Opcode, close_code_of, close_frame, frame
from hub.signalling.metrics import PACED, SLOW
from hub.signalling.session import HubSession
from hub.signalling.settings import SignallingSettings

REPLACED = 4001  # the same peer connected again
FAULTY = WSCloseCode.POLICY_VIOLATION
_PING = frame(b"", Opcode.PING)
_PAUSED_BY_SESSION = PACED.labels("session")
_PAUSED_BY_ADDRESS = PACED.labels("address")
_PAUSED_BY_SWARM = PACED.labels("swarm")


class Owner(Protocol):
    """What a socket needs of the server."""

    def open_session(self, socket: "SignalConnection") -> HubSession:
        """The protocol's half for a socket."""

    def closed(self, socket: "SignalConnection") -> None:
        """The transport is gone."""


class SignalConnection(asyncio.Protocol):
    """One WebSocket from after its upgrade to its end.

    Attributes:
        host: the Host header that the client dialled.
        close_code: what we closed with, or the peer; None while open, or when the transport broke.
    """

    __slots__ = (
        "_bucket", "_closing_since", "_frames", "_heard_at", "_is_full", "_left", "_limits", "_owed", "_owner",
        "_timer", "_transport", "address", "close_code", "host", "session",
    )  # fmt: skip

    def __init__(self, owner: Owner, limits: SignallingSettings, address: Address, host: str) -> None:
        self._owner = owner
        self._limits = limits
        self.address = address
        self.host = host
        self.close_code: int | None = None
        self._closing_since: float | None = None
        self._is_full = False
        self._left = 0  # messages that its own bucket and its address's have let through already
        self._owed: TokenBucket | None = None  # what we wait for before this peer is heard again
        self._heard_at = time.monotonic()
        self._bucket = TokenBucket(limits.messages_per_s, limits.message_burst, self._heard_at)
        self._frames = FrameReader(MAX_MESSAGE_BYTES)
        self._timer: asyncio.TimerHandle | None = None

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass
        self._transport.set_write_buffer_limits(high=self._limits.outgoing_bytes // 4)
        self._after(self._limits.hello_timeout_s, self._hello_is_late)
        self.session = self._owner.open_session(self)

    def data_received(self, data: bytes) -> None:
        self._heard_at = now = time.monotonic()
        at = 0
        if self._frames.is_between:
            while self._left and self._closing_since is None and (found := self._frames.whole(data, at)):
                self._left -= 1
                payload, at = found
                self._on_text(payload, now)
            if at == len(data):
                return
        self._frames.feed(data[at:] if at else data)
        if self._owed is None:
            self._take(now)

    def eof_received(self) -> None:
        return None  # closes the transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._owner.closed(self)

    def pause_writing(self) -> None:
        self._is_full = True
        if self._closing_since is None:
            self._after(self._limits.send_timeout_s, self._does_not_read)

    def resume_writing(self) -> None:
        self._is_full = False
        if self._closing_since is None:
            self._stop_timer()

    # -- for the server

    def deliver(self, message: bytes) -> None:
        """Send a message; a peer that does not read is closed instead of waited for."""
        if self._closing_since is not None:
            return
        self._transport.write(frame(message))
        if self._is_full and self._transport.get_write_buffer_size() > self._limits.outgoing_bytes:
            self._does_not_read()

    def close(self, code: int) -> None:
        """Say goodbye after what is on its way; cut the socket if the peer does not answer soon."""
        if self._closing_since is not None:
            return
        self.close_code = code
        self._closing_since = time.monotonic()
        self._transport.write(close_frame(code))
        self._after(self._limits.close_timeout_s, self._transport.abort)

    def look(self, now: float) -> None:
        """Called every `ping_s`: a peer that said nothing for two rounds is gone."""
        silent_s = now - self._heard_at
        if silent_s > 2 * self._limits.ping_s and self._owed is None:
            self._transport.abort()
        elif silent_s > self._limits.ping_s / 2 and self._closing_since is None:
            self._transport.write(_PING)

    # -- what came

    def _take(self, now: float) -> None:
        """Deal with what is buffered, as far as the limits let us."""
        try:
            while self._may_go_on(now) and (message := self._frames.next()) is not None:
                self._left -= 1
                self._on_message(message[0], message[1], now)
        except FrameFault as fault:
            self.close(fault.close_code)

    def _on_text(self, payload: bytes | bytearray, now: float) -> None:
        session = self.session
        try:
            session.receive(payload, now)
        except UnicodeDecodeError:
            self.close(WSCloseCode.INVALID_TEXT)
        if session.is_over:
            self.close(FAULTY)
        if session.owes is not None:
            self._left = 0  # the swarm says too much: what comes next goes through `_may_go_on`

    def _on_message(self, opcode: int, payload: bytes | bytearray, now: float) -> None:
        if self._closing_since is not None:
            if opcode == Opcode.CLOSE:
                self._transport.close()
        elif opcode == Opcode.TEXT:
            self._on_text(payload, now)
        elif opcode == Opcode.PING:
            self._transport.write(frame(bytes(payload), Opcode.PONG))
        elif opcode == Opcode.CLOSE:
            self.close(close_code_of(payload))
            self._transport.close()
        elif opcode == Opcode.BINARY:
            self.close(WSCloseCode.UNSUPPORTED_DATA)

    def _may_go_on(self, now: float) -> bool:
        """True when the next message is paid for; else this peer is not read until it can be."""
        session = self.session
        if self._left:
            return True
        if session.owes is not None:
            owed, session.owes, paused = session.owes, None, _PAUSED_BY_SWARM
        elif not self._bucket.take(1, now):
            owed, paused = self._bucket, _PAUSED_BY_SESSION
        elif not self.address.bucket.take(1, now):
            owed, paused = self.address.bucket, _PAUSED_BY_ADDRESS
        else:
            self._left = 1
            if self._bucket.take(BATCH, now) and self.address.bucket.take(BATCH, now):
                self._left += BATCH
            return True
        paused.inc()
        self._owed = owed
        if not self._transport.is_closing():
            self._transport.pause_reading()
        self._wait(owed, now)
        return False

    def _wait(self, owed: TokenBucket, now: float) -> None:
        asyncio.get_running_loop().call_later(owed.ready_at(1, now) - now, self._go_on, owed)

    def _go_on(self, owed: TokenBucket) -> None:
        now = time.monotonic()
        if self._transport.is_closing():
            return
        if not owed.take(1, now):  # somebody else was faster
            self._wait(owed, now)
            return
        self._owed, self._left = None, 1
        self._take(now)
        if self._owed is None and not self._transport.is_closing():
            self._transport.resume_reading()

    # -- one timer: the hello, a peer that does not read, the end of a goodbye

    def proven(self) -> None:
        """The peer is known; from here on the pings notice when it is gone."""
        if self._closing_since is None:
            self._stop_timer()

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, action)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hello_is_late(self) -> None:
        self.close(FAULTY)

    def _does_not_read(self) -> None:
        SLOW.inc()
        self.close(WSCloseCode.TRY_AGAIN_LATER)
        self._transport.abort()
