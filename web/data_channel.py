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
from digm.upload_manners import Pacer, UploadManners, Why
from digm.wire import Reason
from web import browser
from web.browser import JsBytes, Subscriptions, now_s
from web.store import ChunkCache
from web.timer import Timer

CONNECT_TIMEOUT_S = 15.0
GATHERING_S = 2.0  # for a description that carries its candidates: host and STUN are there by then
STALLED_S = 15.0  # a channel that is full and takes nothing: nobody reads at the other end
HOLD_S = 1.0  # what we cannot give for our own playback's sake waits so long, then it is refused
PATH_S = 2.0  # between two looks at the round trip, while bytes move


class LinkOwner(Protocol):
    """Who is told what a peer does, and who carries its negotiation."""

    cache: ChunkCache
    manners: UploadManners

    def peer_event(self, link: "PeerLink", event: events.Event) -> None: ...
    def link_closed(self, link: "PeerLink", code: str) -> None: ...
    def send_candidate(self, link: "PeerLink", candidate: Any) -> None: ...
    def buffered_s(self) -> float | None: ...
    def numbers_changed(self) -> None: ...


class PeerLink:
    """A connection with one peer.

    Attributes:
        is_offering: we made the offer.
        given, taken: bytes of chunks.
        rtt_s, is_relayed: of the path, once they are known.

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
        self.is_offering = False
        self.given = 0
        self.taken = 0
        self.rtt_s: float | None = None
        self.is_relayed = False
        self._connection = connection
        self._owner = owner
        self._make_session = make_session
        self._channel: Any = None
        self._uploads: dict[int, JsBytes] = {}
        self._loads: dict[int, asyncio.Task[None]] = {}
        self._waiting_candidates: list[Any] = []
        self._is_closed = False
        self._pacer = Pacer(now_s())
        self._held_since: float | None = None
        self._moved_at = now_s()
        self._settling: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._looked_at = 0
        self._timer = Timer(self._on_time)
        self._subscriptions = Subscriptions()
        self._subscriptions.on(connection, "icecandidate", self._on_candidate)
        self._subscriptions.on(connection, "connectionstatechange", lambda _: self._on_state())
        self._timer.set(now_s() + CONNECT_TIMEOUT_S)

    @property
    def is_open(self) -> bool:
        return self.session is not None and not self._is_closed

    # -- negotiation

    async def offer(self, *, is_complete: bool = False) -> str:
        """Open the channel from our side.

        Args:
            is_complete: wait for the candidates and put them into the SDP; otherwise they follow by themselves.
        Returns:
            The SDP to send.
        """
        self.is_offering = True
        options = browser.js_object(ordered=True, protocol=wire.LABEL)
        self._take(self._connection.createDataChannel(wire.LABEL, options))
        description = await self._connection.createOffer()
        return await self._described(description, is_complete)

    async def answer(self, sdp: str, *, is_complete: bool = False) -> str:
        """Let the other side open the channel. Returns the SDP of the answer."""
        self._subscriptions.on(self._connection, "datachannel", lambda event: self._take(event.channel))
        await self.describe("offer", sdp)
        description = await self._connection.createAnswer()
        return await self._described(description, is_complete)

    def adopt(self, early: Any) -> None:
        """Go on with a connection that was begun before Python was up (static/digm-early-swarm.js)."""
        self.is_offering = bool(early.isOffering)
        if not self.is_offering:
            self._subscriptions.on(self._connection, "datachannel", lambda event: self._take(event.channel))
        self._settling = asyncio.ensure_future(self._settle(early))
        if early.channel:
            self._take(early.channel)
            for data in early.waiting:
                self._hear(data)
            if early.channel.readyState in ("closing", "closed"):
                self.close("channel_closed")

    async def _settle(self, early: Any) -> None:
        await early.settled
        self._waiting_candidates.extend(early.candidates)
        await self._take_waiting_candidates()

    async def _take_waiting_candidates(self) -> None:
        waiting, self._waiting_candidates = self._waiting_candidates, []
        for candidate in waiting:
            await self.add_candidate(candidate)

    async def _described(self, description: Any, is_complete: bool) -> str:
        await self._connection.setLocalDescription(description)
        if is_complete:
            return await browser.gathered_sdp(self._connection, GATHERING_S)
        return str(description.sdp)

    async def describe(self, kind: str, sdp: str) -> None:
        """Take the remote description, then the candidates that came before it.

        An answer to what is answered already, or was never offered, is not looked at.
        """
        if kind == "answer" and self._connection.signalingState != "have-local-offer":
            return
        await self._connection.setRemoteDescription(browser.js_object(type=kind, sdp=sdp))
        await self._take_waiting_candidates()

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
        channel.bufferedAmountLowThreshold = self._pacer.allowed_buffer_bytes // 2
        self._subscriptions.on(channel, "open", lambda _: self._on_open())
        self._subscriptions.on(channel, "message", lambda event: self._hear(event.data))
        self._subscriptions.on(channel, "close", lambda _: self.close("channel_closed"))
        self._subscriptions.on(channel, "bufferedamountlow", lambda _: self.pump())
        if channel.readyState == "open":
            self._on_open()

    def _on_open(self) -> None:
        if self.session is None and not self._is_closed:
            self.session = self._make_session()
            self.pump()
            self._looking = asyncio.ensure_future(self._look())

    def _hear(self, data: Any) -> None:
        if self.session is None:
            return
        if not hasattr(data, "byteLength"):  # text: nobody who speaks the protocol sends it
            self.close("message_type")
            return
        self._handle(self.session.receive(JsBytes.of(data), now_s()))
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
                case events.DataReceived():
                    self.taken += len(event.payload)
                    self._owner.peer_event(self, event)
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
            self._have_ready(wanted.request_id, data)
        elif (wanted.rendition, wanted.chunk) in self._owner.cache:
            self._loads[wanted.request_id] = asyncio.ensure_future(self._load_kept(wanted))
        else:
            self._have_ready(wanted.request_id, None)

    async def _load_kept(self, wanted: events.UploadWanted) -> None:
        """From the disk: hashed again before anybody gets it."""
        data = await self._owner.cache.load(wanted.rendition, wanted.chunk)
        del self._loads[wanted.request_id]
        self._have_ready(wanted.request_id, data)
        self.pump()

    def _have_ready(self, request_id: int, data: JsBytes | None) -> None:
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
        self._give(session, channel)
        deadline = session.next_deadline(now_s())
        # A channel that is full, or an upload that has to wait for our own playback, is looked at again a bit
        # later.
        self._timer.set(None if deadline is None else max(deadline, now_s() + 0.02))

    def _give(self, session: PeerSession, channel: Any) -> None:
        """Send pieces of chunks, as far as manners allow and there is room."""
        now = now_s()
        if not self._uploads:
            self._moved_at = now
            return
        if not self._may_give(now):
            return
        while self._pacer.has_room(int(channel.bufferedAmount), now_s()) and (
            piece := session.next_piece(int(channel.bufferedAmount), now_s())
        ):
            self._pacer.sent(piece.end - piece.start, now_s())
            channel.send(self._message(piece))
            self.given += piece.end - piece.start
            self._moved_at = now
            if piece.is_last:
                self._uploads.pop(piece.request_id, None)
                self._handle(session.tick(now_s()))
        channel.bufferedAmountLowThreshold = self._pacer.allowed_buffer_bytes // 2
        if now - self._moved_at > STALLED_S:
            self.close("stalled")

    def _may_give(self, now: float) -> bool:
        """Own playback comes first: what was asked for waits a moment, then the peer hears that we are busy."""
        if self._owner.manners.verdict(self._owner.buffered_s()) is not Why.OWN_PLAYBACK:
            self._held_since = None
            return True
        if self._held_since is None:
            self._held_since = now
        if now - self._held_since > HOLD_S and self.session is not None:
            for request_id in list(self._uploads):
                del self._uploads[request_id]
                self._handle(self.session.refuse(request_id, Reason.NO_SLOT))
        return False

    def _message(self, piece: Any) -> Any:
        message = JsBytes.zeros(len(piece.header) + piece.end - piece.start)
        message.write(0, JsBytes(browser.js_bytes(piece.header)))
        message.write(len(piece.header), self._uploads[piece.request_id][piece.start : piece.end])
        return message.view

    def offer_rate(self, bytes_per_s: int, slots: int) -> None:
        """Tell the peer what it may ask for; 0 stops it."""
        if self.session is not None:
            self._handle(self.session.offer_rate(bytes_per_s, slots))
            self.pump()

    async def _look(self) -> None:
        """Watch the path while bytes move: longer round trips mean that we fill somebody's queue."""
        while True:
            await asyncio.sleep(PATH_S)
            moved = self.given + self.taken
            if moved == self._looked_at and self.rtt_s is not None:
                continue
            self._looked_at = moved
            self._owner.numbers_changed()
            try:
                path = await browser.path_of(self._connection)
            except browser.BrowserError:
                continue
            if path is None:
                continue
            rtt_s, self.is_relayed = path
            if rtt_s is not None:
                self.rtt_s = rtt_s
                self._pacer.round_trip(rtt_s, now_s())

    def close(self, code: str = "closed") -> None:
        """End it; the owner is told once."""
        if self._is_closed:
            return
        self._is_closed = True
        for task in (self._looking, self._settling):
            if task is not None:
                task.cancel()
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
