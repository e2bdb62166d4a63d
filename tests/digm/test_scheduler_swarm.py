"""The scheduler among others: turns at the gateway, chunks in parts, liars, the next track."""

from digm.bitfield import Bitfield
from digm.chunks import FRAME_BYTES
from digm.scheduler import GATEWAY, Action, Cancel, Failure, Fetch, Playback, Scheduler, SourceBanned
from tests.digm.simulated_listener import CHUNK_BYTES, Link, SimulatedListener, even_chunks

MEGABYTE = 1_000_000.0


def fetches(actions: list[Action]) -> list[Fetch]:
    return [action for action in actions if isinstance(action, Fetch)]


def playing(position_s: float = 0.0, *, chunks: int = 40, held: range = range(0), me: str = "me") -> Scheduler:
    scheduler = Scheduler(even_chunks(chunks), 0.0, me=me, held=held)
    scheduler.set_playback(Playback.PLAYING, position_s, 0.0)
    return scheduler


def prove(scheduler: Scheduler, peer: str, chunk: int, now: float, rate: float = MEGABYTE) -> None:
    """Let a peer deliver a chunk that is right, at so many bytes a second."""
    scheduler.learn_rate(peer, CHUNK_BYTES, CHUNK_BYTES / rate)
    scheduler.partial(chunk, frozenset(range(8)), now, peer)
    scheduler.chunk_verified(chunk, now)


def finish(scheduler: Scheduler, actions: list[Action], now: float) -> None:
    """Everything that was asked for comes and is right."""
    for fetch in fetches(actions):
        scheduler.received(fetch.fetch_id, now)
        scheduler.chunk_verified(fetch.chunk, now)


# -- the server's part


def test_of_two_who_know_each_other_one_fetches_what_nobody_has() -> None:
    pair = {me: playing(held=range(4), me=me) for me in ("a", "b")}
    for me, other in (("a", "b"), ("b", "a")):
        pair[me].set_members([other], 0.0)
        pair[me].peer_ready(other, Bitfield(40, range(4)), 8, 0.0)
    asked: dict[str, set[int]] = {"a": set(), "b": set()}
    for step in range(400):  # as quickly as the gateway answers
        for me, scheduler in pair.items():
            actions = scheduler.poll(step * 0.01)
            asked[me] |= {fetch.chunk for fetch in fetches(actions) if fetch.source == GATEWAY}
            finish(scheduler, actions, step * 0.01)
    assert asked["a"] & asked["b"] == set()
    assert asked["a"] | asked["b"] == set(range(4, 16))  # a minute ahead


def test_who_is_alone_fetches_less_far_ahead() -> None:
    scheduler = playing()
    scheduler.set_expects_peers(False)
    for step in range(40):
        finish(scheduler, scheduler.poll(step * 0.01), step * 0.01)
    assert max(scheduler.held) == 7


def test_when_the_first_in_turn_does_not_fetch_the_others_do_before_it_is_too_late() -> None:
    listener = SimulatedListener({GATEWAY: Link(4 * MEGABYTE), "idle": Link(4 * MEGABYTE)})
    listener.connect("idle", chunks=set())
    listener.scheduler.set_members(["idle"], listener.now)
    listener.play()
    listener.run(165)
    assert listener.has_ended
    assert listener.stalls == 0


def test_a_newcomer_waits_for_those_who_were_there_but_not_until_the_sound_stops() -> None:
    scheduler = playing()
    scheduler.partial(0, frozenset(range(8)), 0.0)
    scheduler.chunk_verified(0, 0.0)
    scheduler.learn_rate(GATEWAY, CHUNK_BYTES, 0.05)
    scheduler.set_members(["there"], 0.0)
    assert scheduler.poll(0.0) == []
    moments = [step / 10 for step in range(1, 45)]
    asked = next(now for now in moments if fetches(scheduler.poll(now)))
    assert 2.5 < asked < 3.2  # at 4.0 the first chunk is over


def test_a_gateway_that_is_not_known_to_be_quick_is_asked_earlier() -> None:
    def first_ask(seconds: float) -> float:
        scheduler = playing(held=range(1))
        scheduler.learn_rate(GATEWAY, CHUNK_BYTES, seconds)
        scheduler.set_members(["there"], 0.0)
        return next(step / 10 for step in range(60) if fetches(scheduler.poll(step / 10)))

    assert first_ask(1.5) < first_ask(0.05) - 1


def test_a_newcomer_leaves_what_is_far_to_those_who_were_there() -> None:
    scheduler = playing(held=range(4))
    for peer in ("a", "b", "c", "d"):
        scheduler.peer_ready(peer, Bitfield(40, range(4)), 8, 0.0)
    scheduler.set_members(["a", "b", "c", "d"], 0.0, listeners=5)
    assert [moment for moment in range(30) if fetches(scheduler.poll(moment / 10))] == []
    assert any(fetches(scheduler.poll(moment / 10)) for moment in range(30, 100))


