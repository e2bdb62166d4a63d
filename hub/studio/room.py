"""What the studio's requests share: the desk, what is on its way, the vault; and their tasks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiohttp import web

from digm.errors import CallerFault
from hub.chain.follower import ChainFollower
from hub.config import Settings
from hub.publishing.sources import fingerprint
from hub.publishing.vault import Vault
from hub.storage.catalogue import Catalogue, TrackEntry
from hub.studio.desk import Desk
from hub.studio.journey import Journey
from hub.studio.news import News


class Room:
    """One artist's studio.

    Attributes:
        chain: what stands there.
        telling: held by who tells the contracts something.
        is_vault_replaced: by a back-up; what runs has the old one open, until it is started again.
        journey: the release that is on its way, or ended last.
    """

    def __init__(self, settings: Settings, vault: Vault) -> None:
        self.settings, self.vault = settings, vault
        self.news = News()
        self.desk = Desk(settings.data, self.news, self._published)
        self.chain = ChainFollower(settings)
        self.telling = asyncio.Lock()
        self.is_vault_replaced = False
        self.journey: Journey | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def _published(self, path: Path) -> TrackEntry | None:
        """As `Publisher` looks for it. Blocks."""
        for secret in self.vault.by_source(fingerprint(path).sha256):
            with Catalogue.open_for_reading(self.settings.data) as catalogue:
                if entry := catalogue.track(secret.track_root):
                    return entry
        return None

    def check_idle(self) -> None:
        """Raises CallerFault `busy`."""
        if self.journey is not None and self.journey.state == "running":
            raise CallerFault("busy", "A release is on its way: wait for it.")

    def begin(self, journey: Journey) -> None:
        """Send a release on its way."""
        self.check_idle()
        self.journey = journey
        self._go(journey)

    def go_on(self) -> None:
        """Go on with the one that did not go all the way. Raises CallerFault `busy`, `nothing_to_go_on`."""
        self.check_idle()
        if self.journey is None:
            raise CallerFault("nothing_to_go_on", "There is nothing to go on with.")
        self.journey.again()
        self._go(self.journey)

    def _go(self, journey: Journey) -> None:
        task = asyncio.create_task(journey.run(self.desk), name="journey")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.news.tell()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """With what runs in it. Raises as `Desk.open`."""
        with self.desk.open():
            self._tasks.add(asyncio.create_task(self.desk.read_on(), name="desk"))
            self._tasks.add(asyncio.create_task(self.chain.run(), name="chain"))
            try:
                yield
            finally:
                tasks = list(self._tasks)
                for task in tasks:
                    task.cancel()
                for task in tasks:
                    with suppress(asyncio.CancelledError):
                        await task


ROOM: web.AppKey[Room] = web.AppKey("studio_room", Room)
