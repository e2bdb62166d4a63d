"""A simulated listener: the scheduler, links that carry so many bytes a second, an ear that counts stalls."""

from dataclasses import dataclass, field

from digm.bitfield import Bitfield
from digm.chunks import FRAME_BYTES
from digm.scheduler import (
    GATEWAY,
    Cancel,
    ChunkSpan,
    Failure,
    Fetch,
    NoSource,
    Playback,
    Scheduler,
    SchedulerSettings,
    SourceBanned,
)

CHUNK_BYTES = 524_288
STEP_S = 0.01


def even_chunks(count: int, seconds: float = 4.0) -> list[ChunkSpan]:
    return [ChunkSpan(CHUNK_BYTES, 8, i * seconds, (i + 1) * seconds) for i in range(count)]


@dataclass
class Link:
    """One source's way to the listener; it answers the oldest fetch first, as peers do.

    Attributes:
        corrupt: chunks that arrive with wrong bytes; None: every one.
        missing: chunks that it refuses (HTTP 404, REJECT).
        silent_after: from this moment on nothing comes, and nothing says so.
    """

    bytes_per_s: float
    latency_s: float = 0.05
    corrupt: frozenset[int] | None = frozenset()
    missing: frozenset[int] = frozenset()
    silent_after: float = float("inf")
    is_unreachable: bool = False
    served: list[int] = field(default_factory=list)
    given_bytes: float = 0


@dataclass
class _Transfer:
    fetch: Fetch
    asked_at: float
    received: float = 0.0


