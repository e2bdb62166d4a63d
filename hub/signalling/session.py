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
from digm.token_bucket import TokenBucket
from hub.signalling import fast_lane
from hub.signalling.allowance import Allowance, SwarmBucket
from hub.signalling.bus import Bus, Deliver
from hub.signalling.metrics import MESSAGES, REDIRECTS, REFUSED, REPORTS
from hub.signalling.presence import Member, Presence
from hub.signalling.settings import SignallingSettings
from hub.signalling.tokens import check_swarm_token

IceServers = tuple[messages.IceServer, ...]
REPORT_CODES = frozenset({"wrong_hash", "garbage", "flood", "lies", "silent"})
MAX_CANDIDATE_PAIRS = 64  # other peers whose candidates of this session are counted


@dataclass(frozen=True)
class Surroundings:
    """What all sessions of a hub share.

    Attributes:
        home: the `/signal` address of the hub where a swarm lives; None: here.
        ice_servers: for a session id and the host it dialled: the servers, and for how many seconds.
        swarm_bucket: how much may be relayed in a swarm.
        relay_offered: a node's TURN server: (peer id, urls, secret). False when it is not wanted.
        is_elder: whether the operator named this node (peer id): it needs no token.
        unix_now: for what expires on the calendar.
    """

    presence: Presence
    bus: Bus
    settings: SignallingSettings
    swarm_secret: bytes
    home: Callable[[str], str | None]
    ice_servers: Callable[[str, str], tuple[IceServers, int]]
    swarm_bucket: Callable[[str, float], SwarmBucket]
    relay_offered: Callable[[str, tuple[str, ...], str | None], bool]
    is_elder: Callable[[str], bool]
    unix_now: Callable[[], float]


