"""The network as the operator's page shows it, put together from what is claimed, measured and audited.

A sum over what others gathered: announcements (claims), the hub's own connections (latency), its own auditor
and the signed indexes of nodes that the operator watches (audits), and what those say of themselves (traffic).
No clock, no socket.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from digm.announcements import Announcement, AnnouncementLedger
from digm.audits import AuditScore, Health
from digm.chain_standing import ChainStanding
from digm.fresh_index import FreshIndex
from digm.ids import from_hex, to_hex
from digm.node_ids import peer_id
from digm.pinning import PinOrder
from hub.overview.status import NodeStatus
from hub.pinning.network import ChunkCounts

MOST_NODES = 200
MOST_TRACKS = 500


class State(StrEnum):
    """How a node stands with whoever audited it last: the words of `digm.audits.Health`; or that it is gone."""

    HEALTHY = "healthy"
    UNPROVEN = "unproven"
    SLOW = "slow"
    ABSENT = "absent"
    FAILED = "failed"
    GONE = "gone"


@dataclass(frozen=True)
class Holding:
    """What a node claims of a track: 0.0 to 1.0 of its chunks, and whether a pin order keeps them there."""

    track_root: str
    share: float
    pinned: bool


@dataclass(frozen=True)
class _Word:
    """What one auditor says of a node."""

    audit: "Audit"
    health: Health
    score: float
    latency_ms: float | None = None


@dataclass(frozen=True)
class Audit:
    """The latest audit that is known. `at`: seconds since 1970, on the auditor's clock."""

    at: int
    outcome: str


@dataclass(frozen=True)
class Traffic:
    """Bytes since the node started, bytes a second of late; `recent`: both ways together, the newest last."""

    sent_bytes: int
    received_bytes: int
    sent_per_s: float
    received_per_s: float
    recent: tuple[float, ...] = ()


@dataclass(frozen=True)
class Node:
    """One node.

    Attributes:
        operator, network: what it says itself; printable.
        score: of its audits, 0.0 to 1.0; None where nobody audited it.
        auditors: how many audited it, of this hub and the nodes that it watches.
        latency_ms: as this hub measures it, else as the latest index says.
        is_self: this hub.
        traffic, held_bytes, quota_bytes: of watched nodes.
        neighbours: peer ids of nodes that it is connected with, as it says; of watched nodes.
        chain: how it stands with the contract; None where it has no account there.
    """

    peer_id: str
    operator: str
    network: str
    gateway: str | None
    score: float | None
    latency_ms: float | None
    last_audit: Audit | None
    state: State
    tracks: tuple[Holding, ...]
    auditors: int = 0
    is_self: bool = False
    is_connected: bool = False
    traffic: Traffic | None = None
    held_bytes: int | None = None
    quota_bytes: int | None = None
    neighbours: tuple[str, ...] = ()
    chain: ChainStanding | None = None


@dataclass(frozen=True)
class Track:
    """One track. `held` counts the copies that fulfil its order; without one, all whole copies.

    Attributes:
        title, artist: None where it is not published here.
        desired: copies that its order asks for; None: there is no order.
    """

    track_root: str
    title: str | None
    artist: str | None
    desired: int | None
    held: int

    @property
    def missing(self) -> int:
        """Copies that are ordered and not there."""
        return max(0, (self.desired or 0) - self.held)


@dataclass(frozen=True)
class Network:
    """Nodes in the order in which they are drawn, tracks as the catalogue has them, then those of others."""

    nodes: tuple[Node, ...] = ()
    tracks: tuple[Track, ...] = ()


@dataclass(frozen=True)
class Published:
    """What the catalogue says of a track; `artist_key`: Ed25519, in hex."""

    title: str
    artist: str | None
    artist_key: str = ""


@dataclass(frozen=True)
class Known:
    """What there is to be put together.

    Attributes:
        published: by track root, in the catalogue's order.
        own: this hub's peer id, where it is a member.
        connected: peer id -> latency in milliseconds, where it is known.
        scores: node key -> how it stands with this hub's own auditor.
        indexes: of watched nodes.
        statuses: peer id -> what the node says of itself, and its traffic.
        orders: the pin orders that ask for copies now. Anybody can sign one: the publishing artist's count.
        standing: what the chain says of a node that announced itself.
        chunk_counts: of a track root and a manifest's hash, by rendition; None where that manifest is not here.
    """

    published: Mapping[str, Published] = field(default_factory=dict)
    own: str | None = None
    connected: Mapping[str, float | None] = field(default_factory=dict)
    scores: Mapping[bytes, AuditScore] = field(default_factory=dict)
    indexes: Sequence[FreshIndex] = ()
    statuses: Mapping[str, tuple[NodeStatus, Traffic | None]] = field(default_factory=dict)
    orders: Sequence[PinOrder] = ()
    standing: Callable[[Announcement], ChainStanding | None] = lambda _said: None
    chunk_counts: ChunkCounts = lambda _root, _manifest: None


