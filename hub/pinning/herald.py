"""Says what this machine holds and hears what others say: the one ledger that pins, audits and indexes look at.

A node's and a hub's voice alike. What changed is said at once, the rest again before it expires and soon after
a newcomer, who has not heard it; a few messages a second, so that a thousand tracks do not drown the others.
"""

import asyncio
import math
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from digm.announcements import (
    MAX_ANNOUNCEMENT_BYTES,
    MAX_PINS,
    PRESENCE,
    Announcement,
    AnnouncementLedger,
    encode_announcement,
    parse_announcement,
)
from digm.backbone_messages import ANNOUNCEMENT
from digm.bitfield import Bitfield
from digm.errors import CallerFault, DigmError, PeerFault, Unavailable
from digm.ids import ID_BYTES, from_hex, is_hex_id, short
from digm.node_ids import peer_id
from digm.pinning import ANSWER_KIND, ORDER_KIND, parse_pin_answer, parse_pin_order
from digm.signed_document import kind_of
from digm.token_bucket import TokenBucket
from hub.pinning.network import Identity, Network, Readable
from hub.signatures import verify

log = structlog.get_logger()
SETTLED_S = 3.0  # three heartbeats of GossipSub: before that a newcomer is not in the mesh
NEWCOMERS_EVERY_S = 15.0  # not for each one of a crowd
STRANGERS_EVERY_S = 300.0  # that are nobody's neighbours here: names cost nothing
MESSAGES_PER_S, MESSAGES_AT_ONCE = 5.0, 20.0  # a node sends at most ten a second (docs/backbone.md)
# What a node that passed it on could not know: it has not heard what we have. (Who has one key in two processes
# would have all honest nodes blame each other.)
NOBODYS_FAULT = frozenset(
    {"announcement_replayed", "announcement_two_nodes", "pin_order_replayed", "pin_order_conflict"}
)
PROVIDES_AT_ONCE = 4  # of one look: each costs 40 ms of CPU, and waits for the nodes that take the record


@dataclass(frozen=True)
class Holding:
    """What is held of one track.

    Attributes:
        held: by rendition id; nothing at all takes back what was said before.
        pinned_for: ids of the orders for which it is kept.
    """

    manifest_hash: bytes
    held: Mapping[int, Bitfield]
    pinned_for: tuple[bytes, ...] = ()

    def summary(self) -> tuple[object, ...]:
        """The same for the same, also when the bitfields change later."""
        return self.manifest_hash, {part: field.encode() for part, field in self.held.items()}, self.pinned_for


Look = Callable[[], Mapping[bytes, Holding]]
NOTHING = Holding(bytes(32), {})


def holdings_of(store: Readable) -> dict[bytes, Holding]:
    """What a store holds, by track root. It blocks.

    Raises:
        Unavailable: the store cannot be read.
    """
    found = {}
    for track in store.tracks():
        try:
            held = store.availability(track.track_root)
        except Unavailable:
            continue  # forgotten since
        if any(len(field) for field in held.values()):
            orders = tuple(from_hex(name) for name in track.pinned_by if is_hex_id(name))[:MAX_PINS]
            found[from_hex(track.track_root)] = Holding(from_hex(track.manifest_hash), held, orders)
    return found


@dataclass(frozen=True)
class HeraldSettings:
    """How often and for how long; a node that is silent for `presence_s` counts as gone.

    Attributes:
        account: ours on the chain, where there is one from the start.
    """

    operator: str = "unknown"
    network: str = "unknown"
    gateway_url: str | None = None
    signal_url: str | None = None
    presence_s: int = 180
    announcement_s: int = 3600
    account: str | None = None


