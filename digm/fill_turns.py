"""Whose turn it is to fetch a chunk that no peer has from the gateway, without a word between the peers.

Rendezvous hashing (Thaler, Ravishankar 1998): every peer gives every peer that it knows a score for the chunk;
the highest fetches it, the others take it from there. All who know the same peers agree. In a swarm of which
each knows only its neighbours, the score itself, which is even over 0..1, tells how many peers in all are
likely to stand in front: that keeps a thousand listeners with ten neighbours each from having ninety firsts.
"""

import hashlib
from collections.abc import Collection, Iterable

_MASK = (1 << 64) - 1


def score(seed: int, chunk: int) -> float:
    """A number that is even over 0..1, the same for everybody (SplitMix64, Steele et al. 2014)."""
    mixed = (seed + (chunk + 1) * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return (mixed ^ (mixed >> 31)) / (_MASK + 1)


def seed_of(peer: str) -> int:
    return int.from_bytes(hashlib.sha256(peer.encode()).digest()[:8], "big")


class FillTurns:
    """Turns among us and the peers that we know.

    Args:
        me: our peer id.
    """

    def __init__(self, me: str) -> None:
        self._me = seed_of(me)
        self._others: dict[str, int] = {}
        self._listeners = 0
        self._turns: dict[int, float] = {}

    @property
    def others(self) -> int:
        """How many peers share the work with us."""
        return len(self._others)

    @property
    def crowd(self) -> int:
        """How many can be in front of us."""
        return max(len(self._others), self._listeners - 1)

    def all_in(self, peers: Collection[str]) -> bool:
        """Whether all others are among these."""
        return all(other in peers for other in self._others)

    def set_me(self, me: str) -> None:
        if (seed := seed_of(me)) != self._me:
            self._me = seed
            self._turns.clear()

    def set_members(self, peers: Iterable[str], listeners: int) -> None:
        """Everybody who shares the work but us; `listeners`: in the whole swarm, with us; 0: not known."""
        known = {peer: self._others.get(peer) or seed_of(peer) for peer in peers}
        if known.keys() != self._others.keys() or listeners != self._listeners:
            self._turns.clear()
        self._others, self._listeners = known, listeners

    def turn(self, chunk: int) -> float:
        """How many peers stand in front of us for this chunk: 0 when we are the first."""
        turn = self._turns.get(chunk)
        if turn is None:
            mine = score(self._me, chunk)
            turn = float(sum(score(seed, chunk) > mine for seed in self._others.values()))
            unknown = self._listeners - 1 - len(self._others)
            if unknown > 0:
                turn += (1.0 - mine) * unknown
            self._turns[chunk] = turn
        return turn

    def pivot(self, chunks: int) -> int:
        """Our own place among so many chunks, to begin with where others do not."""
        return self._me % max(1, chunks)