class HubSession:
    """One peer's session.

    Attributes:
        is_over: too many faults, or the hello was wrong: close the socket.
        owes: a swarm's bucket when that is empty: what comes next should wait for it.

    Args:
        session_id: random, for logs, TURN and the peer.
        nonce: 64 hex digits, fresh for this connection.
        network: whom limits on addresses are for.
        host: the Host header of the peer's request.
        deliver: puts a message on this session's socket, without waiting.
        proven: called with the peer id when it is proven, before `welcome`.
    """

    __slots__ = (
        "_around", "_candidates", "_deliver", "_faults", "_host", "_joined", "_network", "_nonce", "_proven",
        "_role", "is_over", "owes", "peer", "session_id",
    )  # fmt: skip

    def __init__(
        self,
        around: Surroundings,
        session_id: str,
        nonce: str,
        network: str,
        host: str,
        deliver: Deliver,
        proven: Callable[[str], None],
    ) -> None:
        self._around = around
        self._nonce = nonce
        self._network = network
        self._host = host
        self._deliver = deliver
        self._proven = proven
        self._faults = 0
        self._role = messages.LISTENER
        self._joined: dict[str, Allowance] = {}
        self._candidates: dict[tuple[str, str], int] = {}
        self.session_id = session_id
        self.peer: str | None = None
        self.is_over = False
        self.owes: TokenBucket | None = None
        self._say(messages.Challenge(nonce))

    def receive(self, data: bytes | bytearray, now: float) -> None:
        """Take one text message.

        Raises:
            UnicodeDecodeError: the text is not UTF-8; the connection cannot go on (RFC 6455 §8.1).
        """
        if self.is_over:
            return
        message = fast_lane.decode(data) if self.peer else None
        if message is None or not self._took_fast(message, now):
            self._receive_slowly(data.decode(), now)

    def _took_fast(self, message: fast_lane.Relayed | fast_lane.Announce, now: float) -> bool:
        """Deal with a message in which nothing is wrong. False: nothing was done, ask the ordinary way."""
        allowance = self._joined.get(message.track)
        if allowance is None:
            return False
        if isinstance(message, fast_lane.Announce):
            expires_at = now + self._around.settings.presence_s
            if not self._around.presence.renew(message.track, self._me, message.share, expires_at):
                return False
            MESSAGES["announce"] += 1
            return True
        recipient = message.recipient
        if message.sender != self.peer or recipient == self.peer:
            return False
        if self._around.presence.member(message.track, recipient) is None or not self._may_relay(message):
            return False
        if not allowance.take(now):
            self.owes = allowance.bucket
        allowance.bucket.relayed += 1
        self._around.bus.send(recipient, fast_lane.encode(message))
        MESSAGES[fast_lane.NAMES[type(message)]] += 1
        return True

    def _receive_slowly(self, text: str, now: float) -> None:
        track = None
        try:
            message = messages.decode_from_peer(text)
            track = getattr(message, "track", None)
            handlers = _BEFORE_HELLO if self.peer is None else _AFTER_HELLO
            handler = handlers.get(type(message))
            if handler is None:
                raise PeerFault("message_out_of_turn", "This message cannot come now.")
            handler(self, message, now)
            MESSAGES[messages.SCHEMA[type(message)][0]] += 1
        except PeerFault as fault:
            # Who cannot prove who they are gets no second try on this connection.
            self._faults += 1
            self.is_over = self.peer is None or self._faults > self._around.settings.faults_allowed
            REFUSED.labels(fault.code).inc()
            self._say(messages.Error(fault.code, fault.message, track))

    def end(self) -> None:
        """The socket is gone: leave every swarm."""
        # A newer connection of the same peer may have joined meanwhile: leave it its place.
        if self.peer is not None and self._around.bus.detach(self.peer, self._deliver):
            for track in self._joined:
                self._leave(track)
        self._joined.clear()

    def expired(self, track: str) -> None:
        """Nobody renewed the membership: it is over, and whoever knew the peer is told."""
        self._joined.pop(track, None)
        self._leave(track)

    def move(self, track: str, url: str) -> None:
        """The swarm lives elsewhere from now on. Nobody is told that we left: they will come too."""
        if self._joined.pop(track, None) and self.peer is not None:
            self._around.presence.leave(track, self.peer)
            REDIRECTS.inc()
            self._say(messages.Redirect(track, url))

    def _on_hello(self, hello: messages.Hello, now: float) -> None:
        try:
            key = Ed25519PublicKey.from_public_bytes(from_hex(hello.peer))
            key.verify(bytes.fromhex(hello.signature), messages.hello_message(self._nonce))
        except (InvalidSignature, ValueError) as error:
            raise PeerFault("signature_bad", "The signature does not prove the peer id.") from error
        self.peer = hello.peer
        self._nonce = ""
        self._role = hello.role
        self._around.bus.attach(hello.peer, self._deliver)
        self._proven(hello.peer)
        settings = self._around.settings
        servers, ttl_s = self._around.ice_servers(self.session_id, self._host)
        welcome = messages.Welcome(self.session_id, settings.heartbeat_s, servers, settings.limits(), ttl_s)
        self._say(welcome)

    def _on_join(self, join: messages.Join, now: float) -> None:
        around, settings = self._around, self._around.settings
        if not (self._role == messages.NODE and around.is_elder(self._me)):
            check_swarm_token(around.swarm_secret, from_hex(join.track), join.token, around.unix_now())
        if (home := around.home(join.track)) is not None:
            REDIRECTS.inc()
            self._say(messages.Redirect(join.track, home))
            return
        if join.track not in self._joined and len(self._joined) >= settings.max_swarms_per_session:
            raise PeerFault("too_many_swarms", "This session is in too many swarms.")
        allowance = self._joined.get(join.track) or Allowance(around.swarm_bucket(join.track, now))
        self._joined[join.track] = allowance
        if not allowance.take(now):
            self.owes = allowance.bucket
        member = Member(self._me, self._role, join.share, self._network, now + settings.presence_s)
        entrance = around.presence.enter(join.track, member, min(join.want, settings.max_peers))
        shares = tuple(messages.PeerShare(m.peer, m.share, m.role) for m in entrance.chosen)
        self._say(messages.Peers(join.track, shares, entrance.listeners))
        if entrance.newly_met:
            joined = messages.PeerJoined(join.track, self._me, join.share, self._role)
            around.bus.send_all((m.peer for m in entrance.newly_met), messages.encode(joined).encode())

    def _on_announce(self, announce: messages.Announce, now: float) -> None:
        expires_at = now + self._around.settings.presence_s
        if not self._around.presence.renew(announce.track, self._me, announce.share, expires_at):
            self._joined.pop(announce.track, None)
            raise PeerFault("not_joined", "You are not in this swarm: join it first.")

    def _on_leave(self, leave: messages.Leave, now: float) -> None:
        self._joined.pop(leave.track, None)
        self._leave(leave.track)

    def _on_report(self, report: messages.Report, now: float) -> None:
        me = self._member(report.track)
        if report.peer == self._me:
            raise PeerFault("peer_not_here", "The peer is not in this swarm.")
        REPORTS.labels(report.code if report.code in REPORT_CODES else "other").inc()
        # Only those who were introduced to it count: a stranger cannot know how it behaves.
        if report.peer in me.known:
            self._around.presence.report(report.track, report.peer, self._network)

    def _on_ice(self, ice: messages.Ice, now: float) -> None:
        servers, ttl_s = self._around.ice_servers(self.session_id, self._host)
        self._say(messages.IceServers(servers, ttl_s))

    def _on_offer_relay(self, offer: messages.OfferRelay, now: float) -> None:
        if self._role != messages.NODE:
            raise PeerFault("not_a_node", "Only nodes offer a relay.")
        if not self._around.relay_offered(self._me, offer.urls, offer.secret):
            raise PeerFault("relay_not_wanted", "The operator of this hub has not named you as an elder node.")

    def _on_relayed(self, message: messages.Offer | messages.Answer | messages.Candidate, now: float) -> None:
        if message.sender != self._me:
            raise PeerFault("not_you", "`from` is not the peer id of this session.")
        self._member(message.track)
        recipient = self._around.presence.member(message.track, message.recipient)
        if recipient is None or message.recipient == self._me:
            raise PeerFault("peer_not_here", "The peer is not in this swarm.")
        if not self._may_relay(message):
            raise PeerFault("too_many_candidates", "That is more candidates than one connection has.")
        if not (allowance := self._joined[message.track]).take(now):
            self.owes = allowance.bucket
        allowance.bucket.relayed += 1
        self._around.bus.send(message.recipient, messages.encode(message).encode())

    def _may_relay(self, message: Any) -> bool:
        """Count the candidates of a connection; an offer or an answer begins a new one."""
        if type(message) not in _CANDIDATES:
            if self._candidates:
                self._candidates.pop((message.track, message.recipient), None)
            return True
        pair = (message.track, message.recipient)
        count = self._candidates.get(pair, 0) + 1
        if count > self._around.settings.max_candidates:
            return False
        self._candidates[pair] = count
        if len(self._candidates) > MAX_CANDIDATE_PAIRS:
            del self._candidates[next(iter(self._candidates))]
        return True

    def _member(self, track: str) -> Member:
        member = self._around.presence.member(track, self._me)
        if member is None or track not in self._joined:
            raise PeerFault("not_joined", "You are not in this swarm: join it first.")
        return member

    def _leave(self, track: str) -> None:
        if knew := self._around.presence.leave(track, self._me):
            self._around.bus.send_all(knew, messages.encode(messages.PeerLeft(track, self._me)).encode())

    def _say(self, message: messages.Message) -> None:
        self._deliver(messages.encode(message).encode())

    @property
    def _me(self) -> str:
        assert self.peer is not None  # _AFTER_HELLO is only consulted then
        return self.peer


_CANDIDATES = (messages.Candidate, fast_lane.Candidate)
Handler = Callable[[HubSession, Any, float], None]
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