def network_of(ledger: AnnouncementLedger, known: Known, now_s: float) -> Network:
    """Put it together; of a crowd those are kept that have to do with this hub."""
    audited = _audits(known, now_s)
    nodes = [_node(said, ledger, known, audited.get(said.node, []), now_s) for said in ledger.present(now_s)]
    published = known.published.keys()
    nodes.sort(key=lambda node: _far(node, published))
    nodes = nodes[:MOST_NODES]
    nodes.sort(key=place_of)
    return Network(tuple(nodes), _tracks(nodes, ledger, known, now_s))


def place_of(node: Node) -> tuple[bool, str, str, str]:
    """Nodes of one network, and of one operator in it, stand side by side; the hub itself first."""
    return not node.is_self, node.network, node.operator, node.peer_id


def printable(text: str) -> str:
    """A stranger's words without what would rearrange a page or a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip() or "unnamed"


def _far(node: Node, published: Iterable[str]) -> tuple[bool, bool, bool, bool, str]:
    holds_ours = any(holding.track_root in published for holding in node.tracks)
    return not node.is_self, not node.auditors, not node.is_connected, not holds_ours, node.peer_id


def _node(
    said: Announcement, ledger: AnnouncementLedger, known: Known, audits: list[_Word], now_s: float
) -> Node:
    name = peer_id(said.node)
    status, traffic = known.statuses.get(name, (None, None))
    latest = audits[0] if audits else None
    measured = known.connected.get(name)
    holdings = (
        Holding(to_hex(claim.track_root), round(claim.share, 4), bool(claim.pinned_for))
        for claim in ledger.of_node(said.node, now_s)
    )
    return Node(
        peer_id=name,
        operator=printable(said.operator),
        network=printable(said.network),
        gateway=said.gateway_url,
        score=latest.score if latest else None,
        latency_ms=measured if measured is not None or latest is None else latest.latency_ms,
        last_audit=latest.audit if latest else None,
        state=State(latest.health if latest else Health.UNPROVEN),
        tracks=tuple(sorted(holdings, key=lambda holding: holding.track_root)),
        auditors=len(audits),
        is_self=name == known.own,
        is_connected=name in known.connected,
        traffic=traffic,
        held_bytes=status.quota.held_bytes if status else None,
        quota_bytes=status.quota.bytes if status else None,
        neighbours=tuple(sorted(status.neighbours)) if status else (),
        chain=known.standing(said),
    )


def _audits(known: Known, now_s: float) -> dict[bytes, list[_Word]]:
    """Node -> what its auditors say of it, the latest first. What a node says of itself is no audit."""
    found: dict[bytes, list[_Word]] = {}
    for node, score in known.scores.items():
        if score.last_outcome:
            word = _Word(Audit(int(score.last_at), score.last_outcome), score.health, score.score)
            found.setdefault(node, []).append(word)
    for index in known.indexes:
        for said in index.nodes if now_s < index.valid_until else ():
            if said.last_audit is not None and said.node != index.author:
                audit = Audit(said.last_audit.at, said.last_audit.outcome.value)
                word = _Word(audit, said.health, said.score, said.latency_ms)
                found.setdefault(said.node, []).append(word)
    for words in found.values():
        words.sort(key=lambda word: -word.audit.at)
    return found


def _tracks(nodes: Iterable[Node], ledger: AnnouncementLedger, known: Known, now_s: float) -> tuple[Track, ...]:
    orders = {
        to_hex(order.track_root): order
        for order in known.orders
        if _is_by_its_artist(order, known.published.get(to_hex(order.track_root)))
    }
    failed = {node.peer_id for node in nodes if node.state is State.FAILED}
    elsewhere = {holding.track_root for node in nodes for holding in node.tracks}
    roots = [*known.published, *sorted(elsewhere - known.published.keys())][:MOST_TRACKS]
    found = []
    for root in roots:
        listed, order = known.published.get(root), orders.get(root)
        held = sum(
            claim.is_copy(known.chunk_counts(claim.track_root, claim.manifest_hash))
            and (order is None or _fulfils(claim, order))
            and peer_id(claim.node) not in failed
            for claim in ledger.of_track(from_hex(root), now_s)
        )
        title, artist = (listed.title, listed.artist) if listed else (None, None)
        found.append(Track(root, title, artist, order.desired_replicas if order else None, held))
    return tuple(found)


def _is_by_its_artist(order: PinOrder, listed: Published | None) -> bool:
    return listed is not None and listed.artist_key == to_hex(order.artist)


def _fulfils(claim: Announcement, order: PinOrder) -> bool:
    return claim.manifest_hash == order.manifest_hash and order.order_id in claim.pinned_for
