"""What the node has for orders on the chain: which bytes are kept, and which are whole and proven."""

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from digm.errors import DigmError
from digm.ids import to_hex
from digm.keeping import Own
from hub.chain.state import ChainState, FoundTrack
from hub.keeping.acquiring import is_ready, order_name
from hub.pinning.network import Store

if TYPE_CHECKING:
    from hub.chain.deployment import Deployment
    from hub.keeping.proofs import AuditTrees


class OwnCopies:
    """The store, by orders of one set of contracts."""

    def __init__(self, store: Store, trees: "AuditTrees", deployed: "Deployment") -> None:
        self._store, self._trees, self._deployed = store, trees, deployed
        self._names: dict[int, str] = {}
        self._ready: set[int] = set()

    def name(self, order_id: int) -> str:
        """Under which the store keeps a track for an order."""
        if order_id not in self._names:
            where = self._deployed
            self._names[order_id] = order_name(where.chain_id, where.addresses["pinning"], order_id)
        return self._names[order_id]

    def look(self, state: ChainState, tracks: Mapping[int, FoundTrack]) -> Own:
        """What is here now. Blocks. Raises Unavailable: the store cannot be read."""
        names = {self.name(order_id): order_id for order_id in state.pins.orders}
        kept = {names[pin.pinned_by] for pin in self._store.pins() if pin.pinned_by in names}
        lost = {place.track_root for place in self._store.lost()}
        self._ready &= kept
        for order_id in kept & tracks.keys():
            said = tracks[order_id].said
            if to_hex(said.track_root) in lost:
                self._ready.discard(order_id)
            elif order_id not in self._ready:
                with suppress(DigmError):
                    if is_ready(self._store, self._trees, said):
                        self._ready.add(order_id)
        return Own(frozenset(self._ready), frozenset(kept), self._store.free_bytes())