class SimulatedListener:
    """Runs a scheduler against links."""

    def __init__(
        self,
        links: dict[str, Link],
        chunks: int = 40,
        settings: SchedulerSettings | None = None,
        expects_peers: bool = True,
    ) -> None:
        self.now = 100.0
        self.links = links
        self.spans = even_chunks(chunks)
        self.scheduler = Scheduler(
            self.spans,
            self.now,
            settings=settings or SchedulerSettings(),
            has_gateway=GATEWAY in links,
            expects_peers=expects_peers,
        )
        self.transfers: dict[int, _Transfer] = {}
        self.buffers: dict[int, dict[int, tuple[str, bool]]] = {}
        self.suspects: dict[int, set[str]] = {}
        self.log: list[tuple[float, object]] = []
        self.position_s = 0.0
        self.playback = Playback.IDLE
        self.stalls = 0
        self.stalled_s = 0.0
        self.first_sound_s: float | None = None
        self._was_sounding = False
        self._started_at = self.now

    def connect(self, peer: str, chunks: set[int] | None = None, slots: int = 8) -> None:
        count = len(self.spans)
        held = Bitfield(count, range(count) if chunks is None else chunks)
        self.scheduler.peer_ready(peer, held, slots, self.now)
        self._poll()

    def kill(self, peer: str) -> None:
        self.transfers = {i: t for i, t in self.transfers.items() if t.fetch.source != peer}
        self.scheduler.peer_gone(peer, self.now)
        self._poll()

    def play(self, position_s: float | None = None) -> None:
        self._set(Playback.PLAYING, position_s)

    def pause(self) -> None:
        self._set(Playback.PAUSED, None)

    def _set(self, playback: Playback, position_s: float | None) -> None:
        self.playback = playback
        if position_s is not None:
            self.position_s = position_s
            self._was_sounding = False
        self._started_at = self.now
        self.scheduler.set_playback(playback, self.position_s, self.now)
        self._poll()

    def run(self, seconds: float) -> None:
        """Let time pass; the scheduler is polled at its own deadlines and when something happens."""
        end = self.now + seconds
        deadline = self.scheduler.next_deadline(self.now)
        while self.now < end - STEP_S / 2:
            self.now += STEP_S
            changed = self._carry()
            self._listen()
            if changed or (deadline is not None and self.now >= deadline):
                self._poll()
            deadline = self.scheduler.next_deadline(self.now)

    @property
    def is_sounding(self) -> bool:
        chunk = min(int(self.position_s // 4), len(self.spans) - 1)
        return self.playback is Playback.PLAYING and chunk in self.scheduler.held

    @property
    def has_ended(self) -> bool:
        return self.position_s >= self.spans[-1].end_s

    def actions(self, kind: type) -> list:
        return [action for _, action in self.log if isinstance(action, kind)]

    def _poll(self) -> None:
        for action in self.scheduler.poll(self.now):
            self.log.append((self.now, action))
            match action:
                case Fetch():
                    self.transfers[action.fetch_id] = _Transfer(action, self.now)
                case Cancel(fetch_id):
                    self.transfers.pop(fetch_id, None)
                case NoSource() | SourceBanned():
                    pass

    def _carry(self) -> bool:
        """Move bytes for one step. Returns whether a fetch ended."""
        before = len(self.transfers)
        for name, link in self.links.items():
            budget = link.bytes_per_s * STEP_S
            for transfer in [t for t in self.transfers.values() if t.fetch.source == name]:
                if self.now < transfer.asked_at + link.latency_s or self.now >= link.silent_after:
                    continue
                if link.is_unreachable:
                    self._end(transfer, Failure.UNREACHABLE)
                elif transfer.fetch.chunk in link.missing:
                    self._end(transfer, Failure.NOT_HELD)
                elif budget > 0:
                    budget -= self._deliver(transfer, link, budget)
        return len(self.transfers) != before

    def _deliver(self, transfer: _Transfer, link: Link, budget: float) -> float:
        fetch = transfer.fetch
        size = fetch.frame_count * FRAME_BYTES
        amount = min(budget, size - transfer.received)
        before = int(transfer.received) // FRAME_BYTES
        transfer.received += amount
        link.given_bytes += amount
        self.scheduler.progress(fetch.fetch_id, int(transfer.received), self.now)
        is_over = transfer.received >= size
        if is_over:
            del self.transfers[fetch.fetch_id]
            link.served.append(fetch.chunk)
            self.scheduler.received(fetch.fetch_id, self.now)
        is_wrong = link.corrupt is None or fetch.chunk in link.corrupt
        for frame in range(before, int(transfer.received) // FRAME_BYTES):
            self._write(fetch, fetch.first_frame + frame, is_wrong)
        return amount

    def _write(self, fetch: Fetch, frame: int, is_wrong: bool) -> None:
        frames = self.buffers.setdefault(fetch.chunk, {})
        frames[frame] = (fetch.source, is_wrong)
        if len(frames) < self.spans[fetch.chunk].frames or fetch.chunk in self.scheduler.held:
            return
        del self.buffers[fetch.chunk]
        wrong = {source for source, is_wrong in frames.values() if is_wrong}
        if wrong:
            self.suspects.setdefault(fetch.chunk, set()).update(wrong)
            senders = {source for source, _ in frames.values()}
            culprits = frozenset(senders if len(senders) == 1 else ())
            self.scheduler.chunk_wrong(fetch.chunk, culprits, self.now)
            return
        self.scheduler.chunk_verified(fetch.chunk, self.now)
        for source in sorted(self.suspects.pop(fetch.chunk, ())):
            self.scheduler.ban(source, fetch.chunk)

    def _end(self, transfer: _Transfer, failure: Failure) -> None:
        del self.transfers[transfer.fetch.fetch_id]
        self.scheduler.failed(transfer.fetch.fetch_id, failure, self.now)

    def _listen(self) -> None:
        if self.playback is not Playback.PLAYING or self.has_ended:
            return
        if self.is_sounding:
            if self.first_sound_s is None:
                self.first_sound_s = self.now - self._started_at
            self._was_sounding = True
            self.position_s += STEP_S
        else:
            if self._was_sounding:
                self.stalls += 1
            self._was_sounding = False
            self.stalled_s += STEP_S
