"""The swarm of a track, for a program that only takes: meets who is there through the hub, over WebRTC.

digm.signalling_client, digm.hub_choice and digm.peer_session hold the protocols. It joins as a listener: nodes
make us offers, and we make them to the listeners that the hub names. Nobody is told of others, nothing is
given: who stays a moment is no neighbour.
"""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from digm import signalling as messages
from digm.hub_choice import HubChoice
from digm.manifest import Manifest
from digm.signalling_client import Event, IceServersChanged, Ready, Refused, SignallingClient
from hub.fetching.peer_link import ANSWER_WITHIN_S, PeerLink
from hub.seeding.hub_socket import HubSocket

log = structlog.get_logger()
MOST_LINKS = 10  # docs/peers.md, links_most
REPORTED = frozenset({"wrong_hash", "claims_false", "data_out_of_order", "unexpected_data", "message_flood"})


class Swarm:
    """Being in one swarm.

    Attributes:
        refusal: why the hub does not let us in.

    Args:
        token: of the swarm, as it comes with a grant.
        urls: `/signal` addresses of the swarm's hubs.
        on_source: told of a peer that can be asked; on_gone: that it cannot any more.
    """

    def __init__(
        self,
        manifest: Manifest,
        token: str,
        urls: Sequence[str],
        on_source: Callable[[PeerLink], None],
        on_gone: Callable[[PeerLink], None],
    ) -> None:
        self._manifest, self._root = manifest, manifest.track_root.hex()
        self._on_source, self._on_gone = on_source, on_gone
        key = Ed25519PrivateKey.generate()
        self._choice = HubChoice(urls)
        self._client = SignallingClient(key.public_key().public_bytes_raw().hex(), random=random.random)
        self._client.join(self._root, token, 0.0, time.monotonic())
        self._hub = HubSocket(
            self._client, key.sign, lambda: self._choice.url,
            on_event=self._on_event, on_lost=self._choice.failed,
        )  # fmt: skip
        self._ice_servers: tuple[messages.IceServer, ...] = ()
        self._links: dict[str, PeerLink] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._named: set[str] | None = None
        self._met: set[str] = set()
        self.refusal: str | None = None

    @property
    def is_settled(self) -> bool:
        """Everybody whom the hub named is a source now, or will not be one; or it does not let us in."""
        return self.refusal is not None or (self._named is not None and self._named <= self._met)

    async def run(self) -> None:
        """Be in the swarm until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(self._hub.run(), name="hub-socket")
        finally:
            self._tasks = None

    def _on_event(self, event: Event) -> None:
        match event:
            case Ready() | IceServersChanged():
                self._ice_servers = event.ice_servers
            case messages.Redirect(_, url):
                if self._choice.redirected(url):
                    self._hub.move()
            case messages.Peers():
                self._choice.settled()
                others = [item for item in event.peers if item.share > 0 and item.peer != self._client.peer]
                self._named = {item.peer for item in others}
                for item in others:
                    if item.role != messages.NODE:
                        self._offer(item.peer)
            case messages.Offer(_, sender, _, sdp):
                self._answer(sender, sdp)
            case messages.Answer(_, sender):
                if link := self._links.get(sender):
                    link.negotiation.take_answer(event.sdp)
            case messages.Candidate(_, sender):
                if link := self._links.get(sender):
                    link.negotiation.add_candidate(event)
            case Refused(code, message, track) if track == self._root:
                log.info("swarm_refused", code=code)
                self.refusal = message

    def _offer(self, peer: str) -> None:
        if peer in self._links or len(self._links) >= MOST_LINKS:
            return
        link = self._link(peer)

        def send(sdp: str) -> None:
            self._client.offer(self._root, peer, sdp)
            self._hub.flush()

        self._run(link, link.negotiation.offer(send, ANSWER_WITHIN_S))

    def _answer(self, peer: str, sdp: str) -> None:
        if before := self._links.pop(peer, None):
            before.stop()  # the page was loaded again, or both of us offered
        if len(self._links) >= MOST_LINKS:
            return
        link = self._link(peer)

        def send(sdp: str) -> None:
            self._client.answer(self._root, peer, sdp)
            self._hub.flush()

        self._run(link, link.negotiation.answer(sdp, send))

    def _link(self, peer: str) -> PeerLink:
        link = self._links[peer] = PeerLink(
            self._manifest, peer, self._ice_servers, self._on_ready, self._on_fault
        )
        return link

    def _on_fault(self, link: PeerLink, code: str) -> None:
        """The hub is told of what nobody does by mistake, and names that peer no more (docs/peers.md)."""
        if code in REPORTED:
            self._client.report(self._root, link.name, code)
            self._hub.flush()

    def _on_ready(self, link: PeerLink) -> None:
        self._met.add(link.name)
        self._on_source(link)

    def _run(self, link: PeerLink, negotiate: Coroutine[Any, Any, None]) -> None:
        assert self._tasks is not None

        async def live() -> None:
            try:
                await link.run(negotiate)
            finally:
                if self._links.get(link.name) is link:
                    del self._links[link.name]
                self._met.add(link.name)
                self._on_gone(link)

        self._tasks.create_task(live(), name="peer-link")