class Herald:
    """This machine's voice and ears on the topic.

    Attributes:
        ledger: who holds what.
        listeners: kind of message -> what to do with its bytes; a DigmError means that it is not valid.
        newcomers: goes up when everything is said again for those who came.
        account: ours on the chain; it may come later.
        doubled_at: when somebody else last spoke with our key; None: nobody did.
        instance: what tells this process from others with our key (`digm.announcements`).

    Args:
        look: what is held now, by track root; it blocks and may raise Unavailable (`holdings_of`).
        ledger: where what is heard is kept, if others have it already.
    """

    def __init__(
        self,
        network: Network,
        identity: Identity,
        look: Look,
        settings: HeraldSettings,
        now: Callable[[], float] = time.time,
        ledger: AnnouncementLedger | None = None,
    ) -> None:
        self.ledger = AnnouncementLedger() if ledger is None else ledger  # an empty one is false
        self.listeners: dict[str, Callable[[bytes], object]] = {
            "announcement": self.hear_announcement,
            # Who has no desk for them (`OrderDesk.start`) still has to pass them on.
            ORDER_KIND: lambda document: parse_pin_order(document, self._now(), verify),
            ANSWER_KIND: lambda document: parse_pin_answer(document, self._now(), verify),
        }
        self.newcomers = 0
        self.account = settings.account
        self.doubled_at: float | None = None
        self._network, self._identity, self._look = network, identity, look
        self._settings, self._now = settings, now
        self.instance, self._began_at = secrets.token_bytes(16), now()
        self._sequence = 0
        self._present_until = 0.0
        self._turn, self._providing = asyncio.Lock(), asyncio.Lock()
        self._said: dict[bytes, tuple[tuple[object, ...], float]] = {}
        self._documents: dict[bytes, bytes] = {}
        self._unsaid: dict[bytes, Holding] = {}
        self._unprovided: dict[bytes, None] = {}
        self._provided: set[bytes] = set()
        self._pace = TokenBucket(MESSAGES_PER_S, MESSAGES_AT_ONCE, now())
        self._neighbours: frozenset[str] = frozenset()
        self._again_at, self._last_again = math.inf, -math.inf
        network.serve(
            ANNOUNCEMENT.name, self._on_request, most_bytes=ANNOUNCEMENT.most_request_bytes,
            timeout_s=ANNOUNCEMENT.timeout_s, parallel=16,
        )  # fmt: skip

    @property
    def presence_s(self) -> int:
        """A node that is silent for so long counts as gone."""
        return self._settings.presence_s

    @property
    def node_key(self) -> bytes:
        """Our own."""
        return self._identity.node_key

    def begin_again(self) -> None:
        """Speak as a process that started just now, and say everything again.

        For when another process with our key is gone: the others had taken it for our successor.
        """
        self.instance, self._began_at = secrets.token_bytes(16), self._now()
        self._said.clear()
        self._present_until = 0.0

    def presence(self) -> bytes:
        """Our word that we are there, for somebody to whom it is given directly."""
        said = self._write(PRESENCE, NOTHING, self._settings.presence_s)
        return encode_announcement(said, self._identity.sign)

    def on_gossip(self, author: str, payload: bytes) -> bool | None:
        """The verdict on a message of the topic (`Backbone.on_gossip`).

        What is right and only too much for us is passed on. What is old, or of a kind that a newer version may
        know, is not, and nobody is blamed.
        """
        try:
            listener = self.listeners.get(kind_of(payload, MAX_ANNOUNCEMENT_BYTES))
            if listener is None:
                return None
            listener(payload)
        except CallerFault as fault:
            log.info("gossip_not_kept", author=author[-8:], code=fault.code)
        except DigmError as fault:
            log.debug("gossip_refused", author=author[-8:], code=fault.code)
            return None if fault.code in NOBODYS_FAULT else False
        return True

    async def announce(self) -> None:
        """Say that we are there and what is new, changed or due to be said again; call it every few seconds.

        Raises:
            Unavailable: the backbone is down, or what is held cannot be read; the next call goes on.
        """
        async with self._turn:  # an older look at the store must not be said after a newer one
            self._greet(self._now())
            # Three words in the time of one: two may be lost on the way.
            if self._now() >= self._present_until - self._settings.presence_s * 2 / 3:
                await self._say(PRESENCE, NOTHING, self._settings.presence_s)
                self._present_until = self._now() + self._settings.presence_s
            self._compare(await asyncio.to_thread(self._look), self._now())
            while self._unsaid and self._pace.take(1, self._now()):
                root, holding = next(iter(self._unsaid.items()))
                await self._say(root, holding, self._settings.announcement_s)
                self._unsaid.pop(root)
                if holding.held and root not in self._provided:
                    self._unprovided[root] = None
        if not self._providing.locked():
            async with self._providing:
                await self._provide_some()

    def _greet(self, now_s: float) -> None:
        here = frozenset(peer.peer_id for peer in self._network.peers())
        if here - self._neighbours:
            self._greet_soon(now_s, NEWCOMERS_EVERY_S)
        self._neighbours = here
        if now_s >= self._again_at:
            self._again_at, self._last_again = math.inf, now_s
            self._present_until = 0.0
            self._said = {root: (what, 0.0) for root, (what, _) in self._said.items()}
            self.newcomers += 1

    def _greet_soon(self, now_s: float, every_s: float) -> None:
        self._again_at = min(self._again_at, max(now_s + SETTLED_S, self._last_again + every_s))

    def _compare(self, holdings: Mapping[bytes, Holding], now_s: float) -> None:
        """Put in the queue what is to be said. Our own ledger has it at once."""
        lifetime_s = self._settings.announcement_s
        for root, holding in holdings.items():
            what = holding.summary()
            said, until = self._said.get(root, (None, 0.0))
            if said != what:
                self._note(self._write(root, holding, lifetime_s))
            if said != what or now_s >= until - lifetime_s * 2 / 3:
                self._unsaid[root] = holding
                self._said[root] = (what, now_s + lifetime_s)
        for root in self._said.keys() - holdings.keys():
            self._note(self._write(root, NOTHING, lifetime_s))
            self._unsaid[root] = NOTHING
            del self._said[root]
            self._provided.discard(root)
            self._unprovided.pop(root, None)

    async def _say(self, track_root: bytes, holding: Holding, lifetime_s: int) -> None:
        announcement = self._write(track_root, holding, lifetime_s)
        try:
            document = encode_announcement(announcement, self._identity.sign)
        except CallerFault as fault:
            log.warning("track_not_announced", track_root=short(track_root), code=fault.code)
            return
        if self._note(announcement):
            if holding.held or track_root == PRESENCE:
                self._documents[track_root] = document
            else:
                self._documents.pop(track_root, None)
            await self._network.publish(document)

    def _write(self, track_root: bytes, holding: Holding, lifetime_s: int) -> Announcement:
        now_s, settings = self._now(), self._settings
        # Behind everything that was said before a restart, as long as the clock goes on.
        self._sequence = max(self._sequence + 1, int(now_s * 1000))
        return Announcement(
            node=self._identity.node_key,
            instance=self.instance,
            track_root=track_root,
            manifest_hash=holding.manifest_hash,
            held=dict(holding.held),
            pinned_for=holding.pinned_for,
            operator=settings.operator,
            network=settings.network,
            gateway_url=settings.gateway_url,
            signal_url=settings.signal_url,
            multiaddrs=tuple(self._network.multiaddrs[:8]),
            sequence=self._sequence,
            issued_at=int(now_s),
            valid_until=int(now_s) + lifetime_s,
            account=self.account,
        )

    def _note(self, announcement: Announcement) -> bool:
        """Take our own word into our ledger. False where somebody else speaks with our key."""
        try:
            self.ledger.add(announcement, self._now())
        except CallerFault:  # a flood of names fills our ledger: others may have room
            return True
        except DigmError as fault:
            log.error("own_announcement_refused", track_root=short(announcement.track_root), code=fault.code)
            return False
        return True

    async def _provide_some(self) -> None:
        """Give the DHT records of what was said; what nobody took is tried again when it is said again."""
        for root in list(self._unprovided)[:PROVIDES_AT_ONCE]:
            del self._unprovided[root]
            try:
                if await self._network.provide(root):
                    self._provided.add(root)
            except DigmError as error:
                log.info("not_provided", track_root=short(root), code=error.code)

    async def _on_request(self, _peer: str, track_root: bytes) -> bytes:
        """What we said of a track: for those who found us in the DHT before gossip reached them."""
        if len(track_root) != ID_BYTES:
            raise PeerFault("bad_id", f"A track root is {ID_BYTES} bytes.")
        if track_root not in self._documents:
            raise Unavailable("not_announced", "Nothing of this track was announced.")
        return self._documents[track_root]

    def hear_announcement(self, document: bytes) -> None:
        """Take in what another node says, out of the gossip or because it was asked.

        Raises:
            PeerFault: it is not valid, or not new. CallerFault: the ledger is full.
        """
        announcement = parse_announcement(document, self._now(), verify)
        if self.ledger.knows(announcement):
            return  # ours, or said again for newcomers
        is_ours = announcement.node == self._identity.node_key
        # What an earlier process of ours said may still be on its way; what was said since is somebody else's.
        if is_ours and announcement.instance != self.instance and announcement.issued_at > self._began_at:
            self.doubled_at = self._now()
        before = self.ledger.instance_of(announcement.node)
        self.ledger.add(announcement, self._now())
        if announcement.instance != before and not is_ours:
            # A process that has just started knows nothing, though its key may be an old friend's.
            is_near = peer_id(announcement.node) in self._neighbours
            self._greet_soon(self._now(), NEWCOMERS_EVERY_S if is_near else STRANGERS_EVERY_S)
