"""What the contracts `Sales` and `Passes` say of offers, albums, purchases, vaults and passes, told from their
events in order.

An *item* is what is sold: a track's id on the chain, or an album's. Money that waits to be fetched (credits)
and the time are not in the events; they are asked of the contracts. Whether a wrapped key is the right one says
only the manifest's commitment (`digm.purchases`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

COIN = "0x" + "00" * 20
"""What stands for the chain's own coin where a token's address is."""
X25519, P256 = 1, 2


class PurchaseState(StrEnum):
    """What became of a purchase."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    REFUNDED = "refunded"
    GIVEN = "given"


@dataclass(frozen=True)
class OfferOnChain:
    """What an item costs.

    Attributes:
        token: address of what it is paid in; `COIN`: the chain's own.
        price: in the token's smallest units. is_at_least: the buyer may give more.
    """

    item: bytes
    token: str
    price: int
    is_at_least: bool
    block: int = 0


@dataclass(frozen=True)
class AlbumOnChain:
    """Tracks that are sold together.

    Attributes:
        tracks: their ids on the chain, in the order in which a wrapped key has their keys.
        payees: accounts and ten thousandths, those who share what is delivered from now on.
    """

    item: bytes
    owner: str
    tracks: tuple[bytes, ...]
    payees: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class PurchaseOnChain:
    """What one account has of one item.

    Attributes:
        buyer_key: what the key is wrapped to; empty: it was given, and nothing bought. suite: of that key,
            `X25519` or `P256`; 0: likewise.
        amount: what was paid, in the token's smallest units; 0 where it was given.
        deliver_before: seconds since 1970 on the chain's clock; from then on it can only be refunded.
        block: where it was bought, or given.
        answered_in: where it was delivered, given or refunded; 0: not yet.
        wrapped_key: as the contract's event has it, of the latest delivery; anybody can have written it who
            may deliver for the artist.
    """

    item: bytes
    buyer: str
    state: PurchaseState
    buyer_key: bytes = b""
    suite: int = 0
    token: str = COIN
    amount: int = 0
    deliver_before: int = 0
    block: int = 0
    answered_in: int = 0
    wrapped_key: bytes = b""

    @property
    def is_waiting(self) -> bool:
        return self.state is PurchaseState.WAITING

    @property
    def has_key(self) -> bool:
        return self.state in (PurchaseState.DELIVERED, PurchaseState.GIVEN)


@dataclass(frozen=True)
class PassOnChain:
    """What a pass of somebody's costs, and how long it lasts."""

    issuer: str
    token: str
    price: int
    duration_s: int


