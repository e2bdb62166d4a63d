"""What a node says of itself: `GET /api/node`, its gauges, and whether it is ready.

Plain values for pages and programs; where they come from is the node's business.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client import Counter, Gauge

from digm.audits import AuditScore
from digm.errors import DigmError
from digm.ids import to_hex
from digm.manifest import parse_manifest
from digm.node_ids import peer_id
from hub.backbone.backbone import Backbone
from hub.config import Settings
from hub.metrics import GATEWAY_BYTES
from hub.node.storage import NodeStore
from hub.node.traffic import GIVEN, TAKEN
from hub.pinning.auditor import Auditor
from hub.pinning.herald import Herald
from hub.pinning.order_desk import OrderProgress
from hub.pinning.pinner import Pinner
from hub.pinning.records import Records
from hub.seeding.metrics import UPLOADED

HELD = Gauge("digm_node_held_bytes", "Bytes of chunks and manifests that the node holds.")
PROMISED = Gauge("digm_node_promised_bytes", "Bytes of the tracks that the node has promised to keep.")
QUOTA = Gauge("digm_node_quota_bytes", "Most bytes that the node stores.")
TRACKS = Gauge("digm_node_tracks", "Tracks of which the node holds something.")
PINNED = Gauge("digm_node_pinned_tracks", "Tracks that the node has promised to keep.")
PEERS = Gauge("digm_node_peers", "Nodes that are connected.")
MOST_TRACKS = 5_000  # in one answer, the pinned ones first
MOST_AUDITS = 50
KEPT_TITLES = 20_000


@dataclass(frozen=True)
class Parts:
    """What there is to tell of."""

    settings: Settings
    store: NodeStore
    records: Records
    backbone: Backbone
    herald: Herald
    pinner: Pinner
    auditor: Auditor


class Status:
    """Tells of one node. `refresh` blocks; `document` gives what it found, with what is known in memory."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._began = time.monotonic()
        self._titles: dict[str, str] = {}
        self._seen_changes = -1
        self._tracks: list[dict[str, Any]] = []
        self._stored: dict[str, Any] = {"quota": {}, "lost": 0, "latest_audits": []}
        self.chain: Callable[[], dict[str, Any]] | None = None
        self.is_hub_connected: Callable[[], bool] | None = None
        self.gateway_url: str | None = None
        self.health_url: str | None = None

    def refresh(self) -> None:
        """Look at the store and the records.

        Raises:
            Unavailable: they cannot be read just now.
        """
        store = self._parts.store
        if store.changes != self._seen_changes:
            self._seen_changes = store.changes
            self._look_at_tracks()
        quota = {
            "bytes": store.quota_bytes,
            "held_bytes": store.held_bytes,
            "promised_bytes": store.promised_bytes,
            "free_bytes": store.free_bytes(),
        }
        audits = [
            {"peer_id": peer_id(node), "chunk_hash": to_hex(chunk), "outcome": outcome, "at": at}
            for node, chunk, outcome, at in self._parts.records.results(MOST_AUDITS)
        ]
        self._stored = {"quota": quota, "lost": len(store.lost()), "latest_audits": audits}
        HELD.set(store.held_bytes)
        PROMISED.set(store.promised_bytes)
        QUOTA.set(store.quota_bytes)
        PEERS.set(len(self._parts.backbone.peers()))

    def _look_at_tracks(self) -> None:
        store, until = self._parts.store, dict[str, float]()
        for pin in store.pins():
            until[pin.track_root] = max(pin.until, until.get(pin.track_root, 0.0))
        held = sorted(store.tracks(), key=lambda track: (not track.pinned_by, track.track_root))
        self._tracks = [
            {
                "track_root": track.track_root,
                "title": self._title(track.track_root),
                "manifest_hash": track.manifest_hash,
                "bytes": track.bytes,
                "held_bytes": track.held_bytes,
                "share": self._share(track.track_root),
                "pinned_by": list(track.pinned_by),
                "pinned_until": until.get(track.track_root),
            }
            for track in held[:MOST_TRACKS]
        ]
        TRACKS.set(len(held))
        PINNED.set(len(until))

    def document(self, conditions: dict[str, bool]) -> dict[str, Any]:
        """What `GET /api/node` answers.

        Args:
            conditions: of `/readyz`.
        """
        parts = self._parts
        return {
            "peer_id": parts.backbone.peer_id,
            "node": to_hex(parts.backbone.identity.node_key),
            "operator": parts.settings.operator,
            "network": parts.settings.network,
            "multiaddrs": parts.backbone.multiaddrs,
            "gateway": self.gateway_url,
            "health": self.health_url,
            "uptime_s": round(time.monotonic() - self._began, 1),
            "hub_connected": self.is_hub_connected() if self.is_hub_connected else None,
            "restarts": parts.backbone.restarts,
            "ready": conditions,
            "chain": self.chain() if self.chain else None,
            "peers": self._peers(),
            "tracks": self._tracks,
            "orders": [self._order(item) for item in parts.pinner.progress()],
            "audits": [_audited(node, score) for node, score in parts.auditor.scores.items()],
            "traffic": {
                "taken_bytes": _count(TAKEN),
                "given_bytes": {
                    "libp2p": _count(GIVEN), "http": _count(GATEWAY_BYTES), "webrtc": _count(UPLOADED)
                },
            },
            **self._stored,
        }  # fmt: skip

    def _peers(self) -> list[dict[str, Any]]:
        present = {peer_id(said.node): said for said in self._parts.herald.ledger.present(time.time())}
        connected = {peer.peer_id: peer.latency_ms for peer in self._parts.backbone.peers()}
        rows = []
        for name in sorted(connected.keys() | present.keys() - {self._parts.backbone.peer_id}):
            said = present.get(name)
            rows.append(
                {
                    "peer_id": name,
                    "is_connected": name in connected,
                    "latency_ms": connected.get(name),
                    "operator": said.operator if said else None,
                    "network": said.network if said else None,
                    "gateway": said.gateway_url if said else None,
                }
            )
        return rows

    def _order(self, item: OrderProgress) -> dict[str, Any]:
        order = item.order
        return {
            "order_id": to_hex(order.order_id),
            "track_root": to_hex(order.track_root),
            "artist": to_hex(order.artist),
            "desired": order.desired_replicas,
            "expires_at": order.expires_at,
            "held": sorted(map(peer_id, item.holders)),
            "promised": sorted(map(peer_id, item.promised)),
            "declined": {peer_id(node): why.value for node, why in item.declined.items()},
            "broken": sorted(map(peer_id, item.broken)),
        }

    def _title(self, root: str) -> str:
        if root not in self._titles:
            if len(self._titles) >= KEPT_TITLES:
                self._titles.clear()
            try:
                self._titles[root] = parse_manifest(self._parts.store.chunks.manifest(root)).title
            except DigmError:  # let go meanwhile
                return ""
        return self._titles[root]

    def _share(self, root: str) -> float:
        try:
            held = self._parts.store.availability(root).values()
        except DigmError:
            return 0.0
        return round(sum(map(len, held)) / max(1, sum(field.count for field in held)), 4)


def _audited(node: bytes, score: AuditScore) -> dict[str, Any]:
    return {
        "peer_id": peer_id(node),
        "health": score.health.value,
        "score": score.score,
        "passed": score.passed,
        "failed": score.failed,
        "last_at": score.last_at,
        "last_outcome": score.last_outcome or None,
    }


def _count(counter: Counter) -> int:
    samples = (sample for metric in counter.collect() for sample in metric.samples)
    return int(sum(sample.value for sample in samples if sample.name.endswith("_total")))
