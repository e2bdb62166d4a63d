"""The hub's half of one signalling session: text in, messages out; no sockets, no clock.

Nothing a peer sends ends in an exception: it is answered with `error {code}`, counted, and after too many of
them `is_over` tells the socket's owner to close.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from digm import signalling as messages
from digm.errors import PeerFault
from digm.ids import from_hex
from hub.signalling.metrics import MESSAGES, REFUSED
from hub.signalling.settings import SignallingSettings
from hub.signalling.swarms import Deliver, Swarms
from hub.signalling.tokens import check_swarm_token

Relayed = messages.Offer | messages.Answer | messages.Candidate


@dataclass(frozen=True)
class Times:
    """`steady` for presence, `unix` for the expiry of tokens; both in seconds."""

    steady: float
    unix: float


class HubSession:
    """One peer's session.

    Args:
        session_id: random, for logs and the peer.
        nonce: 64 hex digits, fresh for this connection.
        deliver: puts a message on this session's socket, without waiting.
        proven: called with the peer id when it is proven, before `welcome`.
    """

    def __init__(
        self,
        swarms: Swarms,
        settings: SignallingSettings,
        secret: bytes,
        ice_servers: tuple[messages.IceServer, ...],
        session_id: str,
        nonce: str,
        deliver: Deliver,
        proven: Callable[[str], None],
    ) -> None:
        self._swarms = swarms
        self._settings = settings
        self._secret = secret
        self._ice_servers = ice_servers
        self._nonce = nonce
        self._deliver = deliver
        self._proven = proven
        self._faults = 0
        self._joined: set[str] = set()
        self._candidates: dict[tuple[str, str], int] = {}
        self.session_id = session_id
        self.peer: str | None = None
        self._role = messages.LISTENER
        deliver(messages.Challenge(nonce))

    @property
    def is_over(self) -> bool:
        """Too many faults, or the hello was wrong: close the socket."""
        return self._faults > self._settings.faults_allowed

    def receive(self, text: str, times: Times) -> None:
        """Take one text message."""
        track = None
        try:
            message = messages.decode_from_peer(text)
            track = getattr(message, "track", None)
            handlers = _BEFORE_HELLO if self.peer is None else _AFTER_HELLO
            handler = handlers.get(type(message))
            if handler is None:
                raise PeerFault("message_out_of_turn", "This message cannot come now.")
            handler(self, message, times)
            MESSAGES.labels(messages.SCHEMA[type(message)][0]).inc()
        except PeerFault as fault:
            # Who cannot prove who they are gets no second try on this connection.
            self._faults += 1 if self.peer else self._settings.faults_allowed + 1
            REFUSED.labels(fault.code).inc()
            self._deliver(messages.Error(fault.code, fault.message, track))

    def end(self) -> None:
        """The socket is gone: leave every swarm."""
        if self.peer is not None:
            for track in self._joined:
                member = self._swarms.member(track, self.peer)
                # A newer connection of the same peer may have joined meanwhile: leave it its place.
                if member and member.deliver is self._deliver:
                    self._swarms.leave(track, self.peer)
        self._joined.clear()

    def _on_hello(self, hello: messages.Hello, times: Times) -> None:
        try:
            key = Ed25519PublicKey.from_public_bytes(from_hex(hello.peer))
            key.verify(bytes.fromhex(hello.signature), messages.hello_message(self._nonce))
        except (InvalidSignature, ValueError) as error:
            raise PeerFault("signature_bad", "The signature does not prove the peer id.") from error
        self.peer = hello.peer
        self._role = hello.role
        self._proven(hello.peer)
        settings = self._settings
        self._deliver(
            messages.Welcome(self.session_id, settings.heartbeat_s, self._ice_servers, settings.limits())
        )

    def _on_join(self, join: messages.Join, times: Times) -> None:
        check_swarm_token(self._secret, from_hex(join.track), join.token, times.unix)
        if join.track not in self._joined and len(self._joined) >= self._settings.max_swarms_per_session:
            raise PeerFault("too_many_swarms", "This session is in too many swarms.")
        self._joined.add(join.track)
        want = min(join.want, self._settings.max_peers)
        peers = self._swarms.join(
            join.track, self._me, self._role, join.share, want, self._deliver, times.steady
        )
        self._deliver(messages.Peers(join.track, peers, self._swarms.listeners(join.track)))

    def _on_announce(self, announce: messages.Announce, times: Times) -> None:
        if not self._swarms.announce(announce.track, self._me, announce.share, times.steady):
            self._joined.discard(announce.track)
            raise PeerFault("not_joined", "You are not in this swarm: join it first.")

    def _on_leave(self, leave: messages.Leave, times: Times) -> None:
        self._joined.discard(leave.track)
        self._swarms.leave(leave.track, self._me)

    def _on_report(self, report: messages.Report, times: Times) -> None:
        if self._swarms.member(report.track, self._me) is None:
            raise PeerFault("not_joined", "You are not in this swarm: join it first.")

    def _on_ice(self, ice: messages.Ice, times: Times) -> None:
        self._deliver(messages.IceServers(self._ice_servers))

    def _on_offer_relay(self, offer: messages.OfferRelay, times: Times) -> None:
        if self._role != messages.NODE:
            raise PeerFault("not_a_node", "Only nodes offer a relay.")

    def _on_relayed(self, message: Relayed, times: Times) -> None:
        if message.sender != self._me:
            raise PeerFault("not_you", "`from` is not the peer id of this session.")
        if self._swarms.member(message.track, self._me) is None:
            raise PeerFault("not_joined", "You are not in this swarm: join it first.")
        recipient = self._swarms.member(message.track, message.recipient)
        if recipient is None or message.recipient == self._me:
            raise PeerFault("peer_not_here", "The peer is not in this swarm.")
        self._count_candidates(message)
        recipient.deliver(message)

    def _count_candidates(self, message: Relayed) -> None:
        pair = (message.track, message.recipient)
        if not isinstance(message, messages.Candidate):
            self._candidates.pop(pair, None)
            return
        count = self._candidates.get(pair, 0) + 1
        if count > self._settings.max_candidates:
            raise PeerFault("too_many_candidates", "That is more candidates than one connection has.")
        self._candidates[pair] = count
        if len(self._candidates) > self._settings.max_swarms_per_session:
            del self._candidates[next(iter(self._candidates))]

    @property
    def _me(self) -> str:
        assert self.peer is not None  # _AFTER_HELLO is only consulted then
        return self.peer


Handler = Callable[[HubSession, Any, Times], None]
_BEFORE_HELLO: Mapping[type, Handler] = {messages.Hello: HubSession._on_hello}
_AFTER_HELLO: Mapping[type, Handler] = {
    messages.Join: HubSession._on_join,
    messages.Announce: HubSession._on_announce,
    messages.Leave: HubSession._on_leave,
    messages.Offer: HubSession._on_relayed,
    messages.Answer: HubSession._on_relayed,
    messages.Candidate: HubSession._on_relayed,
    messages.Report: HubSession._on_report,
    messages.Ice: HubSession._on_ice,
    messages.OfferRelay: HubSession._on_offer_relay,
}
