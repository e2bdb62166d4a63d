"""A chunk being put together from frames of several sources, and who sent which of them.

Nothing in here is verified: a frame may be opened and played when its tag is right (web.track says when), but
only a whole chunk with the right hash leaves for the cache. What a cancelled fetch had brought stays.
"""

from dataclasses import dataclass

from digm.chunks import FRAME_BYTES
from web import browser
from web.browser import JsBytes


@dataclass(frozen=True, slots=True)
class Frame:
    """One encrypted frame as a source sent it."""

    source: str
    data: JsBytes


class Assembly:
    """The frames of one chunk.

    Attributes:
        frames: by number; those that are there.
    """

    def __init__(self, frame_count: int) -> None:
        self.frame_count = frame_count
        self.frames: dict[int, Frame] = {}

    @property
    def is_whole(self) -> bool:
        return len(self.frames) == self.frame_count

    @property
    def sources(self) -> frozenset[str]:
        return frozenset(frame.source for frame in self.frames.values())

    def add(self, first: int, source: str, data: JsBytes) -> None:
        """Take frames that came; who was first with a frame stays its source."""
        for at in range(0, len(data), FRAME_BYTES):
            self.frames.setdefault(first + at // FRAME_BYTES, Frame(source, data[at : at + FRAME_BYTES]))

    def run_from(self, first: int) -> JsBytes | None:
        """Frames from `first` on without a gap, one behind the other; None when that one is missing."""
        end = first
        while end in self.frames:
            end += 1
        if end == first:
            return None
        return browser.joined([self.frames[frame].data for frame in range(first, end)])

    async def digests(self) -> dict[int, tuple[str, bytes]]:
        """Source and SHA-256 of each frame, to be compared with those of the right chunk."""
        return {
            number: (frame.source, await browser.sha256(frame.data)) for number, frame in self.frames.items()
        }


async def senders_of_wrong(suspects: dict[int, tuple[str, bytes]], right: JsBytes) -> frozenset[str]:
    """Who sent frames that differ from those of the chunk as it was published.

    Args:
        suspects: `Assembly.digests` of the chunk whose hash was wrong.
    """
    culprits = set()
    for number, (source, digest) in suspects.items():
        frame = right[number * FRAME_BYTES : (number + 1) * FRAME_BYTES]
        if source not in culprits and await browser.sha256(frame) != digest:
            culprits.add(source)
    return frozenset(culprits)
