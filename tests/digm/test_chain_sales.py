"""What the events of `Sales` and `Passes` say; that the contracts say it: tests/contracts/test_sales.py."""

from typing import Any

from digm.chain_sales import P256, X25519, ChainSales, PassOnChain, PurchaseState

ARTIST, LABEL, BUYER, OTHER, TOKEN = ("0x" + digits * 20 for digits in ("aa", "bb", "cc", "dd", "ee"))
TRACK, SECOND, ALBUM, KEY = (letter * 32 for letter in (b"1", b"2", b"a", b"k"))
Said = tuple[str, dict[str, Any], int]


def offered(item: bytes = TRACK, price: int = 5, block: int = 1) -> Said:
    return "OfferSet", {"item": item, "token": TOKEN, "price": price, "is_at_least": False}, block


def album() -> Said:
    payees = ({"account": ARTIST, "share_bps": 10_000},)
    return "AlbumSet", {"item": ALBUM, "owner": ARTIST, "tracks": (TRACK, SECOND), "payees": payees}, 1


def bought(item: bytes = TRACK, buyer: str = BUYER, name: str = "Purchased", block: int = 2) -> Said:
    said = {
        "item": item, "buyer": buyer, "buyer_key": KEY, "token": TOKEN, "amount": 5, "deliver_before": 900,
    }  # fmt: skip
    return name, said, block


def answered(name: str, block: int = 3, **more: Any) -> Said:
    return name, {"item": TRACK, "buyer": BUYER, **more}, block


def test_a_purchase_waits_until_it_is_delivered_or_refunded_and_then_may_begin_again() -> None:
    found = ChainSales.of([offered(), bought()])
    (waiting,) = found.all_waiting()
    assert waiting == found.purchase(TRACK, BUYER) and waiting.is_waiting and waiting.suite == X25519
    assert (waiting.amount, waiting.deliver_before, waiting.block, waiting.buyer_key) == (5, 900, 2, KEY)
    found.apply(*answered("Refunded", amount=5))
    assert found.all_waiting() == [] and found.purchases_of(BUYER)[0].state is PurchaseState.REFUNDED
    found.apply(*bought(name="PurchasedP256", block=4))
    (again,) = found.all_waiting()
    assert (again.suite, again.block, again.answered_in) == (P256, 4, 0)
    found.apply(*answered("KeyDelivered", block=5, wrapped_key=b"wrapped"))
    (held,) = found.all_purchases()
    assert (held.state, held.wrapped_key, held.answered_in, held.has_key) == (
        PurchaseState.DELIVERED, b"wrapped", 5, True,
    )  # fmt: skip
    assert found.all_waiting() == []


def test_what_is_given_costs_nothing_and_a_key_given_once_more_replaces_the_first() -> None:
    found = ChainSales.of([answered("KeyGiven", wrapped_key=b"one")])
    assert found.purchases_of(BUYER)[0].state is PurchaseState.GIVEN
    assert found.purchases_of(BUYER)[0].amount == 0
    found = ChainSales.of([bought(), answered("KeyDelivered", wrapped_key=b"one")])
    found.apply(*answered("KeyGiven", block=9, wrapped_key=b"two"))
    (held,) = found.purchases_of(BUYER)
    assert (held.state, held.amount, held.wrapped_key) == (PurchaseState.DELIVERED, 5, b"two")


def test_an_album_is_found_by_its_tracks_while_it_is_sold() -> None:
    found = ChainSales.of([album(), offered(ALBUM, 9)])
    assert [one.item for one in found.albums_with(SECOND)] == [ALBUM] and found.albums_with(KEY) == []
    assert found.tracks_of(ALBUM) == (TRACK, SECOND) and found.tracks_of(TRACK) == (TRACK,)
    found.apply("OfferEnded", {"item": ALBUM}, 3)
    assert found.albums_with(SECOND) == [] and found.offers == {}
    assert found.tracks_of(ALBUM) == (TRACK, SECOND)  # who bought it still has it


def test_vaults_are_the_owner_and_whom_the_owner_appointed() -> None:
    said = {"owner": ARTIST, "vault": LABEL, "is_appointed": True}
    found = ChainSales.of([("VaultAppointed", said, 1)])
    assert found.may_deliver(ARTIST, LABEL) and found.may_deliver(ARTIST, ARTIST)
    assert not found.may_deliver(OTHER, LABEL)
    found.apply("VaultAppointed", {**said, "is_appointed": False}, 2)
    assert not found.may_deliver(ARTIST, LABEL)


def test_passes_are_held_until_the_time_that_was_said_last() -> None:
    said = {"issuer": ARTIST, "token": TOKEN, "price": 7, "duration_s": 60}
    held = {"issuer": ARTIST, "account": BUYER, "until": 100}
    found = ChainSales.of([("PassSet", said, 1), ("PassBought", {**held, "token": TOKEN, "price": 7}, 2)])
    assert found.passes == {ARTIST: PassOnChain(ARTIST, TOKEN, 7, 60)}
    assert (found.pass_until(ARTIST, BUYER), found.pass_until(ARTIST, OTHER)) == (100, 0)
    found.apply("PassGiven", {**held, "until": 160}, 3)
    found.apply("PassEnded", {"issuer": ARTIST}, 4)
    assert found.pass_until(ARTIST, BUYER) == 160 and found.passes == {}


def test_a_copy_stays_as_it_is_whatever_happens_behind_it_and_strange_events_change_nothing() -> None:
    found = ChainSales.of([offered(), bought()])
    before = found.copy()
    for event in (
        bought(SECOND),
        answered("KeyDelivered", wrapped_key=b"w"),
        ("OfferEnded", {"item": TRACK}, 4),
        ("Slashed", {"node": BUYER}, 5),
    ):
        found.apply(*event)
    assert before == ChainSales.of([offered(), bought()]) and before != found
