"""What a node says of its gateway, by what its operator said."""

from typing import Any

import pytest

from hub.config import Settings
from hub.node import told_gateway as module
from hub.node.told_gateway import told_gateway


def told(**settings: Any) -> tuple[str | None, bool]:
    """The URL, and whether there is advice."""
    found = told_gateway(Settings(**{"gateway_port": 9000, "host": "0.0.0.0", **settings}))
    assert not found.advice or "DIGM_GATEWAY_URL" in found.advice
    return found.url, bool(found.advice)


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Target -> the machine's address on the way there."""
    known: dict[str, str] = {}
    monkeypatch.setattr(module, "_source_address", known.get)
    return known


def test_what_the_operator_says_counts() -> None:
    assert told(gateway_url="https://node.example", host="127.0.0.1") == ("https://node.example", False)
    assert told(gateway_url="https://node.example") == ("https://node.example", False)


def test_an_address_that_is_listened_on_is_told() -> None:
    assert told(host="203.0.113.7") == ("http://203.0.113.7:9000", False)
    assert told(host="203.0.113.7", gateway_cert="a.pem", gateway_key="k.pem") == (
        "https://203.0.113.7:9000",
        False,
    )


def test_who_listens_everywhere_tells_the_address_on_the_way_to_the_others(ways: dict[str, str]) -> None:
    ways |= {"8.8.4.4": "1.1.1.7", "192.0.2.1": "1.0.0.7", "2001:db8::1": "2606:4700::7"}
    bootstrap = ("/dns4/a.example/tcp/1/p2p/X", "/ip4/8.8.4.4/tcp/4001/p2p/X")
    assert told(backbone_bootstrap=bootstrap) == ("http://1.1.1.7:9000", False)
    assert told() == ("http://1.0.0.7:9000", False)
    assert told(host="::", backbone_bootstrap=bootstrap) == ("http://[2606:4700::7]:9000", False)


def test_a_neighbour_on_this_machine_says_nothing_of_the_network(ways: dict[str, str]) -> None:
    ways |= {"127.0.0.1": "127.0.0.1", "192.0.2.1": "10.0.0.7"}
    # Told, for there may be others in that network; and said, for there are those outside of it.
    assert told(backbone_bootstrap=("/ip4/127.0.0.1/tcp/1/p2p/X",)) == ("http://10.0.0.7:9000", True)


def test_where_only_the_operator_could_know_nothing_is_told_and_that_is_said(ways: dict[str, str]) -> None:
    assert told() == (None, True)
    ways["192.0.2.1"] = "1.0.0.7"
    assert told(gateway_cert="a.pem", gateway_key="k.pem") == (None, True)
    assert told(backbone_announce=("/dns4/node.example/tcp/1",)) == (None, True)


def test_the_machines_own_address_is_found_without_a_packet() -> None:
    assert module._source_address("127.0.0.1") == "127.0.0.1"
