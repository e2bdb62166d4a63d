"""The directory: what is heard, how it is ranked, what is forgotten. No network, no clock but an argument."""

import dataclasses
from contextlib import suppress
from typing import Any

import pytest

from digm.announcements import Announcement, AnnouncementLedger, encode_announcement, parse_announcement
from digm.audits import Health
from digm.bitfield import Bitfield
from digm.errors import PeerFault
from digm.node_ids import peer_id
from hub.bridge.directory import MOST_SOURCES, PROVIDED_FOR_S, Directory, Provider, checked_url
from tests.digm.signers import Signer, verify

NOW = 1_800_000_000.0
TRACK, OTHER = "ab" * 32, "cd" * 32


def said(name: str, held: int = 4, sequence: int = 1, **changes: Any) -> bytes:
    """An announcement of a node, of a track with one rendition of four chunks."""
    signer = Signer(name)
    announcement = Announcement(
        node=signer.public, instance=bytes(16), track_root=bytes.fromhex(TRACK), manifest_hash=bytes(32),
        held={0: Bitfield(4, range(held))}, operator=name, network="AS1", sequence=sequence,
        issued_at=int(NOW), valid_until=int(NOW) + 3600, gateway_url=f"https://{name}.example",
        multiaddrs=(f"/dns/{name}.example/tcp/4001",),
    )  # fmt: skip
    return encode_announcement(dataclasses.replace(announcement, **changes), signer.sign)


def node(name: str) -> str:
    return peer_id(Signer(name).public)


@pytest.fixture
def directory() -> Directory:
    return Directory(AnnouncementLedger())


def hear(directory: Directory, document: bytes, now: float = NOW) -> None:
    """What the herald does with a valid announcement."""
    directory.ledger.add(parse_announcement(document, now, verify), now)


def gateways(directory: Directory, now: float = NOW) -> list[str]:
    return [gateway.url for gateway in directory.gateways_of(TRACK, now)]


def test_who_announces_a_track_is_a_source_of_it(directory: Directory) -> None:
    hear(directory, said("ann"))
    (found,) = directory.nodes_of(TRACK, NOW)
    assert (found.peer_id, found.multiaddrs) == (node("ann"), ("/dns/ann.example/tcp/4001",))
    assert gateways(directory) == ["https://ann.example"]
    assert directory.nodes_of(OTHER, NOW) == []


def test_who_holds_more_is_named_first(directory: Directory) -> None:
    for name, held in (("few", 1), ("all", 4), ("some", 2)):
        hear(directory, said(name, held))
    assert gateways(directory) == ["https://all.example", "https://some.example", "https://few.example"]
    scores = [found.score for found in directory.nodes_of(TRACK, NOW)]
    assert scores == sorted(scores, reverse=True)


def test_who_passes_audits_is_named_first_and_who_failed_them_last(directory: Directory) -> None:
    standing = dict(zip(("d", "b", "e", "a", "c"), Health, strict=True))
    assert standing["e"] is Health.SLOW
    for name in sorted(standing):
        hear(directory, said(name))
    directory.standing = {Signer(name).public: health for name, health in standing.items()}.__getitem__
    # Healthy, unproven, slow, absent, failed: as in the fresh index.
    expected = ["b", "d", "e", "a", "c"]
    assert gateways(directory) == [f"https://{name}.example" for name in expected]
    assert [found.peer_id for found in directory.nodes_of(TRACK, NOW)] == [node(name) for name in expected]
    assert directory.gateways_of(TRACK, NOW)[-1].score == 0.0
    directory.provided(OTHER, [Provider(node("c"), ())], NOW)
    assert directory.nodes_of(OTHER, NOW)[0].score == 0.0


def test_who_is_in_the_contracts_jail_is_named_behind_all_who_passed_audits(directory: Directory) -> None:
    for name in ("a", "b", "c"):
        hear(directory, said(name))
        directory.reached(node(name), 5.0 if name == "b" else 0.001, NOW)
    directory.standing = lambda _node: Health.HEALTHY
    directory.is_jailed = {Signer(name).public: name == "c" for name in ("a", "b", "c")}.__getitem__
    assert [found.peer_id for found in directory.nodes_of(TRACK, NOW)] == [node("a"), node("b"), node("c")]
    assert [gateway.score for gateway in directory.gateways_of(TRACK, NOW)][-1] > 0


