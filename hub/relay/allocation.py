"""One allocation: a relayed address lent to one client, and which peers may use it. Sans-IO."""

from typing import Protocol

from digm.token_bucket import TokenBucket
from hub.relay.authentication import Credential, StunFault
from hub.relay.limits import RelayLimits

Endpoint = tuple[str, int]  # address and port


class Client(Protocol):
    """Where requests come from: a UDP five-tuple, or a TCP or TLS connection."""

    @property
    def address(self) -> Endpoint:
        """The client's end."""

    @property
    def local_ip(self) -> str:
        """Our end."""

    @property
    def key(self) -> object:
        """Equal for messages of one five-tuple."""

    def send(self, message: bytes) -> None:
        """Send a whole message; never waits, may drop."""


class RelaySocket(Protocol):
    """A bound UDP socket on the relay's side."""

    @property
    def address(self) -> Endpoint:
        """Where it is bound."""

    def send(self, payload: bytes, peer: Endpoint) -> None:
        """Send a datagram; never waits, may drop."""

    def close(self) -> None:
        """Give the port back."""


class Allocation:
    """State of one relayed address.

    Args:
        relayed: as peers see it.
        until: steady seconds.
    """

    def __init__(
        self,
        client: Client,
        credential: Credential,
        socket: RelaySocket,
        relayed: Endpoint,
        until: float,
        limits: RelayLimits,
        now: float,
    ) -> None:
        self.client = client
        self.credential = credential
        self.socket = socket
        self.relayed = relayed
        self.until = until
        self.bucket = TokenBucket(
            limits.allocation_bytes_per_s, _burst(limits.allocation_bytes_per_s, limits), now
        )
        self.transaction_id = b""
        self._limits = limits
        self._permissions: dict[str, float] = {}
        self._own_ports: dict[Endpoint, float] = {}
        self._peer_of: dict[int, Endpoint] = {}
        self._channel_of: dict[Endpoint, int] = {}
        self._channel_until: dict[int, float] = {}

    def permit(self, peer: Endpoint, now: float, *, only_this_port: bool = False) -> None:
        """Let data of a peer's address in and out for a while.

        Args:
            only_this_port: the address is the relay's own, where a permission must not cover other services.
        Raises:
            StunFault: 508.
        """
        until = now + self._limits.permission_s
        if only_this_port:
            self._put(self._own_ports, peer, until, now)
        else:
            self._put(self._permissions, peer[0], until, now)

    def _put(
        self, table: dict[str, float] | dict[Endpoint, float], key: str | Endpoint, until: float, now: float
    ) -> None:
        if key not in table and len(table) >= self._limits.permissions:
            for old in [old for old, end in table.items() if end <= now]:
                del table[old]  # type: ignore[arg-type]
            if len(table) >= self._limits.permissions:
                raise StunFault(508, "too_many_permissions", "Insufficient Capacity")
        table[key] = until  # type: ignore[index]

    def is_permitted(self, peer: Endpoint, now: float) -> bool:
        """Whether a permission for the peer is alive."""
        return self._permissions.get(peer[0], 0.0) > now or self._own_ports.get(peer, 0.0) > now

    def bind(self, channel: int, peer: Endpoint, now: float) -> None:
        """Bind a channel to a peer, or keep the binding (RFC 8656 §12.2).

        Raises:
            StunFault: 400 where channel or peer are bound otherwise, 508.
        """
        for number in [number for number, until in self._channel_until.items() if until <= now]:
            self._channel_of.pop(self._peer_of.pop(number), None)
            del self._channel_until[number]
        if self._peer_of.get(channel, peer) != peer or self._channel_of.get(peer, channel) != channel:
            raise StunFault(400, "channel_in_use", "Bad Request")
        if channel not in self._peer_of and len(self._peer_of) >= self._limits.channels:
            raise StunFault(508, "too_many_channels", "Insufficient Capacity")
        self._peer_of[channel], self._channel_of[peer] = peer, channel
        self._channel_until[channel] = now + self._limits.channel_s

    def peer_of(self, channel: int, now: float) -> Endpoint | None:
        """The peer that a channel is bound to."""
        return self._peer_of.get(channel) if self._channel_until.get(channel, 0.0) > now else None

    def channel_of(self, peer: Endpoint, now: float) -> int | None:
        """The channel that is bound to a peer."""
        channel = self._channel_of.get(peer)
        return channel if channel is not None and self._channel_until[channel] > now else None


def _burst(rate: float, limits: RelayLimits) -> float:
    """What a bucket holds; always room for one packet."""
    return max(rate * limits.burst_s, limits.max_payload_bytes)


def shared_bucket(limits: RelayLimits, now: float) -> TokenBucket:
    """The bucket that all allocations draw from."""
    return TokenBucket(limits.bytes_per_s, _burst(limits.bytes_per_s, limits), now)
