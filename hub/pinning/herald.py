"""Says what this node holds and hears what others say: the one ledger that pins, audits and indexes look at."""

import asyncio
import secrets
import time
from collections.abc import Callable
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
from digm.bitfield import Bitfield
from digm.errors import CallerFault, DigmError, Unavailable
from digm.ids import from_hex, is_hex_id, short
from digm.signed_document import kind_of
from hub.pinning.network import Identity, Network, Store
from hub.signatures import verify

log = structlog.get_logger()


@dataclass(frozen=True)
class HeraldSettings:
    """How often and for how long; a node that is silent for `presence_s` counts as gone."""

    operator: str = "unknown"
    network: str = "unknown"
    gateway_url: str | None = None
    signal_url: str | None = None
    presence_s: int = 180
    announcement_s: int = 3600


class Herald:
    """This node's voice and ears on the topic.

    Attributes:
        ledger: who holds what.
        listeners: kind of message -> what to do with its bytes; a DigmError means that it is not valid.
    """

    def __init__(
        self,
        network: Network,
        identity: Identity,
        store: Store,
        settings: HeraldSettings,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.ledger = AnnouncementLedger()
        self.listeners: dict[str, Callable[[bytes], None]] = {"announcement": self._hear_announcement}
        self._network, self._identity, self._store = network, identity, store
        self._settings, self._now = settings, now
        self._instance = secrets.token_bytes(16)
        self._sequence = 0
        self._present_until = 0.0
        self._turn = asyncio.Lock()
        self._said: dict[bytes, tuple[object, float]] = {}

    def on_gossip(self, author: str, payload: bytes) -> bool:
        """The verdict on a message of the topic (`Backbone.on_gossip`).

        What is right and only too much for us is passed on: that is not its sender's fault.
        """
        try:
            listener = self.listeners.get(kind_of(payload, MAX_ANNOUNCEMENT_BYTES))
            if listener is None:
                return False
            listener(payload)
        except CallerFault as fault:
            log.info("gossip_not_kept", author=author[-8:], code=fault.code)
        except DigmError as fault:
            log.debug("gossip_refused", author=author[-8:], code=fault.code)
            return False
        return True

    async def announce(self) -> None:
        """Say that we are there and what has changed or is due to be said again.

        Raises:
            Unavailable: the backbone is down, or the store cannot be read.
        """
        async with self._turn:  # an older look at the store must not be said after a newer one
            await self._announce()

    async def _announce(self) -> None:
        now_s = self._now()
        # Three words in the time of one: two may be lost on the way.
        if now_s >= self._present_until - self._settings.presence_s * 2 / 3:
            await self._say(PRESENCE, bytes(32), {}, (), self._settings.presence_s)
            self._present_until = now_s + self._settings.presence_s
        holdings = await asyncio.to_thread(self._holdings)
        for root, (manifest, held, pins) in holdings.items():
            what = (manifest, {number: field.encode() for number, field in held.items()}, pins)
            said, until = self._said.get(root, (None, 0.0))
            if said != what or now_s >= until - self._settings.announcement_s * 2 / 3:
                await self._say(root, manifest, held, pins, self._settings.announcement_s)
                self._said[root] = (what, now_s + self._settings.announcement_s)
        for root in self._said.keys() - holdings.keys():
            await self._say(root, bytes(32), {}, (), self._settings.announcement_s)
            del self._said[root]

    def _holdings(self) -> dict[bytes, tuple[bytes, dict[int, Bitfield], tuple[bytes, ...]]]:
        found = {}
        for track in self._store.tracks():
            try:
                held = self._store.availability(track.track_root)
            except Unavailable:
                continue  # forgotten since
            if any(len(field) for field in held.values()):
                orders = tuple(from_hex(name) for name in track.pinned_by if is_hex_id(name))[:MAX_PINS]
                found[from_hex(track.track_root)] = (from_hex(track.manifest_hash), held, orders)
        return found

    async def _say(
        self,
        track_root: bytes,
        manifest: bytes,
        held: dict[int, Bitfield],
        pins: tuple[bytes, ...],
        lifetime_s: int,
    ) -> None:
        now_s, settings = self._now(), self._settings
        self._sequence = max(self._sequence + 1, int(now_s * 1000))
        announcement = Announcement(
            node=self._identity.node_key,
            instance=self._instance,
            track_root=track_root,
            manifest_hash=manifest,
            held=held,
            pinned_for=pins,
            operator=settings.operator,
            network=settings.network,
            gateway_url=settings.gateway_url,
            signal_url=settings.signal_url,
            multiaddrs=tuple(self._network.multiaddrs[:8]),
            sequence=self._sequence,
            issued_at=int(now_s),
            valid_until=int(now_s) + lifetime_s,
        )
        try:
            document = encode_announcement(announcement, self._identity.sign)
        except CallerFault as fault:
            log.warning("track_not_announced", track_root=short(track_root), code=fault.code)
            return
        try:
            self.ledger.add(announcement, now_s)
        except DigmError as fault:  # such as another running node with our key
            log.error("own_announcement_refused", track_root=short(track_root), code=fault.code)
            return
        await self._network.publish(document)

    def _hear_announcement(self, document: bytes) -> None:
        announcement = parse_announcement(document, self._now(), verify)
        if not self.ledger.knows(announcement):  # else it is ours, or said again for newcomers
            self.ledger.add(announcement, self._now())
