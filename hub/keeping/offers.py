"""The orders on the chain, as this node sees them: which are for it, and when its turn comes."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping

from digm.chain_pins import MISSES_IN_A_ROW, ChainPins, NodeOnChain, PinOrderOnChain
from digm.keeping import Offer, price_of, turn_of
from digm.placement import Candidate, placement
from hub.chain.state import ChainState, FoundTrack


class Offers:
    """Makes offers of a state of the chain.

    Args:
        present: nodes that are there, by the account that they and the chain name.
        me: this node, as a candidate.
        now: a clock that goes on, in seconds; what time it says does not matter.
    """

    def __init__(
        self,
        account: str,
        me: Candidate,
        present: Callable[[], Mapping[str, Candidate]],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._account, self._me, self._present, self._now = account, me, present, now
        self._seen_at: dict[tuple[int, int], float] = {}

    def of(self, state: ChainState, least_bytes: int, time_s: int, also: Collection[int]) -> dict[int, Offer]:
        """All orders that run, and some others.

        Args:
            least_bytes: what a small track counts as (`min_pin_bytes`).
            time_s: the chain's.
            also: orders that matter in any case.
        """
        tracks = {one.said.track: one for one in (*state.withdrawn, *state.tracks)}
        alive = {one.said.track for one in state.tracks}
        present = self._present()
        found = {}
        for order in state.pins.orders.values():
            if (order.is_closed or order.ends_at <= time_s) and order.order_id not in also:
                continue
            track = tracks.get(order.track)
            if track is not None:
                is_withdrawn = order.track not in alive
                found[order.order_id] = self._offer(
                    state.pins, order, track, present, least_bytes, is_withdrawn
                )
        wanted = {(one.order_id, one.free_places) for one in found.values()}
        self._seen_at = {key: at for key, at in self._seen_at.items() if key in wanted}
        return found

    def _offer(
        self,
        pins: ChainPins,
        order: PinOrderOnChain,
        track: FoundTrack,
        present: Mapping[str, Candidate],
        least_bytes: int,
        is_withdrawn: bool,
    ) -> Offer:
        holders = pins.holders(order.order_id)
        jailed = tuple(sorted(one for one in holders if _is_jailed(pins, one)))
        billed = max(track.said.byte_size, least_bytes)
        free = order.replicas - len(holders) + len(jailed)
        since = self._seen_at.setdefault((order.order_id, free), self._now())
        others = {
            account: able
            for account, able in present.items()
            if account not in holders and account != self._account and _could_take(pins.nodes.get(account))
        }
        # Each order has an order of nodes of its own, or one would be the first of all of an artist's orders.
        subject = track.said.track_root + order.order_id.to_bytes(32, "big")
        turn = placement(subject, [*others.values(), self._me]).index(self._me.node)
        return Offer(
            order_id=order.order_id,
            audit_root=track.said.audit_root,
            billed_bytes=billed,
            byte_size=track.said.byte_size,
            price=price_of(order.rate, billed),
            ends_at=order.ends_at,
            replicas=order.replicas,
            taken=len(holders),
            jailed=jailed,
            is_withdrawn=is_withdrawn,
            turn=turn,
            waited_s=self._now() - since,
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
