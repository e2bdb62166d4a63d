"""The other listeners of one track: whom to meet, through the hub or through each other.

digm.signalling_client, digm.peer_choice, digm.peer_exchange and digm.peer_session hold the protocols; this is
the shell that joins them. Peers that are connected stay when the hub goes away, and introduce each other.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from digm import peer_events as events
from digm import signalling as messages
from digm.address_privacy import has_relay
from digm.manifest import Manifest
from digm.peer_choice import AskHub, Meet, Part, PeerChoice
from digm.peer_exchange import Arrived, Forward, PeerExchange
from digm.peer_session import PeerSession
from digm.peer_states import DEFAULT_SETTINGS, UNLIMITED_BYTES_PER_S
from digm.signalling_client import Event, IceServersChanged, Ready, Refused, SignallingClient
from digm.token_bucket import TokenBucket
from digm.upload_manners import Why
from digm.wire import Relay, RelayKind
from web import browser
from web.browser import now_s
from web.data_channel import PeerLink, negotiate
from web.hub_link import HubLink
from web.links import Links
from web.negotiation import Negotiation, ice_server
from web.sharing import Sharing
from web.store import ChunkCache
from web.timer import Timer

SLOTS = DEFAULT_SETTINGS.upload_slots + DEFAULT_SETTINGS.upload_queue
ANSWERS_PER_S = 1.0  # each costs a connection; more than ten at once are more than we keep
ANSWER_BURST = 12.0
NODE_S = 3.0  # so long a node that was named is expected to make its offer
LATER_S = 10.0  # so long a newcomer has to make its offer, before we make one
REJOIN_S = 40.0  # below the site's least number of listeners: look again, about as often as one announces
REPORTED = frozenset({"wrong_hash", "claims_false", "data_out_of_order", "unexpected_data", "message_flood"})


class Swarm(Links):
    """Everybody else who has or wants this track.

    Attributes:
        listeners: how many are in the swarm, as the hub said last; 0: it did not.
        signer: our id and what signs with it; None before `run`.
        on_expectation: told how many peers may be expected, each time that it changes.
        numbers_changed: called when what was given or taken has changed, every other second.

    Args:
        manifest: checked.
        cache: what we can give.
        on_event: told what a peer's session says: (peer id, event).
        sharing: the listener's settings, and what the machine says.
        buffered_s: what our own playback has ahead; None while it needs nothing.
        random: for jitter.
    """

    def __init__(
        self,
        manifest: Manifest,
        cache: ChunkCache,
        on_event: Callable[[str, events.Event], None],
        *,
        sharing: Sharing,
        buffered_s: Callable[[], float | None],
        random: Callable[[], float],
    ) -> None:
        super().__init__()
        self.cache = cache
        self.manners = sharing.manners
        self.buffered_s = buffered_s
        self.numbers_changed: Callable[[], None] = lambda: None
        self.on_expectation: Callable[[int], None] = lambda peers: None
        self._manifest = manifest
        self._root = manifest.track_root.hex()
        self._on_event = on_event
        self._sharing = sharing
        self._policy = sharing.policy
        self._random = random
        self._ice_servers: list[dict[str, Any]] = []
        self.signer: Any = None
        self.listeners = self._site_least = 0
        self._rejoin_at = self._nodes_due = 0.0
        self._expected: int | None = None
        self._token = self._me = ""
        self._negotiation: Negotiation | None = None
        self._client: SignallingClient | None = None
        self._hub: HubLink | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._choice = PeerChoice("", random=random)
        self._exchange = PeerExchange("", random=random)
        self._answers = TokenBucket(ANSWERS_PER_S, ANSWER_BURST, now_s())
        self._timer = Timer(self._poll)

    # -- for the player

    def members(self) -> list[str]:
        """The listeners that we are, or are about to be, connected with, and ourselves."""
        return [self._me] + [peer for peer in self._links if peer not in self._nodes]

    def why_alone(self) -> str | None:
        """Why no peers are met although the hub is there, for people; None when they are."""
        if not self._policy.peers:
            return "switched_off"
        if self._policy.hide_address and not self._has_relay():
            return "no_relay"
        if self.listeners < self._least_listeners():
            return "few_listeners"
        return None

    async def run(self, early: Any, token: str, urls: list[str], connect: Callable[[str], Any]) -> None:
        """Be in the swarm until cancelled.

        Args:
            early: what was begun before Python was up (static/digm-early-swarm.js), or None.
            token: of the swarm, as it comes with the grant.
            urls: of the swarm's hubs.
            connect: opens a socket to one of them.
        """
        self._token = token
        identity = (early and early.identity) or await browser.ed25519_generate()
        me = self._me = (await browser.raw_public_key(identity)).hex()
        self.signer = me, lambda message: browser.ed25519_sign(identity, message)
        self._client = SignallingClient(me, random=self._random)
        self._choice = PeerChoice(me, random=self._random)
        self._exchange = PeerExchange(me, random=self._random)
        self._hub = HubLink(
            self._client, identity, urls,
            connect=connect, on_event=self._on_hub, on_lost=self._on_hub_lost,
        )  # fmt: skip
        self._negotiation = Negotiation(
            self._manifest.track_root, identity, self._client,
            flush=self._hub.flush, relay_to=self._relay_to, hides_address=lambda: self._policy.hide_address,
        )  # fmt: skip
        self._client.join(self._root, token, self._share(), now_s())
        self._sharing.on_change(self._on_sharing)
        self._on_sharing()
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for begun in early.release() if early else ():  # from here to the last link: no await
                    if begun.isNode:
                        self._nodes.add(begun.peer)
                    self._link(begun.peer, begun.connection).adopt(begun)
                self._tasks.create_task(self._hub.run(early.socket if early else connect(urls[0])), name="hub")
        finally:
            self._sharing.forget(self._on_sharing)
            self._close()

    def renew(self, token: str) -> None:
        """Go on with a fresh token before the old one expires."""
        self._join(token)

    def announce(self, rendition: int, chunk: int) -> None:
        super().announce(rendition, chunk)
        if self._client is not None:
            self._client.set_share(self._root, self._share())

    def ban(self, peer: str) -> None:
        """A peer gave wrong bytes: it is left, not met again for this track, and the hub hears of it."""
        self._choice.ban(peer)
        self._report(peer, "wrong_hash")
        if link := self._links.get(peer):
            link.close("wrong_bytes")

    # -- the listener's settings

    def _on_sharing(self) -> None:
        policy, self._policy = self._policy, self._sharing.policy
        if policy.hide_address != self._policy.hide_address or not self._policy.peers:
            for link in list(self._links.values()):  # what they are made of shows the address, or is not wanted
                link.close("privacy")
        is_sharing = self.manners.standing is Why.SHARING
        rate = int(self.manners.bucket.rate_per_s) or UNLIMITED_BYTES_PER_S
        for link in list(self._links.values()):
            link.offer_rate(rate if is_sharing else 0, SLOTS if is_sharing else 0)
        self._poll()

    def _least_listeners(self) -> int:
        return max(self._policy.min_listeners, self._site_least)

    def _has_relay(self) -> bool:
        return has_relay(url for server in self._ice_servers for url in server["urls"])

    # -- the hub

    def _on_hub(self, event: Event) -> None:
        match event:
            case Ready():
                self._ice_servers = [ice_server(server) for server in event.ice_servers]
                self._site_least = event.limits.get("min_listeners", 0)
            case IceServersChanged():
                self._ice_servers = [ice_server(server) for server in event.ice_servers]
            case messages.Peers():
                self.listeners = event.listeners
                nodes = {item.peer for item in event.peers if item.role == messages.NODE}
                self._nodes |= nodes
                self._nodes_due = now_s() + NODE_S if nodes - self._links.keys() else 0.0
                self._expected = self._expected or 0
                self._choice.told([i.peer for i in event.peers if i.role != messages.NODE], now_s())
            case messages.PeerJoined(peer=peer, role=role):
                if role == messages.NODE:
                    self._nodes.add(peer)
                else:
                    self.listeners += 1
                    self._choice.told([peer], now_s(), wait_s=LATER_S)
            case messages.PeerLeft(peer=peer):
                self.listeners -= peer not in self._nodes
                self._choice.left(peer)
            case messages.Offer():
                self._on_offer(event.sender, event.sdp, via=None)
            case messages.Answer(sender=sender, sdp=sdp):
                self._on_answer(sender, sdp)
            case messages.Candidate():
                self._on_candidate(event)
            case Refused() if event.track is not None:
                self._expected = self._expected or 0  # not let in: nobody is to be waited for
        self._poll()

    def _on_hub_lost(self) -> None:
        self._nodes_due, self._expected = 0.0, self._expected or 0
        self._poll()

    def _join(self, token: str = "") -> None:
        self._token = token or self._token
        if self._client is not None and self._hub is not None:
            self._client.join(self._root, self._token, self._share(), now_s())
            self._hub.flush()

    def _report(self, peer: str, code: str) -> None:
        if code in REPORTED and self._client is not None and self._hub is not None:
            self._client.report(self._root, peer, code)
            self._hub.flush()

    # -- meeting

    def _poll(self) -> None:
        """Meet, leave, introduce: whatever is due."""
        if self._client is None or self._tasks is None or self._hub is None:
            return
        now, is_there = now_s(), self._client.is_ready
        deadlines = [self._exchange.next_deadline()]
        if self.why_alone() is None:
            for step in self._choice.poll(now, is_there, self.buffered_s() is not None):
                self._do(step)
            deadlines.append(self._choice.next_deadline(now, is_there))
        elif is_there and self._policy.peers and self._least_listeners():
            deadlines.append(self._look_again(now))
        for peer, others in self._exchange.due(now):
            if (link := self._links.get(peer)) and link.session is not None:
                link.session.offer_peers(others)
                link.pump()
        if self._nodes_due > now:
            deadlines.append(self._nodes_due)
        self._tell_expectation(now)
        ahead = [at for at in deadlines if at is not None]
        self._timer.set(max(now + 0.05, min(ahead)) if ahead else None)

    def _tell_expectation(self, now: float) -> None:
        """Peers that are connected or on their way; nothing is known before the hub has answered."""
        expected = len(self._links) + (self._nodes_due > now)
        if self._expected is not None and (expected != self._expected or not expected):
            self._expected = expected
            self.on_expectation(expected)

    def _look_again(self, now: float) -> float:
        """Too few listeners to be met: ask how many there are, now and then."""
        if now >= self._rejoin_at:
            if self._rejoin_at:
                self._join()
            self._rejoin_at = now + REJOIN_S * (0.75 + 0.5 * self._random())
        return self._rejoin_at

    def _do(self, step: Meet | Part | AskHub) -> None:
        assert self._negotiation is not None
        match step:
            case Meet(peer, via):
                route = self._exchange.route(peer, via) if via else None
                link = self._link(peer)
                if via and route is None:
                    link.close("negotiation_failed")
                else:
                    self._spawn(self._negotiation.offer(link, route), "offer")
            case Part(peer, code) if peer in self._links:
                self._links[peer].close(code)
            case AskHub():
                self._join()

    def _on_offer(self, sender: str, sdp: str, via: str | None) -> None:
        """Somebody wants to connect; `via` is the neighbour that brought it, None for the hub."""
        assert self._negotiation is not None
        if self.why_alone() is not None or not self._answers.take(1, now_s()):
            return
        is_welcome, leaving = self._choice.accepts(sender, now_s())
        before = self._links.get(sender)
        if not is_welcome or (via is not None and before is not None and before.is_open):
            return
        if before is not None:
            # Both offered: the greater id's offer stands.
            if before.is_offering and not before.is_open and self._me > sender:
                return
            before.close("replaced" if before.is_open else "glare")
        if leaving is not None and leaving in self._links:
            self._links[leaving].close("idle")
        self._spawn(self._negotiation.answer(self._link(sender), sdp, via), "answer")

    def _on_answer(self, sender: str, sdp: str) -> None:
        if link := self._links.get(sender):
            self._spawn(negotiate(link.describe("answer", sdp), link), "describe")

    def _on_candidate(self, event: messages.Candidate) -> None:
        if (link := self._links.get(event.sender)) and event.candidate is not None:
            self._spawn(Negotiation.take_candidate(link, event), "candidate")

    # -- introductions

    def _on_relayed(self, via: str, message: Relay) -> None:
        match self._exchange.relayed(via, message, now_s()):
            case Forward(peer, forwarded):
                self._relay_to(peer, forwarded)
            case Arrived(neighbour, arrived):
                self._spawn(self._take_relayed(neighbour, arrived), "introduction")

    async def _take_relayed(self, via: str, message: Relay) -> None:
        assert self._negotiation is not None
        if not await self._negotiation.is_genuine(message):
            return
        if message.kind is RelayKind.OFFER:
            self._on_offer(message.sender.hex(), message.sdp, via)
        else:
            self._on_answer(message.sender.hex(), message.sdp)

    def _relay_to(self, peer: str, message: Relay) -> None:
        link = self._links.get(peer)
        if link is not None and link.session is not None:
            link.session.relay(message)
            link.pump()

    # -- links

    def _link(self, peer: str, connection: Any = None) -> PeerLink:
        if connection is None:
            connection = browser.peer_connection(self._ice_servers, is_relay_only=self._policy.hide_address)
        link = PeerLink(peer, connection, self, self._session)
        self._links[peer] = link
        self._choice.connecting(peer, now_s())
        return link

    def _session(self) -> PeerSession:
        return PeerSession(
            self._manifest.track_root, self._manifest.renditions, self.cache.held, now_s(),
            bucket=self.manners.bucket, is_sharing=self.manners.standing is Why.SHARING,
        )  # fmt: skip

    def peer_event(self, link: PeerLink, event: events.Event) -> None:
        match event:
            case events.PeerReady():
                self._choice.opened(link.peer, now_s())
                self._exchange.joined(link.peer, now_s(), is_listener=link.peer not in self._nodes)
            case events.PeersOffered():
                self._choice.told([peer.hex() for peer in event.peers], now_s(), by=link.peer)
            case events.Relayed():
                self._on_relayed(link.peer, event.message)
            case events.RequestDone() | events.UploadWanted():
                self._choice.used(link.peer, now_s())
            case events.Closed(code=code, fault=fault) if fault is not None:
                self._report(link.peer, code)
        self._on_event(link.peer, event)
        if isinstance(event, events.PeerReady | events.PeersOffered):
            self._poll()

    def link_closed(self, link: PeerLink, code: str) -> None:
        self._given_before += link.given
        if self._links.get(link.peer) is link:
            del self._links[link.peer]
            self._exchange.left(link.peer)
            self._choice.closed(link.peer, code, now_s())
            self._poll()

    def send_candidate(self, link: PeerLink, candidate: Any) -> None:
        """A candidate of ours, for a peer whose offer or answer goes through the hub."""
        if self._negotiation is not None:
            self._negotiation.send_candidate(link.peer, candidate)

    def _spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> None:
        assert self._tasks is not None
        self._tasks.create_task(coroutine, name=name)

    def _share(self) -> float:
        return max((field.share for field in self.cache.held.values()), default=0.0)

    def _close(self) -> None:
        self._timer.stop()
        self._tasks = None
        if self._client is not None and self._hub is not None:
            self._client.leave(self._root)
            self._hub.flush()
        for link in list(self._links.values()):
            link.close()