def test_a_peer_that_is_slow_to_answer_does_not_cost_the_gateway_while_there_is_time() -> None:
    scheduler = playing(16.0, held=range(4))
    scheduler.learn_rate(GATEWAY, CHUNK_BYTES, 0.05)
    scheduler.peer_ready("busy", Bitfield.full(40), 8, 0.0)
    prove(scheduler, "busy", 39, 0.0, 4 * MEGABYTE)
    scheduler.hold(4)
    asked = [(step / 10, fetch) for step in range(20) for fetch in fetches(scheduler.poll(step / 10))]
    moments = [moment for moment, fetch in asked if fetch.source == GATEWAY and fetch.chunk == 5]
    assert moments
    assert min(moments) >= 1.4  # 4 s were left; at 2.5 s it is time


def test_what_an_open_peer_has_is_not_taken_from_the_gateway() -> None:
    listener = SimulatedListener({GATEWAY: Link(9 * MEGABYTE), "p": Link(7 * MEGABYTE, 0.01)})
    listener.connect("p")
    listener.scheduler.set_members(["p"], listener.now)
    listener.play()
    listener.run(161)
    assert listener.links[GATEWAY].given_bytes == 0
    assert listener.has_ended


def test_a_peer_that_gives_nothing_is_never_asked_and_holds_nobody_up() -> None:
    listener = SimulatedListener({GATEWAY: Link(2 * MEGABYTE), "rider": Link(2 * MEGABYTE)})
    listener.connect("rider", slots=0)
    listener.play()
    listener.run(161)
    assert {fetch.source for fetch in listener.actions(Fetch)} == {GATEWAY}
    assert listener.stalls == 0


def test_what_a_peer_no_longer_holds_is_not_asked_of_it() -> None:
    scheduler = playing(held=range(3))
    scheduler.peer_ready("p", Bitfield(40, {4, 5}), 8, 0.0)
    scheduler.peer_lost("p", 4, 0.0)
    scheduler.peer_has("p", 6, 0.0)
    asked = set()
    for step in range(20):
        actions = scheduler.poll(step / 100)
        asked |= {fetch.chunk for fetch in fetches(actions) if fetch.source == "p"}
        finish(scheduler, actions, step / 100)
    assert asked == {5, 6}


# -- parts


def test_an_urgent_chunk_is_split_over_peers_in_proportion_to_their_speed() -> None:
    scheduler = playing(4.0 * 5, held=range(5))
    for peer, rate in (("quick", 600_000.0), ("slow", 200_000.0)):
        scheduler.peer_ready(peer, Bitfield.full(40), 8, 0.0)
        prove(scheduler, peer, 30 if peer == "quick" else 31, 0.0, rate)
    parts = [fetch for fetch in fetches(scheduler.poll(0.0)) if fetch.chunk == 5]
    assert {fetch.source: fetch.frame_count for fetch in parts} == {"quick": 6, "slow": 2}
    frames = [
        frame for fetch in parts for frame in range(fetch.first_frame, fetch.first_frame + fetch.frame_count)
    ]
    assert sorted(frames) == list(range(8))
    assert next(fetch for fetch in parts if fetch.source == "quick").first_frame == 0


def test_two_sources_that_nobody_has_checked_are_not_mixed() -> None:
    scheduler = playing(4.0 * 5, held=range(5))
    for peer in ("one", "two", "three"):
        scheduler.peer_ready(peer, Bitfield.full(40), 8, 0.0)
    assert len({fetch.source for fetch in fetches(scheduler.poll(0.0)) if fetch.chunk == 5}) == 1


def test_frames_of_the_head_start_are_not_fetched_again() -> None:
    scheduler = playing()
    scheduler.set_expects_peers(False)
    scheduler.partial(0, frozenset(range(5)), 0.0)
    assert fetches(scheduler.poll(0.0))[0] == Fetch(1, GATEWAY, 0, 5, 3)


def test_what_came_of_a_fetch_that_was_cancelled_is_kept() -> None:
    scheduler = playing()
    scheduler.set_expects_peers(False)
    first = fetches(scheduler.poll(0.0))[0]
    scheduler.progress(first.fetch_id, 3 * FRAME_BYTES + 99, 0.2)
    scheduler.set_playback(Playback.PLAYING, 120.0, 0.3)
    assert Cancel(first.fetch_id) in scheduler.poll(0.3)
    scheduler.set_playback(Playback.PLAYING, 0.0, 0.4)
    again = next(fetch for fetch in fetches(scheduler.poll(0.4)) if fetch.chunk == 0)
    assert (again.first_frame, again.frame_count) == (3, 5)


