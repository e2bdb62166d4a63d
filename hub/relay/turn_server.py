"""The embedded relay's protocol: RFC 8656 for UDP allocations, without IO.

Datagrams and frames come in with the time, answers go out through `Client.send` and `RelaySocket.send`, which
never wait. Sockets are hub.relay.sockets' business, who a client is is hub.relay.authentication's.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aioice import stun

from digm.errors import PeerFault, Unavailable
from hub.granting.rate import RateLimit, address_group
from hub.relay import metrics
from hub.relay.allocation import Allocation, Client, Endpoint, RelaySocket, shared_bucket
from hub.relay.authentication import Authentication, Credential, StunFault
from hub.relay.forbidden import PeerRules
from hub.relay.limits import RelayLimits
from hub.relay.stun_messages import (
    CHANNELS,
    EVEN_PORT,
    REQUESTED_ADDRESS_FAMILY,
    UDP_PROTOCOL,
    UNKNOWN_ATTRIBUTES,
    Request,
    decode,
    decode_channel_data,
    encode_channel_data,
    is_channel_data,
)

_FAMILIES = {1: 4, 2: 6}


@dataclass(frozen=True)
class Times:
    """One moment on both clocks: steady seconds for durations, unix seconds for credentials."""

    steady: float
    unix: float


class TurnServer:
    """All allocations of one relay.

    Args:
        rules: whom it may send to.
        open_relay: binds a relayed socket for a client that reached us at an address, of IP version 4 or 6, at
            an even port or any; None: there is no such address, or no port is left.
        external_ip: what peers see of the relayed addresses; None: what they are bound to.
    """

    def __init__(
        self,
        authentication: Authentication,
        rules: PeerRules,
        limits: RelayLimits,
        open_relay: Callable[[str, int, bool], RelaySocket | None],
        now: float,
        external_ip: str | None = None,
    ) -> None:
        self._authentication = authentication
        self._rules = rules
        self._limits = limits
        self._open_relay = open_relay
        self._external_ip = external_ip
        self._bucket = shared_bucket(limits, now)
        self._challenges = RateLimit(limits.challenges_per_minute)
        self._by_client: dict[object, Allocation] = {}
        self._by_relayed: dict[Endpoint, Allocation] = {}
        self._sessions: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._by_client)

    def has_allocation(self, client: Client) -> bool:
        """Whether a connection is worth keeping."""
        return client.key in self._by_client

    # -- from clients

    def from_client(self, client: Client, data: bytes, now: Times) -> None:
        """Take one datagram or frame. Whatever is in it, nothing is raised."""
        try:
            if is_channel_data(data):
                self._on_channel_data(client, data, now.steady)
                return
            request = decode(data, self._limits.max_request_bytes)
            match request.message.message_class:
                case stun.Class.REQUEST:
                    self._on_request(client, request, now)
                case stun.Class.INDICATION if request.message.message_method is stun.Method.SEND:
                    self._on_send(client, request, now.steady)
        except PeerFault as fault:
            metrics.DROPPED.labels(fault.code).inc()

    def _on_request(self, client: Client, request: Request, now: Times) -> None:
        method = request.message.message_method
        credential: Credential | None = None
        attributes: dict[str, Any] = {}
        try:
            if request.unknown:
                attributes[UNKNOWN_ATTRIBUTES] = b"".join(kind.to_bytes(2, "big") for kind in request.unknown)
                raise StunFault(420, "unknown_attribute", "Unknown Attribute")
            if method is stun.Method.BINDING:
                self._answer(client, request, {"XOR-MAPPED-ADDRESS": client.address}, None, now)
                return
            handler = _HANDLERS.get(method)
            if handler is None:
                raise StunFault(400, "unknown_method", "Bad Request")
            credential = self._authentication.check(request, f"{client.address}", now.unix)
            self._answer(client, request, handler(self, client, request, credential, now), credential, now)
        except StunFault as fault:
            metrics.REQUESTS.labels(method.name.lower(), fault.code).inc()
            attributes["ERROR-CODE"] = (fault.status, fault.message)
            if fault.status in (401, 438):
                attributes["REALM"] = self._authentication.realm
                attributes["NONCE"] = self._authentication.nonce(f"{client.address}", now.unix)
            self._reply(client, request, stun.Class.ERROR, attributes, credential, now)

    def _answer(
        self,
        client: Client,
        request: Request,
        attributes: dict[str, Any],
        credential: Credential | None,
        now: Times,
    ) -> None:
        metrics.REQUESTS.labels(request.message.message_method.name.lower(), "ok").inc()
        self._reply(client, request, stun.Class.RESPONSE, attributes, credential, now)

    def _reply(
        self,
        client: Client,
        request: Request,
        kind: stun.Class,
        attributes: dict[str, Any],
        credential: Credential | None,
        now: Times,
    ) -> None:
        if credential is None:
            try:
                self._challenges.take(client.address[0], now.steady)
            except Unavailable:
                metrics.DROPPED.labels("too_many_challenges").inc()
                return
        answer = stun.Message(request.message.message_method, kind, request.message.transaction_id, attributes)
        if credential is None:
            answer.add_fingerprint()
        else:
            answer.add_message_integrity(credential.key)
        client.send(bytes(answer))

    def _allocate(self, client: Client, request: Request, credential: Credential, now: Times) -> dict[str, Any]:
        known = self._by_client.get(client.key)
        if known is not None:
            # The answer got lost and the request came again.
            if known.transaction_id == request.message.transaction_id:
                return self._allocated(known, now)
            raise StunFault(437, "allocation_mismatch", "Allocation Mismatch")
        transport = request.get("REQUESTED-TRANSPORT")
        if transport is None:
            raise StunFault(400, "bad_request", "Bad Request")
        if transport >> 24 != UDP_PROTOCOL:
            raise StunFault(442, "transport_unsupported", "Unsupported Transport Protocol")
        even_port = request.get(EVEN_PORT)
        if even_port is not None and even_port[:1] != b"\0":
            raise StunFault(508, "no_reservations", "Insufficient Capacity")  # for RTP and RTCP: not WebRTC's
        lifetime_s = self._lifetime(request, credential, now)
        self._check_quota(client, credential)
        socket = self._open_relay(client.local_ip, _family_of(request), even_port is not None)
        if socket is None:
            raise StunFault(508, "no_port", "Insufficient Capacity")
        relayed = (self._external_ip or socket.address[0], socket.address[1])
        until = now.steady + lifetime_s
        allocation = Allocation(client, credential, socket, relayed, until, self._limits, now.steady)
        allocation.transaction_id = request.message.transaction_id
        self._by_client[client.key] = self._by_relayed[relayed] = allocation
        self._sessions[credential.session] += 1
        self._addresses[address_group(client.address[0])] += 1
        metrics.ALLOCATIONS.inc()
        return self._allocated(allocation, now)

    def _allocated(self, allocation: Allocation, now: Times) -> dict[str, Any]:
        return {
            "XOR-RELAYED-ADDRESS": allocation.relayed,
            "XOR-MAPPED-ADDRESS": allocation.client.address,
            "LIFETIME": max(0, round(allocation.until - now.steady)),
        }

    def _check_quota(self, client: Client, credential: Credential) -> None:
        limits = self._limits
        if self._sessions[credential.session] >= limits.allocations_per_session:
            raise StunFault(486, "session_quota", "Allocation Quota Reached")
        if self._addresses[address_group(client.address[0])] >= limits.allocations_per_address:
            raise StunFault(486, "address_quota", "Allocation Quota Reached")
        if len(self._by_client) >= limits.allocations:
            raise StunFault(508, "relay_full", "Insufficient Capacity")

    def _lifetime(self, request: Request, credential: Credential, now: Times) -> float:
        """Seconds: at most ours, and never beyond the credentials."""
        wanted = request.get("LIFETIME")
        lifetime_s: float = self._limits.lifetime_s if wanted is None else min(wanted, self._limits.lifetime_s)
        return min(lifetime_s, credential.expiry - now.unix)

    def _refresh(self, client: Client, request: Request, credential: Credential, now: Times) -> dict[str, Any]:
        allocation = self._allocation_of(client, credential)
        if request.get("LIFETIME") == 0:
            self._end(allocation)
            return {"LIFETIME": 0}
        lifetime_s = self._lifetime(request, credential, now)
        allocation.until = now.steady + lifetime_s
        return {"LIFETIME": max(0, int(lifetime_s))}

    def _create_permission(
        self, client: Client, request: Request, credential: Credential, now: Times
    ) -> dict[str, Any]:
        allocation = self._allocation_of(client, credential)
        if not request.peers:
            raise StunFault(400, "bad_request", "Bad Request")
        for peer in request.peers:
            self._check_peer(allocation, peer)
        for peer in request.peers:
            allocation.permit(peer, now.steady, only_this_port=self._is_hairpin(peer))
        return {}

    def _channel_bind(
        self, client: Client, request: Request, credential: Credential, now: Times
    ) -> dict[str, Any]:
        allocation = self._allocation_of(client, credential)
        channel = request.get("CHANNEL-NUMBER")
        if channel not in CHANNELS or len(request.peers) != 1:
            raise StunFault(400, "bad_request", "Bad Request")
        (peer,) = request.peers
        self._check_peer(allocation, peer)
        allocation.bind(channel, peer, now.steady)
        allocation.permit(peer, now.steady, only_this_port=self._is_hairpin(peer))
        return {}

    def _allocation_of(self, client: Client, credential: Credential) -> Allocation:
        allocation = self._by_client.get(client.key)
        if allocation is None:
            raise StunFault(437, "allocation_mismatch", "Allocation Mismatch")
        # By session: whoever got fresh credentials for the same session may go on with them.
        if allocation.credential.session != credential.session:
            raise StunFault(441, "wrong_credentials", "Wrong Credentials")
        return allocation

    def _check_peer(self, allocation: Allocation, peer: Endpoint) -> None:
        """Raises StunFault 403 or 443."""
        if not self._is_hairpin(peer) and (why := self._rules.refusal(peer[0])):
            raise StunFault(403, f"forbidden_{why}", "Forbidden")
        if (":" in peer[0]) != (":" in allocation.relayed[0]):
            raise StunFault(443, "family_mismatch", "Peer Address Family Mismatch")

    def _is_hairpin(self, peer: Endpoint) -> bool:
        """Another allocation of this relay: both listeners hide their address. Handed over here, never sent."""
        return peer in self._by_relayed

    # -- data

    def _on_channel_data(self, client: Client, data: bytes, now: float) -> None:
        allocation = self._by_client.get(client.key)
        channel, payload = decode_channel_data(data)
        peer = allocation.peer_of(channel, now) if allocation else None
        if allocation is None or peer is None:
            raise PeerFault("no_channel", "Nobody is bound to this channel.")
        self._to_peer(allocation, payload, peer, now)

    def _on_send(self, client: Client, request: Request, now: float) -> None:
        allocation, payload = self._by_client.get(client.key), request.get("DATA")
        if allocation is None or payload is None or len(request.peers) != 1 or request.unknown:
            raise PeerFault("send_bad", "This indication sends nothing to anybody.")
        self._to_peer(allocation, payload, request.peers[0], now)

    def _to_peer(self, allocation: Allocation, payload: bytes, peer: Endpoint, now: float) -> None:
        if not allocation.is_permitted(peer, now) or allocation.until <= now:
            raise PeerFault("no_permission", "The peer is not permitted.")
        self._take(allocation, len(payload), now)
        metrics.RELAYED.labels("to_peer").inc(len(payload))
        other = self._by_relayed.get(peer)
        if other is None:
            # Asked again: a permission for our own address is for the port of an allocation, which may be gone.
            if self._rules.refusal(peer[0]):
                raise PeerFault("peer_gone", "There is no such allocation any more.")
            allocation.socket.send(payload, peer)
        else:
            self._from_peer(other, payload, allocation.relayed, now)

    def _take(self, allocation: Allocation, length: int, now: float) -> None:
        if length > self._limits.max_payload_bytes:
            raise PeerFault("packet_too_long", "The packet is longer than any of WebRTC's.")
        if not allocation.bucket.take(length, now):
            raise PeerFault("allocation_rate", "The allocation sends too fast.")
        if not self._bucket.take(length, now):
            raise PeerFault("relay_rate", "The relay has no bandwidth left.")

    def from_peer(self, socket: RelaySocket, payload: bytes, peer: Endpoint, now: Times) -> None:
        """Take a datagram that arrived at a relayed address. Nothing is raised."""
        relayed = (self._external_ip or socket.address[0], socket.address[1])
        allocation = self._by_relayed.get(relayed)
        if allocation is None or allocation.socket is not socket:
            return
        try:
            self._from_peer(allocation, payload, peer, now.steady)
        except PeerFault as fault:
            metrics.DROPPED.labels(fault.code).inc()

    def _from_peer(self, allocation: Allocation, payload: bytes, peer: Endpoint, now: float) -> None:
        if not allocation.is_permitted(peer, now) or allocation.until <= now:
            raise PeerFault("no_permission", "The peer is not permitted.")
        self._take(allocation, len(payload), now)
        metrics.RELAYED.labels("to_client").inc(len(payload))
        channel = allocation.channel_of(peer, now)
        if channel is not None:
            allocation.client.send(encode_channel_data(channel, payload))
            return
        indication = stun.Message(stun.Method.DATA, stun.Class.INDICATION)
        indication.attributes = {"XOR-PEER-ADDRESS": peer, "DATA": payload}
        allocation.client.send(bytes(indication))

    # -- the end of things

    def client_gone(self, client: Client) -> None:
        """A TCP or TLS connection ended, and its allocation with it (RFC 8656 §3.1)."""
        if allocation := self._by_client.get(client.key):
            self._end(allocation)

    def tick(self, now: float) -> None:
        """End the allocations whose time is over."""
        for allocation in [one for one in self._by_client.values() if one.until <= now]:
            self._end(allocation)

    def close(self) -> None:
        """End all of them."""
        for allocation in list(self._by_client.values()):
            self._end(allocation)

    def _end(self, allocation: Allocation) -> None:
        del self._by_client[allocation.client.key]
        del self._by_relayed[allocation.relayed]
        for counter, key in (
            (self._sessions, allocation.credential.session),
            (self._addresses, address_group(allocation.client.address[0])),
        ):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]
        allocation.socket.close()
        metrics.ALLOCATIONS.dec()


def _family_of(request: Request) -> int:
    value = request.get(REQUESTED_ADDRESS_FAMILY)
    if value is None:
        return 4
    if len(value) != 4 or value[0] not in _FAMILIES:
        raise StunFault(440, "family_unsupported", "Address Family not Supported")
    return _FAMILIES[value[0]]


Handler = Callable[[TurnServer, Client, Request, Credential, Times], dict[str, Any]]
_HANDLERS: dict[stun.Method, Handler] = {
    stun.Method.ALLOCATE: TurnServer._allocate,
    stun.Method.REFRESH: TurnServer._refresh,
    stun.Method.CREATE_PERMISSION: TurnServer._create_permission,
    stun.Method.CHANNEL_BIND: TurnServer._channel_bind,
}
