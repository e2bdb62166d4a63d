"""Who is in which swarm on this hub, in memory: presence ends by itself unless it is renewed.

A hub that starts again knows nobody and is told everything by the peers that come back, so nothing is stored.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from digm.signalling import LISTENER, Message, PeerJoined, PeerLeft, PeerShare
from hub.signalling.metrics import MEMBERS, SWARMS

Deliver = Callable[[Message], None]
_SAMPLE = 64  # of a big swarm: enough to find ten good peers, and the cost of a join stays the same
_MAX_KNOWN = 64


@dataclass(slots=True)
class Member:
    """One peer in one swarm.

    Attributes:
        known: members that heard of this one (or it of them), and will hear when it leaves.
    """

    peer: str
    share: float
    expires_at: float
    deliver: Deliver
    role: str = LISTENER
    known: set[str] = field(default_factory=set)


class Swarms:
    """All swarms of a hub.

    Args:
        presence_s: how long a membership lasts without an announcement.
        chance: picks among equals.
    """

    def __init__(self, presence_s: float, chance: random.Random) -> None:
        self._presence_s = presence_s
        self._chance = chance
        self._swarms: dict[str, dict[str, Member]] = {}

    def join(
        self, track: str, peer: str, role: str, share: float, want: int, deliver: Deliver, now: float
    ) -> tuple[PeerShare, ...]:
        """Enter a swarm, or ask it for more peers; those who are named hear of the newcomer.

        Returns:
            at most `want` members, those who hold most first.
        """
        swarm = self._swarms.setdefault(track, {})
        before = swarm.get(peer)
        known = before.known if before else set()
        member = Member(peer, share, now + self._presence_s, deliver, role, known)
        swarm[peer] = member
        chosen = self._choose(swarm, peer, want)
        for other in chosen:
            if other.peer not in member.known:
                other.deliver(PeerJoined(track, peer, share, role))
            _introduce(member, other)
        self._count()
        return tuple(PeerShare(other.peer, other.share, other.role) for other in chosen)

    def announce(self, track: str, peer: str, share: float, now: float) -> bool:
        """Renew a membership. False when there is none: it expired, join again."""
        member = self.member(track, peer)
        if member is None:
            return False
        member.share = share
        member.expires_at = now + self._presence_s
        return True

    def leave(self, track: str, peer: str) -> None:
        """End a membership, if there is one; those who know the peer are told."""
        swarm = self._swarms.get(track, {})
        member = swarm.pop(peer, None)
        if member is None:
            return
        for name in member.known:
            if other := swarm.get(name):
                other.known.discard(peer)
                other.deliver(PeerLeft(track, peer))
        if not swarm:
            del self._swarms[track]
        self._count()

    def member(self, track: str, peer: str) -> Member | None:
        """A member, if it is there."""
        return self._swarms.get(track, {}).get(peer)

    def expire(self, now: float) -> int:
        """End every membership that was not renewed. Returns how many."""
        late = [
            (track, member.peer)
            for track, swarm in self._swarms.items()
            for member in swarm.values()
            if member.expires_at <= now
        ]
        for track, peer in late:
            self.leave(track, peer)
        return len(late)

    def size(self, track: str) -> int:
        """Members of one swarm."""
        return len(self._swarms.get(track, {}))

    def listeners(self, track: str) -> int:
        """Members of one swarm that are no nodes."""
        return sum(member.role == LISTENER for member in self._swarms.get(track, {}).values())

    def _choose(self, swarm: dict[str, Member], newcomer: str, want: int) -> list[Member]:
        others = [member for name, member in swarm.items() if name != newcomer]
        sample = self._chance.sample(others, min(_SAMPLE, len(others)))
        return sorted(sample, key=lambda member: -member.share)[:want]

    def _count(self) -> None:
        SWARMS.set(len(self._swarms))
        MEMBERS.set(sum(map(len, self._swarms.values())))


def _introduce(one: Member, other: Member) -> None:
    for member, name in ((one, other.peer), (other, one.peer)):
        if len(member.known) < _MAX_KNOWN:
            member.known.add(name)
