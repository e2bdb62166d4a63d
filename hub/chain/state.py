"""What a process knows of the chain at one moment. Importing it costs nothing."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from digm.chain_pins import ChainPins
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
        recent: the last steps with their events, oldest first.
    """

    deployed: "Deployment | None" = None
    head: int = 0
    is_current: bool = False
    trouble: str = ""
    sequence: int = 0
    tracks: tuple[FoundTrack, ...] = ()
    withdrawn: tuple[FoundTrack, ...] = ()
    pins: ChainPins = field(default_factory=ChainPins)
    recent: "tuple[tuple[Step, Event], ...]" = ()
