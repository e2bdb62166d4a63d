"""The fresh index (blueprint §2.3): which nodes are healthy, what they hold, where they are.

Every hub and node writes one of what it knows itself, signs it and serves it as `/fresh-index.json`. It is that
author's word and nobody else's. Clients put healthy nodes first and drop what is stale (`best_first`). Its
shape is in docs/fresh-index.schema.json, which the tests hold to this module.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from digm.announcements import MAX_NAME, read_multiaddrs, read_url
from digm.audits import Health, Outcome
from digm.chain_standing import ChainStanding, standing_from_json, standing_to_json
from digm.errors import PeerFault
from digm.ids import to_hex
from digm.json_reader import JsonReader
from digm.node_ids import peer_id
from digm.signed_document import MAX_SEQUENCE, MAX_TIME_S, Sign, Verify, check_times, encode_signed, open_signed

KIND = "fresh_index"
MAX_INDEX_BYTES = 1 << 20
MAX_NODES = 1_000
MAX_TRACKS = 10_000
MAX_RELAYS = 4
MAX_LIFETIME_S = 86_400
MAX_LATENCY_MS = 600_000.0
STALE_AFTER_S = 6 * 3600
"""A node whose last audit is older than this is no better than one that was never asked."""


@dataclass(frozen=True)
class LastAudit:
    """When a node was last audited (seconds since 1970, the author's clock), and what came of it."""

    at: int
    outcome: Outcome


@dataclass(frozen=True)
class IndexNode:
    """What the author knows of one node.

    Attributes:
        tracks: track root -> share of its chunks that the node claims, 0.0 to 1.0.
        score: 0.0 to 1.0 (`AuditScore.score`).
        latency_ms: round trip, as last measured; None if it was not.
        chain: how it stands with the contract; None: no account of it is known, or the author reads no chain.
    """

    node: bytes
    health: Health
    score: float
    operator: str
    network: str
    tracks: dict[bytes, float]
    latency_ms: float | None = None
    last_audit: LastAudit | None = None
    gateway_url: str | None = None
    signal_url: str | None = None
    relay_urls: tuple[str, ...] = ()
    multiaddrs: tuple[str, ...] = ()
    chain: ChainStanding | None = None

    @property
    def is_jailed(self) -> bool:
        return self.chain is not None and self.chain.is_jailed


@dataclass(frozen=True)
class FreshIndex:
    """What an author knows of the network.

    Attributes:
        author: Ed25519 key of the hub or node that signed.
        sequence: grows with each index of this author.
        issued_at, valid_until: seconds since 1970.
    """

    author: bytes
    sequence: int
    issued_at: int
    valid_until: int
    nodes: tuple[IndexNode, ...]


def encode_fresh_index(index: FreshIndex, sign: Sign) -> bytes:
    """Write and sign an index, the best nodes first.

    Raises:
        CallerFault: `fresh_index_too_large`; see `fit`.
    """
    members = {
        "author": to_hex(index.author),
        "sequence": index.sequence,
        "issued_at": index.issued_at,
        "valid_until": index.valid_until,
        "nodes": [_node_to_json(node) for node in sorted(index.nodes, key=_rank)],
    }
    return encode_signed(KIND, members, sign, MAX_INDEX_BYTES)


def fit(nodes: Iterable[IndexNode]) -> tuple[IndexNode, ...]:
    """As many nodes, the best first, as go into one index."""
    chosen: list[IndexNode] = []
    # A node without tracks takes at most 6 KiB, a track 90 bytes; half of the limit for each.
    room, tracks = MAX_INDEX_BYTES // 2, MAX_INDEX_BYTES // 2 // 90
    for node in sorted(nodes, key=_rank)[:MAX_NODES]:
        names = (node.gateway_url, node.signal_url, node.operator, node.network)
        texts = (*node.multiaddrs, *node.relay_urls, *(name for name in names if name))
        room -= 1000 + sum(6 * len(text) for text in texts)
        tracks -= len(node.tracks)
        if room < 0 or tracks < 0:
            break
        chosen.append(node)
    return tuple(chosen)


def parse_fresh_index(document: bytes, now_s: float, verify: Verify) -> FreshIndex:
    """Read and check an index. Whether its author is to be believed is the caller's business.

    Raises:
        PeerFault: `fresh_index_too_large`, `_unsigned`, `_not_json`, `_version`, `_forged`, `_field`,
            `_from_the_future`, `_expired`.
    """
    reader, author = open_signed(KIND, document, verify, "author", MAX_INDEX_BYTES)
    index = FreshIndex(
        author=author,
        sequence=reader.integer("sequence", 0, MAX_SEQUENCE),
        issued_at=reader.integer("issued_at", 0, MAX_TIME_S),
        valid_until=reader.integer("valid_until", 0, MAX_TIME_S),
        nodes=tuple(_node_from_json(item) for item in reader.objects("nodes", 0, MAX_NODES)),
    )
    check_times(KIND, index.issued_at, index.valid_until, now_s)
    if index.valid_until - index.issued_at > MAX_LIFETIME_S:
        reader.refuse("valid_until", "at most a day after issued_at")
    if len({node.node for node in index.nodes}) != len(index.nodes):
        reader.refuse("nodes", "a list that names each node once")
    if sum(len(node.tracks) for node in index.nodes) > MAX_TRACKS:
        reader.refuse("nodes", f"a list with at most {MAX_TRACKS} tracks together")
    return index


def check_newer(index: FreshIndex, known: FreshIndex | None) -> None:
    """Refuse what an author said earlier than what is known of it.

    Raises:
        PeerFault: `fresh_index_replayed`.
    """
    if known and known.author == index.author and index.sequence <= known.sequence:
        raise PeerFault("fresh_index_replayed", "The fresh index is not newer than the one that is known.")


def best_first(index: FreshIndex, now_s: float, track_root: bytes | None = None) -> list[IndexNode]:
    """The nodes that a client should ask, in this order.

    Healthy ones first, then those that nobody has audited, then slow ones; within that the higher score, then
    the lower latency. Those in the contract's jail come behind all others. Failed and absent nodes and those
    whose last audit is stale are dropped; an index that is over gives none.

    Args:
        track_root: only nodes that hold something of this track, those that hold more first among equals.
    """
    if now_s >= index.valid_until:
        return []
    usable = [node for node in index.nodes if _is_usable(node, now_s)]
    if track_root is None:
        return sorted(usable, key=_rank)
    holding = [node for node in usable if node.tracks.get(track_root, 0.0) > 0]
    return sorted(holding, key=lambda node: (_rank(node)[:3], -node.tracks[track_root], _rank(node)))


_ORDER = {Health.HEALTHY: 0, Health.UNPROVEN: 1, Health.SLOW: 2, Health.ABSENT: 3, Health.FAILED: 4}


def _rank(node: IndexNode) -> tuple[bool, int, float, float, bytes]:
    latency_ms = node.latency_ms if node.latency_ms is not None else MAX_LATENCY_MS
    return node.is_jailed, _ORDER[node.health], -node.score, latency_ms, node.node


def _is_usable(node: IndexNode, now_s: float) -> bool:
    if node.health in (Health.FAILED, Health.ABSENT):
        return False
    return node.last_audit is None or now_s < node.last_audit.at + STALE_AFTER_S


def _node_to_json(node: IndexNode) -> dict[str, object]:
    return {
        "node": to_hex(node.node),
        "peer_id": peer_id(node.node),
        "health": node.health.value,
        "score": node.score,
        "latency_ms": node.latency_ms,
        "last_audit": node.last_audit and {"at": node.last_audit.at, "outcome": node.last_audit.outcome.value},
        "operator": node.operator,
        "network": node.network,
        "gateway_url": node.gateway_url,
        "signal_url": node.signal_url,
        "relay_urls": list(node.relay_urls),
        "multiaddrs": list(node.multiaddrs),
        "chain": node.chain and standing_to_json(node.chain),
        "tracks": [{"track_root": to_hex(root), "held": share} for root, share in sorted(node.tracks.items())],
    }


def _node_from_json(reader: JsonReader) -> IndexNode:
    node, health = reader.hash("node"), reader.text("health", 16)
    if reader.value("peer_id") != peer_id(node):
        reader.refuse("peer_id", "that of the node's key")
    if health not in set(Health):
        reader.refuse("health", f"one of {', '.join(Health)}")
    tracks = reader.objects("tracks", 0, MAX_TRACKS)
    return IndexNode(
        node=node,
        health=Health(health),
        score=reader.number("score", 0, 1),
        latency_ms=reader.optional_number("latency_ms", 0, MAX_LATENCY_MS),
        last_audit=_audit_from_json(reader),
        operator=reader.text("operator", MAX_NAME),
        network=reader.text("network", MAX_NAME),
        gateway_url=read_url(reader, "gateway_url", ("https://", "http://")),
        signal_url=read_url(reader, "signal_url", ("wss://", "ws://")),
        relay_urls=_relays_from_json(reader),
        multiaddrs=read_multiaddrs(reader),
        chain=standing_from_json(reader.nested("chain")) if reader.value("chain") is not None else None,
        tracks={item.hash("track_root"): item.number("held", 0, 1) for item in tracks},
    )


def _relays_from_json(reader: JsonReader) -> tuple[str, ...]:
    urls = reader.items("relay_urls", 0, MAX_RELAYS)
    if not all(isinstance(url, str) and url.startswith(("turn:", "turns:")) and _is_short(url) for url in urls):
        reader.refuse("relay_urls", f"a list of at most {MAX_RELAYS} turn: or turns: URLs")
    return tuple(urls)


def _is_short(url: str) -> bool:
    return len(url) <= 256 and url.isascii() and url.isprintable() and " " not in url


def _audit_from_json(reader: JsonReader) -> LastAudit | None:
    if reader.value("last_audit") is None:
        return None
    audit = reader.nested("last_audit")
    outcome = audit.text("outcome", 16)
    if outcome not in set(Outcome):
        audit.refuse("outcome", f"one of {', '.join(Outcome)}")
    return LastAudit(audit.integer("at", 0, MAX_TIME_S), Outcome(outcome))
