"""Multiaddrs of QUIC, and those that a node does not speak."""

import pytest
from multiaddr import Multiaddr  # type: ignore[import-untyped]

from digm.errors import CallerFault
from hub.backbone.quic.addresses import endpoint_of, is_quic, multiaddr_of
from hub.backbone.settings import BackboneSettings, with_port


@pytest.mark.parametrize("host", ["/ip4/192.0.2.1", "/ip6/2001:db8::1"])
def test_an_address_of_quic_is_one_of_a_socket_and_back(host: str) -> None:
    address = f"{host}/udp/4001/quic-v1"
    assert is_quic(address) and is_quic(f"{address}/p2p/12D3KooWNvSZnPi3RrhrTwEY4LuuBeB6K6facKUCJcyWG1aoDd2p")
    assert str(multiaddr_of(endpoint_of(Multiaddr(address))[1])) == address


def test_a_port_that_is_chosen_is_one_of_udp() -> None:
    chosen = with_port("/ip4/127.0.0.1/udp/0/quic-v1")
    assert is_quic(chosen) and chosen.split("/")[4] != "0"
    assert with_port(chosen) == chosen


@pytest.mark.parametrize(
    "address",
    ["/ip4/0.0.0.0/udp/4001/quic", "/ip4/0.0.0.0/udp/4001/webrtc-direct", "/ip4/0.0.0.0/udp/4001",
     "/ip4/0.0.0.0/udp/4001/quic-v1/webtransport", "/ip4/0.0.0.0/tcp/4001/tls/ws"],
)  # fmt: skip
def test_what_a_node_does_not_speak_it_refuses_to_listen_on(address: str) -> None:
    with pytest.raises(CallerFault, match="quic-v1") as error:
        BackboneSettings(listen=(address,))
    assert error.value.code == "bad_multiaddr"
