"""The chain: a client for contracts, keys, resumable events, and a devnet for when there is no chain.

Whoever imports it keeps a bound on recursion. py_ecc, which eth_account and py-evm import, lifts Python's to
100,000 for the whole process; a document of so many brackets, which any stranger may send, then overflows the C
stack of the JSON reader, and the process is gone.
"""

import sys

MOST_RECURSION = 12 * 1024  # py-evm's, for 1,024 nested calls; the JSON readers bear three times that

_set_limit = sys.setrecursionlimit


def _set_bounded_limit(limit: int, /) -> None:
    _set_limit(min(limit, MOST_RECURSION))


sys.setrecursionlimit = _set_bounded_limit
sys.setrecursionlimit(sys.getrecursionlimit())
