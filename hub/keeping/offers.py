"""The orders on the chain, as this node sees them: which are for it, and when its turn comes."""

import heapq
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from digm.chain_pins import MISSES_IN_A_ROW, ChainPins, NodeOnChain, PinOrderOnChain
from digm.keeping import Offer, price_of, turn_of
from digm.placement import Candidate, placement
from hub.chain.state import ChainState, FoundTrack

MOST_OFFERS = 200
"""Thousands of orders that nobody wants must not make each look at the chain cost a second."""


class Offers:
    """Makes offers of a state of the chain.

    Args:
        me: this node, as a candidate.
        least_price: PARA (10^-18) for a GiB and day; orders below need no thought.
        now: a clock that goes on, in seconds; what time it says does not matter.
    """

    def __init__(
        self, account: str, me: Candidate, least_price: int = 0, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._account, self._me, self._least_price, self._now = account, me, least_price, now
        self._seen_at: dict[tuple[int, int], float] = {}

    def of(
        self,
        state: ChainState,
        present: Mapping[str, Candidate],
        least_bytes: int,
        time_s: int,
        also: Collection[int],
    ) -> dict[int, Offer]:
        """Orders with free places, the best paid MOST_OFFERS of them, and some others.

        Args:
            present: nodes that are there, by the account that they and the chain name.
            least_bytes: what a small track counts as (`min_pin_bytes`).
            time_s: the chain's.
            also: orders that matter in any case.
        """
        tracks = {one.said.track: one for one in (*state.withdrawn, *state.tracks)}
        alive = {one.said.track for one in state.tracks}
        able = {account: one for account, one in present.items() if _could_take(state.pins.nodes.get(account))}
        found, open_ones = {}, []
        for order in state.pins.orders.values():
            if order.track not in tracks:
                continue
            plain = _plain(state.pins, order, tracks[order.track], least_bytes, order.track not in alive)
            if order.order_id in also:
                found[order.order_id] = self._with_turn(state.pins, plain, able)
            elif not order.is_closed and plain.is_open(time_s) and plain.price >= self._least_price:
                open_ones.append(plain)
        for plain in heapq.nlargest(MOST_OFFERS, open_ones, key=lambda one: (one.price, -one.order_id)):
            found[plain.order_id] = self._with_turn(state.pins, plain, able)
        seen = {(one.order_id, one.free_places) for one in found.values()}
        self._seen_at = {key: at for key, at in self._seen_at.items() if key in seen}
        return found

    def _with_turn(self, pins: ChainPins, plain: Offer, able: Mapping[str, Candidate]) -> Offer:
        holders = {*pins.holders(plain.order_id), self._account}
        others = [one for account, one in able.items() if account not in holders]
        # Each order has an order of nodes of its own, or one would be the first of all of an artist's orders.
        subject = plain.audit_root + plain.order_id.to_bytes(32, "big")
        turn = placement(subject, [*others, self._me]).index(self._me.node)
        since = self._seen_at.setdefault((plain.order_id, plain.free_places), self._now())
        return replace(plain, turn=turn, waited_s=self._now() - since)


def _plain(
    pins: ChainPins, order: PinOrderOnChain, track: FoundTrack, least_bytes: int, is_withdrawn: bool
) -> Offer:
    """An offer whose turn is not known."""
    holders = pins.holders(order.order_id)
    billed = max(track.said.byte_size, least_bytes)
    return Offer(
        order_id=order.order_id,
        audit_root=track.said.audit_root,
        billed_bytes=billed,
        byte_size=track.said.byte_size,
        price=price_of(order.rate, billed),
        ends_at=order.ends_at,
        replicas=order.replicas,
        taken=len(holders),
        jailed=tuple(sorted(one for one in holders if _is_jailed(pins, one))),
        is_withdrawn=is_withdrawn,
        turn=None,
    )


def _is_jailed(pins: ChainPins, account: str) -> bool:
    known = pins.nodes.get(account)
    return known is not None and known.is_jailed


def _could_take(known: NodeOnChain | None) -> bool:
    return known is not None and not known.is_jailed and known.stake > 0


def guilty_of(pins: ChainPins, me: str, epoch: int, rules: Mapping[str, int]) -> dict[str, int]:
    """Nodes that missed three rounds in a row, or too many at all, and this node's turn to say so."""
    rivals = working(pins)

    def is_guilty(known: NodeOnChain) -> bool:
        missed = pins.missed(known.address, epoch)
        points = known.points + (known.carried_misses + missed) * rules["miss_points"]
        return missed >= MISSES_IN_A_ROW or (missed > 0 and points >= rules["points_limit"])

    return {
        account: turn_of(f"slash {pins.round} {account}".encode(), me, set(rivals) - {account})
        for account, known in pins.nodes.items()
        if known.copies and is_guilty(known)
    }


def seal_turn(pins: ChainPins, me: str, epoch: int) -> int:
    """This node's turn to seal an epoch."""
    return turn_of(f"seal {epoch}".encode(), me, working(pins))


def working(pins: ChainPins) -> Iterable[str]:
    """Accounts that have copies and are free: they all want rounds to go on."""
    return [account for account, known in pins.nodes.items() if known.copies and not known.is_jailed]
