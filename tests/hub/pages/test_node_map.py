"""The operator's map: where things stand, and what is said to those who do not see them."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.overview.network import Audit, Holding, Network, Node, State, Track, Traffic
from hub.pages.node_map import HEIGHT, MOST_DRAWN, MOST_PIPS, STATES, WIDTH, drawn_network, size, summary

NOW = 1_800_000_000.0
ROOT = "ab" * 32


def node(name: str = "ann", **changes: Any) -> Node:
    values: dict[str, Any] = {
        "peer_id": name, "operator": name, "network": "AS1", "gateway": None, "score": None, "latency_ms": 5.0,
        "last_audit": None, "state": State.UNPROVEN, "tracks": (),
    }  # fmt: skip
    return Node(**{**values, **changes})


def track(desired: int | None = None, held: int = 0) -> Track:
    return Track(ROOT, "Night train", "The Owls", desired, held)


def test_a_node_stands_farther_out_the_later_it_answers() -> None:
    distances = []
    for latency in (0.3, 5.0, 80.0, 900.0, None):
        drawn = drawn_network(Network((node(latency_ms=latency),)), NOW)
        place = drawn["sky"][0]["place"]
        distances.append(math.hypot(place.x - WIDTH / 2, place.y - HEIGHT / 2))
    assert distances == sorted(distances)
    assert len(set(distances)) == 5


RATES = st.floats(0, 1e9)
TRAFFIC = st.builds(
    Traffic, st.integers(0), st.integers(0), RATES, RATES, st.lists(RATES, max_size=60).map(tuple)
)
HOLDINGS = st.lists(st.builds(Holding, st.just(ROOT), st.floats(0, 1), st.booleans()), max_size=1).map(tuple)
NODES = st.builds(
    node,
    st.text("abcdef", min_size=1, max_size=8),
    latency_ms=st.none() | RATES,
    score=st.none() | st.floats(0, 1),
    state=st.sampled_from(State),
    traffic=st.none() | TRAFFIC,
    tracks=HOLDINGS,
    held_bytes=st.none() | st.integers(0),
    quota_bytes=st.none() | st.integers(0),
    is_self=st.booleans(),
)


@settings(deadline=None)
@given(
    st.lists(NODES, max_size=80, unique_by=lambda one: one.peer_id),
    st.none() | st.integers(0, 100),
    st.integers(0, 100),
)
def test_whatever_the_network_is_everything_is_drawn_inside(
    nodes: list[Node], desired: int | None, held: int
) -> None:
    drawn = drawn_network(Network(tuple(nodes), (track(desired, held),)), NOW)
    assert len(drawn["sky"]) == min(MOST_DRAWN, sum(not one.is_self for one in nodes))
    assert len(drawn["columns"]) + drawn["more_nodes"] == len(nodes)
    for star in drawn["sky"]:
        place = star["place"]
        assert place.radius < place.x < WIDTH - place.radius
        assert place.radius < place.y < HEIGHT - place.radius
    assert all(len(row["pips"]) <= MOST_PIPS for row in drawn["rows"])


def test_a_cell_says_in_words_what_it_draws() -> None:
    holdings = [(), (Holding(ROOT, 1.0, True),), (Holding(ROOT, 0.999, False),), (Holding(ROOT, 0.001, True),)]
    nodes = tuple(node(str(number), tracks=held) for number, held in enumerate(holdings))
    (row,) = drawn_network(Network(nodes, (track(),)), NOW)["rows"]
    words = ["nothing", "all, pinned", "99 %, not pinned", "1 %, pinned"]
    assert [cell["words"] for cell in row["cells"]] == words


@pytest.mark.parametrize(
    ("desired", "held", "pips", "words"),
    [
        (None, 2, ["spare", "spare"], "2 copies"),
        (None, 1, ["spare"], "1 copy"),
        (3, 1, ["held", "lacking", "lacking"], "1 of 3"),
        (2, 3, ["held", "held", "spare"], "3 of 2"),
    ],
)
def test_copies_are_counted_against_the_order(
    desired: int | None, held: int, pips: list[str], words: str
) -> None:
    (row,) = drawn_network(Network((), (track(desired, held),)), NOW)["rows"]
    assert (row["pips"], row["copies"]) == (pips, words)


def test_the_summary_names_what_needs_somebodys_attention() -> None:
    hub = node("hub", is_self=True)
    assert summary(Network((hub, node()), (track(2, 2),))) == (
        "1 node besides this hub. Every ordered copy is there."
    )
    nodes = (hub, node("ann", state=State.FAILED), node("bob", state=State.GONE))
    assert summary(Network(nodes, (track(7, 5),))) == (
        "1 node besides this hub. ann did not pass the audits. bob left. "
        "2 ordered copies of 1 track are missing."
    )


def test_every_state_has_words() -> None:
    assert set(STATES) == set(State)


@pytest.mark.parametrize(
    ("audit", "auditors", "words"),
    [
        (None, 0, "no audit yet"),
        (Audit(int(NOW) - 3, "pass"), 1, "passed just now"),
        (Audit(int(NOW) - 59, "fail"), 1, "failed 50 s ago"),
        (Audit(int(NOW) - 7300, "timed_out"), 3, "no answer 2 h ago, by 3 nodes"),
        (Audit(int(NOW) + 100, "pass"), 1, "passed just now"),
    ],
)
def test_audits_in_words(audit: Audit | None, auditors: int, words: str) -> None:
    (facts,) = drawn_network(Network((node(last_audit=audit, auditors=auditors),)), NOW)["nodes"]
    assert facts["audit"] == words


def test_a_strangers_gateway_is_shown_as_host_and_port_or_not_at_all() -> None:
    urls = ["https://a.example:8443/x", "http://[::1", "javascript:alert(1)", "https://"]
    shown = [drawn_network(Network((node(gateway=url),)), NOW)["nodes"][0]["gateway"] for url in urls]
    assert shown == ["a.example:8443", "", "", ""]


def test_sizes_as_people_read_them() -> None:
    assert [size(count) for count in (0, 999, 1500, 25e6, 10.7e9)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "25 MB",
        "11 GB",
    ]


def test_two_nodes_that_know_each_other_are_joined_by_one_line() -> None:
    nodes = (node("ann", neighbours=("bob",)), node("bob", neighbours=("ann", "far away")))
    links = drawn_network(Network(nodes), NOW)["links"]
    assert [link["kind"] for link in links] == ["chord"]
    links = drawn_network(Network((node("ann"), node("bob", neighbours=("ann",)))), NOW)["links"]
    assert [link["kind"] for link in links] == ["chord"]
