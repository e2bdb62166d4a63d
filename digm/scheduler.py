"""Which chunk to fetch next, and from whom (protocol.md, "Scheduler"), sans-IO: the page's shell does as told.

    scheduler = Scheduler(chunk_spans(rendition), settings)
    ... tell it what happens (every call takes `now`, seconds on one steady clock) ...
    for action in scheduler.poll(now): ...      # after every call above, and at scheduler.next_deadline(now)

One scheduler serves one rendition of one track. A *source* is `GATEWAY` or a peer id. This version fetches whole
chunks; `Fetch` names frames already, so that a chunk can be split over several peers later.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from digm.bitfield import Bitfield
from digm.manifest import Rendition

GATEWAY = "gateway"


@dataclass(frozen=True)
class SchedulerSettings:
    """Every number that the scheduler goes by; each with where it comes from."""

    urgent_s: float = 5.0  # protocol.md, zones
    near_s: float = 15.0  # protocol.md, zones
    ahead_playing_s: float = 75.0  # p2p-media-loader 2.x: 60 s ahead by HTTP and peers; a little more for music
    ahead_paused_s: float = 20.0  # Spotify 2010: little is fetched that may never be heard
    gateway_ahead_s: float = 30.0  # far chunks that no peer has are filled by the gateway only this far
    parallel: int = 6  # browsers open six HTTP/1.1 connections a host; more only shares the same link
    parallel_per_peer: int = 2  # one chunk flows while the request for the next is under way
    parallel_gateway: int = 2
    silence_s: float = 2.0  # protocol.md: two seconds of silence move a request elsewhere
    gateway_silence_s: float = 4.0  # a TCP+TLS handshake and a lost SYN fit into it
    startup_patience_s: float = 0.0  # nothing to play and no peer ready: do not wait for one
    startup_hedge_s: float = 0.35  # first 512 KiB on a warm channel took 40-90 ms (measured); 4x that and some
    peer_patience_s: float = 3.0  # not urgent: how long peers may still be connecting before the gateway fills
    assumed_peer_bytes_per_s: float = 500_000.0  # until measured; 4 Mbit/s, a slow home uplink
    backoff_first_s: float = 0.5  # per source and chunk after a failure; doubles
    backoff_most_s: float = 15.0
    gateway_wrong_hashes: int = 3  # damaged chunks after which the gateway is banned as well


@dataclass(frozen=True, slots=True)
class ChunkSpan:
    """One chunk of the rendition: its size, and when it is heard (presentation seconds)."""

    size_bytes: int
    frames: int
    start_s: float
    end_s: float


def chunk_spans(rendition: Rendition) -> list[ChunkSpan]:
    """The chunk table of a rendition, as the scheduler wants it."""
    return [
        ChunkSpan(
            rendition.chunk_bytes(chunk),
            rendition.chunk_frames(chunk),
            rendition.chunk_start_s(chunk),
            rendition.chunk_end_s(chunk),
        )
        for chunk in range(rendition.chunk_count)
    ]


class Playback(Enum):
    """What the listener is doing. IDLE: nothing is fetched (an embed before its first click)."""

    IDLE = "idle"
    PAUSED = "paused"
    PLAYING = "playing"


class Failure(Enum):
    """Why a fetch did not end well."""

    UNREACHABLE = "unreachable"  # no connection, network error, HTTP 5xx
    NOT_HELD = "not_held"  # HTTP 404, REJECT not_held
    BUSY = "busy"  # REJECT no_slot, HTTP 429
    REFUSED = "refused"  # REJECT not_sharing or going_away
    SILENT = "silent"  # the session's or the request's own time-out
    WRONG_SIZE = "wrong_size"  # the answer is too short or too long


@dataclass(frozen=True, slots=True)
class Fetch:
    """Start to fetch; report with `progress`, then `verified`, `wrong_hash` or `failed`."""

    fetch_id: int
    source: str
    chunk: int
    first_frame: int
    frame_count: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop this fetch; it is forgotten here, whatever is still reported about it is ignored."""

    fetch_id: int


