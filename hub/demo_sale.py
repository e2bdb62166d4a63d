"""The demo piece that costs something: played, published with a preview, put on the devnet and for sale, once.

All of it happens when the free music plays already. Each step can be taken again after it was cut off; which
track it is stands in a file of the data folder until it is for sale.
"""

import asyncio
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import structlog

from hub.config import Settings
from hub.home_chain import HomeChain
from hub.supervision import Child

log = structlog.get_logger()
UNSOLD = "demo-for-sale"
"""Empty, or the piece's track root."""
PREVIEW_S, PRICE, TOKEN = 30, "25", "para"


class DemoSale:
    """One `digm up`'s.

    Args:
        environment: what the hub's processes are started with.
    """

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        self._marker, self._folder = settings.data / UNSOLD, settings.data / "demo-piece"
        logs = settings.data / "logs"
        self._demo, self._publish, self._sell = self.children = [
            Child(name, logs, environment, log_name=f"{name}-for-sale", is_patient=True)
            for name in ("demo", "publish", "sell")
        ]

    @staticmethod
    def intend(data: Path) -> None:
        """Have it done, by the next `put_up`: the data folder is new."""
        (data / UNSOLD).touch()

    async def put_up(self, home: HomeChain) -> str | None:
        """Do what is left to do.

        Returns:
            the piece's track root when it is for sale now; None: nothing was intended, or it is gone on with
            the next time.
        """
        if not self._marker.exists():
            return None
        root = self._marker.read_text().strip()
        if not root:
            root = await self._published()
            self._marker.write_text(root)
        is_sold = (
            bool(root)
            and await home.settle_in([root]) is not None
            and await self._sell.run(root, "--for", PRICE, "--token", TOKEN) == 0
        )
        if not is_sold:
            log.warning("demo_not_for_sale", logs=[str(child.log_path) for child in self.children])
            return None
        self._marker.unlink()
        return root

    async def _published(self) -> str:
        folder = str(self._folder)
        try:
            if await self._demo.run("--for-sale", folder) != 0:
                return ""
            if await self._publish.run("--json", "--preview-seconds", str(PREVIEW_S), folder) != 0:
                return ""
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return str(json.loads(self._publish.last_words())["track_root"])
