"""Writes `fresh-index.json`: what this node knows of the others, signed, and whole on the disk."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from digm.announcements import Announcement
from digm.audits import AuditScore, Health, Outcome
from digm.chain_standing import ChainStanding
from digm.fresh_index import FreshIndex, IndexNode, LastAudit, encode_fresh_index, fit
from digm.node_ids import peer_id
from hub.pinning.herald import Herald
from hub.pinning.network import Identity, Network
from hub.storage.durable import disk_faults_named, write_durably

FILE_NAME = "fresh-index.json"


@dataclass(frozen=True)
class IndexSettings:
    """How often it is written, and how long it is good for."""

    every_s: float = 60.0
    lifetime_s: int = 900


class FreshIndexWriter:
    """The fresh index of one node or hub.

    Attributes:
        document: the latest, to be served; empty before the first.

    Args:
        scores: node key -> how it stands with our auditor.
        relays: node key -> TURN URLs, where they are known.
        standing: how a node that announced itself stands with the chain's contract.
    """

    def __init__(
        self,
        network: Network,
        identity: Identity,
        herald: Herald,
        scores: Callable[[], dict[bytes, AuditScore]],
        folder: Path,
        settings: IndexSettings | None = None,
        relays: Callable[[bytes], tuple[str, ...]] = lambda _node: (),
        now: Callable[[], float] = time.time,
        standing: Callable[[Announcement], ChainStanding | None] = lambda _said: None,
    ) -> None:
        self.document = b""
        self.path = folder / FILE_NAME
        self._network, self._identity, self._herald, self._scores = network, identity, herald, scores
        self._settings, self._relays, self._now = settings or IndexSettings(), relays, now
        self._standing = standing
        self._sequence = 0
        self._written_at = 0.0

    async def tick(self) -> bool:
        """Write it if it is due. Returns whether it was.

        Raises:
            Unavailable: `disk_full`, `disk_failed`; the document in memory is new all the same.
        """
        now_s = self._now()
        if self.document and now_s < self._written_at + self._settings.every_s:
            return False
        self._sequence = max(self._sequence + 1, int(now_s * 1000))
        index = FreshIndex(
            author=self._identity.node_key,
            sequence=self._sequence,
            issued_at=int(now_s),
            valid_until=int(now_s) + self._settings.lifetime_s,
            nodes=fit(self._nodes(now_s)),
        )
        self.document, self._written_at = encode_fresh_index(index, self._identity.sign), now_s
        await asyncio.to_thread(self._write, self.document)
        return True

    def _write(self, document: bytes) -> None:
        with disk_faults_named(self.path.parent):
            write_durably(self.path, document, self.path.parent / "incoming")

    def _nodes(self, now_s: float) -> list[IndexNode]:
        latencies = {peer.peer_id: peer.latency_ms for peer in self._network.peers()}
        scores = self._scores()
        return [
            self._node(said, scores.get(said.node), latencies.get(peer_id(said.node)), now_s)
            for said in self._herald.ledger.present(now_s)
            if said.node != self._identity.node_key
        ]

    def _node(
        self, said: Announcement, score: AuditScore | None, latency_ms: float | None, now_s: float
    ) -> IndexNode:
        claims = self._herald.ledger.of_node(said.node, now_s)
        return IndexNode(
            node=said.node,
            health=score.health if score else Health.UNPROVEN,
            score=score.score if score else 0.0,
            operator=said.operator,
            network=said.network,
            tracks={claim.track_root: round(claim.share, 4) for claim in claims},
            latency_ms=latency_ms,
            last_audit=_last_audit(score),
            gateway_url=said.gateway_url,
            signal_url=said.signal_url,
            relay_urls=self._relays(said.node),
            multiaddrs=said.multiaddrs,
            chain=self._standing(said),
        )


def _last_audit(score: AuditScore | None) -> LastAudit | None:
    if score is None or not score.last_outcome:
        return None
    return LastAudit(int(score.last_at), Outcome(score.last_outcome))
