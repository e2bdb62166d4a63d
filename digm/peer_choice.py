"""Which members of a swarm to be connected with, sans-IO: who is tried next, who is left, who makes room.

    choice.told(peer, now)                     # the hub or a neighbour named it
    for step in choice.poll(now, hub_is_there): Meet -> make an offer; Part -> close; AskHub -> join again
    choice.connecting / opened / closed / used   # what became of it
    choice.accepts(peer, now)                  # somebody makes us an offer

Connections and their negotiation are the shell's; introductions without a hub are digm.peer_exchange's.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True)
class ChoiceSettings:
    """The numbers; each with where it comes from."""

    links_aimed: int = 8  # BiToS and Spotify 2010 see little gain beyond; a small swarm is a full mesh
    links_least: int = 4  # below this we ask for introductions
    links_most: int = 10  # protocol.md: what others may make of it
    parallel: int = 4  # protocol.md: two to four are opened when the page loads; each costs a DTLS handshake
    attempts: int = 4  # then it is forgotten until somebody names it again
    retry_first_s: float = 3.0  # ICE has given up by then on both sides; doubles
    rest_s: float = 300.0  # of a peer that broke a rule or failed us; not a ban
    idle_s: float = 60.0  # not a byte either way for so long: may be replaced
    ask_first_s: float = 8.0  # below links_least with nobody left to try; doubles ...
    ask_most_s: float = 60.0  # ... up to this
    known_most: int = 256  # names kept: what 25 neighbours may send


@dataclass(frozen=True, slots=True)
class Meet:
    """Make this peer an offer, through the hub (`via` is empty) or through one of these neighbours."""

    peer: str
    via: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """Close the connection with this peer."""

    peer: str
    code: str


@dataclass(frozen=True, slots=True)
class AskHub:
    """Ask the hub for more peers."""


Step = Meet | Part | AskHub


class Standing(Enum):
    """Where we are with a peer."""

    KNOWN = "known"
    CONNECTING = "connecting"
    OPEN = "open"


@dataclass(slots=True)
class _Acquaintance:
    standing: Standing = Standing.KNOWN
    is_at_hub: bool = False
    named_by: dict[str, None] = field(default_factory=dict)
    failures: int = 0
    not_before: float = 0.0
    rests_until: float = 0.0
    used_at: float = 0.0


# A session that ended so says nothing against the peer.
HARMLESS = frozenset({"closed", "channel_closed", "replaced", "idle", "glare", "privacy"})
# ... and after these the connection, not the peer, was at fault: try again soon.
UNREACHED = frozenset(
    {"connect_timeout", "connection_failed", "negotiation_failed", "hello_timeout", "stalled"}
)


class PeerChoice:
    """The acquaintances of one peer in one swarm.

    Args:
        me: our own id; ids are 64 hex digits here.
        random: gives 0.0 to 1.0.
    """

    def __init__(
        self, me: str, *, random: Callable[[], float], settings: ChoiceSettings = ChoiceSettings()
    ) -> None:
        self._me = me
        self._random = random
        self._settings = settings
        self._peers: dict[str, _Acquaintance] = {}
        self._banned: set[str] = set()
        self._ask_at = 0.0
        self._asked = 0

    # -- who is there

    @property
    def links(self) -> list[str]:
        """Peers that are connected or being connected."""
        return [peer for peer, known in self._peers.items() if known.standing is not Standing.KNOWN]

    @property
    def open_links(self) -> list[str]:
        return [peer for peer, known in self._peers.items() if known.standing is Standing.OPEN]

    def told(self, peers: Iterable[str], now: float, by: str | None = None, wait_s: float = 0.0) -> None:
        """The hub (`by` is None) or a neighbour named members of the swarm.

        Args:
            wait_s: so long we leave it to them, if they are new to us, to meet us.
        """
        for peer in peers:
            if peer == self._me or peer in self._banned:
                continue
            known = self._peers.get(peer)
            if known is None:
                known = self._add(peer)
                if known is None:
                    continue
                known.not_before = now + wait_s
            if by is None:
                known.is_at_hub = True
                if known.failures >= self._settings.attempts:  # it is said to be there: worth another try
                    known.failures = 0
            else:
                known.named_by[by] = None
                if len(known.named_by) > self._settings.links_most:
                    del known.named_by[next(iter(known.named_by))]

    def left(self, peer: str) -> None:
        """The hub says that it is no longer in the swarm; a connection with it lives on by itself."""
        if known := self._peers.get(peer):
            known.is_at_hub = False
            if known.standing is Standing.KNOWN and not known.named_by:
                del self._peers[peer]

    # -- what became of it

    def connecting(self, peer: str, now: float) -> None:
        if known := self._peers.get(peer) or self._add(peer):
            known.standing, known.used_at = Standing.CONNECTING, now

    def opened(self, peer: str, now: float) -> None:
        """It said HELLO."""
        if known := self._peers.get(peer) or self._add(peer):
            known.standing, known.used_at, known.failures = Standing.OPEN, now, 0
            self._asked = 0

    def used(self, peer: str, now: float) -> None:
        """Bytes went one way or the other."""
        if known := self._peers.get(peer):
            known.used_at = now

    def closed(self, peer: str, code: str, now: float) -> None:
        """The connection is gone, for a reason: one of the session's codes, or of the shell's."""
        for other in self._peers.values():
            other.named_by.pop(peer, None)  # it can introduce nobody any more
        known = self._peers.get(peer)
        if known is None:
            return
        known.standing = Standing.KNOWN
        if code in HARMLESS or code in UNREACHED:
            known.failures += 1
            grown_s = self._settings.retry_first_s * 2.0 ** (known.failures - 1)
            known.not_before = now + grown_s * (0.5 + self._random())
        else:
            known.not_before = known.rests_until = now + self._settings.rest_s

    def ban(self, peer: str) -> None:
        """It gave wrong bytes: never again for this track."""
        self._banned.add(peer)
        self._peers.pop(peer, None)

    def accepts(self, peer: str, now: float) -> tuple[bool, str | None]:
        """Somebody makes us an offer.

        Returns:
            whether to answer it, and whom to part with for it, if anybody.
        """
        known = self._peers.get(peer)
        if peer == self._me or peer in self._banned:
            return False, None
        if known is not None and known.rests_until > now:
            return False, None
        if len([other for other in self.links if other != peer]) < self._settings.links_most:
            return True, None
        idle = self._most_idle(now)
        return idle is not None, idle

    # -- what to do

    def poll(self, now: float, hub_is_there: bool, is_hungry: bool = True) -> list[Step]:
        """What to do now; the shell says `connecting` for each Meet.

        Args:
            is_hungry: there are chunks to fetch: a connection that gives nothing may be given up for another.
        """
        aim = self._settings
        steps: list[Step] = []
        busy = sum(known.standing is Standing.CONNECTING for known in self._peers.values())
        links, candidates = len(self.links), self._candidates(now, hub_is_there)
        for peer in candidates[: max(0, min(aim.links_aimed - links, aim.parallel - busy))]:
            known = self._peers[peer]
            through_hub = hub_is_there and known.is_at_hub
            steps.append(Meet(peer, () if through_hub else tuple(known.named_by)))
        if is_hungry and candidates and links >= aim.links_aimed and (idle := self._most_idle(now)):
            steps.append(Part(idle, "idle"))
        if hub_is_there and links < aim.links_least and not candidates and now >= self._ask_at:
            if self._ask_at:
                steps.append(AskHub())
            pause_s = min(aim.ask_most_s, aim.ask_first_s * 2.0**self._asked)
            self._ask_at = now + pause_s * (0.5 + self._random())
            self._asked = min(self._asked + 1, 8)
        return steps

    def next_deadline(self, now: float, hub_is_there: bool) -> float | None:
        """When `poll` may have something new to do; None: not before something happens."""
        links = len(self.links)
        deadlines = []
        if links < self._settings.links_aimed:
            deadlines = [k.not_before for k in self._peers.values() if self._may_be_met(k, hub_is_there)]
        if hub_is_there and links < self._settings.links_least:
            deadlines.append(self._ask_at)
        return max(now, min(deadlines)) if deadlines else None

    # -- inside

    def _candidates(self, now: float, hub_is_there: bool) -> list[str]:
        """Who can be tried now, best first: never failed before failed, chance among equals."""
        due = [
            (known.failures, self._random(), peer)
            for peer, known in self._peers.items()
            if known.not_before <= now and self._may_be_met(known, hub_is_there)
        ]
        return [peer for _, _, peer in sorted(due)]

    def _may_be_met(self, known: _Acquaintance, hub_is_there: bool) -> bool:
        can_be_told = bool(known.named_by) or (hub_is_there and known.is_at_hub)
        return known.standing is Standing.KNOWN and known.failures < self._settings.attempts and can_be_told

    def _most_idle(self, now: float) -> str | None:
        idle = [
            (known.used_at, peer)
            for peer, known in self._peers.items()
            if known.standing is Standing.OPEN and now - known.used_at >= self._settings.idle_s
        ]
        return min(idle)[1] if idle else None

    def _add(self, peer: str) -> _Acquaintance | None:
        """A new acquaintance; the one that failed most goes for it when there are too many."""
        if len(self._peers) >= self._settings.known_most:
            spare = [(k.failures, p) for p, k in self._peers.items() if k.standing is Standing.KNOWN]
            if not spare:
                return None
            del self._peers[max(spare)[1]]
        known = self._peers[peer] = _Acquaintance()
        return known
