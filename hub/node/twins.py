"""Two running nodes with one key: how each of them finds out.

Neither hears the other: gossip brings nobody a message in his own name, and libp2p takes both for one. So a
node tells others who it is, on a stream of its own, and is told if somebody else said that he is the same. What
is told is signed with the node's key, so nobody can make it up.
"""

import random
import time
from collections.abc import Awaitable, Callable

import structlog

from digm.announcements import PRESENCE, Announcement, parse_announcement
from digm.backbone_messages import PRESENCE as PRESENCE_STREAM
from digm.errors import DigmError, PeerFault, Unavailable
from digm.node_ids import peer_id
from hub.bridge.health import Bounded
from hub.pinning.herald import Herald
from hub.pinning.network import Identity, Network
from hub.signatures import verify

log = structlog.get_logger()
MOST_KEPT = 1_024  # nodes; two documents of a kilobyte each
ASKED_AT_ONCE = 3
PARALLEL = 8


class LastWords:
    """Who lately said that he is which node; told to the next one who says that he is the same."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._kept: Bounded[bytes, list[tuple[bytes, bytes, float]]] = Bounded(MOST_KEPT)

    def serve(self, network: Network) -> None:
        """Answer on `/digm/presence/1.0.0`."""
        network.serve(
            PRESENCE_STREAM.name, self._on_request, most_bytes=PRESENCE_STREAM.most_request_bytes,
            timeout_s=PRESENCE_STREAM.timeout_s, parallel=PARALLEL,
        )  # fmt: skip

    async def _on_request(self, _peer: str, document: bytes) -> bytes:
        """The other one's word. Raises Unavailable `nobody_else`, PeerFault."""
        said, now_s = _presence(document, self._now()), self._now()
        known = [item for item in self._kept.get(said.node, []) if now_s < item[2]]
        others = [item for item in known if item[0] != said.instance][-1:]
        # On our clock: the node's may be an hour off.
        self._kept[said.node] = [*others, (said.instance, document, now_s + said.lifetime_s)]
        if not others:
            raise Unavailable("nobody_else", "Nobody else said lately that he is this node.")
        return others[0][1]


class TwinWatch:
    """Asks others about ourselves.

    Args:
        lasts_s: for how long after the last sign of a second process there is thought to be one.
        meet_anew: hangs up on everybody: what they keep for our key was made with two.
    """

    def __init__(
        self,
        network: Network,
        identity: Identity,
        herald: Herald,
        lasts_s: float,
        meet_anew: Callable[[], Awaitable[None]],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._network, self._me, self._herald = network, identity.node_key, herald
        self._lasts_s, self._meet_anew, self._now = lasts_s, meet_anew, now
        self._began_at, self._ours = now(), {herald.instance}
        self._heard: dict[bytes, int] = {}  # other processes -> the sequence number of the latest word of each

    @property
    def is_doubled(self) -> bool:
        """Whether another process spoke with our key lately."""
        seen_at = self._herald.doubled_at
        return seen_at is not None and self._now() < seen_at + self._lasts_s

    async def look(self) -> None:
        """Tell a few neighbours who we are. Never raises because of them."""
        was_doubled = self.is_doubled
        peers = [peer.peer_id for peer in self._network.peers()]
        for peer in random.sample(peers, min(ASKED_AT_ONCE, len(peers))):
            if await self._is_another_known_to(peer):
                self._herald.doubled_at = self._now()
        if self.is_doubled and not was_doubled:
            log.error("identity_used_twice", peer_id=peer_id(self._me))
        if self._herald.doubled_at is not None and not self.is_doubled:
            log.info("identity_unique_again", peer_id=peer_id(self._me))
            self._herald.doubled_at = None
            # Under the old name of this process we would not be believed: the other one had replaced it.
            self._herald.begin_again()
            self._ours.add(self._herald.instance)
            await self._meet_anew()

    async def _is_another_known_to(self, peer: str) -> bool:
        try:
            document = await self._network.request(
                peer, PRESENCE_STREAM.name, self._herald.presence(),
                timeout_s=PRESENCE_STREAM.timeout_s, most_bytes=PRESENCE_STREAM.most_answer_bytes,
            )  # fmt: skip
            said = _presence(document, self._now())
        except DigmError as error:
            log.debug("not_told_about_us", peer=peer[-8:], code=error.code)
            return False
        # What an earlier process of ours said is older than this one; and what another one said before, others
        # tell for as long as it is valid: that is no sign that it is still there.
        is_another = said.instance not in self._ours and said.issued_at > self._began_at
        if said.node != self._me or not is_another or said.sequence <= self._heard.get(said.instance, 0):
            return False
        self._heard[said.instance] = said.sequence
        return True


def _presence(document: bytes, now_s: float) -> Announcement:
    said = parse_announcement(document, now_s, verify)
    if said.track_root != PRESENCE:
        raise PeerFault("announcement_field", "It is not of a node's presence.", field="track_root")
    return said
