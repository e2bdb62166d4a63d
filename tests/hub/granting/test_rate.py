"""The rate limit per address."""

import pytest

from digm.errors import Unavailable
from hub.granting.rate import RateLimit, address_group


def test_a_burst_is_allowed_then_the_rate_counts() -> None:
    limit = RateLimit(per_minute=6)
    for _ in range(6):
        limit.take("192.0.2.1", now=0)
    with pytest.raises(Unavailable) as failure:
        limit.take("192.0.2.1", now=0)
    assert failure.value.data["retry_after_s"] == 11
    limit.take("192.0.2.1", now=10.1)
    limit.take("192.0.2.2", now=0)


def test_one_ipv6_subscriber_is_one_address() -> None:
    assert address_group("2001:db8::1") == address_group("2001:db8::ffff:1")
    assert address_group("2001:db8::1") != address_group("2001:db8:0:1::1")
    assert address_group("::ffff:192.0.2.1") == address_group("192.0.2.1")
    assert address_group("nonsense") == "unknown"
