"""Keeps a node in company: connected to several others, so that no single one is missed when it goes.

Whom it was started with may be gone for good when it starts again, so it also remembers whom it met.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import structlog

from digm.announcements import AnnouncementLedger
from digm.errors import DigmError
from digm.node_ids import peer_id
from hub.backbone.backbone import Backbone
from hub.backbone.model import PeerAddress
from hub.pauses import Pauses
from hub.storage.durable import disk_faults_named, write_durably

log = structlog.get_logger()
FILE_NAME = "met.json"
WANTED = 8  # GossipSub's degree is 6
CALLED_AT_ONCE = 3
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 300.0  # before one who did not answer is called again
MOST_REMEMBERED = 64
WRITTEN_EVERY_S = 60.0
MOST_BYTES = 1 << 20


class Company:
    """Call `tick` every few seconds.

    Args:
        data: the node's folder.
    """

    def __init__(
        self,
        backbone: Backbone,
        ledger: AnnouncementLedger,
        data: Path,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backbone, self._ledger, self._path = backbone, ledger, data / FILE_NAME
        self._now, self._clock = now, clock
        self._pauses = Pauses[str](FIRST_PAUSE_S, LONGEST_PAUSE_S, clock)  # by peer id
        self._met = _read(self._path)
        self._written, self._written_at = dict(self._met), -WRITTEN_EVERY_S

    async def tick(self) -> None:
        """Call a few nodes if there is too little company, and remember who is there.

        Raises:
            Unavailable: the disk is full; who is there was called all the same.
        """
        connected = {peer.peer_id for peer in self._backbone.peers()}
        present = {
            peer_id(said.node): said.multiaddrs for said in self._ledger.present(self._now()) if said.multiaddrs
        }
        present.pop(self._backbone.peer_id, None)
        if self._backbone.is_running and len(connected) < WANTED:
            # Those of former times only while nobody is there who knows better.
            known = present if connected else {**self._met, **present}
            await self._call_some({name: known[name] for name in known.keys() - connected})
        await self._remember(present)

    async def meet_anew(self) -> None:
        """Hang up on everybody: what they know of us may be of another process. The next `tick` calls them."""
        with suppress(DigmError):  # the backbone is starting again, and with it all this
            await self._backbone.sign_anew()
        for peer in self._backbone.peers():
            with suppress(DigmError):  # gone already
                await self._backbone.disconnect(peer.peer_id)

    async def _call_some(self, known: dict[str, tuple[str, ...]]) -> None:
        self._pauses.keep_only(known)
        due = [name for name in known if not self._pauses.left_s(name)]
        chosen = random.sample(due, min(CALLED_AT_ONCE, len(due)))
        await asyncio.gather(*(self._call(name, known[name]) for name in chosen))

    async def _call(self, name: str, multiaddrs: tuple[str, ...]) -> None:
        plain = [address.partition("/p2p/")[0] for address in multiaddrs]
        try:
            await self._backbone.introduce(PeerAddress(name, tuple(plain)))
            await self._backbone.connect(f"{plain[0]}/p2p/{name}")
        except DigmError as error:
            self._pauses.failed(name)
            log.debug("node_not_reached", peer_id=name, code=error.code)

    async def _remember(self, present: dict[str, tuple[str, ...]]) -> None:
        # The newest at the end; who was not seen for longest goes.
        for name in sorted(present):
            self._met.pop(name, None)
            self._met[name] = present[name]
        for name in list(self._met)[:-MOST_REMEMBERED]:
            del self._met[name]
        is_due = self._clock() >= self._written_at + WRITTEN_EVERY_S
        is_new = bool(self._met.keys() - self._written.keys())
        if self._met != self._written and (is_due or is_new):
            self._written, self._written_at = dict(self._met), self._clock()
            await asyncio.to_thread(self._write, json.dumps(self._met).encode())

    def _write(self, document: bytes) -> None:
        with disk_faults_named(self._path.parent):
            write_durably(self._path, document, self._path.parent / "incoming")


def _read(path: Path) -> dict[str, tuple[str, ...]]:
    """Whom we met; nobody where the file is missing or was meddled with."""
    try:
        if path.stat().st_size > MOST_BYTES:
            return {}
        met = json.loads(path.read_bytes())
        return {name: texts for name, addresses in met.items() if (texts := _texts(addresses))}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _texts(items: Iterable[object]) -> tuple[str, ...]:
    return tuple(item for item in items if isinstance(item, str) and item.startswith("/"))