@dataclass
class ChainSales:
    """Offers, purchases and passes after some events.

    Attributes:
        offers: by item, those that stand. albums: by item, also those that are no longer sold.
        purchases: by buyer and item; of several one after the other (refunded, bought again) the latest.
        waiting: item and buyer of what neither was delivered nor refunded, the oldest first.
        vaults: owner -> who else may deliver.
        passes: what is offered, by issuer. until: issuer -> account -> seconds since 1970, the chain's clock.
    """

    offers: dict[bytes, OfferOnChain] = field(default_factory=dict)
    albums: dict[bytes, AlbumOnChain] = field(default_factory=dict)
    purchases: dict[str, Mapping[bytes, PurchaseOnChain]] = field(default_factory=dict)
    waiting: dict[tuple[bytes, str], None] = field(default_factory=dict)
    vaults: dict[str, frozenset[str]] = field(default_factory=dict)
    passes: dict[str, PassOnChain] = field(default_factory=dict)
    until: dict[str, Mapping[str, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Iterable[tuple[str, Mapping[str, Any], int]]) -> "ChainSales":
        """After all of these: name, arguments and block each. What was taken back is not among them."""
        found = cls()
        for name, arguments, block in events:
            found.apply(name, arguments, block)
        return found

    def apply(self, name: str, arguments: Mapping[str, Any], block: int = 0) -> None:
        """One more event; one that is of neither contract changes nothing."""
        handler = _HANDLERS.get(name)
        if handler is not None:
            handler(self, arguments, block)

    def copy(self) -> "ChainSales":
        """The same, which further events do not change: for another thread. What is inside is never changed."""
        return ChainSales(
            dict(self.offers),
            dict(self.albums),
            dict(self.purchases),
            dict(self.waiting),
            dict(self.vaults),
            dict(self.passes),
            dict(self.until),
        )

    # -- what there is

    def purchase(self, item: bytes, buyer: str) -> PurchaseOnChain | None:
        """What an account has of an item; None: it never bought it, and was never given it."""
        return self.purchases.get(buyer, {}).get(item)

    def purchases_of(self, buyer: str) -> list[PurchaseOnChain]:
        """All of an account's."""
        return list(self.purchases.get(buyer, {}).values())

    def all_purchases(self) -> Iterator[PurchaseOnChain]:
        """Everybody's."""
        for held in self.purchases.values():
            yield from held.values()

    def all_waiting(self) -> list[PurchaseOnChain]:
        """What neither was delivered nor refunded, the oldest first."""
        return [self.purchases[buyer][item] for item, buyer in self.waiting]

    def tracks_of(self, item: bytes) -> tuple[bytes, ...]:
        """The tracks whose keys a key of this item has, in their order: an album's, or the item itself."""
        album = self.albums.get(item)
        return album.tracks if album is not None else (item,)

    def albums_with(self, track: bytes) -> list[AlbumOnChain]:
        """The albums that are sold and that have this track."""
        return [one for one in self.albums.values() if track in one.tracks and one.item in self.offers]

    def may_deliver(self, owner: str, account: str) -> bool:
        """Whether an account may deliver the keys of an owner."""
        return account == owner or account in self.vaults.get(owner, frozenset())

    def pass_until(self, issuer: str, account: str) -> int:
        """Until when an account has a pass of an issuer, in seconds since 1970; 0: it never had one."""
        return self.until.get(issuer, {}).get(account, 0)

    # -- what artists do

    def _offered(self, said: Mapping[str, Any], block: int) -> None:
        self.offers[said["item"]] = OfferOnChain(
            said["item"], said["token"], said["price"], said["is_at_least"], block
        )

    def _ended(self, said: Mapping[str, Any], _block: int) -> None:
        self.offers.pop(said["item"], None)

    def _album(self, said: Mapping[str, Any], _block: int) -> None:
        payees = tuple((one["account"], one["share_bps"]) for one in said["payees"])
        self.albums[said["item"]] = AlbumOnChain(said["item"], said["owner"], tuple(said["tracks"]), payees)

    def _appointed(self, said: Mapping[str, Any], _block: int) -> None:
        vault = frozenset((said["vault"],))
        known = self.vaults.get(said["owner"], frozenset())
        self.vaults[said["owner"]] = known | vault if said["is_appointed"] else known - vault

    # -- purchases

    def _keep(self, purchase: PurchaseOnChain) -> None:
        key = (purchase.item, purchase.buyer)
        self.purchases[purchase.buyer] = {
            **self.purchases.get(purchase.buyer, {}),
            purchase.item: purchase,
        }
        if purchase.is_waiting:
            self.waiting[key] = None
        else:
            self.waiting.pop(key, None)

    def _bought(self, said: Mapping[str, Any], block: int, suite: int = X25519) -> None:
        self._keep(
            PurchaseOnChain(
                item=said["item"],
                buyer=said["buyer"],
                state=PurchaseState.WAITING,
                buyer_key=said["buyer_key"],
                suite=suite,
                token=said["token"],
                amount=said["amount"],
                deliver_before=said["deliver_before"],
                block=block,
            )
        )

    def _bought_p256(self, said: Mapping[str, Any], block: int) -> None:
        self._bought(said, block, P256)

    def _delivered(self, said: Mapping[str, Any], block: int) -> None:
        known = self.purchase(said["item"], said["buyer"])
        if known is not None:
            wrapped = bytes(said["wrapped_key"])
            self._keep(replace(known, state=PurchaseState.DELIVERED, wrapped_key=wrapped, answered_in=block))

    def _given(self, said: Mapping[str, Any], block: int) -> None:
        wrapped = bytes(said["wrapped_key"])
        known = self.purchase(said["item"], said["buyer"])
        if known is not None and known.has_key:  # once more, for another key of the same account
            self._keep(replace(known, wrapped_key=wrapped, answered_in=block))
            return
        self._keep(
            PurchaseOnChain(
                item=said["item"],
                buyer=said["buyer"],
                state=PurchaseState.GIVEN,
                block=block,
                answered_in=block,
                wrapped_key=wrapped,
            )
        )

    def _refunded(self, said: Mapping[str, Any], block: int) -> None:
        known = self.purchase(said["item"], said["buyer"])
        if known is not None:
            self._keep(replace(known, state=PurchaseState.REFUNDED, answered_in=block))

    # -- passes

    def _pass_set(self, said: Mapping[str, Any], _block: int) -> None:
        self.passes[said["issuer"]] = PassOnChain(
            said["issuer"], said["token"], said["price"], said["duration_s"]
        )

    def _pass_ended(self, said: Mapping[str, Any], _block: int) -> None:
        self.passes.pop(said["issuer"], None)

    def _pass_held(self, said: Mapping[str, Any], _block: int) -> None:
        self.until[said["issuer"]] = {**self.until.get(said["issuer"], {}), said["account"]: said["until"]}


_HANDLERS: dict[str, Callable[[ChainSales, Mapping[str, Any], int], None]] = {
    "OfferSet": ChainSales._offered,
    "OfferEnded": ChainSales._ended,
    "AlbumSet": ChainSales._album,
    "VaultAppointed": ChainSales._appointed,
    "Purchased": ChainSales._bought,
    "PurchasedP256": ChainSales._bought_p256,
    "KeyDelivered": ChainSales._delivered,
    "KeyGiven": ChainSales._given,
    "Refunded": ChainSales._refunded,
    "PassSet": ChainSales._pass_set,
    "PassEnded": ChainSales._pass_ended,
    "PassBought": ChainSales._pass_held,
    "PassGiven": ChainSales._pass_held,
}
