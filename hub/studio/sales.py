"""What was sold, of what stands on the chain. From facts alone."""

from collections import defaultdict
from typing import Any

from digm.chain_sales import PurchaseOnChain, PurchaseState
from digm.ids import to_hex
from hub.chain.amounts import say_amount
from hub.chain.selling import Shop, album_title, token_json
from hub.chain.state import ChainState
from hub.storage.catalogue import TrackEntry

MOST_SALES = 100
_BOUGHT = (PurchaseState.WAITING, PurchaseState.DELIVERED)


class Till:
    """The sales of one artist's tracks at one moment.

    Args:
        entries: the artist's tracks.
    """

    def __init__(self, state: ChainState, entries: list[TrackEntry]) -> None:
        self._state, self._shop = state, Shop.of(state)
        self._entries = {entry.track_root: entry for entry in entries}
        self._items: dict[bytes, str] = {}
        for entry in entries:
            claim = self._shop.claim(entry)
            if claim is not None:
                self._items[claim.said.track] = entry.title
                for album in state.sales.albums_with(claim.said.track):
                    roots = self._shop.roots_of(album.item)
                    self._items[album.item] = album_title([self._entries.get(root) for root in roots])
        self._by_item: defaultdict[bytes, list[PurchaseOnChain]] = defaultdict(list)
        for purchase in state.sales.all_purchases():
            if purchase.item in self._items:
                self._by_item[purchase.item].append(purchase)

    def of(self, entry: TrackEntry) -> dict[str, Any]:
        """A track's price and sales, alone and with its albums."""
        claim = self._shop.claim(entry)
        if claim is None:
            return {
                "is_on_chain": False,
                "price": None,
                "album_price": None,
                "sold": 0,
                "given": 0,
                "waiting": 0,
            }
        sales, item = self._state.sales, claim.said.track
        albums = sales.albums_with(item)
        bought = [one for name in (item, *(one.item for one in albums)) for one in self._by_item[name]]
        return {
            "is_on_chain": True,
            "item": "0x" + to_hex(item),
            "price": self._price(item),
            "album_price": next((price for one in albums if (price := self._price(one.item))), None),
            "sold": sum(one.state in _BOUGHT for one in bought),
            "given": sum(one.state is PurchaseState.GIVEN for one in bought),
            "waiting": sum(one.is_waiting for one in bought),
        }

    def latest(self) -> list[dict[str, Any]]:
        """The latest sales and gifts, newest first."""
        every = [one for bought in self._by_item.values() for one in bought]
        every.sort(key=lambda one: (-max(one.block, one.answered_in), one.buyer))
        return [self._sale(one) for one in every[:MOST_SALES]]

    def income(self) -> list[str]:
        """What was paid for keys that are there, by token: what listeners paid, before shares."""
        sums: defaultdict[str, int] = defaultdict(int)
        for bought in self._by_item.values():
            for one in bought:
                if one.state is PurchaseState.DELIVERED:
                    sums[one.token] += one.amount
        return [self._say(amount, token) for token, amount in sums.items() if amount]

    def _price(self, item: bytes) -> str | None:
        offer = self._state.sales.offers.get(item)
        if offer is None:
            return None
        return ("from " if offer.is_at_least else "") + self._say(offer.price, offer.token)

    def _sale(self, one: PurchaseOnChain) -> dict[str, Any]:
        return {
            "title": self._items[one.item],
            "buyer": one.buyer,
            "paid": self._say(one.amount, one.token) if one.amount else None,
            "state": str(one.state),
            "at": round(self._state.time_of(one.block or one.answered_in) / 60) * 60,
            "deliver_before": one.deliver_before,
        }

    def _say(self, amount: int, token: str) -> str:
        return f"{say_amount(amount)} {token_json(self._state, token)['symbol']}"
