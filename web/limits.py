"""How far the keys reach: what a grant covers, and what the listener is told where it ends."""

from digm.grants import Grant
from digm.manifest import Manifest, Rendition
from web.browser import wall_clock_s

EDGE_S = 0.25  # an audio element stops short of the last bytes that it was given


class Limits:
    """The keys of one rendition.

    Attributes:
        grant: checked and opened; None until it comes.
    """

    def __init__(self, manifest: Manifest, rendition: Rendition) -> None:
        self.grant: Grant | None = None
        self._manifest = manifest
        self._rendition = rendition

    def key_for(self, chunk: int) -> bytes | None:
        """The key of a chunk; None where the grant does not reach, or behind its time."""
        if self.grant is None or self._is_expired():
            return None
        return self.grant.key_for(self._rendition.id, chunk)

    def locked_chunks(self) -> list[int]:
        """The chunks that the grant does not cover."""
        if self.grant is None or self.grant.track_key is not None:
            return []
        return [
            chunk
            for chunk in range(self._rendition.chunk_count)
            if self.grant.key_for(self._rendition.id, chunk) is None
        ]

    def end_s(self) -> float:
        """Where the first locked chunk begins; infinite when there is none or nothing is known yet."""
        locked = self.locked_chunks()
        return self._rendition.chunk_start_s(locked[0]) if locked else float("inf")

    def is_beyond(self, position_s: float) -> bool:
        """Whether a position cannot be played: at or behind the end, or without a valid grant."""
        if self.grant is None:
            return False
        return self._is_expired() or position_s >= self.end_s() - EDGE_S

    def rest_position_s(self) -> float:
        """Where to put the head of a listener who went too far."""
        return max(0.0, self.end_s() - 2 * EDGE_S)

    def reason(self) -> tuple[str, str]:
        """Code and sentence for the listener."""
        if self._is_expired():
            return "grant_expired", "The permission to listen has run out. Reload the page to go on."
        minutes, seconds = divmod(int(self.end_s()), 60)
        return "preview_ended", f"This was the free preview: the track goes on after {minutes}:{seconds:02}."

    def _is_expired(self) -> bool:
        return self.grant is not None and wall_clock_s() >= self.grant.not_after
