"""What the listener and the machine say about giving: one for the page, for all of its tracks.

The listener's settings live in static/digm-sharing.js (menu, attributes, storage); the browser knows about
Save-Data, cellular connections and the battery. What follows from them is digm.upload_manners's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from digm.upload_manners import UploadManners, Why
from web import browser
from web.browser import now_s


@dataclass(frozen=True, slots=True)
class Policy:
    """What the listener and the page want.

    Attributes:
        peers: False: no WebRTC and no signalling at all.
        hide_address: connect through relays only.
        min_listeners: below so many in a swarm, no peer-to-peer.
        receipts: sign for who gives to us.
    """

    peers: bool = True
    share: bool = True
    cap_bytes_per_s: float = 0.0
    hide_address: bool = False
    min_listeners: int = 0
    receipts: bool = False


class Sharing:
    """The manners of a page, kept up to date.

    Attributes:
        manners: shared by all peer links of the page.
        policy: as it is now.

    Args:
        source: static/digm-sharing.js's object for this player; None: everything as it comes.
    """

    def __init__(self, source: Any = None) -> None:
        self.manners = UploadManners(now_s())
        self.policy = Policy()
        self._source = source
        self._listeners: list[Callable[[], None]] = []
        self._changed = browser.lasting_proxy(lambda *_: self._read())
        self._machine = browser.Machine(self._read)
        if source is not None:
            source.listen(self._changed)
        self._read()

    def on_change(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    def forget(self, listener: Callable[[], None]) -> None:
        self._listeners.remove(listener)

    def why(self) -> Why:
        """The reason that lasts, as it is shown."""
        return self.manners.standing

    @property
    def saves_data(self) -> bool:
        """Whether nothing should be fetched that may not be heard: Save-Data, or a cellular connection."""
        return self.manners.saves_data or self.manners.is_metered

    def send_receipts(self, text: str) -> None:
        """To the hub, while it wants them; nobody waits for it."""
        if self._source is not None:
            self._source.sendReceipts(text)

    def close(self) -> None:
        self._machine.close()
        if self._source is not None:
            self._source.unlisten(self._changed)
        self._changed.destroy()

    def _read(self) -> None:
        before = self._shown()
        if self._source is not None:
            said = self._source.policy()
            self.policy = Policy(
                bool(said.peers), bool(said.share), float(said.cap_bytes_per_s), bool(said.hide_address),
                int(said.min_listeners), bool(said.receipts),
            )  # fmt: skip
        machine, manners = self._machine, self.manners
        manners.is_on = self.policy.share
        manners.set_cap(self.policy.cap_bytes_per_s)
        manners.saves_data, manners.is_metered = machine.saves_data, machine.is_metered
        manners.battery = machine.battery
        if self._shown() != before:
            for listener in list(self._listeners):
                listener()

    def _shown(self) -> tuple[object, ...]:
        manners = self.manners
        return self.policy, manners.standing, manners.bucket.rate_per_s, self.saves_data
