"""The hub's part in pin orders: takes those of the artists who publish here, and knows how far each is.

A hub keeps no copies for others and says so, so that nodes do not wait for it.
"""

import time
from collections.abc import Iterable

from digm.backbone_messages import PIN
from digm.errors import PeerFault
from digm.ids import from_hex, to_hex
from digm.pinning import (
    DAY_S,
    MAX_ORDER_BYTES,
    AnswerState,
    Decline,
    PinAnswer,
    PinOrder,
    encode_pin_answer,
    is_active,
    parse_pin_order,
)
from digm.token_bucket import TokenBucket
from hub.pinning.network import Identity, Network
from hub.pinning.order_desk import OrderDesk, Ordered, OrderProgress
from hub.services import Services
from hub.signatures import verify

DECLINED_AGAIN_S = 300.0  # one order that is said again, for nodes that are new
DECLINES_PER_S, DECLINES_AT_ONCE = 2.0, 20.0
MOST_SHOWN = 500


class HubOrders:
    """The orders that this hub knows.

    Args:
        desk: already started, or to be.
    """

    def __init__(self, services: Services, network: Network, identity: Identity, desk: OrderDesk) -> None:
        self._services, self._network, self._identity, self._desk = services, network, identity, desk
        self._declined: dict[bytes, float] = {}
        self._pace = TokenBucket(DECLINES_PER_S, DECLINES_AT_ONCE, time.monotonic())

    def serve(self) -> None:
        """Answer orders on the stream."""
        self._network.serve(
            PIN.name, self._on_request, most_bytes=MAX_ORDER_BYTES, timeout_s=PIN.timeout_s, parallel=16
        )

    async def place(self, document: bytes) -> OrderProgress:
        """Take an artist's order for a track that is published here, and give it to the network.

        It is on the disk when this returns, and is said again while it is valid and not held.

        Raises:
            PeerFault: `pin_order_forged`, `pin_order_replayed`, ...; `pin_order_mismatch`: not the artist's.
            Unavailable: `track_not_found`; `records_failed`: it was not kept.
            CallerFault: `order_book_full`.
        """
        order = parse_pin_order(document, time.time(), verify)
        entry = await self._services.track(to_hex(order.track_root))
        if (entry.artist_key, entry.manifest_hash) != (to_hex(order.artist), to_hex(order.manifest_hash)):
            raise PeerFault(
                "pin_order_mismatch",
                "The pin order is not by the artist who published this track, or for another edition of it.",
            )
        order = await self._desk.place(document)
        item = self._desk.orders.get(order.order_id)
        if item is None:  # over in this very moment
            raise PeerFault("pin_order_expired", "The pin order has expired.")
        return self._look(item)

    def active(self) -> list[PinOrder]:
        """The orders that ask for copies now, whoever signed them."""
        now_s = time.time()
        return [item.order for item in self._desk.orders.values() if is_active(item.order, now_s)]

    def placed_here(self) -> list[OrderProgress]:
        """How far the orders are that this hub was given, the newest first; at most MOST_SHOWN."""
        return self._progress(item for item in self._desk.orders.values() if item.is_placed_here)

    async def of_track(self, track_root: str) -> list[OrderProgress]:
        """The same of a track that is published here: its artist's orders, wherever they were given.

        Raises:
            Unavailable: `track_not_found`.
        """
        entry = await self._services.track(track_root)
        root, artist = from_hex(entry.track_root), from_hex(entry.artist_key)
        # Anybody can sign an order for a track root; only the artist's counts.
        return self._progress(
            item
            for item in self._desk.orders.values()
            if (item.order.track_root, item.order.artist) == (root, artist)
        )

    def _progress(self, items: Iterable[Ordered]) -> list[OrderProgress]:
        newest_first = sorted(items, key=lambda item: (-item.order.issued_at, item.order.order_id))
        return [self._look(item) for item in newest_first[:MOST_SHOWN]]

    def _look(self, item: Ordered) -> OrderProgress:
        progress = self._desk.progress(item)
        progress.declined.pop(self._identity.node_key, None)  # that we keep no copies is no news to anybody
        return progress

    async def tick(self) -> None:
        """Keep, say again, decline, forget.

        Raises:
            Unavailable: backbone or disk fail just now; the next call goes on.
        """
        await self._desk.keep_changes()
        await self._desk.sweep()
        for over in self._desk.over():
            self._desk.forget(over)
            self._declined.pop(over.order.order_id, None)
        for item in list(self._desk.orders.values()):
            declined_at = self._declined.get(item.order.order_id)
            is_new = declined_at is None or item.heard_at > declined_at + DECLINED_AGAIN_S
            if item.is_placed_here or is_new:
                holders = self._desk.holders(item.order)
                await self._desk.repeat(item, holders, is_ours=False)
                # A flood of orders must not make us flood the others.
                if is_new and self._pace.take(1, time.monotonic()):
                    await self._decline(item, holders)

    async def _decline(self, item: Ordered, holders: set[bytes]) -> None:
        if len(holders) < item.order.desired_replicas:
            await self._network.publish(self._no(item.order))
        self._declined[item.order.order_id] = item.heard_at

    async def _on_request(self, peer: str, request: bytes) -> bytes:
        """An order on the stream. Raises as `OrderDesk.asked`."""
        return self._no(await self._desk.asked(peer, request))

    def _no(self, order: PinOrder) -> bytes:
        now_s = int(time.time())
        me, state = self._identity.node_key, AnswerState.DECLINED
        answer = PinAnswer(me, order.order_id, state, Decline.POLICY, now_s, now_s + DAY_S)
        return encode_pin_answer(answer, self._identity.sign)