def test_who_answers_sooner_is_named_first(directory: Directory) -> None:
    for name, latency_s in (("far", 0.4), ("near", 0.01)):
        hear(directory, said(name))
        for _ in range(5):
            directory.reached(f"https://{name}.example", latency_s, NOW)
    assert gateways(directory) == ["https://near.example", "https://far.example"]


def test_who_stays_silent_is_left_out_until_it_answers(directory: Directory) -> None:
    hear(directory, said("ann"))
    for _ in range(3):
        assert gateways(directory) == ["https://ann.example"]
        directory.not_reached("https://ann.example", NOW)
        directory.not_reached(node("ann"), NOW)
    assert gateways(directory) == []
    assert directory.nodes_of(TRACK, NOW) == []
    directory.reached("https://ann.example", 0.1, NOW)
    directory.reached(node("ann"), 0.1, NOW)
    assert gateways(directory) == ["https://ann.example"]
    assert len(directory.nodes_of(TRACK, NOW)) == 1


def test_an_announcement_that_is_over_is_dropped(directory: Directory) -> None:
    hear(directory, said("ann"))
    assert gateways(directory, NOW + 3599) == ["https://ann.example"]
    assert gateways(directory, NOW + 3601) == []
    assert directory.nodes_of(TRACK, NOW + 3601) == []


def test_who_takes_its_claim_back_is_dropped(directory: Directory) -> None:
    hear(directory, said("ann"))
    hear(directory, said("ann", held=0, sequence=2))
    assert gateways(directory) == []


def test_providers_of_the_dht_are_sources_for_a_while(directory: Directory) -> None:
    found = [Provider(node("dan"), ("/ip4/192.0.2.1/tcp/1",)), Provider("not a peer id", ())]
    directory.provided(TRACK, [*found, *found], NOW)
    (source,) = directory.nodes_of(TRACK, NOW)
    assert source.peer_id == node("dan")
    assert directory.nodes_of(TRACK, NOW + PROVIDED_FOR_S + 1) == []


def test_a_node_that_is_known_from_both_is_one_source_with_all_addresses(directory: Directory) -> None:
    directory.provided(TRACK, [Provider(node("ann"), ("/ip4/192.0.2.1/tcp/1",))], NOW)
    hear(directory, said("ann"))
    (source,) = directory.nodes_of(TRACK, NOW)
    assert set(source.multiaddrs) == {"/ip4/192.0.2.1/tcp/1", "/dns/ann.example/tcp/4001"}


def test_no_more_than_so_many_are_named(directory: Directory) -> None:
    for number in range(MOST_SOURCES + 5):
        hear(directory, said(f"n{number}"))
    assert len(gateways(directory)) == len(directory.nodes_of(TRACK, NOW)) == MOST_SOURCES


def test_the_operators_gateways_are_thought_to_hold_everything() -> None:
    directory = Directory(AnnouncementLedger(), ["https://mirror.example/"])
    assert [gateway.url for gateway in directory.gateways_of(OTHER, NOW)] == ["https://mirror.example"]


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example;script-src *", "https://a.example,b", "https://a.example/x'y", "https://a@b.example",
        "javascript:alert(1)", "https://", "https://a.example?x", "https://a.example#x", "https://A.example",
        "//a.example", "https://a.example/../x/" + "y" * 70, "https://[::1]evil",
    ],
)  # fmt: skip
def test_a_url_that_could_change_a_page_is_not_passed_on(directory: Directory, url: str) -> None:
    assert checked_url(url) is None
    with suppress(PeerFault):
        hear(directory, said("eve", gateway_url=url if url.startswith("https://") else None))
    assert gateways(directory) == []


def test_an_ordinary_url_is_passed_on() -> None:
    for url in ("https://a.example:8443/digm/chunks", "http://[::1]:80/x", "http://127.0.0.1:8081"):
        assert checked_url(url + "/") == url
