"""Rendezvous hashing (Thaler and Ravishankar 1998): who knows the same names puts them in the same order."""

import hashlib
from collections.abc import Iterable


def ranked(key: str, names: Iterable[str]) -> list[str]:
    """The names in the order in which they are responsible for `key`; one that goes away moves nobody else.

    Args:
        key: what is to be placed, such as a track root in hex.
        names: each counts once.
    """
    return sorted(set(names), key=lambda name: (_weight(key, name), name), reverse=True)


def is_among_first(key: str, name: str, others: Iterable[str], count: int) -> bool:
    """Whether a name would be among the first `count` of `ranked`.

    It stops at the `count`-th that comes before: of n others some 3 ln n are looked at, not all.

    Args:
        others: without `name`, each once.
    """
    mine, before = (_weight(key, name), name), 0
    for other in others:
        before += (_weight(key, other), other) > mine
        if before >= count:
            return False
    return True


def _weight(key: str, name: str) -> bytes:
    return hashlib.sha256(f"{key}\0{name}".encode()).digest()