@dataclass(frozen=True, slots=True)
class NoSource:
    """A chunk that is needed now cannot be had: every source was tried or there is none. It goes on trying.

    Attributes:
        chunk: the first one that is missing.
        attempts: fetches of it that failed.
        reasons: what the last failure of each source was (`wrong_hash` or a Failure value); empty: no source at all.
        retry_at: when the next attempt is made.
    """

    chunk: int
    attempts: int
    reasons: dict[str, str]
    retry_at: float


@dataclass(frozen=True, slots=True)
class SourceBanned:
    """A source gave wrong bytes: close the connection, tell the hub. It is not asked again for this track."""

    source: str
    chunk: int


Action = Fetch | Cancel | NoSource | SourceBanned


class Scheduler:
    """Decides for one rendition; deterministic: the same calls give the same actions.

    Args:
        spans: the chunk table.
        held: chunks that are verified and at hand already.
        has_gateway: False when there is no gateway to ask.
        expects_peers: True while peers may still connect; see `set_expects_peers`.
    """

    def __init__(
        self,
        spans: Sequence[ChunkSpan],
        now: float,
        *,
        settings: SchedulerSettings = SchedulerSettings(),
        held: Iterable[int] = (),
        has_gateway: bool = True,
        expects_peers: bool = True,
    ) -> None: ...

    # -- what happens

    def set_playback(self, playback: Playback, position_s: float, now: float) -> None:
        """Where the listener is: on play, pause, seek, and now and then (each timeupdate will do).

        Between two calls the position runs on while PLAYING, up to the end of what is held.
        """
        ...

    def peer_ready(self, peer: str, availability: Bitfield, slots: int, now: float) -> None:
        """A peer can be asked.

        Args:
            availability: read live (the bitfield of PeerReady for this rendition).
            slots: how many requests it takes at once (PeerSession.free_slots).
        """
        ...

    def peer_rate(self, peer: str, slots: int) -> None:
        """RATE came: the peer takes this many requests at once; 0: none until the next RATE."""
        ...

    def peer_gone(self, peer: str, now: float) -> None:
        """Its channel closed: what it was fetching is fetched elsewhere by the next `poll`. No `failed` needed."""
        ...

    def set_gateway(self, is_there: bool) -> None:
        """Whether the gateway may be asked at all."""
        ...

    def set_expects_peers(self, is_so: bool) -> None:
        """False when no peer will come (no WebRTC, an empty swarm): the gateway is not held back for them."""
        ...

    def progress(self, fetch_id: int, received_bytes: int, now: float) -> None:
        """So many bytes of a fetch have come in all."""
        ...

    def verified(self, fetch_id: int, now: float) -> None:
        """The whole chunk came and its hash is right: it is held now; other fetches of it get cancelled."""
        ...

    def wrong_hash(self, fetch_id: int, now: float) -> None:
        """The whole chunk came and its hash is wrong: a peer is banned, the chunk is fetched elsewhere."""
        ...

    def failed(self, fetch_id: int, failure: Failure, now: float) -> None:
        """The fetch ended without the chunk: the source rests a while, the chunk is fetched elsewhere."""
        ...

    def hold(self, chunk: int) -> None:
        """The chunk came another way (cache, head start)."""
        ...

    def drop(self, chunk: int) -> None:
        """The chunk is no longer at hand (evicted); it is fetched again when it is needed."""
        ...

    # -- what to do

    def poll(self, now: float) -> list[Action]:
        """What to do now, cancellations first. Call after everything above and at `next_deadline`."""
        ...

    def next_deadline(self, now: float) -> float | None:
        """When `poll` may have something new to say without anything happening; None: not by itself."""
        ...

    # -- what is going on

    @property
    def held(self) -> frozenset[int]:
        """The chunks at hand."""
        ...

    @property
    def banned(self) -> frozenset[str]:
        """Sources that gave wrong bytes."""
        ...

    def is_complete(self) -> bool:
        """Every chunk is held."""
        ...
