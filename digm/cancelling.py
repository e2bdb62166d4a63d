"""Which fetches are stopped: what is not wanted any more, what came otherwise, what is silent."""

from digm import chunk_mask
from digm.fetch_plan import Cancel, Failure, Playback
from digm.listening import Look
from digm.running_fetches import RunningFetch
from digm.situation import Situation


class Cancelling:
    """Args: `situation`: looked at and acted on."""

    def __init__(self, situation: Situation) -> None:
        self._situation = situation

    def all_but(self, chunks: int, now: float) -> None:
        """Stop what is fetched of all chunks but these (digm.chunk_mask)."""
        for running in self._situation.running:
            if not chunks >> running.chunk & 1:
                self._situation.cancel(running, now)

    def unwanted(self, look: Look, now: float) -> None:
        """Stop what is behind the listener, too far ahead, or there."""
        missing = self._situation.chunks.missing
        if look.playback is Playback.PAUSED:  # what a pause finds under way is finished
            self.all_but(missing & ~chunk_mask.span(0, look.first), now)
        else:
            self.all_but(missing & look.far, now)

    def surplus(self, chunk: int, now: float) -> None:
        """Stop fetches of a chunk whose frames came otherwise, or come already from who was asked to help."""
        situation = self._situation
        fetches = list(situation.running.of_chunk(chunk))
        arrived = situation.chunks.arrived(chunk)
        for running in fetches:
            others = arrived
            for other in fetches:
                if other is not running and other.received_bytes and other.fetch_id > running.fetch_id:
                    others |= other.awaited
            if not running.awaited & ~others:
                situation.cancel(running, now)

    def silent(self, now: float) -> None:
        """Stop what has not been heard of for too long; its source rests."""
        for running in self._situation.running:
            if now >= self.silent_at(running):
                self._situation.fail(running.fetch_id, Failure.SILENT, now)
                self._situation.actions.append(Cancel(running.fetch_id))

    def silent_at(self, running: RunningFetch) -> float:
        """When a fetch counts as silent."""
        situation = self._situation
        if running.source is situation.gateway:
            return running.heard_at + situation.settings.gateway_silence_s
        return situation.running.silent_since(running) + situation.settings.silence_s
