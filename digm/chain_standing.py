"""How a node stands with the contract `Pinning`: its stake, its conduct in audits, and whether it is in jail.

It travels in fresh indexes (`chain` of a node, docs/fresh-index.schema.json). Who is allowed to say that an
account is a node's is not decided here: the node's announcement and the chain have to name each other
(docs/chain.md).
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from digm.json_reader import JsonReader
from digm.signed_document import MAX_TIME_S

MOST_UNITS = (1 << 128) - 1
MOST_COUNT = 1 << 48
MAX_TOKEN = 42
_ACCOUNT = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_UNITS = re.compile(r"0|[1-9][0-9]{0,38}", re.ASCII)


class NodeClass(StrEnum):
    """The blueprint's two kinds of nodes (§2.2)."""

    ELDER = "elder"
    COLD = "cold"


@dataclass(frozen=True)
class ChainStanding:
    """What the chain says of a node, as far as it counts already.

    Attributes:
        account: 0x and 40 hex digits.
        token: what the stake is in: the token's part in the deployment (`digm`), else its address.
        stake: units (10^-18) that can be cut, those among them that are leaving.
        misses_in_a_row: rounds that are over and that it did not answer, the latest included.
        points: of the cumulative score; at the deployment's `points_limit` it is slashed.
        slashed: units that were cut from its stake, ever.
        jailed_until: from when on it may come back, seconds since 1970 on the chain's clock; None: it is free.
            It stays in jail, whatever the time is, until it asks to be let out.
    """

    account: str
    node_class: NodeClass
    token: str
    stake: int
    misses_in_a_row: int = 0
    points: int = 0
    slashed: int = 0
    jailed_until: int | None = None

    @property
    def is_jailed(self) -> bool:
        return self.jailed_until is not None


def standing_to_json(standing: ChainStanding) -> dict[str, object]:
    """As in an index. Amounts are text: JSON readers round large numbers."""
    return {
        "account": standing.account,
        "class": standing.node_class.value,
        "token": standing.token,
        "stake": str(standing.stake),
        "misses_in_a_row": standing.misses_in_a_row,
        "points": standing.points,
        "slashed": str(standing.slashed),
        "jailed_until": standing.jailed_until,
    }


def standing_from_json(reader: JsonReader) -> ChainStanding:
    """The same, read. Raises PeerFault `<kind>_field`."""
    account, node_class = read_account(reader, "account"), reader.text("class", 16)
    if node_class not in set(NodeClass):
        reader.refuse("class", f"one of {', '.join(NodeClass)}")
    return ChainStanding(
        account=account,
        node_class=NodeClass(node_class),
        token=reader.text("token", MAX_TOKEN),
        stake=_units(reader, "stake"),
        misses_in_a_row=reader.integer("misses_in_a_row", 0, MOST_COUNT),
        points=reader.integer("points", 0, MOST_COUNT),
        slashed=_units(reader, "slashed"),
        jailed_until=reader.optional_integer("jailed_until", 0, MAX_TIME_S),
    )


def read_account(reader: JsonReader, field: str) -> str:
    """An account. Raises PeerFault `<kind>_field`."""
    account = reader.text(field, 42)
    if not _ACCOUNT.fullmatch(account):
        reader.refuse(field, "0x and 40 hex digits")
    return account


def _units(reader: JsonReader, field: str) -> int:
    said = reader.text(field, 39)
    if not _UNITS.fullmatch(said):
        reader.refuse(field, "a whole number as text")
    return int(said)
