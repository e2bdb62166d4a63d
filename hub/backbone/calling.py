"""Calling other nodes (trio side): who does not answer is called again soon, then later and later.

The library itself refuses for a minute to call anybody whom it called in vain once, even while he starts.
"""

from contextlib import suppress
from typing import Any

import structlog
import trio
from libp2p.abc import IHost
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from libp2p.peer.peerstore import PeerStoreError
from multiaddr import Multiaddr  # type: ignore[import-untyped]

from digm.errors import Unavailable
from hub.backbone.model import PeerAddress
from hub.backbone.settings import BackboneSettings
from hub.pauses import Pauses

log = structlog.get_logger()
REMEMBERED_S = 3_600


class Caller:
    """The outgoing calls of one host."""

    def __init__(self, host: IHost, settings: BackboneSettings) -> None:
        self._host, self._settings = host, settings
        self._network: Any = host.get_network()
        self._pauses = Pauses[ID](settings.call_again_first_s, settings.call_again_most_s, trio.current_time)

    def introduce(self, address: PeerAddress) -> None:
        """Remember where a node is."""
        info = PeerInfo(ID.from_string(address.peer_id), _understood(address.multiaddrs))
        self._look_at(info)
        if info.addrs:
            self._host.get_peerstore().add_addrs(info.peer_id, info.addrs, REMEMBERED_S)

    async def call(self, info: PeerInfo) -> None:
        """Call a node now.

        Raises:
            Unavailable: `peer_unreachable`.
        """
        self._network.unblock_peer(info.peer_id)
        try:
            with trio.fail_after(self._settings.connect_timeout_s):
                await self._host.connect(info)
        except Exception as error:
            self._pauses.failed(info.peer_id)
            raise Unavailable("peer_unreachable", f"The node does not answer: {error!r:.120}.") from error
        self._pauses.forget(info.peer_id)

    async def reach(self, peer: ID) -> None:
        """Be connected to a node of which we know the addresses.

        Raises:
            Unavailable: `peer_unreachable`, also in the pause after a call in vain.
        """
        if not self._network.get_connections(peer):
            await self._call_if_due(PeerInfo(peer, self._addresses(peer)))

    async def is_reached(self, info: PeerInfo) -> bool:
        """Whether a node that somebody named answers."""
        if self._network.get_connections(info.peer_id):
            return True
        if info.addrs:
            self._look_at(info)
            with trio.move_on_after(self._settings.provider_check_timeout_s) as scope, suppress(Unavailable):
                await self._call_if_due(info)
                return True
            if scope.cancelled_caught:
                self._pauses.failed(info.peer_id)
        return False

    def _look_at(self, info: PeerInfo) -> None:
        if set(info.addrs) - set(self._addresses(info.peer_id)):
            self._pauses.forget(info.peer_id)  # it may have moved

    async def _call_if_due(self, info: PeerInfo) -> None:
        if left_s := self._pauses.left_s(info.peer_id):
            raise Unavailable(
                "peer_unreachable", f"The node did not answer; it is called again in {left_s:.1f} s or later."
            )
        await self.call(info)

    def _addresses(self, peer: ID) -> list[Multiaddr]:
        try:
            return list(self._host.get_peerstore().addrs(peer))
        except PeerStoreError:  # nobody told us
            return []


def _understood(texts: tuple[str, ...]) -> list[Multiaddr]:
    addresses = []
    for text in texts:
        try:
            addresses.append(Multiaddr(text.split("/p2p/")[0]))
        except Exception as error:  # the library's parsers raise many kinds
            log.debug("multiaddr_not_understood", error=f"{error!r:.80}")
    return addresses
