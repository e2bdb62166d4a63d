"""The words between the scheduler and its shell: chunk table, events, actions, and the numbers it goes by."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from digm.manifest import Rendition

GATEWAY = "gateway"


@dataclass(frozen=True)
class SchedulerSettings:
    """Every number that the scheduler goes by; each with where it comes from."""

    urgent_s: float = 5.0  # protocol.md, zones
    near_s: float = 15.0  # protocol.md, zones
    ahead_peers_s: float = 600.0  # of what peers have: a whole song; ten minutes of a long recording
    ahead_gateway_s: float = 60.0  # p2p-media-loader's far zone: time for one copy to reach everybody
    ahead_alone_s: float = 30.0  # nobody to share it with: Spotify 2010 fetches little that may not be heard
    ahead_paused_s: float = 20.0  # the same
    ahead_prefetch_s: float = 12.0  # of the next track: what the head start would fetch
    prefetch_lead_s: float = 30.0  # Spotify 2010: the next track is looked for from 30 s before the end
    parallel: int = 6  # browsers open six HTTP/1.1 connections to a host; more only share the same link
    parallel_far: int = 2  # of these; swarm_sim: with 4, peers on DSL have less left for who is in need
    parallel_per_peer: int = 2  # one chunk flows while the request for the next is under way
    parallel_gateway: int = 2  # the same
    split_over: int = 4  # sources of one urgent chunk; it has eight frames, and each start costs a round trip
    split_from_s: float = 0.4  # below that a second source brings nothing that is heard
    silence_s: float = 2.0  # protocol.md: two seconds of silence move a request elsewhere
    gateway_silence_s: float = 4.0  # one lost SYN (1 s, RFC 6298) and a TLS handshake fit into it
    startup_hedge_s: float = 0.35  # the first 512 KiB on a fresh channel took 40-90 ms here; four times that
    peer_patience_s: float = 3.0  # offer to open takes 0.07 s here, 1-2 s over STUN and a bad link
    meeting_enough: int = 4  # protocol.md: two to four peers are opened first; then nobody else is waited for
    gateway_margin_s: float = 1.0  # the gateway is asked this long, and ...
    gateway_margin_factor: float = 1.5  # ... so many times the expected duration, before it is too late
    assumed_bytes_per_s: float = 500_000.0  # of an unmeasured peer: 4 Mbit/s, a slow home uplink
    assumed_gateway_bytes_per_s: float = 1_000_000.0  # 8 Mbit/s, a slow home downlink
    backoff_first_s: float = 0.5  # of a source after a failure; doubles each time
    backoff_most_s: float = 15.0  # well inside what is buffered ahead
    gateway_wrong_chunks: int = 3  # damaged chunks in a row until the gateway is banned like a peer
    no_source_attempts: int = 3  # failed fetches of a chunk that is needed now until we say so ...
    no_source_after_s: float = 6.0  # ... or this long after the first one failed
    tick_s: float = 0.5  # how often to look again while chunks are missing: zones move by themselves


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
    """What the listener is doing.

    IDLE: nothing is fetched (an embed before its first click). PREFETCH: another track is being heard and this
    one comes next: only its head is fetched, behind everything else.
    """

    IDLE = "idle"
    PREFETCH = "prefetch"
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
    """Start to fetch frames of a chunk; report with `progress`, then `received` or `failed`."""

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
        reasons: last failure of each source, a Failure value or `wrong_hash`; empty: there is no source at all.
        retry_at: when the next attempt is made.
    """

    chunk: int
    attempts: int
    reasons: Mapping[str, str]
    retry_at: float


@dataclass(frozen=True, slots=True)
class SourceBanned:
    """A source gave wrong bytes: close the connection, tell the hub. It is not asked again for this track."""

    source: str
    chunk: int


Action = Fetch | Cancel | NoSource | SourceBanned
