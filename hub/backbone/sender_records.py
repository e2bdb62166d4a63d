"""The signed record of its addresses that a neighbour puts into each RPC of gossip, verified when it is new.

py-libp2p 0.8.1 verifies and keeps it twice for every RPC: about a tenth of what gossip costs a node.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import libp2p.pubsub.gossipsub as gossipsub_module
import libp2p.pubsub.pubsub as pubsub_module
import trio
from libp2p.pubsub.utils import maybe_consume_signed_record

CHECKED_AGAIN_S = 1_800.0  # the library keeps addresses for two hours
MOST_KEPT = 1_024

Check = Callable[[Any, Any, Any], bool]


class SenderRecords:
    """What neighbours sent last.

    Args:
        check: verifies the record of an RPC and keeps it: `(rpc, host, peer)`.
        now: seconds of any clock.
    """

    def __init__(self, check: Check, now: Callable[[], float] = trio.current_time) -> None:
        self._check, self._now = check, now
        self._checked: OrderedDict[tuple[str, str], tuple[bytes, float]] = OrderedDict()

    def check(self, rpc: Any, host: Any, peer: Any) -> bool:
        """Whether the RPC has a valid record of its sender, or none."""
        if not rpc.HasField("senderRecord"):
            return True
        whose, now = (str(host.get_id()), str(peer)), self._now()
        digest = hashlib.sha256(rpc.senderRecord).digest()
        known, until = self._checked.get(whose, (b"", 0.0))
        if known == digest and now < until:
            return True
        if not self._check(rpc, host, peer):
            return False
        self._checked[whose] = digest, now + CHECKED_AGAIN_S
        self._checked.move_to_end(whose)
        if len(self._checked) > MOST_KEPT:
            self._checked.popitem(last=False)
        return True


def remember_records() -> None:
    """For all gossip of this process."""
    records = SenderRecords(maybe_consume_signed_record)
    for module in (pubsub_module, gossipsub_module):
        vars(module)["maybe_consume_signed_record"] = records.check
