"""The session that a peer keeps with a hub, sans-IO: the page and the seeding process share it.

    client = SignallingClient(my_peer_id, random=random.random)
    socket opens:   client.connected(now)
    on text:        for event in client.receive(text, now): ...
    on a timer:     client.tick(now)                                  # at client.next_deadline()
    after each:     for text in client.to_send(): socket.send(text)
    socket is gone: reconnect_at = client.disconnected(now)
    on SignatureWanted(message): sign it with the peer's Ed25519 key (WebCrypto takes its time),
                    client.signed(signature)

What was joined stays joined: after a new connection the client joins again by itself. The pause before it is
jittered and grows. A client keeps to one hub at a time; which one is digm.hub_choice's. On `redirect` the shell
connects there, with the same client.
Peers that are already connected need no hub (protocol.md), so nothing else ends when the hub goes away.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from digm import signalling as messages
from digm.errors import PeerFault


@dataclass(frozen=True)
class ClientSettings:
    """The numbers of a client; each with where it comes from."""

    reconnect_first_s: float = 0.5  # a restarted hub is back within a second
    reconnect_most_s: float = 30.0  # architecture.md: a swarm is whole again within a minute
    heartbeat_jitter: float = 0.3  # protocol.md: announce every 30-60 s, jittered
    ice_renew_at: float = 0.8  # of the credentials' life: what is connecting meanwhile still finds them valid
    ask_again_s: float = 3.0  # a hub that sent us elsewhere takes over when that one is gone; doubles each time


@dataclass(frozen=True, slots=True)
class SignatureWanted:
    """Sign `message` with the peer's key and call `signed`."""

    message: bytes