def test_a_jump_into_the_middle_of_a_chunk_fetches_from_there_on() -> None:
    scheduler = playing()
    scheduler.set_expects_peers(False)
    scheduler.set_playback(Playback.PLAYING, 82.5, 0.0)
    parts = [fetch for fetch in fetches(scheduler.poll(0.0)) if fetch.chunk == 20]
    assert [(fetch.first_frame, fetch.frame_count) for fetch in parts] == [(4, 4), (0, 4)]


def test_a_helper_takes_the_end_and_nothing_comes_twice() -> None:
    listener = SimulatedListener({GATEWAY: Link(MEGABYTE), "p": Link(60_000)})
    listener.connect("p")
    listener.play()
    listener.run(20)
    assert listener.stalls == 0
    wasted = (
        sum(link.given_bytes for link in listener.links.values()) - len(listener.scheduler.held) * CHUNK_BYTES
    )
    assert wasted < 3 * CHUNK_BYTES


def test_the_rarest_chunk_of_the_far_zone_comes_first() -> None:
    scheduler = playing(held=range(5))
    for peer in ("a", "b", "c"):
        scheduler.peer_ready(
            peer, Bitfield(40, {*range(10, 20), *({15} if peer == "a" else ())} - {15, 16}), 8, 0.0
        )
    scheduler.peer_has("a", 15, 0.0)
    scheduler.peer_has("b", 16, 0.0)
    asked = {fetch.source: fetch.chunk for fetch in reversed(fetches(scheduler.poll(0.0)))}
    assert (asked["a"], asked["b"]) == (15, 16)


def test_a_listener_who_is_stuck_in_front_of_frames_that_cannot_be_played_yet_gets_the_rest() -> None:
    scheduler = playing()
    scheduler.set_members(["somebody"], 0.0)
    scheduler.learn_rate(GATEWAY, CHUNK_BYTES, 0.01)
    scheduler.partial(0, frozenset(range(5)), 0.0)
    asked: list[Fetch] = []
    for step in range(40):
        scheduler.set_playback(Playback.PLAYING, 0.0, step / 10)
        asked += fetches(scheduler.poll(step / 10))
    assert asked[0] == Fetch(1, GATEWAY, 0, 5, 3)


# -- liars


def test_after_a_mixed_chunk_was_wrong_all_of_it_comes_from_one_source() -> None:
    scheduler = playing(4.0 * 5, held=range(5))
    for peer in ("a", "b"):
        scheduler.peer_ready(peer, Bitfield.full(40), 8, 0.0)
        prove(scheduler, peer, 30 if peer == "a" else 31, 0.0, 500_000.0)
    parts = [fetch for fetch in fetches(scheduler.poll(0.0)) if fetch.chunk == 5]
    assert {fetch.source for fetch in parts} == {"a", "b"}
    for fetch in parts:
        scheduler.received(fetch.fetch_id, 0.5)
    scheduler.chunk_wrong(5, frozenset(), 0.5)
    (again,) = [fetch for fetch in fetches(scheduler.poll(0.5)) if fetch.chunk == 5]
    assert (again.source, again.first_frame, again.frame_count) == (GATEWAY, 0, 8)
    scheduler.received(again.fetch_id, 0.6)
    scheduler.chunk_verified(5, 0.6)
    scheduler.ban("b", 5)
    actions = scheduler.poll(0.6)
    assert SourceBanned("b", 5) in actions
    assert "b" not in {fetch.source for fetch in fetches(actions)}
    assert scheduler.banned == {"b"}


def test_when_the_culprit_is_known_it_alone_is_banned() -> None:
    scheduler = playing(4.0 * 5, held=range(5))
    for peer in ("a", "b"):
        scheduler.peer_ready(peer, Bitfield.full(40), 8, 0.0)
    scheduler.poll(0.0)
    scheduler.chunk_wrong(5, frozenset({"a"}), 0.2)
    assert SourceBanned("a", 5) in scheduler.poll(0.2)
    assert scheduler.banned == {"a"}


def test_who_sent_right_frames_of_a_wrong_chunk_does_not_rest() -> None:
    scheduler = playing(chunks=2)
    scheduler.set_expects_peers(False)
    for turn in range(6):
        scheduler.peer_ready(f"liar {turn}", Bitfield.full(2), 8, float(turn))
        scheduler.partial(0, frozenset({0, 1, 2, 3}), float(turn), GATEWAY)
        scheduler.partial(0, frozenset({4, 5, 6, 7}), float(turn), f"liar {turn}")
        scheduler.chunk_wrong(0, frozenset({f"liar {turn}"}), float(turn))
    assert Fetch(1, GATEWAY, 0, 0, 8) in scheduler.poll(5.0)


