"""The network put together from what is claimed, measured and audited; no network, no clock but an argument."""

import dataclasses
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from digm.announcements import PRESENCE, Announcement, AnnouncementLedger
from digm.audits import AuditScore, Health, Outcome
from digm.bitfield import Bitfield
from digm.fresh_index import FreshIndex, IndexNode, LastAudit
from digm.node_ids import peer_id
from digm.pinning import PinOrder
from hub.overview.network import MOST_NODES, Known, Network, Published, State, Traffic, network_of
from hub.overview.status import Meter, Moved, Neighbour, NodeStatus, Quota, parse_status
from tests.digm.signers import Signer

NOW = 1_800_000_000.0
ROOT, OTHER = bytes.fromhex("ab" * 32), bytes.fromhex("cd" * 32)
MANIFEST = b"\x11" * 32
ARTIST = b"\x22" * 32
ORDER = PinOrder(ROOT, 3, 86_400, MANIFEST, ARTIST, 1, int(NOW), b"an order")
OURS = {ROOT.hex(): Published("Night train", "The Owls", ARTIST.hex())}


class Heard:
    """A ledger, filled as by gossip."""

    def __init__(self) -> None:
        self.ledger = AnnouncementLedger()
        self.count = 0

    def say(self, name: str, root: bytes = ROOT, held: int = 4, at: float = NOW, **changes: Any) -> None:
        self.count += 1
        announcement = Announcement(
            node=Signer(name).public, instance=bytes(16), track_root=root, manifest_hash=MANIFEST,
            held={0: Bitfield(4, range(held))} if held else {}, operator=name, network="AS1",
            sequence=self.count, issued_at=int(at), valid_until=int(at) + 3600,
            gateway_url=f"https://{name}.example",
        )  # fmt: skip
        self.ledger.add(dataclasses.replace(announcement, **changes), at)

    def look(self, now_s: float = NOW, **known: Any) -> Network:
        return network_of(self.ledger, Known(**known), now_s)


@pytest.fixture
def heard() -> Heard:
    return Heard()


def name_of(name: str) -> str:
    return peer_id(Signer(name).public)


def index(author: str, at: int, valid_until: float = NOW + 600, **nodes: tuple[Health, Outcome]) -> FreshIndex:
    """What an author says of nodes that it audited at a moment."""
    words = tuple(
        IndexNode(Signer(name).public, health, 0.75, name, "AS1", {}, 12.5, LastAudit(at, outcome))
        for name, (health, outcome) in nodes.items()
    )
    return FreshIndex(Signer(author).public, 1, int(NOW), int(valid_until), words)


def test_who_claims_a_track_is_shown_with_its_share(heard: Heard) -> None:
    heard.say("ann")
    heard.say("bob", held=1, pinned_for=(ORDER.order_id,))
    ann, bob = heard.look(connected={name_of("ann"): 3.5}).nodes
    assert (ann.operator, ann.gateway, ann.latency_ms, ann.is_connected) == (
        "ann", "https://ann.example", 3.5, True
    )  # fmt: skip
    assert [(holding.share, holding.pinned) for holding in (*ann.tracks, *bob.tracks)] == [
        (1.0, False), (0.25, True)
    ]  # fmt: skip
    assert (bob.latency_ms, bob.state, bob.score, bob.last_audit) == (None, State.UNPROVEN, None, None)


def test_a_node_that_holds_nothing_is_there_until_its_presence_is_over(heard: Heard) -> None:
    heard.say("ann", PRESENCE, held=0, valid_until=int(NOW) + 180)
    (ann,) = heard.look().nodes
    assert ann.tracks == ()
    assert heard.look(NOW + 181).nodes == ()


def test_only_whole_copies_that_are_pinned_for_the_order_count(heard: Heard) -> None:
    heard.say("whole", pinned_for=(ORDER.order_id,))
    heard.say("part", held=3, pinned_for=(ORDER.order_id,))
    heard.say("cached")
    heard.say("other edition", manifest_hash=bytes(32), pinned_for=(ORDER.order_id,))
    heard.say("liar", pinned_for=(ORDER.order_id,))
    scores = {Signer("liar").public: AuditScore(failed=3, is_failed=True, last_outcome="fail", last_at=NOW)}
    (track,) = heard.look(published=OURS, orders=[ORDER], scores=scores).tracks
    assert (track.desired, track.held, track.missing) == (3, 1, 2)
    (track,) = heard.look(published=OURS, scores=scores).tracks
    assert (track.desired, track.held, track.missing) == (None, 3, 0)


def test_an_ordered_track_that_nobody_holds_is_shown(heard: Heard) -> None:
    (track,) = heard.look(published=OURS, orders=[ORDER]).tracks
    assert track.missing == 3


def test_only_the_publishing_artist_can_order_copies(heard: Heard) -> None:
    heard.say("ann")
    stranger = dataclasses.replace(ORDER, artist=b"\x33" * 32, desired_replicas=100)
    for published in (OURS, {}):
        (track,) = heard.look(published=published, orders=[stranger]).tracks
        assert track.desired is None


def test_a_whole_copy_has_as_many_chunks_as_the_manifest_that_is_here(heard: Heard) -> None:
    heard.say("ann", pinned_for=(ORDER.order_id,))
    for counts, missing in (({0: 4}, 2), ({0: 5}, 3), ({0: 4, 1: 1}, 3), (None, 2)):
        (track,) = heard.look(published=OURS, orders=[ORDER], chunk_counts=lambda *_, c=counts: c).tracks
        assert track.missing == missing