@dataclass(frozen=True, slots=True)
class Ready:
    """The hub said welcome; joins have gone out."""

    session: str
    ice_servers: tuple[messages.IceServer, ...]
    limits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IceServersChanged:
    """Fresh credentials came before the old ones expire: for connections that are made from now on."""

    ice_servers: tuple[messages.IceServer, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """The hub refused a message; `track` is set when it was about one swarm (for example `token_expired`)."""

    code: str
    message: str
    track: str | None


@dataclass(frozen=True, slots=True)
class HubFault:
    """The hub sent something that breaks the protocol: close the socket, then `disconnected`."""

    code: str


# Peers, PeerJoined, PeerLeft, Offer, Answer, Candidate, Redirect and Bye are passed on as they are.
Event = (
    SignatureWanted | Ready | IceServersChanged | Refused | HubFault | messages.Peers | messages.PeerJoined
    | messages.PeerLeft | messages.Offer | messages.Answer | messages.Candidate | messages.Redirect
    | messages.Bye
)  # fmt: skip


@dataclass(slots=True)
class _Membership:
    token: str
    share: float
    want: int
    announce_at: float
    redirects: int = 0  # how often the hub said that the swarm lives on another one, lately


class SignallingClient:
    """One peer's view of one hub.

    Args:
        peer: our peer id, the hex of our Ed25519 public key.
        random: gives 0.0 to 1.0, for jitter.
        role: messages.LISTENER or messages.NODE.
    """

    def __init__(
        self,
        peer: str,
        *,
        random: Callable[[], float],
        role: str = messages.LISTENER,
        settings: ClientSettings = ClientSettings(),
    ) -> None:
        self.peer = peer
        self.role = role
        self._random = random
        self._settings = settings
        self._memberships: dict[str, _Membership] = {}
        self._is_ready = False
        self._heartbeat_s = 30.0
        self._ask_ice_at = math.inf
        self._failures = 0
        self._come_back_s: float | None = None
        self._outbox: list[str] = []

    @property
    def is_ready(self) -> bool:
        """The hub knows us; offers can be sent."""
        return self._is_ready

    def connected(self, now: float) -> None:
        """The socket is open; the hub's challenge comes first."""
        self._is_ready = False
        self._outbox.clear()

    def disconnected(self, now: float) -> float:
        """The socket is gone or could not be opened. Returns when to try again."""
        self._is_ready = False
        self._outbox.clear()
        grown_s: float = self._settings.reconnect_first_s * 2.0**self._failures
        ceiling = min(self._settings.reconnect_most_s, grown_s)
        self._failures = min(self._failures + 1, 16)
        asked, self._come_back_s = self._come_back_s, None
        # Full jitter (Brooker, "Exponential Backoff and Jitter"): a crowd that lost its hub returns spread out.
        return now + (asked or 0.0) + ceiling * (0.1 + 0.9 * self._random())

    def signed(self, signature: bytes) -> None:
        """The answer to `SignatureWanted`: 64 bytes of Ed25519."""
        self._send(messages.Hello(self.peer, signature.hex(), role=self.role))

    def receive(self, text: str, now: float) -> list[Event]:
        """Take one message of the hub. Never raises; see `HubFault`."""
        try:
            message = messages.decode_from_hub(text)
        except PeerFault as fault:
            return [HubFault(fault.code)]
        match message:
            case messages.Challenge():
                return [SignatureWanted(messages.hello_message(message.nonce))]
            case messages.Welcome():
                return self._welcomed(message, now)
            case messages.Error():
                return [Refused(message.code, message.message, message.track)]
            case messages.Bye():
                self._come_back_s = message.reconnect_after_s
                return [message]
            case messages.IceServers():
                self._ask_ice_at = self._renewal(message.ttl_s, now)
                return [IceServersChanged(message.ice_servers)]
            case messages.Redirect():
                return self._redirected(message, now)
            case messages.Offer() | messages.Answer() | messages.Candidate():
                is_ours = message.recipient == self.peer and message.track in self._memberships
                return [message] if is_ours else []
            case messages.Peers():
                return self._entered(message, now)
            case messages.PeerJoined() | messages.PeerLeft():
                return [message] if message.track in self._memberships else []
        return [HubFault("message_type")]

    def tick(self, now: float) -> None:
        """Announce the swarms whose time has come, and ask for credentials before the old ones expire."""
        if not self._is_ready:
            return
        if now >= self._ask_ice_at:
            self._ask_ice_at = now + self._heartbeat_s  # in case that no answer comes
            self._send(messages.Ice())
        for track, membership in self._memberships.items():
            if now < membership.announce_at:
                continue
            if membership.redirects:
                membership.announce_at = self._ask_again(membership, now)
                self._send(messages.Join(track, membership.token, membership.share, membership.want))
            else:
                membership.announce_at = self._next_announce(now)
                self._send(messages.Announce(track, membership.share))

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        if not self._is_ready:
            return None
        deadline = min((m.announce_at for m in self._memberships.values()), default=math.inf)
        deadline = min(deadline, self._ask_ice_at)
        return None if deadline == math.inf else deadline

    def to_send(self) -> list[str]:
        """Texts to put on the socket now, in order; each is given once."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def join(self, track: str, token: str, share: float, now: float, want: int = messages.MAX_PEERS) -> None:
        """Be in the swarm of a track from now on; also called with a fresh token before the old one expires."""
        self._memberships[track] = _Membership(token, share, want, self._next_announce(now))
        if self._is_ready:
            self._send(messages.Join(track, token, share, want))

    def leave(self, track: str) -> None:
        """Be in the swarm no more."""
        if self._memberships.pop(track, None) and self._is_ready:
            self._send(messages.Leave(track))

    def set_share(self, track: str, share: float) -> None:
        """How much of the track we hold now (0.0 to 1.0); told with the next announcement."""
        if membership := self._memberships.get(track):
            membership.share = share

    def offer(self, track: str, recipient: str, sdp: str) -> bool:
        """Send an offer. False when the hub is not there: it is lost, make another one later."""
        return self._relay(messages.Offer(track, self.peer, recipient, sdp))

    def answer(self, track: str, recipient: str, sdp: str) -> bool:
        """Send the answer to an offer. False when the hub is not there."""
        return self._relay(messages.Answer(track, self.peer, recipient, sdp))

    def candidate(
        self,
        track: str,
        recipient: str,
        candidate: str | None,
        sdp_mid: str | None = None,
        sdp_m_line_index: int | None = None,
    ) -> bool:
        """Send an ICE candidate; None for the end of candidates. False when the hub is not there."""
        return self._relay(
            messages.Candidate(track, self.peer, recipient, candidate, sdp_mid, sdp_m_line_index)
        )

    def report(self, track: str, peer: str, code: str) -> bool:
        """Tell the hub of a peer that broke a rule, such as `wrong_hash`. False when the hub is not there."""
        return self._relay(messages.Report(track, peer, code))

    def offer_relay(self, urls: tuple[str, ...], secret: str | None = None) -> bool:
        """Offer our TURN server to others, after every `Ready`. False when the hub is not there."""
        return self._relay(messages.OfferRelay(urls, secret))

    def _welcomed(self, welcome: messages.Welcome, now: float) -> list[Event]:
        self._is_ready = True
        self._failures = 0
        self._heartbeat_s = welcome.heartbeat_s
        self._ask_ice_at = self._renewal(welcome.ice_ttl_s, now)
        for track, membership in self._memberships.items():
            membership.announce_at = self._next_announce(now)
            self._send(messages.Join(track, membership.token, membership.share, membership.want))
        return [Ready(welcome.session, welcome.ice_servers, welcome.limits)]

    def _entered(self, peers: messages.Peers, now: float) -> list[Event]:
        membership = self._memberships.get(peers.track)
        if membership is None:
            return []
        if membership.redirects:
            membership.redirects, membership.announce_at = 0, self._next_announce(now)
        return [peers]

    def _redirected(self, redirect: messages.Redirect, now: float) -> list[Event]:
        membership = self._memberships.get(redirect.track)
        if membership is None:
            return []
        # Whoever stays connected here, as a node does that has swarms on every hub, asks again now and then.
        membership.redirects += 1
        membership.announce_at = self._ask_again(membership, now)
        return [redirect]

    def _ask_again(self, membership: _Membership, now: float) -> float:
        pause_s: float = self._settings.ask_again_s * 2.0 ** min(membership.redirects - 1, 8)
        pause_s = min(pause_s, self._heartbeat_s)
        return now + pause_s * (1.0 - self._settings.heartbeat_jitter * self._random())

    def _renewal(self, ttl_s: float, now: float) -> float:
        if not ttl_s:
            return math.inf
        return now + ttl_s * (self._settings.ice_renew_at - 0.1 * self._random())

    def _next_announce(self, now: float) -> float:
        return now + self._heartbeat_s * (1.0 - self._settings.heartbeat_jitter * self._random())

    def _relay(self, message: messages.Message) -> bool:
        if self._is_ready:
            self._send(message)
        return self._is_ready

    def _send(self, message: messages.Message) -> None:
        self._outbox.append(messages.encode(message))
