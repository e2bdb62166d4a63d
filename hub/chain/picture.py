"""Steps of the journal, told as what stands now: tracks, pins, sales, and the last events."""

from collections import deque
from dataclasses import replace

from digm.chain_pins import ChainPins
from digm.chain_sales import ChainSales
from digm.chain_tracks import ChainTracks
from hub.chain.deployment import Deployment
from hub.chain.events import EventReader
from hub.chain.journal import Step
from hub.chain.model import Event
from hub.chain.state import ChainState
from hub.chain.story import Storyteller
from hub.chain.tracks import ArtistKeys

RECENT = 500
_SELLING = {"sales", "passes"}


class Picture:
    """What one journal says, kept up step by step. An undone step has everything told anew without it."""

    def __init__(self, deployed: Deployment) -> None:
        self._keys = ArtistKeys(deployed)
        self._recent: deque[tuple[Step, Event]] = deque(maxlen=RECENT)
        self._begin()
        self._teller = Storyteller(deployed)
        self.state = ChainState(deployed=deployed)

    def look(self, reader: EventReader) -> bool:
        """Take in what is new in the journal. Blocks.

        Returns:
            whether there was anything.
        Raises:
            as `EventReader.all_events`.
        """
        before, is_undone = self.state.sequence, False
        sequence, touched = before, set[str]()
        for step, event in reader.all_events(before):
            sequence = step.sequence
            self._recent.append((step, event))
            touched.add(event.contract)
            is_undone = is_undone or step.is_undone
            self._teller.tell(step, event, self._pins)
            if not is_undone:
                self._apply(event)
        if sequence == before:
            return False
        if is_undone:
            self._tell_anew(reader, sequence)
        self.state = replace(
            self.state,
            sequence=sequence,
            recent=tuple(self._recent),
            told=tuple(self._teller.story.told),
            marks={node: dict(marks) for node, marks in self._teller.story.marks.items()},
        )
        if "pinning" in touched:
            self.state = replace(self.state, pins=self._pins.copy())
        if touched & _SELLING:
            self.state = replace(self.state, sales=self._sales.copy())
        if "registry" in touched:
            found = [self._keys.found(self._tracks, track) for track in self._tracks.tracks]
            self.state = replace(
                self.state,
                tracks=tuple(one for one in found if not one.said.is_withdrawn),
                withdrawn=tuple(one for one in found if one.said.is_withdrawn and one.artist_key),
            )
        return True

    def _begin(self) -> None:
        self._tracks, self._pins, self._sales = ChainTracks(), ChainPins(), ChainSales()

    def _tell_anew(self, reader: EventReader, last: int) -> None:
        standing: dict[tuple[str, int], int] = {}
        for step, _ in reader.all_events():
            key = (step.log.block_hash, step.log.index)
            if step.is_undone:
                standing.pop(key, None)
            elif step.sequence <= last:
                standing[key] = step.sequence
        told = set(standing.values())
        self._begin()
        for step, event in reader.all_events():
            if step.sequence in told:
                self._apply(event)

    def _apply(self, event: Event) -> None:
        if event.contract == "registry":
            self._tracks.apply(event.name, event.arguments, event.log.block)
        elif event.contract == "pinning":
            self._pins.apply(event.name, event.arguments, event.log.block)
        elif event.contract in _SELLING:
            self._sales.apply(event.name, event.arguments, event.log.block)
