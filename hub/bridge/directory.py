"""Who holds what: from announcements (gossip), provider records (DHT) and the gateways that the operator names.

All of it is hearsay. What answers well and passes audits is named first, what stays silent is left out, what
has expired is dropped; whoever fetches checks every hash. No clock and no socket here: `now_s` (seconds since
1970) is an argument, and `hub.bridge.probes` does the asking.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from digm import audits
from digm.announcements import Announcement, AnnouncementLedger
from digm.errors import CallerFault
from digm.ids import from_hex, to_hex
from digm.node_ids import node_of, peer_id
from hub.bridge.health import Bounded, Health

MOST_SOURCES = 20  # named for one track, of each kind
MOST_HEALTH = 4096
MOST_PROVIDED = 4096  # tracks
MOST_PROVIDERS = 20  # of one track
PROVIDED_FOR_S = 1800.0  # a record of the DHT is believed so long
# What a node's copy is worth by how it stands with our auditor, in the order of the fresh index. One that
# failed is still better than nobody: it lacks a part, and every chunk is checked.
_WORTH = {
    audits.Health.HEALTHY: 1.0,
    audits.Health.UNPROVEN: 0.75,
    audits.Health.SLOW: 0.4,
    audits.Health.ABSENT: 0.2,
    audits.Health.FAILED: 0.0,
}
# Of those in the contract's jail: less than all others, and not nothing, as everybody may be there.
_JAILED_WORTH = 0.01
# Nothing else may get into a page, or be asked by this hub.
_URL = re.compile(
    r"https?://(?:[a-z0-9](?:[a-z0-9.-]{0,252})|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~-]{1,64}){0,4}"
)


@dataclass(frozen=True)
class NodeSource:
    """A node that may be asked for chunks of a track over libp2p."""

    peer_id: str
    multiaddrs: tuple[str, ...]
    score: float


@dataclass(frozen=True)
class GatewaySource:
    """A gateway that may be asked for them over HTTP; `{url}/{chunk hash}` is where."""

    url: str
    score: float


@dataclass(frozen=True)
class Provider:
    """What a provider record of the DHT says: this peer holds something of the track."""

    peer_id: str
    multiaddrs: tuple[str, ...]


def checked_url(url: str) -> str | None:
    """A gateway's URL without a slash at its end; None where it is none that we would pass on."""
    url = url.rstrip("/")
    return url if _URL.fullmatch(url) else None


class Directory:
    """Bounded: a flood of names costs nobody their place among the announcements (digm.announcements).

    Attributes:
        standing: how a node (by its key) does in audits, where there is an auditor.
        is_jailed: whether a node (by its key) is in the jail of the chain's contract.

    Args:
        ledger: what was announced; whoever hears the gossip (`hub.pinning.herald`) writes into it.
        known_gateways: that the operator names; they are thought to hold every track.
    """

    def __init__(self, ledger: AnnouncementLedger, known_gateways: Sequence[str] = ()) -> None:
        self.ledger = ledger
        self._known = [url for url in map(checked_url, known_gateways) if url]
        self._provided: Bounded[bytes, tuple[float, dict[str, Provider]]] = Bounded(MOST_PROVIDED)
        self._health: Bounded[str, Health] = Bounded(MOST_HEALTH)
        self.standing: Callable[[bytes], audits.Health] = lambda _node: audits.Health.UNPROVEN
        self.is_jailed: Callable[[bytes], bool] = lambda _node: False

    # -- what is heard

    def provided(self, track_root: str, providers: Iterable[Provider], now_s: float) -> None:
        """What a lookup in the DHT found for a track. It takes the place of what an earlier one found."""
        found: dict[str, Provider] = {}
        for provider in providers:
            if len(found) < MOST_PROVIDERS and _is_node(provider.peer_id):
                found.setdefault(provider.peer_id, provider)
        self._provided[from_hex(track_root)] = (now_s + PROVIDED_FOR_S, found)

    def reached(self, name: str, latency_s: float, now_s: float) -> None:
        """A node (by peer id) or a gateway (by URL) answered."""
        self._health[name] = health = self.health(name)
        health.answered(latency_s, now_s)

    def not_reached(self, name: str, now_s: float) -> None:
        """It did not."""
        self._health[name] = health = self.health(name)
        health.failed(now_s)

    def health(self, name: str) -> Health:
        """How a node or a gateway did lately."""
        return self._health.get(name, Health())

    # -- what is asked

    def nodes_of(self, track_root: str, now_s: float) -> list[NodeSource]:
        """The nodes that hold something of a track, best first; at most MOST_SOURCES."""
        found: dict[str, NodeSource] = {}
        valid_until, providers = self._provided.get(from_hex(track_root), (0.0, {}))
        for provider in providers.values() if now_s < valid_until else ():
            # It says that it holds something, not how much.
            worth = self._believed(node_of(provider.peer_id), 0.5)
            self._add(found, provider.peer_id, provider.multiaddrs, worth)
        for announcement in self.ledger.of_track(from_hex(track_root), now_s):
            self._add(found, peer_id(announcement.node), announcement.multiaddrs, self._worth(announcement))
        return sorted(found.values(), key=lambda node: (-node.score, node.peer_id))[:MOST_SOURCES]

    def gateways_of(self, track_root: str, now_s: float) -> list[GatewaySource]:
        """The gateways that serve something of a track, best first; at most MOST_SOURCES."""
        shares = dict.fromkeys(self._known, 1.0)
        for announcement in self.ledger.of_track(from_hex(track_root), now_s):
            url = checked_url(announcement.gateway_url or "")
            if url is not None:
                shares[url] = max(shares.get(url, 0.0), self._worth(announcement))
        found = [
            GatewaySource(url, self.health(url).score(share))
            for url, share in shares.items()
            if not self.health(url).is_dead
        ]
        return sorted(found, key=lambda gateway: (-gateway.score, gateway.url))[:MOST_SOURCES]

    def all_gateways(self, now_s: float) -> dict[str, str]:
        """Every gateway that is known -> the root of a track that it claims to hold; empty: any track."""
        found = dict.fromkeys(self._known, "")
        for announcement in self.announcements(now_s):
            url = checked_url(announcement.gateway_url or "")
            if url is not None and len(found) < MOST_HEALTH // 2:
                found.setdefault(url, to_hex(announcement.track_root))
        return found

    def announcements(self, now_s: float) -> list[Announcement]:
        """Everything that is claimed and believed now."""
        return [claim for node in self.ledger.nodes(now_s) for claim in self.ledger.of_node(node, now_s)]

    def _worth(self, claim: Announcement) -> float:
        """What a copy is worth, 0.0 to 1.0: the share that is claimed, if the claim has stood up to audits."""
        return self._believed(claim.node, claim.share)

    def _believed(self, node: bytes, share: float) -> float:
        worth = _WORTH[self.standing(node)]
        return share * (min(worth, _JAILED_WORTH) if self.is_jailed(node) else worth)

    def _add(self, found: dict[str, NodeSource], name: str, multiaddrs: tuple[str, ...], share: float) -> None:
        health = self.health(name)
        if not health.is_dead:
            known = found.get(name)
            addresses = tuple(dict.fromkeys((*multiaddrs, *(known.multiaddrs if known else ()))))
            found[name] = NodeSource(name, addresses, health.score(share))


def _is_node(name: str) -> bool:
    try:
        node_of(name)
    except CallerFault:
        return False
    return True