def test_what_is_published_here_comes_first_and_has_its_title(heard: Heard) -> None:
    heard.say("ann", OTHER)
    heard.say("ann", ROOT)
    network = heard.look(published={OTHER.hex(): Published("Night train", "The Owls")})
    assert [(track.title, track.artist) for track in network.tracks] == [
        ("Night train", "The Owls"), (None, None)
    ]  # fmt: skip


def test_the_latest_audit_says_how_a_node_stands(heard: Heard) -> None:
    heard.say("ann")
    old = index("bob", 100, ann=(Health.HEALTHY, Outcome.PASS))
    new = index("eve", 200, ann=(Health.FAILED, Outcome.FAIL))
    for indexes in ([old, new], [new, old]):
        (ann,) = heard.look(indexes=indexes).nodes
        assert (ann.state, ann.auditors, ann.score, ann.latency_ms) == (State.FAILED, 2, 0.75, 12.5)
        assert ann.last_audit is not None
        assert (ann.last_audit.at, ann.last_audit.outcome) == (200, "fail")


def test_the_hubs_own_audits_count_like_those_of_others(heard: Heard) -> None:
    heard.say("ann")
    own = AuditScore(passed=9, reliability=0.9, last_outcome="pass", last_at=300.0)
    asked = index("bob", 200, ann=(Health.SLOW, Outcome.TIMED_OUT))
    (ann,) = heard.look(indexes=[asked], scores={Signer("ann").public: own}).nodes
    assert (ann.state, ann.auditors, ann.score) == (State.HEALTHY, 2, 0.9)


def test_an_index_that_is_over_or_that_praises_its_author_says_nothing(heard: Heard) -> None:
    heard.say("ann")
    own = index("ann", 100, ann=(Health.HEALTHY, Outcome.PASS))
    over = index("bob", 100, NOW - 1, ann=(Health.HEALTHY, Outcome.PASS))
    (ann,) = heard.look(indexes=[own, over]).nodes
    assert (ann.state, ann.auditors) == (State.UNPROVEN, 0)


def test_the_hub_itself_comes_first_then_networks_and_operators_side_by_side(heard: Heard) -> None:
    for name, network in (("zoe", "AS1"), ("hub", "AS3"), ("bob", "AS2"), ("ann", "AS2")):
        heard.say(name, network=network)
    nodes = heard.look(own=name_of("hub")).nodes
    assert [node.operator for node in nodes] == ["hub", "zoe", "ann", "bob"]
    assert [node.is_self for node in nodes] == [True, False, False, False]


def test_a_strangers_words_cannot_rearrange_the_page(heard: Heard) -> None:
    heard.say("ann", operator="a\u202eb\x1b[2J\nc", network="\u2066")
    (ann,) = heard.look().nodes
    assert ann.operator.isprintable()
    assert (ann.operator, ann.network) == ("a b [2J c", "unnamed")


def test_what_a_node_says_of_itself_is_shown_beside_it(heard: Heard) -> None:
    heard.say("ann")
    status = NodeStatus("", (Neighbour("b", True), Neighbour("c")), Quota(5, 10))
    traffic = Traffic(1, 2, 3.0, 4.0)
    (ann,) = heard.look(statuses={name_of("ann"): (status, traffic)}).nodes
    assert (ann.held_bytes, ann.quota_bytes, ann.neighbours, ann.traffic) == (5, 10, ("b",), traffic)


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(1, 20))
def test_of_a_crowd_those_are_shown_that_have_to_do_with_this_hub(more: int) -> None:
    heard = Heard()
    for number in range(MOST_NODES + more):
        heard.say(f"sybil {number}", OTHER)
    heard.say("ours", ROOT)
    heard.say("near", OTHER)
    network = heard.look(published=OURS, connected={name_of("near"): 1.0})
    operators = {node.operator for node in network.nodes}
    assert len(network.nodes) == MOST_NODES
    assert {"ours", "near"} <= operators


def test_a_meter_turns_sums_into_rates_and_bears_a_restart() -> None:
    meter = Meter()
    meter.read(Moved({"http": 1000}, 0), 10.0)
    meter.read(Moved({"http": 3000, "webrtc": 2000}, 500), 12.0)
    assert (meter.sent_per_s, meter.received_per_s) == (2000.0, 250.0)
    meter.read(Moved({"http": 100}, 0), 14.0)
    assert (meter.sent_per_s, meter.received_per_s) == (50.0, 0.0)
    meter.read(Moved({"http": 100}, 0), 14.0)
    assert list(meter.rates) == [2250.0, 50.0]


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"peer_id": 1}', b"\xff", b"[" * 5000])
def test_what_is_no_status_is_refused(document: bytes) -> None:
    with pytest.raises(Exception, match=r"not what a node says"):
        parse_status(document)


def test_members_that_a_later_node_adds_are_ignored() -> None:
    status = parse_status(b'{"peer_id": "x", "new": 1, "quota": {"bytes": 7, "held_bytes": 3, "new": 2}}')
    assert (status.quota.bytes, status.quota.held_bytes) == (7, 3)
