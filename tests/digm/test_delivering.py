"""Which keys a vault delivers, decided from facts alone."""

from dataclasses import replace

import pytest

from digm.chain_sales import AlbumOnChain, ChainSales, OfferOnChain, PurchaseOnChain, PurchaseState
from digm.chain_tracks import ChainTrack
from digm.delivering import Scene, Terms, Verdict, due, sent_before_s, verdict

ARTIST, LABEL, STRANGER, BUYER = "0xArtist", "0xLabel", "0xStranger", "0xBuyer"
TERMS = Terms(margin_s=900, stand_in_after_s=600)
BOUGHT_AT, BEFORE = 10_000, 10_000 + 7_200
TRACK = ChainTrack(b"t" * 32, ARTIST, ARTIST, b"r" * 32, b"", b"", 1, 1)
BOUGHT = PurchaseOnChain(
    TRACK.track, BUYER, PurchaseState.WAITING, b"k" * 32, 1, deliver_before=BEFORE, block=7
)


def scene(me: str = ARTIST, now_s: float = BOUGHT_AT + 1, *purchases: PurchaseOnChain) -> Scene:
    sales = ChainSales(vaults={ARTIST: frozenset({LABEL})})
    for one in purchases or (BOUGHT,):
        sales._keep(one)
    return Scene(sales, {TRACK.track: TRACK}, me, now_s, lambda block: {7: BOUGHT_AT}[block])


@pytest.mark.parametrize(
    ("me", "now_s", "said"),
    [
        (ARTIST, BOUGHT_AT, Verdict.DELIVER),
        (STRANGER, BOUGHT_AT, Verdict.NOT_OURS),
        (LABEL, BOUGHT_AT + 599, Verdict.NOT_YET),
        (LABEL, BOUGHT_AT + 600, Verdict.DELIVER),
        (ARTIST, BEFORE - 901, Verdict.DELIVER),
        (ARTIST, BEFORE - 900, Verdict.TOO_LATE),
        (ARTIST, BEFORE + 10**6, Verdict.TOO_LATE),
        (LABEL, BEFORE - 900, Verdict.TOO_LATE),
    ],
)
def test_who_delivers_and_until_when(me: str, now_s: float, said: Verdict) -> None:
    there = scene(me, now_s)
    assert verdict(there, BOUGHT, TERMS) is said
    assert bool(list(due(there, TERMS))) is (said is Verdict.DELIVER)
    assert sent_before_s(BOUGHT, TERMS) == BEFORE - 450


@pytest.mark.parametrize(
    "state",
    [PurchaseState.DELIVERED, PurchaseState.REFUNDED, PurchaseState.GIVEN],
    ids=lambda state: state.value,
)
def test_what_is_delivered_given_or_paid_back_is_not_delivered(state: PurchaseState) -> None:
    assert not list(due(scene(ARTIST, BOUGHT_AT, replace(BOUGHT, state=state)), TERMS))


def test_what_is_sold_by_nobody_whom_the_registry_knows_is_not_ours() -> None:
    unknown = replace(BOUGHT, item=b"x" * 32)
    assert verdict(scene(), unknown, TERMS) is Verdict.NOT_OURS


def test_an_albums_owner_delivers_all_its_keys_in_order_also_of_tracks_that_are_withdrawn() -> None:
    other = replace(TRACK, track=b"o" * 32, track_root=b"q" * 32, is_withdrawn=True)
    album = AlbumOnChain(b"a" * 32, ARTIST, (other.track, TRACK.track), ((ARTIST, 10_000),))
    there = scene(ARTIST, BOUGHT_AT, replace(BOUGHT, item=album.item))
    there.sales.albums[album.item] = album
    there.sales.offers[album.item] = OfferOnChain(album.item, "", 1, False)
    tracks = {TRACK.track: TRACK, other.track: other}
    (delivery,) = due(replace(there, tracks=tracks), TERMS)
    assert delivery.tracks == (other, TRACK)
    assert not list(due(there, TERMS))  # one of its tracks is not known: nothing is delivered in part


def test_a_purchase_that_was_given_back_and_made_again_is_another_one_in_the_outbox() -> None:
    names = set()
    for before in (BEFORE, BEFORE + 1):
        (delivery,) = due(scene(ARTIST, BOUGHT_AT, replace(BOUGHT, deliver_before=before)), TERMS)
        names.add(delivery.purpose)
    assert len(names) == 2 and all(TRACK.track.hex() in name and BUYER in name for name in names)
