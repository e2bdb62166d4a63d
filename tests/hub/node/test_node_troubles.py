"""Nodes whose operators make mistakes: a clock an hour off, one key for two nodes."""

import shutil
from pathlib import Path

from tests.hub.node.processes import NodeProcess, nodes, origin_of_a_track, until

HALF_AN_HOUR = 1795  # and the seconds that the test takes


def test_nodes_whose_clocks_are_an_hour_apart_hold_what_was_ordered_and_pass_audits(tmp_path: Path) -> None:
    with origin_of_a_track(tmp_path, 2) as origin:
        made = [
            NodeProcess(
                tmp_path / name, (origin.multiaddr,), program=("-m", "tests.hub.node.skewed", str(seconds))
            )
            for name, seconds in (("fast", HALF_AN_HOUR), ("slow", -HALF_AN_HOUR))
        ]
        with nodes(*made):
            until(lambda: all(len(node.state["peers"]) == 2 for node in made))
            origin.ask("order", 2, 1)
            expected = sorted(node.peer_id for node in made)
            for node in made:
                until(lambda node=node: [order["held"] for order in node.state["orders"]] == [expected])
                assert node.state["orders"][0]["broken"] == []
                assert origin.ask("audit", node.peer_id) == "pass"
            fast, slow = made
            for one, other in ((fast, slow), (slow, fast)):
                rows = until(
                    lambda one=one, other=other: [
                        row for row in one.state["audits"] if row["peer_id"] == other.peer_id and row["passed"]
                    ]
                )
                assert rows[0]["failed"] == 0
            assert all(node.is_ready() for node in made)


def test_two_nodes_with_one_key_say_so_and_the_one_that_stays_is_heard_again(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with origin_of_a_track(tmp_path, 2) as origin:
        soon = {"DIGM_NODE_PRESENCE_SECONDS": "3"}
        meeting_place = NodeProcess(tmp_path / "between", (origin.multiaddr,), soon)
        node = NodeProcess(first, (origin.multiaddr,), {**soon, "DIGM_OPERATOR": "who stays"})
        with nodes(meeting_place, node):

            def is_heard() -> bool:
                rows = meeting_place.state["peers"]
                return any((row["peer_id"], row["operator"]) == (node.peer_id, "who stays") for row in rows)

            until(is_heard)
            until(node.is_ready)
            (second / "secrets").mkdir(parents=True)
            shutil.copy(first / "secrets" / "node-key", second / "secrets" / "node-key")
            bootstrap = (origin.multiaddr, meeting_place.multiaddrs[0])
            twin = NodeProcess(second, bootstrap, {**soon, "DIGM_OPERATOR": "who leaves"})
            with nodes(twin):
                assert twin.peer_id == node.peer_id
                until(lambda: node.state["ready"]["identity_unique"] is False)
                assert not node.is_ready()
                until(lambda: node.events("identity_used_twice"))
                until(lambda: not is_heard())
            until(node.is_ready, 20)
            until(lambda: node.events("identity_unique_again"))
            until(is_heard, 10)  # nobody thinks worse of anybody because there were two
