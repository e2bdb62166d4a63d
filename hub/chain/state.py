"""What a process knows of the chain at one moment. Importing it costs nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from digm.chain_pins import ChainPins
from digm.chain_sales import ChainSales
from digm.chain_story import Mark, Told
from digm.chain_tracks import ChainTrack

if TYPE_CHECKING:
    from hub.chain.deployment import Deployment
    from hub.chain.journal import Step
    from hub.chain.model import Event


@dataclass(frozen=True)
class FoundTrack:
    """A track that is not withdrawn. `artist_key`: who must have signed its manifest; None: nobody says so."""

    said: ChainTrack
    artist_key: bytes | None


@dataclass(frozen=True)
class ChainState:
    """One moment. Threads may share it: nothing in it changes.

    Attributes:
        deployed: the contracts; None while none are known.
        head: the newest block that was heard of.
        is_current: everything up to `head` was read, and the server answered when it was last asked.
        trouble: the code of what keeps us from being current; empty: nothing.
        sequence: of the last step that is in here.
        tracks: those that are not withdrawn, in the order in which they were published.
        withdrawn: those that are, of artists whose key has signed for the account.
        pins: orders, copies, nodes and rounds.
        sales: offers, albums, purchases, vaults and passes.
        recent: the last steps with their events, oldest first.
        told: what there is to say of the last steps, oldest first.
        marks: account -> round -> what came of it, of the latest rounds.
        counted: the newest block of which events count; `head` less the confirmations.
        time: of the newest block, in seconds since 1970: the clock that the contracts go by; 0: not known.
        began: number and time of the block in which the contracts were deployed.
        rules: of `Pinning`, with its `start_block`; empty before the server was asked.
        deliver_within_s: of `Sales`; 0: there is none, or the server was not asked yet.
    """

    deployed: "Deployment | None" = None
    head: int = 0
    is_current: bool = False
    trouble: str = ""
    sequence: int = 0
    tracks: tuple[FoundTrack, ...] = ()
    withdrawn: tuple[FoundTrack, ...] = ()
    pins: ChainPins = field(default_factory=ChainPins)
    sales: ChainSales = field(default_factory=ChainSales)
    recent: "tuple[tuple[Step, Event], ...]" = ()
    told: tuple[Told, ...] = ()
    marks: Mapping[str, Mapping[int, Mark]] = field(default_factory=dict)
    counted: int = 0
    time: int = 0
    began: tuple[int, int] = (0, 0)
    rules: Mapping[str, int] = field(default_factory=dict)
    deliver_within_s: int = 0

    @property
    def epoch(self) -> int | None:
        """The one of block `counted`; None while the rules are not known."""
        if not self.rules or self.counted < self.rules["start_block"]:
            return None
        return (self.counted - self.rules["start_block"]) // self.rules["epoch_blocks"] + 1

    def time_of(self, block: int) -> float:
        """About when a block was made, in seconds since 1970; the later block never the earlier time."""
        first, at = self.began
        if self.head <= first:
            return float(self.time)
        share = min(1.0, max(0.0, (block - first) / (self.head - first)))
        return at + share * (self.time - at)
