"""What one address may use: sockets, new connections, messages. An IPv6 subscriber's /64 counts as one."""

import time
from dataclasses import dataclass

from digm.errors import Unavailable
from digm.token_bucket import TokenBucket
from hub.granting.rate import RateLimit, address_group
from hub.signalling.settings import SignallingSettings


@dataclass(slots=True, eq=False)
class Address:
    """The sessions of one address group and what they may say together."""

    group: str
    bucket: TokenBucket
    sessions: int = 0


class AddressLimits:
    """All addresses that have sessions here."""

    def __init__(self, settings: SignallingSettings) -> None:
        self._settings = settings
        self._opens = RateLimit(settings.address_opens_per_minute)
        self._addresses: dict[str, Address] = {}

    def admit(self, client: str) -> Address:
        """Count one more session of an address; `release` ends it.

        Raises:
            Unavailable: `too_many_requests` or `too_many_sessions`, with `retry_after_s`.
        """
        now = time.monotonic()
        self._opens.take(client, now)
        group = address_group(client)
        address = self._addresses.get(group)
        if address is None:
            settings = self._settings
            bucket = TokenBucket(settings.address_messages_per_s, settings.address_message_burst, now)
            address = self._addresses[group] = Address(group, bucket)
        if address.sessions >= self._settings.sessions_per_address:
            raise Unavailable(
                "too_many_sessions", "Your address has too many connections to this hub.", retry_after_s=30
            )
        address.sessions += 1
        return address

    def release(self, address: Address) -> None:
        """A session ended."""
        address.sessions -= 1
        if not address.sessions:
            self._addresses.pop(address.group, None)
