"""Whatever happens, in whatever order: the scheduler neither breaks, nor asks in vain, nor forgets a chunk."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from digm.bitfield import Bitfield
from digm.chunks import FRAME_BYTES
from digm.scheduler import (
    GATEWAY,
    Cancel,
    Failure,
    Fetch,
    NoSource,
    Playback,
    Scheduler,
    SchedulerSettings,
    SourceBanned,
)
from tests.digm.simulated_listener import even_chunks

CHUNKS, FRAMES = 24, 8
PEERS = st.sampled_from(["a", "b", "c", "d"])
CHUNK = st.integers(0, CHUNKS - 1)
SETTINGS = SchedulerSettings()


def frames_of(fetch: Fetch) -> set[int]:
    return set(range(fetch.first_frame, fetch.first_frame + fetch.frame_count))


class Shell(RuleBasedStateMachine):
    """A page that does everything that it may, as it is told in digm.scheduler; frames carry their sender."""

    @initialize(has_gateway=st.booleans(), expects_peers=st.booleans())
    def begin(self, has_gateway: bool, expects_peers: bool) -> None:
        self.now = 50.0
        self.scheduler = Scheduler(
            even_chunks(CHUNKS), self.now, me="me", has_gateway=has_gateway, expects_peers=expects_peers
        )
        self.running: dict[int, Fetch] = {}
        self.progress_of: dict[int, int] = {}
        self.frames: dict[int, dict[int, str]] = {}
        self.held: set[int] = set()
        self.peers: dict[str, set[int]] = {}
        self.slots: dict[str, int] = {}
        self.banned: set[str] = set()
        self.unchecked: set[int] = set()

    # -- the world

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.4, 1.0, 2.5, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.poll()

    @rule(playback=st.sampled_from(list(Playback)), position_s=st.floats(-1, 4 * CHUNKS + 5))
    def the_listener(self, playback: Playback, position_s: float) -> None:
        self.scheduler.set_playback(playback, position_s, self.now)
        self.poll()

    @rule(peer=PEERS, chunks=st.sets(CHUNK), slots=st.sampled_from([0, 1, 16]))
    def a_peer_is_ready(self, peer: str, chunks: set[int], slots: int) -> None:
        self.scheduler.peer_ready(peer, Bitfield(CHUNKS, chunks), slots, self.now)
        if peer not in self.banned:
            self.peers[peer], self.slots[peer] = set(chunks), slots
        self.poll()

    @rule(peer=PEERS)
    def a_peer_goes(self, peer: str) -> None:
        self.scheduler.peer_gone(peer, self.now)
        self.peers.pop(peer, None)
        self.running = {i: fetch for i, fetch in self.running.items() if fetch.source != peer}
        self.poll()

    @rule(peer=PEERS, chunk=CHUNK, is_there=st.booleans())
    def a_peer_has_or_has_not(self, peer: str, chunk: int, is_there: bool) -> None:
        if is_there:
            self.scheduler.peer_has(peer, chunk, self.now)
            self.peers.get(peer, set()).add(chunk)
        else:
            self.scheduler.peer_lost(peer, chunk, self.now)
            self.peers.get(peer, set()).discard(chunk)
        self.poll()

    @rule(peer=PEERS, slots=st.integers(0, 3))
    def a_peer_changes_its_mind(self, peer: str, slots: int) -> None:
        self.scheduler.peer_rate(peer, slots)
        if peer in self.peers:
            self.slots[peer] = slots
        self.poll()

    @rule(members=st.sets(PEERS), listeners=st.integers(0, 2_000))
    def members_change(self, members: set[str], listeners: int) -> None:
        self.scheduler.set_members(members, self.now, listeners=listeners)
        self.poll()

    @rule(is_there=st.booleans(), is_expected=st.booleans())
    def the_gateway(self, is_there: bool, is_expected: bool) -> None:
        self.scheduler.set_gateway(is_there)
        self.scheduler.set_expects_peers(is_expected)
        self.poll()

    @rule(chunk=CHUNK)
    def a_chunk_is_evicted(self, chunk: int) -> None:
        self.forget(chunk)
        self.scheduler.drop(chunk)
        self.poll()

    @rule(chunk=CHUNK)
    def a_chunk_comes_from_the_cache(self, chunk: int) -> None:
        self.forget(chunk)
        self.held.add(chunk)
        self.scheduler.hold(chunk)
        self.poll()

    @rule(chunk=CHUNK, frames=st.sets(st.integers(0, FRAMES - 1)))
    def frames_come_from_the_head_start(self, chunk: int, frames: set[int]) -> None:
        if chunk not in self.held:
            self.frames.setdefault(chunk, {}).update(dict.fromkeys(frames, GATEWAY))
            self.scheduler.partial(chunk, frozenset(frames), self.now)
            self.look_whether_whole(chunk)
            self.poll()

    # -- fetches

    @precondition(lambda self: self.running)
    @rule(data=st.data(), part=st.floats(0, 1))
    def bytes_come(self, data: st.DataObject, part: float) -> None:
        fetch = self.running[data.draw(st.sampled_from(sorted(self.running)))]
        received = max(self.progress_of.get(fetch.fetch_id, 0), int(part * fetch.frame_count * FRAME_BYTES))
        self.progress_of[fetch.fetch_id] = received
        self.scheduler.progress(fetch.fetch_id, received, self.now)
        self.write(fetch, received // FRAME_BYTES)
        self.poll()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def a_fetch_is_done(self, data: st.DataObject) -> None:
        fetch = self.running.pop(data.draw(st.sampled_from(sorted(self.running))))
        self.scheduler.received(fetch.fetch_id, self.now)
        self.write(fetch, fetch.frame_count)
        self.poll()

    @precondition(lambda self: self.running)
    @rule(data=st.data(), failure=st.sampled_from(list(Failure)))
    def a_fetch_fails(self, data: st.DataObject, failure: Failure) -> None:
        fetch = self.running.pop(data.draw(st.sampled_from(sorted(self.running))))
        self.scheduler.failed(fetch.fetch_id, failure, self.now)
        if failure is Failure.NOT_HELD:
            self.peers.get(fetch.source, set()).discard(fetch.chunk)
        self.poll()

    @rule(fetch_id=st.integers(0, 10_000))
    def a_late_report(self, fetch_id: int) -> None:
        if fetch_id not in self.running:
            self.scheduler.progress(fetch_id, 10**6, self.now)
            self.scheduler.received(fetch_id, self.now)
            self.scheduler.failed(fetch_id, Failure.SILENT, self.now)

    @precondition(lambda self: self.unchecked)
    @rule(data=st.data(), verdict=st.sampled_from(["right", "right", "right", "wrong", "nobody knows"]))
    def a_chunk_is_checked(self, data: st.DataObject, verdict: str) -> None:
        chunk = data.draw(st.sampled_from(sorted(self.unchecked)))
        senders = sorted(set(self.frames[chunk].values()))
        self.forget(chunk)
        if verdict == "right":
            self.held.add(chunk)
            self.scheduler.chunk_verified(chunk, self.now)
        else:
            culprits = {data.draw(st.sampled_from(senders))} if verdict == "wrong" else set[str]()
            self.scheduler.chunk_wrong(chunk, frozenset(culprits), self.now)
        self.poll()

    # -- what the page keeps

    def write(self, fetch: Fetch, frames: int) -> None:
        if fetch.chunk in self.held:
            return
        came = range(fetch.first_frame, fetch.first_frame + frames)
        self.frames.setdefault(fetch.chunk, {}).update(dict.fromkeys(came, fetch.source))
        self.look_whether_whole(fetch.chunk)

    def look_whether_whole(self, chunk: int) -> None:
        if len(self.frames[chunk]) == FRAMES:
            self.unchecked.add(chunk)

    def forget(self, chunk: int) -> None:
        self.frames.pop(chunk, None)
        self.held.discard(chunk)
        self.unchecked.discard(chunk)

    def poll(self) -> None:
        for action in self.scheduler.poll(self.now):
            match action:
                case Fetch():
                    self.check_fetch(action)
                    self.running[action.fetch_id] = action
                case Cancel(fetch_id):
                    self.running.pop(fetch_id, None)
                case SourceBanned(source):
                    self.banned.add(source)
                    self.peers.pop(source, None)
                case NoSource():
                    assert action.chunk not in self.held

    def check_fetch(self, fetch: Fetch) -> None:
        assert fetch.chunk not in self.held
        assert fetch.source not in self.banned
        assert fetch.frame_count >= 1
        assert frames_of(fetch) <= set(range(FRAMES))
        same = [f for f in self.running.values() if (f.source, f.chunk) == (fetch.source, fetch.chunk)]
        assert not any(frames_of(other) & frames_of(fetch) for other in same)
        if fetch.source != GATEWAY:
            assert fetch.chunk in self.peers[fetch.source]
            of_peer = sum(other.source == fetch.source for other in self.running.values())
            assert of_peer < min(self.slots[fetch.source], 2 * SETTINGS.parallel_per_peer)

    # -- what always holds

    @invariant()
    def deadlines_move(self) -> None:
        if hasattr(self, "scheduler"):
            deadline = self.scheduler.next_deadline(self.now)
            assert deadline is None or deadline > self.now
            assert self.scheduler.held == self.held
            assert self.scheduler.banned == self.banned

    def teardown(self) -> None:
        """With a gateway that answers, everything from here to the end comes sooner or later."""
        if not hasattr(self, "scheduler") or GATEWAY in self.banned:
            return
        self.scheduler.set_gateway(True)
        for chunk in sorted(self.unchecked):
            self.forget(chunk)
            self.held.add(chunk)
            self.scheduler.chunk_verified(chunk, self.now)
        first = min((chunk for chunk in range(CHUNKS) if chunk not in self.held), default=None)
        if first is None:
            return
        self.scheduler.set_playback(Playback.PLAYING, 4.0 * first, self.now)
        for _ in range(8 * 4 * CHUNKS):
            self.now += 0.5
            position_s = 4.0 * min(set(range(CHUNKS + 1)) - self.held)
            self.scheduler.set_playback(Playback.PLAYING, position_s, self.now)
            self.poll()
            for fetch in list(self.running.values()):
                if fetch.source == GATEWAY and fetch.fetch_id in self.running:
                    del self.running[fetch.fetch_id]
                    self.scheduler.received(fetch.fetch_id, self.now)
                    self.write(fetch, fetch.frame_count)
            for chunk in sorted(self.unchecked):
                self.forget(chunk)
                self.held.add(chunk)
                self.scheduler.chunk_verified(chunk, self.now)
            if self.scheduler.is_complete:
                return
        raise AssertionError(f"never fetched: {set(range(CHUNKS)) - self.held}")


TestShell = Shell.TestCase
TestShell.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
