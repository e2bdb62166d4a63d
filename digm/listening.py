"""Where the listener is, and how long it takes until a chunk is heard (for the scheduler)."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from digm import chunk_mask
from digm.fetch_plan import ChunkSpan, Playback, SchedulerSettings

STILL_S = 0.01
JUMP_S = 1.0  # a position that is further off than this is a seek, not a clock that drifts


@dataclass(frozen=True, slots=True)
class Look:
    """The track as the listener stands to it at one moment.

    Attributes:
        first: the chunk at the position.
        lead_s: what is added to every distance while nothing is heard yet.
        overdue_s: for so long sound has been at the end of what is held, or plays frames beyond it.
        near, gateway, far: chunks (digm.chunk_mask) that are heard within the near zone, within what the
            gateway may be asked for, and within what peers may be asked for; each contains the one before.
    """

    playback: Playback
    position_s: float
    lead_s: float
    overdue_s: float
    first: int
    near: int
    gateway: int
    far: int


class Listening:
    """Playback and position.

    Between two reports the position runs on while PLAYING, up to the end of what is held. Before a track is
    heard its deadlines are in the future: `prefetch_lead_s` for the next track, `peer_patience_s` for one that
    is paused; so the same zones and turns serve there too.
    """

    def __init__(self, spans: Sequence[ChunkSpan], settings: SchedulerSettings, now: float) -> None:
        self._spans = spans
        self._starts = [span.start_s for span in spans]
        self._settings = settings
        self.playback = Playback.IDLE
        self._position_s = 0.0
        self._reported_at = now
        self._still_since = now
        self._active_since: float | None = None

    def report(self, playback: Playback, position_s: float, held: int, now: float) -> bool:
        """Returns whether the listener jumped elsewhere."""
        is_jump = abs(position_s - self.position(held, now)) > JUMP_S
        if playback is not Playback.IDLE and self._active_since is None:
            self._active_since = now
        if playback is not self.playback or is_jump:
            self._still_since = now
        if playback is not self.playback or abs(position_s - self._position_s) > STILL_S:
            # Who is stuck goes on being late, however often it is reported.
            self._reported_at = now
        self.playback = playback
        self._position_s = position_s
        return is_jump

    def active_s(self, now: float) -> float:
        """Since when somebody is interested in this track; 0 while nobody is."""
        return 0.0 if self._active_since is None else now - self._active_since

    def position(self, held: int, now: float) -> float:
        """Where the listener is now: sound stops at the end of what is held, whatever the clock says."""
        if self.playback is not Playback.PLAYING:
            return self._position_s
        missing = chunk_mask.first_missing(held, self.chunk_at(self._position_s))
        limit_s = self._starts[missing] if missing < len(self._starts) else self._spans[-1].end_s
        return max(self._position_s, min(limit_s, self._position_s + now - self._reported_at))

    def chunk_at(self, position_s: float) -> int:
        return max(0, bisect_right(self._starts, position_s) - 1)

    def look(self, held: int, now: float, *, is_alone: bool) -> Look:
        """Args: `is_alone`: nobody shares the work, and nobody is expected to."""
        settings = self._settings
        position_s = self.position(held, now)
        first = self.chunk_at(position_s)
        lead_s = self._lead_s(now, is_alone)
        ends_s = [settings.near_s, settings.ahead_alone_s if is_alone else settings.ahead_gateway_s]
        ends_s.append(settings.ahead_peers_s)
        limit_s = self._limit_s()
        near, gateway, far = (
            chunk_mask.span(first, bisect_right(self._starts, position_s + min(end_s - lead_s, limit_s)))
            for end_s in ends_s
        )
        overdue_s = 0.0
        if self.playback is Playback.PLAYING:
            overdue_s = max(0.0, self._position_s + now - self._reported_at - position_s)
        return Look(self.playback, position_s, lead_s, overdue_s, first, near, gateway, far)

    def left_s(self, look: Look, chunk: int, arrived: int) -> float:
        """How long until a missing chunk, or the first missing frame of it, is heard.

        Args:
            arrived: frames of it that are there.
        """
        span = self._spans[chunk]
        frame = chunk_mask.first_missing(arrived, self.frame_at(look, chunk)) if arrived else 0
        into_s = (span.end_s - span.start_s) * frame / span.frames
        return max(0.0, span.start_s + into_s - look.position_s - look.overdue_s) + look.lead_s

    def frame_at(self, look: Look, chunk: int) -> int:
        """The frame of a chunk that is heard first from here (one less: sound is not even over the bytes)."""
        span = self._spans[chunk]
        if look.position_s <= span.start_s or span.end_s <= span.start_s:
            return 0
        into = (look.position_s - span.start_s) / (span.end_s - span.start_s)
        return min(span.frames - 1, max(0, int(into * span.frames) - 1))

    def _limit_s(self) -> float:
        match self.playback:
            case Playback.PLAYING:
                return self._settings.ahead_peers_s
            case Playback.PAUSED:
                return self._settings.ahead_paused_s
            case Playback.PREFETCH:
                return self._settings.ahead_prefetch_s
            case Playback.IDLE:
                return -1.0

    def _lead_s(self, now: float, is_alone: bool) -> float:
        still_s = now - self._still_since
        match self.playback:
            case Playback.PREFETCH:
                return max(0.0, self._settings.prefetch_lead_s - still_s)
            case Playback.PAUSED if not is_alone:
                return max(0.0, self._settings.peer_patience_s - still_s)
        return 0.0