def test_nine_of_ten_peers_lie_and_the_music_goes_on() -> None:
    links = {f"liar {i}": Link(4 * MEGABYTE, corrupt=None) for i in range(9)}
    listener = SimulatedListener({GATEWAY: Link(2 * MEGABYTE), "honest": Link(MEGABYTE)} | links)
    for name in [*links, "honest"]:
        listener.connect(name)
    listener.play()
    listener.run(170)
    assert listener.has_ended
    assert listener.stalls == 0
    assert "honest" not in listener.scheduler.banned


# -- before and after


def test_of_the_next_track_only_the_head_comes_and_from_peers_if_they_have_it() -> None:
    scheduler = Scheduler(even_chunks(40), 0.0, me="me")
    scheduler.set_playback(Playback.PREFETCH, 0.0, 0.0)
    scheduler.peer_ready("p", Bitfield.full(40), 8, 0.0)
    asked: list[Fetch] = []
    for step in range(70):
        actions = scheduler.poll(step / 2)
        asked += fetches(actions)
        finish(scheduler, actions, step / 2)
    assert {fetch.source for fetch in asked} == {"p"}
    assert sorted(fetch.chunk for fetch in asked) == [0, 1, 2, 3]


def test_the_head_of_the_next_track_is_there_in_time_without_peers() -> None:
    scheduler = Scheduler(even_chunks(40), 0.0, me="me")
    scheduler.set_playback(Playback.PREFETCH, 0.0, 0.0)
    for step in range(60):
        finish(scheduler, scheduler.poll(step / 2), step / 2)
    assert {0, 1, 2} <= scheduler.held


def test_a_peer_that_comes_back_on_a_new_channel_is_asked_anew() -> None:
    scheduler = playing(held=range(1))
    scheduler.peer_ready("p", Bitfield.full(40), 8, 0.0)
    running = {fetch.fetch_id for fetch in fetches(scheduler.poll(0.0)) if fetch.source == "p"}
    scheduler.peer_ready("p", Bitfield.full(40), 8, 0.1)
    actions = scheduler.poll(0.1)
    assert {action.fetch_id for action in actions if isinstance(action, Cancel)} == running
    assert fetches(actions)


def test_what_a_peer_was_sending_when_it_went_is_asked_elsewhere_at_once() -> None:
    scheduler = playing(held=range(1))
    for peer in ("p", "q"):
        scheduler.peer_ready(peer, Bitfield.full(40), 8, 0.0)
    lost = {fetch.chunk for fetch in fetches(scheduler.poll(0.0)) if fetch.source == "p"}
    scheduler.peer_gone("p", 0.1)
    assert min(lost) in {fetch.chunk for fetch in fetches(scheduler.poll(0.1)) if fetch.source == "q"}


def test_a_refusal_is_not_repeated() -> None:
    scheduler = playing(held=range(1))
    scheduler.peer_ready("p", Bitfield(40, {1}), 8, 0.0)
    fetch = next(fetch for fetch in fetches(scheduler.poll(0.0)) if fetch.source == "p")
    scheduler.failed(fetch.fetch_id, Failure.NOT_HELD, 0.1)
    later = [fetch for step in range(300) for fetch in fetches(scheduler.poll(0.2 + step / 10))]
    assert "p" not in {fetch.source for fetch in later}


def test_throughput_counts_only_the_time_in_which_something_was_asked_for() -> None:
    listener = SimulatedListener({"p": Link(MEGABYTE, 0.0)}, chunks=10, expects_peers=False)
    listener.connect("p")
    listener.play()
    listener.run(5.3)
    assert listener.scheduler.is_complete
    rate = listener.scheduler.bytes_per_s(listener.now)
    assert rate is not None
    assert 0.8 * MEGABYTE < rate < 1.1 * MEGABYTE
    listener.run(30)
    assert listener.scheduler.bytes_per_s(listener.now) == rate


def test_peers_that_keep_silent_do_not_make_the_line_look_slow() -> None:
    silent = {f"p{number}": Link(2 * MEGABYTE, silent_after=0.0) for number in range(4)}
    listener = SimulatedListener({GATEWAY: Link(2 * MEGABYTE), **silent})
    for peer in silent:
        listener.connect(peer)
    listener.play()
    rates = []
    for _ in range(60):
        listener.run(1)
        rates.append(listener.scheduler.bytes_per_s(listener.now))
    assert listener.stalls == 0
    assert min(rate for rate in rates if rate is not None) > MEGABYTE
