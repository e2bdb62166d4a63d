"""One peer connection from nothing to its data channel (aiortc); what is said on it is others' affair."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from aiortc import RTCConfiguration, RTCDataChannel, RTCIceServer, RTCPeerConnection, RTCSessionDescription

from digm.errors import PeerFault
from digm.signalling import Candidate, IceServer
from digm.wire import LABEL
from hub.seeding.ice import usable_candidate, without_unusable_candidates
from hub.seeding.sctp import bound_slow_start

log = structlog.get_logger()
CLOSE_WITHIN_S = 5.0
MOST_CANDIDATES = 128


def as_bytes(message: bytes | str) -> bytes:
    """What came on the channel. Text is never right there: as bytes it is a message type that there is not."""
    return message if isinstance(message, bytes) else b"\xff"


class Negotiation:
    """Offers to one peer, or answers its offer, until a channel of ours is open.

    Args:
        ice_servers: from the hub's welcome.
        on_channel: told of the channel, once.
        on_end: told that the connection failed or was closed.
    """

    def __init__(
        self,
        ice_servers: tuple[IceServer, ...],
        on_channel: Callable[[RTCDataChannel], None],
        on_end: Callable[[], None],
    ) -> None:
        servers = [RTCIceServer(list(s.urls), s.username, s.credential) for s in ice_servers]
        # An empty list, not None: None means Google's STUN server to aiortc.
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self._connection.on("datachannel", self._take_channel)
        self._connection.on("connectionstatechange", self._on_state)
        self._on_channel, self._on_end = on_channel, on_end
        self._candidates: asyncio.Queue[Candidate] = asyncio.Queue(MOST_CANDIDATES)
        self._answer_sdp: asyncio.Queue[str | None] = asyncio.Queue(1)
        self._has_channel = False

    async def answer(self, offer_sdp: str, send_answer: Callable[[str], object]) -> None:
        """Answer an offer.

        Raises:
            PeerFault: `description_not_understood`.
        """
        with _nonsense_is_the_peers_fault():
            await self._connection.setRemoteDescription(_description(offer_sdp, "offer"))
            await self._connection.setLocalDescription(await self._connection.createAnswer())
        send_answer(str(self._connection.localDescription.sdp))

    async def offer(self, send_offer: Callable[[str], object], answer_timeout_s: float) -> None:
        """Make an offer and take the answer.

        Raises:
            PeerFault: `description_not_understood`. TimeoutError: nobody answers.
        """
        channel = self._connection.createDataChannel(LABEL, protocol=LABEL)
        channel.on("open", lambda: self._take_channel(channel))
        # aiortc tells of its candidates all at once, in the description; those of the peer may come one by one.
        await self._connection.setLocalDescription(await self._connection.createOffer())
        send_offer(str(self._connection.localDescription.sdp))
        async with asyncio.timeout(answer_timeout_s):
            answer = await self._answer_sdp.get()
        if answer is not None:
            with _nonsense_is_the_peers_fault():
                await self._connection.setRemoteDescription(_description(answer, "answer"))

    def take_answer(self, answer_sdp: str | None) -> None:
        """The peer's answer to our offer, None when none is waited for any more; a second one is ignored."""
        if not self._answer_sdp.full():
            self._answer_sdp.put_nowait(answer_sdp)

    def add_candidate(self, candidate: Candidate) -> None:
        """A trickled candidate of the peer; more than any honest peer has are dropped."""
        if not self._candidates.full():
            self._candidates.put_nowait(candidate)

    async def take_candidates(self) -> None:
        """Hand trickled candidates on until cancelled; once there is a description."""
        while True:
            message = await self._candidates.get()
            candidate = usable_candidate(message.candidate, message.sdp_mid, message.sdp_m_line_index)
            if candidate is not None:
                await self._connection.addIceCandidate(candidate)

    async def close(self) -> None:
        """End the connection."""
        try:
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self._connection.close()
        except TimeoutError:
            log.warning("connection_close_timed_out")

    def _on_state(self) -> None:
        if self._connection.connectionState in ("failed", "closed"):
            self._on_end()

    def _take_channel(self, channel: RTCDataChannel) -> None:
        if self._has_channel or channel.label != LABEL or channel.protocol != LABEL:
            channel.close()
            return
        self._has_channel = True
        bound_slow_start(self._connection)
        self._on_channel(channel)


def _description(sdp: str, kind: str) -> RTCSessionDescription:
    return RTCSessionDescription(without_unusable_candidates(sdp), kind)


@contextmanager
def _nonsense_is_the_peers_fault() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # aiortc has no exception of its own for nonsense: it comes as a KeyError, an AssertionError, ...
        raise PeerFault("description_not_understood", f"It makes no sense: {error!r:.200}") from error
