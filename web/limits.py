"""How far the keys reach: what a grant covers or a bought key opens, and what is said where it ends."""

from digm.grants import Grant, preview_chunks
from digm.manifest import Manifest, Rendition
from web.browser import wall_clock_s

EDGE_S = 0.25  # an audio element may stop short of the last bytes that it was given
PAST_END_S = 0.02


class Limits:
    """The keys of one rendition.

    Attributes:
        grant: checked and opened; None until it comes. One that has the track key reaches to the end.
    """

    def __init__(self, manifest: Manifest, rendition: Rendition) -> None:
        self.grant: Grant | None = None
        self._manifest = manifest
        self._rendition = rendition

    def key_for(self, chunk: int) -> bytes | None:
        """The key of a chunk; None where the grant does not reach, or behind its time."""
        if self.grant is None or self.is_expired():
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
        """Up to where it may be heard; infinite when there is no such end or nothing is known yet.

        A preview ends at its second, to the sample, although the last of its chunks has a little more.
        """
        locked = self.locked_chunks()
        if not locked:
            return float("inf")
        preview_s = self._manifest.preview_s
        if preview_s is not None and locked[0] == len(preview_chunks(self._rendition, preview_s)):
            return float(preview_s)
        return self._rendition.chunk_start_s(locked[0])

    @property
    def preview_s(self) -> int | None:
        """How much anybody may hear, if it is not all."""
        return self._manifest.preview_s

    def is_beyond(self, position_s: float, *, is_dry: bool) -> bool:
        """Whether a position cannot be played: at or behind the end, or without a valid grant.

        Args:
            is_dry: there is nothing more to be heard from there.
        """
        if self.grant is None:
            return False
        return self.is_expired() or position_s >= self.end_s() + (-EDGE_S if is_dry else PAST_END_S)

    def rest_position_s(self) -> float:
        """Where to put the head of a listener who went too far."""
        return max(0.0, self.end_s() - 2 * EDGE_S)

    def reason(self) -> tuple[str, str]:
        """Code and sentence for the listener."""
        if self.is_expired():
            return "grant_expired", "The permission to listen has run out. Reload the page to go on."
        minutes, seconds = divmod(int(self.end_s()), 60)
        return "preview_ended", f"This was the free preview: the track goes on after {minutes}:{seconds:02}."

    def is_expired(self) -> bool:
        """Whether the grant's time is over."""
        return self.grant is not None and wall_clock_s() >= self.grant.not_after
