"""The other listeners: the hub's signalling on one side, the peers' data channels on the other.

digm.signalling_client and digm.peer_session hold the protocols. Peers that are connected stay when the hub goes
away; the socket comes back by itself. Whoever joins offers; who is there already answers.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from digm import peer_events as events
from digm import signalling as messages
from digm.errors import CallerFault, Unavailable
from digm.manifest import Manifest
from digm.peer_session import PeerSession
from digm.signalling_client import HubFault, Ready, Refused, SignallingClient, SignatureWanted
from digm.wire import Reason
from web import browser
from web.browser import now_s
from web.data_channel import PeerLink, negotiate
from web.store import ChunkCache
from web.timer import Timer

MAX_LINKS = 10
OFFERS = 4  # protocol.md: two to four peers are opened when the page loads


class Swarm:
    """Everybody else who has or wants this track.

    Attributes:
        on_expectation: told how many peers may be expected, each time the hub says so or goes away.

    Args:
        manifest: checked.
        cache: what we can give.
        on_event: told what a peer's session says: (peer id, event).
        reconnect: opens a new socket to the hub.
        may_upload: asked before every piece that is given away.
        random: for jitter.
    """

    def __init__(
        self,
        manifest: Manifest,
        cache: ChunkCache,
        on_event: Callable[[str, events.Event], None],
        *,
        reconnect: Callable[[], Any],
        may_upload: Callable[[], bool],
        random: Callable[[], float],
    ) -> None:
        self.cache = cache
        self.may_upload = may_upload
        self._manifest = manifest
        self._root = manifest.track_root.hex()
        self._on_event = on_event
        self._reconnect = reconnect
        self._random = random
        self._links: dict[str, PeerLink] = {}
        self._banned: set[str] = set()
        self._ice_servers: list[dict[str, Any]] = []
        self._inbox: asyncio.Queue[str | None] = asyncio.Queue()
        self._socket: Any = None
        self._listener: Any = None
        self._client: SignallingClient | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._timer = Timer(self._on_time)
        self._given_bytes = 0
        self.on_expectation: Callable[[int], None] = lambda peers: None

    # -- for the player

    @property
    def open_peers(self) -> int:
        """How many peers can be asked now."""
        return sum(link.is_open for link in self._links.values())

    @property
    def uploaded_bytes(self) -> int:
        return self._given_bytes + sum(link.uploaded_bytes for link in self._links.values())

    async def run(self, first_socket: Any, token: str) -> None:
        """Be in the swarm until cancelled."""
        identity = await browser.ed25519_generate()
        public_key = await browser.raw_public_key(identity)
        self._client = SignallingClient(public_key.hex(), random=self._random)
        self.renew(token)
        try:
            async with asyncio.TaskGroup() as self._tasks:
                socket = first_socket
                while True:
                    await self._talk(self._client, socket, identity)
                    self.on_expectation(len(self._links))
                    wait_s = self._client.disconnected(now_s()) - now_s()
                    await asyncio.sleep(max(0.0, wait_s))
                    socket = self._reconnect()
        finally:
            self._close()

    def renew(self, token: str) -> None:
        """Join, or go on with a fresh token before the old one expires."""
        if self._client is not None:
            self._client.join(self._root, token, self._share(), now_s())
            self._flush()

    def request(self, peer: str, rendition: int, chunk: int, first_frame: int, frame_count: int) -> int | None:
        """Ask a peer. Returns the request id; None if it cannot be asked."""
        link = self._links.get(peer)
        if link is None or link.session is None:
            return None
        try:
            request_id = link.session.request(
                rendition, chunk, now_s(), first_frame=first_frame, frame_count=frame_count
            )
        except (Unavailable, CallerFault):
            return None
        link.pump()
        return request_id

    def cancel(self, peer: str, request_id: int) -> None:
        link = self._links.get(peer)
        if link is not None and link.session is not None:
            link.session.cancel(request_id, now_s(), Reason.NO_LONGER_WANTED)
            link.pump()

    def free_slots(self, peer: str) -> int:
        link = self._links.get(peer)
        return link.session.free_slots if link is not None and link.session is not None else 0

    def announce(self, rendition: int, chunk: int) -> None:
        """Tell everybody of a chunk that was verified."""
        for link in list(self._links.values()):
            if link.session is not None:
                link.session.have(rendition, chunk)
                link.pump()
        if self._client is not None:
            self._client.set_share(self._root, self._share())

    def ban(self, peer: str) -> None:
        """A peer gave wrong bytes: it is left, and not met again for this track."""
        self._banned.add(peer)
        if link := self._links.get(peer):
            link.close("wrong_bytes")

    # -- signalling

    async def _talk(self, client: SignallingClient, socket: Any, identity: Any) -> None:
        """One connection to the hub, from its first message to its end."""
        self._socket = socket
        self._inbox = asyncio.Queue()
        inbox = self._inbox
        self._listener = browser.lasting_proxy(
            lambda text: inbox.put_nowait(text if isinstance(text, str) else None)
        )
        client.connected(now_s())
        socket.listen(self._listener)
        try:
            while (text := await inbox.get()) is not None:
                for event in client.receive(text, now_s()):
                    if isinstance(event, HubFault):
                        return
                    await self._on_hub(client, event, identity)
                self._flush()
        finally:
            socket.close()
            self._listener.destroy()
            self._socket = None
            self._timer.stop()

    def _flush(self) -> None:
        if self._client is None or self._socket is None:
            return
        for text in self._client.to_send():
            self._socket.send(text)
        self._timer.set(self._client.next_deadline())

    def _on_time(self) -> None:
        if self._client is not None:
            self._client.tick(now_s())
            self._flush()

    async def _on_hub(self, client: SignallingClient, event: Any, identity: Any) -> None:
        match event:
            case SignatureWanted():
                client.signed(await browser.ed25519_sign(identity, event.message))
            case Ready():
                self._ice_servers = [_ice_server(server) for server in event.ice_servers]
            case messages.Peers():
                self._meet([item.peer for item in event.peers])
            case messages.Offer():
                self._spawn(self._answer(event), "answer")
            case messages.Answer():
                if link := self._links.get(event.sender):
                    self._spawn(negotiate(link.describe("answer", event.sdp), link), "describe")
            case messages.Candidate():
                self._on_candidate(event)
            case Refused():
                if event.track is not None:
                    self.on_expectation(len(self._links))

    def _meet(self, peers: list[str]) -> None:
        """Offer to the peers that the hub named."""
        new = [peer for peer in peers if peer not in self._links and peer not in self._banned]
        for peer in new[: max(0, OFFERS - len(self._links))]:
            self._spawn(self._offer(self._link(peer)), "offer")
        self.on_expectation(len(self._links))

    async def _offer(self, link: PeerLink) -> None:
        sdp = await negotiate(link.offer(), link)
        if sdp is not None and self._client is not None:
            self._client.offer(self._root, link.peer, sdp)
            self._flush()

    async def _answer(self, offer: messages.Offer) -> None:
        if offer.sender in self._banned or len(self._links) >= MAX_LINKS:
            return
        if link := self._links.get(offer.sender):
            if link.is_open:
                return
            link.close("replaced")
        link = self._link(offer.sender)
        sdp = await negotiate(link.answer(offer.sdp), link)
        if sdp is not None and self._client is not None:
            self._client.answer(self._root, link.peer, sdp)
            self._flush()

    def _on_candidate(self, event: messages.Candidate) -> None:
        link = self._links.get(event.sender)
        if link is None or event.candidate is None:
            return
        candidate = browser.js_object(
            candidate=event.candidate, sdpMid=event.sdp_mid or "0", sdpMLineIndex=event.sdp_m_line_index or 0
        )
        self._spawn(link.add_candidate(candidate), "candidate")

    def _link(self, peer: str) -> PeerLink:
        link = PeerLink(peer, browser.peer_connection(self._ice_servers), self, self._session)
        self._links[peer] = link
        return link

    def _session(self) -> PeerSession:
        return PeerSession(self._manifest.track_root, self._manifest.renditions, self.cache.held, now_s())

    def _spawn(self, coroutine: Any, name: str) -> None:
        assert self._tasks is not None
        self._tasks.create_task(coroutine, name=name)

    def _share(self) -> float:
        fields = self.cache.held.values()
        return max((sum(1 for _ in field) / field.count for field in fields), default=0.0)

    # -- what links tell

    def peer_event(self, link: PeerLink, event: events.Event) -> None:
        self._on_event(link.peer, event)

    def link_closed(self, link: PeerLink, code: str) -> None:
        self._given_bytes += link.uploaded_bytes
        if self._links.get(link.peer) is link:
            del self._links[link.peer]

    def send_candidate(self, link: PeerLink, candidate: Any) -> None:
        if self._client is None:
            return
        if candidate and candidate.candidate:
            index = int(candidate.sdpMLineIndex or 0)
            self._client.candidate(
                self._root, link.peer, str(candidate.candidate), str(candidate.sdpMid or "0"), index
            )
        else:
            self._client.candidate(self._root, link.peer, None)
        self._flush()

    def _close(self) -> None:
        self._timer.stop()
        if self._client is not None:
            self._client.leave(self._root)
            self._flush()
        for link in list(self._links.values()):
            link.close()


def _ice_server(server: messages.IceServer) -> dict[str, Any]:
    entry: dict[str, Any] = {"urls": list(server.urls)}
    if server.username is not None:
        entry |= {"username": server.username, "credential": server.credential or ""}
    return entry
