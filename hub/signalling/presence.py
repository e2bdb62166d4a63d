"""Who is in which swarm: presence ends by itself unless it is renewed, and newcomers are told whom to meet.

`Presence` is what a session asks of it; `LocalPresence` keeps it in this process's memory, which is all that a
swarm needs that lives on one hub (hub.signalling.homes). A hub that starts again knows nobody and is told
everything by the peers that come back, so nothing is stored.
"""

import random
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Protocol

from digm.signalling import LISTENER, NODE
from hub.signalling.metrics import MEMBERS, SWARMS

MAX_KNOWN = 32  # members that hear of another's leaving; a listener keeps at most ten connections
MAX_VIEWED = 60  # members that are drawn one by one
MAX_REPORTED = 1024  # peers of one swarm about which reports are remembered
REPORTERS_TO_SHUN = 3  # that many different networks say the same: nobody is sent there any more
_TIERS = 3  # all of it and nodes, a good part, little or nothing
_SAMPLE = 24  # of each tier: enough to find ten good peers, and a join costs the same in every swarm
_NODES = 2  # named to one newcomer: they give to many, the other places are for listeners
_BUSY = 10  # met so many already: a listener's connections may be full


@dataclass(slots=True)
class Member:
    """One peer in one swarm.

    Attributes:
        network: whom a limit on addresses is for (hub.granting.rate.address_group).
        known: members that heard of this one (or it of them), and will hear when it leaves.
        tier, place: where LocalPresence finds it.
    """

    peer: str
    role: str
    share: float
    network: str
    expires_at: float
    known: list[str] = field(default_factory=list)
    tier: int = 0
    place: int = 0


@dataclass(frozen=True, slots=True)
class Entrance:
    """What comes of a join.

    Attributes:
        chosen: whom the newcomer should meet, best first.
        newly_met: those of them who have not heard of it yet.
        listeners: members that are no nodes.
    """

    chosen: list[Member]
    newly_met: list[Member]
    listeners: int


@dataclass(frozen=True, slots=True)
class SwarmView:
    """A swarm as an operator sees it: nobody's name.

    Attributes:
        share: of the track, that a member holds on average.
        members: (role, share) of some of them, those that hold most first.
    """

    track: str
    listeners: int
    nodes: int
    share: float
    reports: int
    members: tuple[tuple[str, float], ...]


class Presence(Protocol):
    """Who is in which swarm."""

    def enter(self, track: str, newcomer: Member, want: int) -> Entrance:
        """Enter a swarm, or ask it for more peers."""

    def renew(self, track: str, peer: str, share: float, expires_at: float) -> bool:
        """Stay. False when there is no such membership: it expired, join again."""

    def leave(self, track: str, peer: str) -> list[str]:
        """End a membership, if there is one. Returns the members who knew the peer."""

    def member(self, track: str, peer: str) -> Member | None:
        """A member, if it is there."""

    def report(self, track: str, peer: str, network: str) -> None:
        """Somebody in `network` says that a peer breaks the rules."""

    def expired(self, now: float) -> list[tuple[str, str]]:
        """(track, peer) of the memberships that nobody renewed; `leave` ends them."""

    def members(self, track: str) -> list[str]:
        """Everybody in a swarm."""

    def views(self) -> list[SwarmView]:
        """All swarms, in no order."""


class _Swarm:
    """The members of one swarm, laid out so that some of each tier can be picked without looking at all."""

    __slots__ = ("listeners", "members", "reporters", "reports", "tiers")

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.tiers: tuple[list[Member], ...] = tuple([] for _ in range(_TIERS))
        self.listeners = 0
        self.reports = 0
        self.reporters: dict[str, set[str]] = {}

    def add(self, member: Member) -> None:
        self.members[member.peer] = member
        self.listeners += member.role == LISTENER
        self._place(member)

    def remove(self, peer: str) -> Member | None:
        member = self.members.pop(peer, None)
        if member is not None:
            self.listeners -= member.role == LISTENER
            self._unplace(member)
        return member

    def set_share(self, member: Member, share: float) -> None:
        member.share = share
        if _tier(member) != member.tier:
            self._unplace(member)
            self._place(member)

    def view(self, track: str) -> SwarmView:
        members = self.members.values()
        mean = sum(member.share for member in members) / len(members)
        nodes_first = chain(
            (m for m in self.tiers[0] if m.role == NODE), (m for m in members if m.role != NODE)
        )
        some = sorted(
            ((member.role, round(member.share, 3)) for member in islice(nodes_first, MAX_VIEWED)),
            key=lambda shown: (shown[0] != NODE, -shown[1]),
        )
        return SwarmView(track, self.listeners, len(members) - self.listeners, mean, self.reports, tuple(some))

    def _place(self, member: Member) -> None:
        tier = self.tiers[_tier(member)]
        member.tier, member.place = _tier(member), len(tier)
        tier.append(member)

    def _unplace(self, member: Member) -> None:
        tier = self.tiers[member.tier]
        last = tier.pop()
        if last is not member:
            tier[member.place] = last
            last.place = member.place


