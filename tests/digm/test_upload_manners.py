"""Giving without being noticed: the reasons not to, the cap, and queues that stay short."""

from hypothesis import given, settings
from hypothesis import strategies as st

from digm.upload_manners import MannersSettings, Pacer, UploadManners, Why

RULES = MannersSettings()


def test_the_reasons_come_in_the_order_of_the_protocol():
    manners = UploadManners(0.0)
    assert manners.verdict(None) is Why.SHARING
    reasons = []
    manners.is_on, manners.saves_data, manners.is_metered, manners.battery = False, True, True, 0.1
    for repair in (
        lambda: setattr(manners, "is_on", True),
        lambda: setattr(manners, "saves_data", False),
        lambda: setattr(manners, "is_metered", False),
        lambda: setattr(manners, "battery", 0.2),
    ):
        reasons.append(manners.verdict(0.5))
        repair()
    reasons.append(manners.verdict(2.9))
    assert reasons == [Why.SWITCHED_OFF, Why.SAVE_DATA, Why.METERED, Why.BATTERY_LOW, Why.OWN_PLAYBACK]
    assert manners.verdict(3.0) is Why.SHARING


def test_a_charging_or_unknown_battery_is_no_reason():
    manners = UploadManners(0.0)
    manners.battery = None
    assert manners.standing is Why.SHARING


def test_own_playback_pauses_pieces_but_is_no_lasting_reason():
    manners = UploadManners(0.0)
    assert manners.verdict(0.0) is Why.OWN_PLAYBACK
    assert manners.standing is Why.SHARING
    assert manners.verdict(None) is Why.SHARING  # nothing plays, or everything is there


def test_the_cap_holds_and_always_lets_a_whole_message_through():
    manners = UploadManners(0.0)
    manners.set_cap(10_000)
    assert manners.bucket.take(65_527, 100.0)
    assert not manners.bucket.take(65_527, 101.0)
    given_bytes = sum(65_527 for second in range(100, 1_000) if manners.bucket.take(65_527, second))
    assert given_bytes <= 10_000 * 900 + 65_536
    manners.set_cap(0)
    assert all(manners.bucket.take(65_527, 1_000.0) for _ in range(100))


class Link:
    """A channel in front of a link: drains at a rate, in small steps of time."""

    def __init__(self, bytes_per_s: float, base_rtt_s: float = 0.04) -> None:
        self.pacer = Pacer(0.0)
        self.bytes_per_s = bytes_per_s
        self.base_rtt_s = base_rtt_s
        self.buffered = 0.0
        self.sent = 0
        self.delays: list[float] = []
        self.now = 0.0

    def run(self, seconds: float, piece: int = 16_384, step_s: float = 0.01) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += step_s
            self.buffered = max(0.0, self.buffered - self.bytes_per_s * step_s)
            while self.pacer.has_room(int(self.buffered), self.now):
                self.pacer.sent(piece, self.now)
                self.buffered += piece
                self.sent += piece
            self.delays.append(self.buffered / self.bytes_per_s)


def test_on_a_fast_link_nothing_is_held_back():
    link = Link(7_000_000)
    link.run(5.0)
    assert link.sent > 0.95 * 7_000_000 * 5.0


def test_on_a_slow_link_what_waits_in_the_channel_stays_about_a_tenth_of_a_second():
    link = Link(500_000)
    link.run(1.0)
    link.delays.clear()
    link.run(10.0)
    assert link.sent > 0.95 * 500_000 * 11.0
    assert max(link.delays) < 0.1 + 16_384 / 500_000


def test_longer_round_trips_slow_us_down_and_short_ones_let_us_go_again():
    link = Link(1_000_000)
    link.pacer.round_trip(0.04, 0.0)
    link.run(2.0)
    assert link.pacer.rate_per_s == 0
    link.pacer.round_trip(0.44, link.now)
    slowed = link.pacer.rate_per_s
    assert 200_000 < slowed < 300_000
    link.pacer.round_trip(0.44, link.now)
    assert link.pacer.rate_per_s < slowed
    for _ in range(40):
        link.pacer.round_trip(0.05, link.now)
    assert link.pacer.rate_per_s == 0


def test_a_short_round_trip_is_forgotten_when_the_route_has_changed():
    link = Link(1_000_000)
    link.pacer.round_trip(0.01, 0.0)
    link.run(1.0)
    for second in range(1, 200):
        link.pacer.round_trip(0.3, float(second))
    assert link.pacer.rate_per_s == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 500_000), st.floats(0, 20)), max_size=60))
def test_whatever_is_measured_the_limits_hold(script):
    pacer, now = Pacer(0.0), 0.0
    for later, buffered, rtt in script:
        now += later
        pacer.round_trip(rtt, now)
        if pacer.has_room(buffered, now):
            pacer.sent(65_527, now)
            assert buffered < RULES.most_buffered_bytes
        assert RULES.least_buffered_bytes <= pacer.allowed_buffer_bytes <= RULES.most_buffered_bytes
        assert pacer.rate_per_s == 0 or pacer.rate_per_s >= RULES.least_bytes_per_s
