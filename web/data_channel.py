"""One peer: an RTCPeerConnection, its data channel `digm.peer.1`, and the peer session that speaks on it.

The session (digm.peer_session) decides what is said; this shell moves bytes, keeps its timer, and gives
chunks that were verified to whoever asks for them.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from digm import peer_events as events
from digm import wire
from digm.peer_session import PeerSession
from digm.wire import Reason
from web import browser
from web.browser import JsBytes, Subscriptions, now_s
from web.store import ChunkCache
from web.timer import Timer

CONNECT_TIMEOUT_S = 15.0
LOW_WATER_BYTES = 131_072  # half of what the session lets pile up in the channel


class LinkOwner(Protocol):
    """Who is told what a peer does, and who carries its negotiation."""

    cache: ChunkCache

    def peer_event(self, link: "PeerLink", event: events.Event) -> None: ...
    def link_closed(self, link: "PeerLink", code: str) -> None: ...
    def send_candidate(self, link: "PeerLink", candidate: Any) -> None: ...
    def may_upload(self) -> bool: ...


class PeerLink:
    """A connection with one peer.

    Args:
        peer: its id, 64 hex digits.
        connection: an RTCPeerConnection.
        make_session: called when the channel is open.
    """

    def __init__(
        self, peer: str, connection: Any, owner: LinkOwner, make_session: Callable[[], PeerSession]
    ) -> None:
        self.peer = peer
        self.session: PeerSession | None = None
        self.uploaded_bytes = 0
        self._connection = connection
        self._owner = owner
        self._make_session = make_session
        self._channel: Any = None
        self._uploads: dict[int, JsBytes] = {}
        self._loads: dict[int, asyncio.Task[None]] = {}
        self._waiting_candidates: list[Any] = []
        self._is_closed = False
        self._timer = Timer(self._on_time)
        self._subscriptions = Subscriptions()
        self._subscriptions.on(connection, "icecandidate", self._on_candidate)
        self._subscriptions.on(connection, "connectionstatechange", lambda _: self._on_state())
        self._timer.set(now_s() + CONNECT_TIMEOUT_S)

    @property
    def is_open(self) -> bool:
        return self.session is not None and not self._is_closed

    # -- negotiation

    async def offer(self) -> str:
        """Open the channel from our side. Returns the SDP to send; candidates follow by themselves."""
        options = browser.js_object(ordered=True, protocol=wire.LABEL)
        self._take(self._connection.createDataChannel(wire.LABEL, options))
        description = await self._connection.createOffer()
        await self._connection.setLocalDescription(description)
        return str(description.sdp)

    async def answer(self, sdp: str) -> str:
        """Let the other side open the channel. Returns the SDP of the answer."""
        self._subscriptions.on(self._connection, "datachannel", lambda event: self._take(event.channel))
        await self.describe("offer", sdp)
        description = await self._connection.createAnswer()
        await self._connection.setLocalDescription(description)
        return str(description.sdp)

    async def describe(self, kind: str, sdp: str) -> None:
        """Take the remote description, then the candidates that came before it."""
        await self._connection.setRemoteDescription(browser.js_object(type=kind, sdp=sdp))
        waiting, self._waiting_candidates = self._waiting_candidates, []
        for candidate in waiting:
            await self.add_candidate(candidate)

    async def add_candidate(self, candidate: Any) -> None:
        """Take a candidate of the other side; one that the browser refuses is left out."""
        if not self._connection.remoteDescription:
            self._waiting_candidates.append(candidate)
            return
        try:
            await self._connection.addIceCandidate(candidate)
        except browser.BrowserError:
            return

    def _on_candidate(self, event: Any) -> None:
        self._owner.send_candidate(self, event.candidate)

    def _on_state(self) -> None:
        if self._connection.connectionState in ("failed", "closed"):
            self.close("connection_failed")

    # -- the channel

    def _take(self, channel: Any) -> None:
        if self._channel is not None or channel.label != wire.LABEL:
            channel.close()
            return
        self._channel = channel
        channel.binaryType = "arraybuffer"
        channel.bufferedAmountLowThreshold = LOW_WATER_BYTES
        self._subscriptions.on(channel, "open", lambda _: self._on_open())
        self._subscriptions.on(channel, "message", self._on_message)
        self._subscriptions.on(channel, "close", lambda _: self.close("channel_closed"))
        self._subscriptions.on(channel, "bufferedamountlow", lambda _: self.pump())
        if channel.readyState == "open":
            self._on_open()

    def _on_open(self) -> None:
        if self.session is None and not self._is_closed:
            self.session = self._make_session()
            self.pump()

    def _on_message(self, event: Any) -> None:
        if self.session is None:
            return
        if not hasattr(event.data, "byteLength"):  # text: nobody who speaks the protocol sends it
            self.close("message_type")
            return
        self._handle(self.session.receive(JsBytes.of(event.data), now_s()))
        self.pump()

    def _on_time(self) -> None:
        if self.session is None:
            self.close("connect_timeout")
            return
        self._handle(self.session.tick(now_s()))
        self.pump()

    def _handle(self, happened: list[events.Event]) -> None:
        for event in happened:
            match event:
                case events.UploadWanted():
                    self._load(event)
                case events.UploadDropped():
                    self._uploads.pop(event.request_id, None)
                    if load := self._loads.pop(event.request_id, None):
                        load.cancel()
                case events.Closed():
                    self._owner.peer_event(self, event)
                    self.close(event.code)
                case _:
                    self._owner.peer_event(self, event)

    def _load(self, wanted: events.UploadWanted) -> None:
        data = self._owner.cache.get(wanted.rendition, wanted.chunk)
        if data is not None:
            self._give(wanted.request_id, data)
        elif (wanted.rendition, wanted.chunk) in self._owner.cache:
            self._loads[wanted.request_id] = asyncio.ensure_future(self._load_kept(wanted))
        else:
            self._give(wanted.request_id, None)

    async def _load_kept(self, wanted: events.UploadWanted) -> None:
        """From the disk: hashed again before anybody gets it."""
        data = await self._owner.cache.load(wanted.rendition, wanted.chunk)
        del self._loads[wanted.request_id]
        self._give(wanted.request_id, data)
        self.pump()

    def _give(self, request_id: int, data: JsBytes | None) -> None:
        assert self.session is not None
        if data is None:
            self._handle(self.session.refuse(request_id, Reason.NOT_HELD))
            return
        self._uploads[request_id] = data
        self.session.upload_ready(request_id)

    def pump(self) -> None:
        """Send what the session has to say and what the channel has room for; keep its next deadline."""
        session, channel = self.session, self._channel
        if session is None or self._is_closed or channel.readyState != "open":
            return
        for message in session.to_send():
            channel.send(browser.js_bytes(message))
        while self._owner.may_upload() and (piece := session.next_piece(channel.bufferedAmount, now_s())):
            channel.send(self._message(piece))
            self.uploaded_bytes += piece.end - piece.start
            if piece.is_last:
                self._uploads.pop(piece.request_id, None)
                self._handle(session.tick(now_s()))
        deadline = session.next_deadline(now_s())
        # A channel that is full, or an upload that has to wait for our own playback, is looked at again a bit
        # later.
        self._timer.set(None if deadline is None else max(deadline, now_s() + 0.02))

    def _message(self, piece: Any) -> Any:
        message = JsBytes.zeros(len(piece.header) + piece.end - piece.start)
        message.write(0, JsBytes(browser.js_bytes(piece.header)))
        message.write(len(piece.header), self._uploads[piece.request_id][piece.start : piece.end])
        return message.view

    def close(self, code: str = "closed") -> None:
        """End it; the owner is told once."""
        if self._is_closed:
            return
        self._is_closed = True
        self._timer.stop()
        self._subscriptions.close()
        if self.session is not None:
            for event in self.session.channel_closed():
                if not isinstance(event, events.UploadDropped):
                    self._owner.peer_event(self, event)
        self._uploads.clear()
        for load in self._loads.values():
            load.cancel()
        self._loads.clear()
        self._connection.close()
        self._owner.link_closed(self, code)


async def negotiate(coroutine: Any, link: PeerLink) -> Any:
    """Run a step of the negotiation; a connection that the browser refuses is closed. Returns None then."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            return await coroutine
    except (browser.BrowserError, TimeoutError):
        link.close("negotiation_failed")
        return None