def _tier(member: Member) -> int:
    if member.role == NODE or member.share >= 0.999:
        return 0
    return 1 if member.share >= 0.25 else 2


class LocalPresence:
    """Presence in this process's memory.

    Args:
        chance: picks among equals.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._swarms: dict[str, _Swarm] = {}

    def enter(self, track: str, newcomer: Member, want: int) -> Entrance:
        swarm = self._swarms.get(track)
        if swarm is None:
            swarm = self._swarms[track] = _Swarm()
            SWARMS.inc()
        before = swarm.remove(newcomer.peer)
        if before is None:
            MEMBERS.inc()
        else:
            newcomer.known = before.known
        chosen = self._choose(swarm, newcomer, want)
        swarm.add(newcomer)
        newly_met = [other for other in chosen if other.peer not in newcomer.known]
        for other in newly_met:
            _introduce(newcomer, other)
        return Entrance(chosen, newly_met, swarm.listeners)

    def renew(self, track: str, peer: str, share: float, expires_at: float) -> bool:
        member = self.member(track, peer)
        if member is None:
            return False
        member.expires_at = expires_at
        if share != member.share:
            self._swarms[track].set_share(member, share)
        return True

    def leave(self, track: str, peer: str) -> list[str]:
        swarm = self._swarms.get(track)
        member = swarm.remove(peer) if swarm else None
        if swarm is None or member is None:
            return []
        MEMBERS.dec()
        for name in member.known:
            if (other := swarm.members.get(name)) and peer in other.known:
                other.known.remove(peer)
        if not swarm.members:
            del self._swarms[track]
            SWARMS.dec()
        return [name for name in member.known if name in swarm.members]

    def member(self, track: str, peer: str) -> Member | None:
        swarm = self._swarms.get(track)
        return swarm.members.get(peer) if swarm else None

    def report(self, track: str, peer: str, network: str) -> None:
        swarm = self._swarms.get(track)
        if swarm is None:
            return
        swarm.reports += 1
        if peer in swarm.reporters or len(swarm.reporters) < MAX_REPORTED:
            reporters = swarm.reporters.setdefault(peer, set())
            if len(reporters) < REPORTERS_TO_SHUN:
                reporters.add(network)

    def expired(self, now: float) -> list[tuple[str, str]]:
        return [
            (track, member.peer)
            for track, swarm in self._swarms.items()
            for member in swarm.members.values()
            if member.expires_at <= now
        ]

    def members(self, track: str) -> list[str]:
        swarm = self._swarms.get(track)
        return list(swarm.members) if swarm else []

    def views(self) -> list[SwarmView]:
        return [swarm.view(track) for track, swarm in self._swarms.items()]

    def _choose(self, swarm: _Swarm, newcomer: Member, want: int) -> list[Member]:
        """Good ones first, and among them some that chance picked: that keeps a mesh from falling apart."""
        if want <= 0:
            return []
        pool = [member for tier in swarm.tiers for member in self._some_of(tier)]
        scored = {member.peer: self._score(swarm, newcomer, member) for member in pool}
        pool = [member for member in pool if scored[member.peer] is not None]
        pool.sort(key=lambda member: scored[member.peer] or 0.0, reverse=True)
        nodes = [member for member in pool if member.role == NODE][: min(_NODES, want)]
        best = [member for member in pool if member.role != NODE]
        chosen: list[Member] = []
        while best and len(nodes) + len(chosen) < want:
            at = self._chance.randrange(len(best)) if len(chosen) % 3 == 2 else 0
            chosen.append(best.pop(at))
        return nodes + chosen

    def _some_of(self, tier: list[Member]) -> list[Member]:
        return tier if len(tier) <= _SAMPLE else self._chance.sample(tier, _SAMPLE)

    def _score(self, swarm: _Swarm, newcomer: Member, other: Member) -> float | None:
        """How good it is to meet somebody; None: not at all."""
        reporters = len(swarm.reporters.get(other.peer, ()))
        if reporters >= REPORTERS_TO_SHUN or (newcomer.role == NODE and other.role == NODE):
            return None
        score = other.share if other.share > newcomer.share else other.share / 2
        score += 0.2 * self._chance.random() - 4.0 * bool(reporters)
        if other.role == LISTENER and len(other.known) >= _BUSY:
            score -= 0.5
        # Behind one address a connection needs a router that hairpins, and it has the same bottleneck.
        return score - 2.0 * (other.network == newcomer.network)


def _introduce(one: Member, other: Member) -> None:
    for member, name in ((one, other.peer), (other, one.peer)):
        if len(member.known) < MAX_KNOWN and name not in member.known:
            member.known.append(name)
