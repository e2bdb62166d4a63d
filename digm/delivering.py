"""Which keys a vault delivers: decided from what the chain says and its time alone.

A purchase that is in `ChainSales.waiting` counts already: it is paid and deep enough. Here is asked whose it is
to deliver, and whether there is time. A key that was sent may be read by its buyer before it is in a block; if
it comes too late for the contract, the buyer has the key and the money. So nothing is begun within `margin_s`
of the end, and nothing is sent again in the second half of that. Whoever stands in for another vault gives it
`stand_in_after_s` first, so that not both pay for gas.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from digm.chain_sales import ChainSales, PurchaseOnChain
from digm.chain_tracks import ChainTrack


class Verdict(StrEnum):
    """What becomes of a purchase that waits."""

    DELIVER = "deliver"
    NOT_OURS = "not_ours"
    NOT_YET = "not_yet"  # the artist's own vault has the word first
    TOO_LATE = "too_late"  # the buyer's money goes back


@dataclass(frozen=True)
class Terms:
    """How a vault delivers, in seconds of the chain's clock.

    Attributes:
        margin_s: so long before the end nothing is begun any more.
        stand_in_after_s: so long a purchase waits before another account than the artist's delivers.
    """

    margin_s: int = 900
    stand_in_after_s: int = 600


@dataclass(frozen=True)
class Delivery:
    """A key to be wrapped and sent.

    Attributes:
        tracks: those whose keys it has, in the item's order.
    """

    purchase: PurchaseOnChain
    tracks: tuple[ChainTrack, ...]

    @property
    def purpose(self) -> str:
        """Its name in the outbox. What was given back and bought again is another purchase."""
        bought = self.purchase
        return f"deliver {bought.item.hex()} {bought.buyer} {bought.deliver_before}"


@dataclass(frozen=True)
class Scene:
    """What is known at one moment.

    Attributes:
        me: this vault's account.
        tracks: by their id on the chain, the withdrawn among them: who paid before has a right to the key.
        now_s: of the next block at least, in seconds since 1970.
        time_of: of a block.
    """

    sales: ChainSales
    tracks: Mapping[bytes, ChainTrack]
    me: str
    now_s: float
    time_of: Callable[[int], float]


def sent_before_s(purchase: PurchaseOnChain, terms: Terms) -> int:
    """From when on not even what was signed is sent, by the chain's clock."""
    return purchase.deliver_before - terms.margin_s // 2


def owner_of(sales: ChainSales, tracks: Mapping[bytes, ChainTrack], item: bytes) -> str | None:
    """Whose an item is; None: it is none of the registry's."""
    album = sales.albums.get(item)
    if album is not None:
        return album.owner
    track = tracks.get(item)
    return track.owner if track is not None else None


def verdict(scene: Scene, purchase: PurchaseOnChain, terms: Terms) -> Verdict:
    """What is to be done about a purchase that waits."""
    owner = owner_of(scene.sales, scene.tracks, purchase.item)
    if owner is None or not scene.sales.may_deliver(owner, scene.me):
        return Verdict.NOT_OURS
    if scene.now_s + terms.margin_s >= purchase.deliver_before:
        return Verdict.TOO_LATE
    if owner != scene.me and scene.now_s < scene.time_of(purchase.block) + terms.stand_in_after_s:
        return Verdict.NOT_YET
    return Verdict.DELIVER


def due(scene: Scene, terms: Terms) -> Iterator[Delivery]:
    """What is to be delivered now, the oldest purchase first."""
    for purchase in scene.sales.all_waiting():
        if verdict(scene, purchase, terms) is Verdict.DELIVER:
            ids = scene.sales.tracks_of(purchase.item)
            if all(track in scene.tracks for track in ids):
                yield Delivery(purchase, tuple(scene.tracks[track] for track in ids))
