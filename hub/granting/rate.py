"""A rate limit per address. Sans-IO like the bucket under it: `now` is an argument; memory is bounded."""

import ipaddress
from collections import OrderedDict

from digm.errors import Unavailable
from digm.token_bucket import TokenBucket

MAX_ADDRESSES = 50_000


def address_group(address: str) -> str:
    """Whom a limit is for: an IPv4 address, or the /64 that one IPv6 subscriber gets (RFC 6177)."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


class RateLimit:
    """Allows `per_minute` on average, and as many at once after a rest, per address group."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, address: str, now: float) -> None:
        """Count one request.

        Raises:
            Unavailable: `too_many_requests`, with `retry_after_s`.
        """
        group = address_group(address)
        bucket = self._buckets.pop(group, None) or TokenBucket(self._per_minute / 60, self._per_minute, now)
        self._buckets[group] = bucket
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)  # whoever was away for the longest time has refilled most
        if not bucket.take(1, now):
            raise Unavailable(
                "too_many_requests",
                "Too many requests; wait a moment and try again.",
                retry_after_s=int(bucket.ready_at(1, now) - now) + 1,
            )
