from hub.backbone import told
from hub.backbone.settings import BackboneSettings


def test_a_node_that_listens_everywhere_names_each_address_of_its_machine(monkeypatch):
    hosts = {4: ["192.0.2.7", "198.51.100.7"], 6: ["fe80::1", "2001:db8::7"]}
    monkeypatch.setattr(told, "get_network_addrs", lambda version: hosts[version])
    settings = BackboneSettings(
        listen=("/ip4/0.0.0.0/tcp/4001", "/ip4/0.0.0.0/tcp/4002/ws", "/ip6/::/tcp/4001", "/ip4/127.0.0.1/tcp/9")
    )
    assert told.told_addresses(settings) == [
        "/ip4/192.0.2.7/tcp/4001",
        "/ip4/198.51.100.7/tcp/4001",
        "/ip4/192.0.2.7/tcp/4002/ws",
        "/ip4/198.51.100.7/tcp/4002/ws",
        "/ip6/2001:db8::7/tcp/4001",
        "/ip4/127.0.0.1/tcp/9",
    ]


def test_without_a_network_it_names_its_loopback(monkeypatch):
    monkeypatch.setattr(told, "get_network_addrs", lambda version: [])
    assert told.told_addresses(BackboneSettings(listen=("/ip4/0.0.0.0/tcp/1",))) == ["/ip4/127.0.0.1/tcp/1"]


def test_what_the_operator_says_counts_and_one_address_needs_no_words():
    told_by_operator = BackboneSettings(listen=("/ip4/0.0.0.0/tcp/1",), announce=("/dns4/node.example/tcp/1",))
    assert told.told_addresses(told_by_operator) == ["/dns4/node.example/tcp/1"]
    assert told.told_addresses(BackboneSettings(listen=("/ip4/192.0.2.7/tcp/1",))) == []
