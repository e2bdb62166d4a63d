"""How much may be on its way to clients at once: what a crowd of slow readers can hold in memory.

A body belongs to its request until the last byte is taken. The cache is bounded, but what a slow reader holds
outlives its place in the cache, so that it is counted here.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from digm.errors import Unavailable
from hub.gateway.tcp import is_here

MOST_SENDING_BYTES = 96 * 1024 * 1024
MOST_OF_ADDRESS_BYTES = 32 * 1024 * 1024
# The slowest that is still served: 32 kbit/s, after a while for whoever is just waking up.
GRACE_S = 30.0
SLOWEST_BYTES_PER_S = 4_096


def longest_send_s(size: int) -> float:
    """When a client that takes `size` bytes is too slow."""
    return GRACE_S + size / SLOWEST_BYTES_PER_S


class SendingBudget:
    """Bytes on their way, of one process, and of each address in it.

    Addresses of this machine are not counted one by one: a reverse proxy here stands for many clients.
    """

    def __init__(
        self, most_bytes: int = MOST_SENDING_BYTES, most_of_address: int = MOST_OF_ADDRESS_BYTES
    ) -> None:
        self._most_bytes, self._most_of_address = most_bytes, most_of_address
        self._of_address: Counter[str] = Counter()
        self.sending_bytes = 0

    @contextmanager
    def take(self, address: str, size: int) -> Iterator[None]:
        """Count a body while it is sent.

        Raises:
            Unavailable: `gateway_busy`; the client should come back in a second, or ask elsewhere.
        """
        is_counted = not is_here(address)
        is_over = self.sending_bytes + size > self._most_bytes
        if is_over or (is_counted and self._of_address[address] + size > self._most_of_address):
            raise Unavailable("gateway_busy", "Too much is on its way already: ask again in a second.")
        self.sending_bytes += size
        if is_counted:
            self._of_address[address] += size
        try:
            yield
        finally:
            self.sending_bytes -= size
            if is_counted:
                self._of_address[address] -= size
                if not self._of_address[address]:
                    del self._of_address[address]
