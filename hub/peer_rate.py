"""How often peers may ask for something: each, and all together. `now` is an argument; memory is bounded."""

from collections import OrderedDict

from digm.errors import Unavailable
from digm.token_bucket import TokenBucket

MOST_PEERS = 4_096


class PeerRate:
    """A token bucket for each peer, and one for all.

    Args:
        each_per_s, each_at_once: of one peer, on average and after a rest.
        all_per_s, all_at_once: of all together. Ids cost nothing: who makes many shares this with everybody.
    """

    def __init__(
        self, each_per_s: float, each_at_once: float, all_per_s: float, all_at_once: float, now: float
    ) -> None:
        self._each = each_per_s, each_at_once
        self._all = TokenBucket(all_per_s, all_at_once, now)
        self._peers: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, peer: str, now: float) -> None:
        """Count one request.

        Raises:
            Unavailable: `too_many_requests`, with `retry_after_s`: a caller over libp2p is told BUSY.
        """
        bucket = self._peers.pop(peer, None) or TokenBucket(*self._each, now)
        self._peers[peer] = bucket
        if len(self._peers) > MOST_PEERS:
            self._peers.popitem(last=False)  # whoever was away for the longest time has refilled most
        # The own measure first: who is over it takes nothing from the others.
        for limit in (bucket, self._all):
            if not limit.take(1, now):
                wait_s = int(limit.ready_at(1, now) - now) + 1
                raise Unavailable("too_many_requests", "Too many requests.", retry_after_s=wait_s)
