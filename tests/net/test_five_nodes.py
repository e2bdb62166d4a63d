"""Five nodes in five network namespaces, started with one address; any three may be killed at any moment.

One command: `python -m pytest tests/net/test_five_nodes.py`. Needs root and /dev/net/tun: without them it is
skipped, and fails where CI is set. DIGM_TEST_SEED says who is killed and when.

The tests follow each other: what the first one's nodes have learned the next one's need.
"""

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.hub.node.processes import until
from tests.needs import lacking
from tests.net.five_nodes import (
    BYTES_PER_S,
    DELAY_MS,
    NAMES,
    VISITOR,
    Listener,
    Network,
    Track,
    Villager,
    kill_at_moments,
)
from tests.net.namespaces import missing
from tests.net.wires import Village

SEED = int(os.environ.get("DIGM_TEST_SEED", "7"))
COPIES, KILLED = 4, 3


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    why = missing(["ip"]) or ("" if os.access("/dev/net/tun", os.W_OK) else "/dev/net/tun is not there")
    if why:
        lacking(f"the five namespaces cannot be made: {why}")
    with Village([*NAMES, VISITOR], DELAY_MS, BYTES_PER_S) as village, ExitStack() as stack:
        network = Network(village, tmp_path_factory.mktemp("five"))
        stack.callback(network.end)
        network.publish(1, 2)
        network.start()
        yield network


@pytest.fixture(scope="module")
def tracks(network: Network) -> list[Track]:
    return network.tracks


def test_started_with_one_address_all_five_know_each_other(network: Network) -> None:
    for node in network.nodes:
        others = {other.peer_id for other in network.nodes if other is not node}
        until(lambda node=node, others=others: others <= met(node))


def met(node: Villager) -> set[str]:
    """Whom it is connected to and has heard."""
    return {row["peer_id"] for row in node.state["peers"] if row["is_connected"] and row["operator"]}


def test_a_published_track_is_pinned_on_as_many_as_the_order_asks_for(
    network: Network, tracks: list[Track]
) -> None:
    network.order(tracks[0], COPIES)
    network.until_held(tracks[0], COPIES)
    expected = sorted(node.peer_id for node in network.holders(tracks[0]))
    assert len(expected) == COPIES
    for node in network.nodes:
        until(lambda node=node: [order["held"] for order in node.state["orders"]] == [expected])


def test_when_all_holders_but_one_are_killed_and_the_artist_too_the_last_copy_is_served_and_copied(
    network: Network, tracks: list[Track], tmp_path: Path
) -> None:
    dice, track = random.Random(SEED), tracks[0]
    victims = dice.sample(network.holders(track), KILLED)
    with Listener(network, track).listening() as listener:
        network.kill_hub()
        kill_at_moments(victims, [dice.uniform(0, 3) for _ in victims])
        [through] = [node for node in network.alive if node.share_of(track.root) < 1.0]
        assert network.fetched(track, through, tmp_path) == set(track.hashes)
        network.until_held(track, len(network.alive))
    assert listener.faults == []


def test_those_who_were_killed_come_back_with_what_they_held(network: Network, tracks: list[Track]) -> None:
    network.start_hub()
    network.restart()
    network.until_held(tracks[0], COPIES)
    for node in network.nodes:
        others = {other.peer_id for other in network.nodes if other is not node}
        until(lambda node=node, others=others: others <= met(node))


def test_when_any_three_are_killed_while_the_copies_are_made_those_left_make_them(
    network: Network, tracks: list[Track], tmp_path: Path
) -> None:
    dice, track = random.Random(SEED + 1), tracks[1]
    victims = dice.sample(network.nodes, KILLED)
    with Listener(network, tracks[0]).listening() as listener:
        network.order(track, COPIES)  # they come 1 to 4 s later, where the machine has nothing else to do
        kill_at_moments(victims, [dice.uniform(0, 4) for _ in victims])
        for number, one in enumerate(tracks):
            folder = tmp_path / str(number)
            assert network.fetched(one, network.alive[0], folder) == set(one.hashes)
            network.until_held(one, len(network.alive))
    assert listener.faults == []
