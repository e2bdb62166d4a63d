"""One peer session (`digm.peer.1`), sans-IO: the same code speaks in the page and in the seeding process.

The shell owns the channel, the clock and the bytes of chunks:

    session = PeerSession(root, manifest.renditions, held, now)      # HELLO is ready to send
    on message:   for event in session.receive(message, now): ...
    on a timer:   for event in session.tick(now): ...                # at session.next_deadline()
    after each:   for message in session.to_send(): channel.send(message)
                  while piece := session.next_piece(channel.bufferedAmount, now):
                      channel.send(piece.header + chunk[piece.start:piece.end])   # then tick again
    channel gone: session.channel_closed()

No message makes `receive` raise: a peer that breaks a rule yields one `Closed` event with its fault, and the
session says nothing more. Verifying a chunk's hash is left to the shell.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from digm import wire
from digm.bitfield import Bitfield
from digm.download_list import Download, DownloadList, frames_of
from digm.errors import CallerFault, PeerFault, Unavailable
from digm.manifest import Rendition
from digm.peer_conduct import Conduct
from digm.peer_events import (
    ChunkAvailable,
    ChunkGone,
    Closed,
    DataReceived,
    Event,
    PeerReady,
    PeersOffered,
    RateOffered,
    Relayed,
    RequestDone,
    RequestRejected,
    RequestTimedOut,
    UploadDropped,
    UploadWanted,
)
from digm.peer_states import DEFAULT_SETTINGS, TRANSITIONS, UNLIMITED_BYTES_PER_S, SessionSettings, State
from digm.sdp import check_sdp
from digm.token_bucket import TokenBucket
from digm.upload_queue import UploadPiece, UploadQueue
from digm.wire import Reason


class PeerSession:
    """Both halves of one session with one peer about one track.

    Args:
        track_root: 32 bytes.
        renditions: the manifest's.
        held: our verified chunks by rendition id, for every rendition; read live: the shell adds to it (and
            calls `have`), or discards what it evicts.
        now: seconds on the shell's steady clock.
        bucket: our upload rate, shared by the sessions of a process; None for no cap.
        is_sharing: False when the listener gives nothing; `offer_rate` may change it later.
    Raises:
        CallerFault: `bad_availability`, `held` does not fit the renditions.
    """

    def __init__(
        self,
        track_root: bytes,
        renditions: Sequence[Rendition],
        held: Mapping[int, Bitfield],
        now: float,
        *,
        settings: SessionSettings = DEFAULT_SETTINGS,
        bucket: TokenBucket | None = None,
        is_sharing: bool = True,
    ) -> None:
        self._renditions = {rendition.id: rendition for rendition in renditions}
        if {i: r.chunk_count for i, r in self._renditions.items()} != {i: f.count for i, f in held.items()}:
            raise CallerFault("bad_availability", "What we hold does not fit the renditions of the manifest.")
        self._track_root = track_root
        self._held = held
        self._settings = settings
        self._state = State.EXPECTING_HELLO
        self._hello_due = now + settings.hello_timeout_s
        self._availability: dict[int, Bitfield] = {}
        self._peer_uploads = False
        self._peer_slots = settings.max_outstanding
        self._next_request_id = 1
        self._downloads = DownloadList(settings.request_silence_s, settings.late_data_s)
        self._is_sharing = is_sharing
        unlimited = TokenBucket(0, wire.MAX_MESSAGE_BYTES, now)
        self._uploads = UploadQueue(settings.upload_slots, settings.upload_queue, bucket or unlimited)
        self._conduct = Conduct(settings, now)
        flags = wire.Flag.UPLOADS if is_sharing else wire.Flag(0)
        self._outbox: list[bytes] = [wire.encode(wire.Hello(track_root, dict(held), flags))]

    @property
    def state(self) -> State:
        return self._state

    @property
    def availability(self) -> Mapping[int, Bitfield]:
        """What the peer holds, by rendition id; empty before its HELLO."""
        return self._availability

    @property
    def outstanding(self) -> int:
        """Our requests that are not answered yet."""
        return len(self._downloads)

    @property
    def free_slots(self) -> int:
        """How many more requests the peer takes now; 0 while it is not ready or offers nothing."""
        if self._state is not State.OPEN or not self._peer_uploads:
            return 0
        return max(0, min(self._peer_slots, self._settings.max_outstanding) - len(self._downloads))

    def receive(self, message: wire.Readable, now: float) -> list[Event]:
        """Take one whole message from the channel. Never raises; see `Closed`."""
        if self._state is State.CLOSED:
            return []
        try:
            decoded = wire.decode(message)
            if not isinstance(decoded, wire.Data) and not self._conduct.said(decoded, now):
                return []
            handler = HANDLERS[self._state].get(type(decoded))
            if handler is None:
                raise PeerFault(
                    "message_out_of_turn", f"{type(decoded).__name__} came while {self._state.value}."
                )
            return handler(self, decoded, now)
        except PeerFault as fault:
            return self._end("fault", Closed(fault.code, fault))

    def tick(self, now: float) -> list[Event]:
        """Let time pass: silent requests and a missing HELLO time out, waiting uploads move into free slots."""
        if self._state is State.EXPECTING_HELLO and now >= self._hello_due:
            return self._end("timeout", Closed("hello_timeout"))
        if self._state is not State.OPEN:
            return []
        events: list[Event] = []
        try:
            for request_id, due in self._downloads.silence_due():
                if now >= due and (download := self._downloads.abandon(request_id, now)):
                    self._send(wire.Cancel(request_id, Reason.TOO_SLOW))
                    events.append(RequestTimedOut(request_id, download.rendition, download.chunk))
                    self._conduct.was_silent()
        except PeerFault as fault:
            return events + self._end("fault", Closed(fault.code, fault))
        return events + self._promote()

    def to_send(self) -> list[bytes]:
        """Control messages to put on the channel now, in order; each is given once."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def next_deadline(self, now: float, has_room: bool = True) -> float | None:
        """When to call `tick` and `next_piece` again; None: not before a message comes.

        Args:
            has_room: False while the channel's buffer is full: the shell is told when it is not.
        """
        if self._state is State.CLOSED:
            return None
        if self._state is State.EXPECTING_HELLO:
            return self._hello_due
        deadlines = [due for _, due in self._downloads.silence_due()]
        if self._uploads.has_free_slot_for_waiting:
            deadlines.append(now)
        if has_room and (piece_at := self._uploads.next_piece_at(now)) is not None:
            deadlines.append(piece_at)
        return min(deadlines, default=None)

    # -- asking

    def request(
        self, rendition: int, chunk: int, now: float, *, first_frame: int = 0, frame_count: int = 0
    ) -> int:
        """Ask for frames of a chunk (`frame_count` = 0: to its end).

        Returns:
            The request id that the events about it carry.
        Raises:
            Unavailable: `peer_not_ready` before its HELLO or after the end, `not_held` by this peer,
                `peer_busy` when no more may be outstanding.
            CallerFault: `bad_request`, no such frames.
        """
        if self._state is not State.OPEN:
            raise Unavailable("peer_not_ready", "The peer is not ready to be asked.")
        count, start, end = frames_of(self._renditions.get(rendition), chunk, first_frame, frame_count)
        if chunk not in self._availability[rendition]:
            raise Unavailable("not_held", "The peer does not hold this chunk.")
        if len(self._downloads) >= self._settings.max_outstanding:
            raise Unavailable("peer_busy", "The peer has enough to do.")
        request_id = self._next_request_id
        self._next_request_id = request_id % 0xFFFF_FFFF + 1
        self._downloads.add(Download(request_id, rendition, chunk, start, end, now))
        self._send(wire.Request(request_id, rendition, chunk, first_frame, count))
        return request_id

    def cancel(self, request_id: int, now: float, reason: Reason = Reason.NO_LONGER_WANTED) -> None:
        """Stop wanting a request (if it is still open); what still arrives for it is dropped."""
        if self._downloads.abandon(request_id, now):
            self._send(wire.Cancel(request_id, reason))

    # -- giving

    def have(self, rendition: int, chunk: int) -> None:
        """Announce one more verified chunk (and add it to `held`)."""
        self._held[rendition].add(chunk)
        self._send(wire.Have(rendition, chunk))

    def gone(self, rendition: int, chunk: int) -> None:
        """Take back a `have`: the chunk was evicted, or went bad (and leaves `held`)."""
        self._held[rendition].discard(chunk)
        self._send(wire.Gone(rendition, chunk))

    def offer_rate(self, bytes_per_s: int, slots: int) -> list[Event]:
        """Tell the peer what it may ask for; 0 slots stops it, and everything it asked for is rejected."""
        self._is_sharing = bytes_per_s > 0 and slots > 0
        self._send(wire.Rate(min(bytes_per_s, UNLIMITED_BYTES_PER_S), min(slots, 255)))
        if self._is_sharing:
            return []
        active, waiting = self._uploads.clear()
        for request_id in active + waiting:
            self._send(wire.Reject(request_id, Reason.NOT_SHARING))
        return [UploadDropped(request_id) for request_id in active]

    def offer_peers(self, peers: Sequence[bytes]) -> None:
        """Peer exchange: send up to 10 peer ids."""
        self._send(wire.Peers(tuple(peers[: wire.MAX_PEERS])))

    def relay(self, message: wire.Relay) -> None:
        """Send a description through this peer, to it, or on."""
        self._send(message)

    def upload_ready(self, request_id: int) -> None:
        """The shell holds the chunk of an `UploadWanted`: `next_piece` may give it out."""
        self._uploads.ready(request_id)

    def refuse(self, request_id: int, reason: Reason) -> list[Event]:
        """The shell cannot load the chunk of an `UploadWanted`: the peer is told, the slot is free."""
        if request_id in self._uploads:
            self._uploads.remove(request_id)
            self._send(wire.Reject(request_id, reason))
        return self._promote()

    def next_piece(self, buffered_bytes: int, now: float) -> UploadPiece | None:
        """The next DATA message to send, if the channel has room and the rate allows it.

        When it is the last of its request, `tick` gives the next request its slot.

        Args:
            buffered_bytes: the channel's bufferedAmount.
        """
        if self._state is not State.OPEN or buffered_bytes >= self._settings.buffered_high_bytes:
            return None
        return self._uploads.next_piece(now)

    # -- ending

    def drain(self) -> None:
        """Going away soon: take no request any more, reject what waits, finish what has a slot."""
        self._is_sharing = False
        self._send(wire.Rate(0, 0))
        for request_id in self._uploads.clear_waiting():
            self._send(wire.Reject(request_id, Reason.GOING_AWAY))

    @property
    def is_drained(self) -> bool:
        return not self._uploads

    def close(self) -> list[Event]:
        """End the session from our side; the shell closes the channel."""
        return self._end("close", Closed("closed"))

    def channel_closed(self) -> list[Event]:
        """The channel is gone."""
        return self._end("close", Closed("channel_closed"))

    # -- inside

    def _send(self, message: wire.Message) -> None:
        if self._state is not State.CLOSED:
            self._outbox.append(wire.encode(message))

    def _end(self, cause: str, closed: Closed) -> list[Event]:
        following = TRANSITIONS[self._state].get(cause)
        if following is None:
            return []
        self._state = following
        self._downloads.clear()
        self._outbox.clear()
        active, _ = self._uploads.clear()
        return [*(UploadDropped(request_id) for request_id in active), closed]

    def _promote(self) -> list[Event]:
        return [
            UploadWanted(r.request_id, r.rendition, r.chunk, r.first_frame, r.frame_count)
            for r in self._uploads.promote()
        ]

    def _on_hello(self, hello: wire.Hello, now: float) -> list[Event]:
        if hello.track_root != self._track_root:
            raise PeerFault("wrong_track", "The peer came for another track.")
        theirs = {rendition: field.count for rendition, field in hello.availability.items()}
        if theirs != {i: r.chunk_count for i, r in self._renditions.items()}:
            raise PeerFault("wrong_shape", "The peer's renditions are not those of the manifest.")
        self._state = TRANSITIONS[self._state]["hello"]
        self._availability = hello.availability
        self._peer_uploads = wire.Flag.UPLOADS in hello.flags
        return [PeerReady(self._availability, self._peer_uploads)]

    def _on_have(self, have: wire.Have, now: float) -> list[Event]:
        field = self._availability.get(have.rendition)
        if field is None or have.chunk >= field.count:
            raise PeerFault("chunk_out_of_range", f"There is no chunk {have.rendition}/{have.chunk}.")
        return [ChunkAvailable(have.rendition, have.chunk)] if field.add(have.chunk) else []

    def _on_gone(self, gone: wire.Gone, now: float) -> list[Event]:
        field = self._availability.get(gone.rendition)
        if field is None or gone.chunk >= field.count:
            raise PeerFault("chunk_out_of_range", f"There is no chunk {gone.rendition}/{gone.chunk}.")
        return [ChunkGone(gone.rendition, gone.chunk)] if field.discard(gone.chunk) else []

    def _on_request(self, request: wire.Request, now: float) -> list[Event]:
        shape = self._renditions.get(request.rendition)
        end_frame = request.first_frame + request.frame_count
        if shape is None or request.chunk >= shape.chunk_count or end_frame > shape.chunk_frames(request.chunk):
            raise PeerFault("request_out_of_range", "The peer asked for frames that do not exist.")
        if request.request_id in self._uploads:
            raise PeerFault("request_repeated", f"Request {request.request_id} is open already.")
        refusal = None
        if not self._is_sharing:
            refusal = Reason.NOT_SHARING
        elif request.chunk not in self._held[request.rendition]:
            refusal = Reason.NOT_HELD
        elif self._uploads.is_full:
            refusal = Reason.NO_SLOT
        if refusal is not None:
            self._send(wire.Reject(request.request_id, refusal))
            return []
        self._uploads.add(request)
        return self._promote()

    def _on_data(self, data: wire.Data, now: float) -> list[Event]:
        taken = self._downloads.take(data, now)
        self._conduct.gave()
        if taken is None:
            return []
        download, is_done = taken
        place = (data.request_id, download.rendition, download.chunk)
        events: list[Event] = [DataReceived(*place, data.offset, data.payload)]
        if is_done:
            self._conduct.answered()
            events.append(RequestDone(*place))
        return events

    def _on_reject(self, reject: wire.Reject, now: float) -> list[Event]:
        download = self._downloads.remove(reject.request_id)
        if download is None:  # it crossed our CANCEL
            return []
        if reject.reason is Reason.NOT_HELD:
            self._availability[download.rendition].discard(download.chunk)
            self._conduct.did_not_hold()
        return [RequestRejected(reject.request_id, download.rendition, download.chunk, reject.reason)]

    def _on_cancel(self, cancel: wire.Cancel, now: float) -> list[Event]:
        had_slot = self._uploads.remove(cancel.request_id)
        dropped: list[Event] = [UploadDropped(cancel.request_id)] if had_slot else []
        return dropped + self._promote()

    def _on_rate(self, rate: wire.Rate, now: float) -> list[Event]:
        self._peer_slots = rate.slots if rate.bytes_per_s else 0
        self._peer_uploads = True
        return [RateOffered(rate.bytes_per_s, self._peer_slots)]

    def _on_peers(self, peers: wire.Peers, now: float) -> list[Event]:
        return [PeersOffered(peers.peers)]

    def _on_relay(self, relay: wire.Relay, now: float) -> list[Event]:
        check_sdp(relay.sdp)
        return [Relayed(relay)]


Handler = Callable[[PeerSession, Any, float], list[Event]]

HANDLERS: Mapping[State, Mapping[type, Handler]] = {
    State.EXPECTING_HELLO: {wire.Hello: PeerSession._on_hello},
    State.OPEN: {
        wire.Have: PeerSession._on_have,
        wire.Request: PeerSession._on_request,
        wire.Data: PeerSession._on_data,
        wire.Reject: PeerSession._on_reject,
        wire.Cancel: PeerSession._on_cancel,
        wire.Rate: PeerSession._on_rate,
        wire.Peers: PeerSession._on_peers,
        wire.Relay: PeerSession._on_relay,
        wire.Gone: PeerSession._on_gone,
    },
    State.CLOSED: {},
}
