"""The scheduler in scenarios: simulated links, a simulated ear, no clock but the one in the test."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digm.bitfield import Bitfield
from digm.scheduler import (
    GATEWAY,
    Cancel,
    Failure,
    Fetch,
    NoSource,
    Playback,
    Scheduler,
    SourceBanned,
)
from tests.digm.simulated_listener import CHUNK_BYTES, Link, SimulatedListener, even_chunks

MEGABYTE = 1_000_000.0


def share_of(listener: SimulatedListener, source: str) -> float:
    total = sum(link.given_bytes for link in listener.links.values())
    return listener.links[source].given_bytes / total


def overlap(one: Fetch, other: Fetch) -> bool:
    """The same frames of the same chunk from the same source."""
    is_same = (one.source, one.chunk) == (other.source, other.chunk)
    return is_same and (
        one.first_frame < other.first_frame + other.frame_count
        and other.first_frame < one.first_frame + one.frame_count
    )


def test_nothing_is_fetched_before_the_listener_shows_interest() -> None:
    listener = SimulatedListener({GATEWAY: Link(MEGABYTE), "p": Link(MEGABYTE)})
    listener.connect("p")
    listener.run(5)
    assert listener.log == []
    assert listener.scheduler.next_deadline(listener.now) is None


def test_without_a_ready_peer_the_gateway_starts_at_once() -> None:
    listener = SimulatedListener({GATEWAY: Link(4 * MEGABYTE)})
    listener.play()
    assert listener.actions(Fetch)[0] == Fetch(1, GATEWAY, 0, 0, 8)
    listener.run(60)
    assert listener.stalls == 0
    assert listener.first_sound_s is not None
    assert listener.first_sound_s < 0.4


def test_a_warm_peer_starts_and_a_quick_one_makes_the_gateway_superfluous() -> None:
    listener = SimulatedListener({GATEWAY: Link(4 * MEGABYTE), "p": Link(7 * MEGABYTE, 0.01)})
    listener.connect("p")
    listener.play()
    listener.run(161)
    assert listener.has_ended
    assert listener.stalls == 0
    assert share_of(listener, "p") == 1.0


def test_a_warm_but_slow_peer_is_hedged_by_the_gateway_at_start_up() -> None:
    listener = SimulatedListener({GATEWAY: Link(4 * MEGABYTE), "p": Link(100_000)})
    listener.connect("p")
    listener.play()
    listener.run(10)
    assert listener.first_sound_s is not None
    assert listener.first_sound_s < 1.0
    assert listener.stalls == 0


def test_peers_that_connect_a_moment_later_give_nearly_everything() -> None:
    listener = SimulatedListener({GATEWAY: Link(20 * MEGABYTE, 0.005), "p": Link(7 * MEGABYTE, 0.02)})
    listener.play()
    listener.run(0.5)
    listener.connect("p")
    listener.run(160)
    assert listener.stalls == 0
    assert set(listener.links[GATEWAY].served) <= {0, 1}


def test_a_peer_killed_in_the_middle_is_replaced_at_once_and_nobody_hears_it() -> None:
    listener = SimulatedListener({GATEWAY: Link(2 * MEGABYTE), "p": Link(2 * MEGABYTE)})
    listener.connect("p")
    listener.play()
    listener.run(1.1)
    assert listener.transfers
    lost = {transfer.fetch.chunk for transfer in listener.transfers.values()}
    listener.kill("p")
    moved = {t.fetch.chunk for t in listener.transfers.values() if t.fetch.source == GATEWAY}
    assert min(lost) in moved
    listener.run(170)
    assert listener.has_ended
    assert listener.stalls == 0


def test_a_peer_that_goes_silent_is_left_within_two_seconds() -> None:
    listener = SimulatedListener({GATEWAY: Link(2 * MEGABYTE), "p": Link(2 * MEGABYTE)})
    listener.connect("p")
    listener.play()
    listener.run(1)
    listener.links["p"].silent_after = silent_at = listener.now
    listener.run(100)
    assert listener.stalls == 0
    cancels = [moment for moment, action in listener.log if isinstance(action, Cancel) and moment > silent_at]
    assert cancels[0] <= silent_at + 2.6


def test_a_slow_peer_is_abandoned_for_the_gateway_before_the_buffer_runs_dry() -> None:
    listener = SimulatedListener({GATEWAY: Link(2 * MEGABYTE), "p": Link(2 * MEGABYTE)})
    listener.connect("p")
    listener.play()
    listener.run(3)
    listener.links["p"].bytes_per_s = 30_000  # a quarter of what the music needs; never silent
    listener.run(150)
    assert listener.stalls == 0
    assert share_of(listener, GATEWAY) > 0.2


def test_of_two_peers_the_faster_gives_more() -> None:
    listener = SimulatedListener({"slow": Link(200_000), "fast": Link(2 * MEGABYTE)}, expects_peers=False)
    listener.connect("slow")
    listener.connect("fast")
    listener.play()
    listener.run(165)
    assert listener.has_ended
    assert len(listener.links["fast"].served) > 2 * len(listener.links["slow"].served)


def test_a_peer_is_only_asked_for_what_it_holds() -> None:
    listener = SimulatedListener({GATEWAY: Link(2 * MEGABYTE), "p": Link(2 * MEGABYTE)})
    listener.connect("p", chunks={5, 6, 7})
    listener.play()
    listener.run(160)
    assert set(listener.links["p"].served) <= {5, 6, 7}
    assert listener.stalls == 0


def test_a_wrong_hash_bans_the_peer_and_the_chunk_comes_from_elsewhere() -> None:
    listener = SimulatedListener({GATEWAY: Link(2 * MEGABYTE), "liar": Link(4 * MEGABYTE, corrupt=None)})
    listener.connect("liar")
    listener.play()
    listener.run(60)
    assert listener.actions(SourceBanned) == [SourceBanned("liar", 0)]
    assert listener.scheduler.banned == {"liar"}
    assert listener.stalls == 0
    listener.connect("liar")
    asked = [fetch for fetch in listener.actions(Fetch) if fetch.source == "liar"]
    listener.run(20)
    assert [fetch for fetch in listener.actions(Fetch) if fetch.source == "liar"] == asked


def test_half_of_ten_peers_lie_and_playback_goes_on() -> None:
    liars = {f"liar {i}": Link(4 * MEGABYTE, corrupt=None) for i in range(5)}
    honest = {f"honest {i}": Link(MEGABYTE) for i in range(5)}
    listener = SimulatedListener({GATEWAY: Link(2 * MEGABYTE)} | liars | honest)
    for name in liars | honest:
        listener.connect(name)
    listener.play()
    listener.run(170)
    assert listener.has_ended
    assert listener.stalls == 0
    assert listener.scheduler.banned <= set(liars)


def test_a_chunk_that_is_damaged_at_the_gateway_does_not_cost_the_rest_of_the_track() -> None:
    listener = SimulatedListener(
        {GATEWAY: Link(2 * MEGABYTE, corrupt=frozenset({9})), "p": Link(2 * MEGABYTE, missing=frozenset({9}))},
        chunks=20,
    )
    listener.connect("p", chunks=set(range(20)) - {9})
    listener.play()
    listener.run(60)
    assert listener.position_s == pytest.approx(36, abs=0.1)
    found = listener.actions(NoSource)
    assert {action.chunk for action in found} == {9}
    assert found[-1].reasons[GATEWAY] == "wrong_hash"
    listener.links[GATEWAY].corrupt = frozenset()
    listener.run(80)
    assert listener.has_ended


def test_a_gateway_that_answers_nothing_but_wrong_bytes_is_banned_too() -> None:
    listener = SimulatedListener({GATEWAY: Link(2 * MEGABYTE, corrupt=None)}, expects_peers=False)
    listener.play()
    listener.run(30)
    assert GATEWAY in listener.scheduler.banned
    assert len(listener.links[GATEWAY].served) < 12


def test_no_source_at_all_is_said_and_playback_starts_when_one_appears() -> None:
    listener = SimulatedListener({"p": Link(2 * MEGABYTE)})
    listener.play()
    listener.run(10)
    said = listener.actions(NoSource)
    assert [(action.chunk, action.reasons) for action in said] == [(0, {})]
    listener.connect("p")
    listener.run(2)
    assert listener.is_sounding


def test_an_unreachable_gateway_is_tried_again_ever_more_rarely_and_reported() -> None:
    listener = SimulatedListener({GATEWAY: Link(MEGABYTE, is_unreachable=True)}, expects_peers=False)
    listener.play()
    listener.run(120)
    tries = len(listener.actions(Fetch))
    assert 8 <= tries <= 40
    assert listener.actions(NoSource)[0].reasons == {GATEWAY: "unreachable"}
    listener.links[GATEWAY].is_unreachable = False
    listener.run(20)
    assert listener.is_sounding


def test_a_seek_drops_what_is_no_longer_wanted_and_asks_for_what_is() -> None:
    listener = SimulatedListener({GATEWAY: Link(500_000), "p": Link(500_000)})
    listener.connect("p")
    listener.play()
    listener.run(1.5)
    running = {transfer.fetch.fetch_id for transfer in listener.transfers.values()}
    listener.play(120.0)
    at_seek = [action for moment, action in listener.log if moment == listener.now]
    assert {action.fetch_id for action in at_seek if isinstance(action, Cancel)} == running
    assert next(action for action in at_seek if isinstance(action, Fetch)).chunk == 30
    listener.run(2)
    assert listener.is_sounding


def test_a_seek_to_what_is_there_already_fetches_nothing_again() -> None:
    listener = SimulatedListener({GATEWAY: Link(8 * MEGABYTE)}, chunks=10)
    listener.play()
    listener.run(40)
    fetched = len(listener.actions(Fetch))
    listener.play(0.0)
    listener.run(5)
    assert len(listener.actions(Fetch)) == fetched


def test_look_ahead_is_bounded_playing_and_shorter_paused() -> None:
    listener = SimulatedListener({"p": Link(50 * MEGABYTE, 0.001)}, chunks=200)
    listener.connect("p")
    listener.scheduler.set_playback(Playback.PAUSED, 0.0, listener.now)
    listener.run(10)
    assert max(listener.scheduler.held) == 5
    listener.play()
    listener.run(5)
    assert max(listener.scheduler.held) <= (610 + 2) / 4


def test_far_chunks_that_no_peer_has_are_not_taken_from_the_gateway_too_early() -> None:
    listener = SimulatedListener({GATEWAY: Link(50 * MEGABYTE, 0.001)}, chunks=100, expects_peers=False)
    listener.play()
    listener.run(2)
    assert max(listener.scheduler.held) == 7


def test_parallel_fetches_are_bounded_by_source_and_in_all() -> None:
    links = {f"p{i}": Link(10_000) for i in range(10)} | {GATEWAY: Link(10_000)}
    listener = SimulatedListener(links, chunks=100)
    for name in links:
        if name != GATEWAY:
            listener.connect(name)
    listener.play()
    for _ in range(300):
        listener.run(0.1)
        by_source = [transfer.fetch.source for transfer in listener.transfers.values()]
        assert all(by_source.count(name) <= 2 for name in links if name != GATEWAY)
        assert len(by_source) <= 3 * 6 + 2  # what is urgent, in parts, and hedges come on top


def test_a_chunk_that_was_evicted_is_fetched_again() -> None:
    scheduler = Scheduler(even_chunks(4), 0.0, held=range(4), expects_peers=False)
    scheduler.set_playback(Playback.PLAYING, 0.0, 0.0)
    assert scheduler.poll(0.0) == []
    assert scheduler.is_complete
    scheduler.drop(1)
    assert scheduler.poll(0.0) == [Fetch(1, GATEWAY, 1, 0, 8)]


def test_late_reports_about_cancelled_fetches_are_ignored() -> None:
    scheduler = Scheduler(even_chunks(40), 0.0)
    scheduler.set_playback(Playback.PLAYING, 0.0, 0.0)
    first = scheduler.poll(0.0)[0]
    assert isinstance(first, Fetch)
    scheduler.set_playback(Playback.IDLE, 0.0, 0.1)
    assert Cancel(first.fetch_id) in scheduler.poll(0.1)
    scheduler.received(first.fetch_id, 0.2)
    scheduler.failed(first.fetch_id, Failure.SILENT, 0.2)
    assert scheduler.held == frozenset()
    assert scheduler.banned == frozenset()


def test_the_same_calls_give_the_same_actions() -> None:
    def run() -> list:
        listener = SimulatedListener(
            {GATEWAY: Link(MEGABYTE), "a": Link(400_000), "b": Link(400_000, silent_after=110.0)}
        )
        listener.connect("a")
        listener.connect("b")
        listener.play()
        listener.run(60)
        return listener.log

    assert run() == run()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_happens_the_scheduler_neither_breaks_nor_asks_in_vain(data: st.DataObject) -> None:
    """Random events in random order: no exception, no double fetch from a source, bans hold, deadlines move."""
    scheduler = Scheduler(even_chunks(12), 0.0)
    now, running, half_lost = 0.0, {}, set()
    for _ in range(data.draw(st.integers(1, 60))):
        now += data.draw(st.floats(0, 3))
        event = data.draw(st.integers(0, 9))
        peer = data.draw(st.sampled_from(["a", "b", "c"]))
        fetch_id = data.draw(st.sampled_from(sorted(running))) if running else 0
        match event:
            case 0:
                chunks = data.draw(st.sets(st.integers(0, 11)))
                scheduler.peer_ready(peer, Bitfield(12, chunks), data.draw(st.integers(0, 4)), now)
            case 1:
                scheduler.peer_gone(peer, now)
                running = {i: f for i, f in running.items() if f.source != peer}
            case 2 | 3:
                playback = data.draw(st.sampled_from(list(Playback)))
                scheduler.set_playback(playback, data.draw(st.floats(0, 50)), now)
            case 4:
                scheduler.progress(fetch_id, data.draw(st.integers(0, CHUNK_BYTES)), now)
            case 5:
                scheduler.received(fetch_id, now)
                if fetch := running.pop(fetch_id, None):
                    scheduler.chunk_verified(fetch.chunk, now)
            case 6:
                scheduler.received(fetch_id, now)
                if fetch := running.pop(fetch_id, None):
                    scheduler.chunk_wrong(
                        fetch.chunk, frozenset(data.draw(st.sets(st.just(fetch.source)))), now
                    )
            case 7:
                scheduler.failed(fetch_id, data.draw(st.sampled_from(list(Failure))), now)
                running.pop(fetch_id, None)
            case 8:
                chunk = data.draw(st.integers(0, 11))
                scheduler.drop(chunk)
                # What had come of it is rightly asked for again beside what is still coming.
                half_lost |= {i for i, f in running.items() if f.chunk == chunk}
            case 9:
                scheduler.set_gateway(data.draw(st.booleans()))
        for action in scheduler.poll(now):
            match action:
                case Fetch():
                    assert action.source not in scheduler.banned
                    assert not any(overlap(action, f) for i, f in running.items() if i not in half_lost)
                    running[action.fetch_id] = action
                case Cancel(cancelled):
                    running.pop(cancelled, None)
        deadline = scheduler.next_deadline(now)
        assert deadline is None or deadline > now
