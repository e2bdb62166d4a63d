"""Descriptions and candidates on their way: through the hub, or, while it is away, through a common neighbour.

What leaves is looked at when the listener's address is to be hidden. Whether somebody is to be met or answered
is decided in web.swarm.
"""

from collections.abc import Callable
from typing import Any

from digm.address_privacy import relay_only_candidate, relay_only_sdp
from digm.signalling import Candidate, IceServer
from digm.signalling_client import SignallingClient
from digm.wire import Relay, RelayKind, relay_message
from web import browser
from web.data_channel import PeerLink, negotiate


class Negotiation:
    """What one member of a swarm says to others about connecting.

    Args:
        track_root: 32 bytes.
        identity: the Ed25519 key pair of the page.
        flush: sends what the client has to say.
        relay_to: sends a RELAY to a neighbour.
        hides_address: whether only relays' addresses may leave, asked each time.
    """

    def __init__(
        self,
        track_root: bytes,
        identity: Any,
        client: SignallingClient,
        *,
        flush: Callable[[], None],
        relay_to: Callable[[str, Relay], None],
        hides_address: Callable[[], bool],
    ) -> None:
        self._track_root = track_root
        self._identity = identity
        self._client = client
        self._flush = flush
        self._relay_to = relay_to
        self._hides_address = hides_address

    async def offer(self, link: PeerLink, via: str | None) -> None:
        """Make an offer; `via` is the neighbour that carries it, None for the hub."""
        sdp = await negotiate(link.offer(is_complete=via is not None), link)
        if sdp is not None:
            await self._send(link.peer, RelayKind.OFFER, sdp, via)

    async def answer(self, link: PeerLink, sdp: str, via: str | None) -> None:
        """Answer an offer, the way that it came."""
        answer = await negotiate(link.answer(sdp, is_complete=via is not None), link)
        if answer is not None:
            await self._send(link.peer, RelayKind.ANSWER, answer, via)

    async def is_genuine(self, message: Relay) -> bool:
        """Whether a relayed description is from whom it names; whoever passed it on has not looked."""
        signed = relay_message(self._track_root, message.sender, message.recipient, message.kind, message.sdp)
        return await browser.ed25519_verify(message.sender, message.signature, signed)

    def send_candidate(self, peer: str, candidate: Any) -> None:
        """A candidate of ours, by the hub; None or an empty one is the end of them."""
        root = self._track_root.hex()
        if not candidate or not candidate.candidate:
            self._client.candidate(root, peer, None)
        elif text := self._presentable(str(candidate.candidate)):
            place = str(candidate.sdpMid or "0"), int(candidate.sdpMLineIndex or 0)
            self._client.candidate(root, peer, text, *place)
        self._flush()

    @staticmethod
    def take_candidate(link: PeerLink, event: Candidate) -> Any:
        """A candidate of the other side. Returns what is to be awaited."""
        candidate = browser.js_object(
            candidate=event.candidate, sdpMid=event.sdp_mid or "0", sdpMLineIndex=event.sdp_m_line_index or 0
        )
        return link.add_candidate(candidate)

    def _presentable(self, candidate: str) -> str | None:
        return relay_only_candidate(candidate) if self._hides_address() else candidate

    async def _send(self, peer: str, kind: RelayKind, sdp: str, via: str | None) -> None:
        if self._hides_address():
            sdp = relay_only_sdp(sdp)
        if via is None:
            send = self._client.offer if kind is RelayKind.OFFER else self._client.answer
            send(self._track_root.hex(), peer, sdp)
            self._flush()
            return
        ids = bytes.fromhex(self._client.peer), bytes.fromhex(peer)
        signature = await browser.ed25519_sign(self._identity, relay_message(self._track_root, *ids, kind, sdp))
        self._relay_to(via, Relay(*ids, kind, signature, sdp))


def ice_server(server: IceServer) -> dict[str, Any]:
    """One entry for RTCPeerConnection."""
    entry: dict[str, Any] = {"urls": list(server.urls)}
    if server.username is not None:
        entry |= {"username": server.username, "credential": server.credential or ""}
    return entry
