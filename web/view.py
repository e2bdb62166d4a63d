"""What the player tells its element: plain values, never a proxy of anything that is alive here."""

from collections.abc import Callable, Sequence
from typing import Any

from web.browser import js_bytes, js_object
from web.playlist import Entry


class View:
    """The element's ear.

    Args:
        report: the element's callback (kind, value).
    """

    def __init__(self, report: Callable[[str, Any], None]) -> None:
        self._report = report
        self._notice: str | None = None
        self._preview: dict[str, Any] = {}

    def timeline(self, entries: Sequence[Entry], *, has_next: bool, has_previous: bool) -> None:
        """The tracks on the audio element's clock, from the one that is heard on; checked facts of each."""
        places = [_place(entry) for entry in entries]
        self._report("timeline", js_object(places=places, hasNext=has_next, hasPrevious=has_previous))

    def ready(self) -> None:
        self._report("ready", js_object())

    def stats(self, **numbers: Any) -> None:
        self._report("stats", js_object(**numbers))

    def preview(
        self, index: int, seconds: int | None, end_s: float | None, *, has_ended: bool, is_owned: bool
    ) -> None:
        """How much may be heard of the track that is heard, if not all; said when it is something else.

        Args:
            end_s: where that ends on the audio element's clock.
        """
        said = {"index": index, "seconds": seconds, "end_s": end_s, "ended": has_ended, "owned": is_owned}
        if said != self._preview:
            self._preview = said
            self._report("preview", js_object(**said))

    def unlocked(self, track: str) -> None:
        """A track is the listener's own from now on."""
        self._report("unlocked", js_object(track=track))

    def notice(self, code: str, message: str) -> None:
        """Something the listener should know; said once until it is over."""
        if self._notice != code:
            self._notice = code
            self._report("notice", js_object(code=code, message=message))

    def notice_over(self, *codes: str) -> None:
        """What a notice was about is over."""
        if self._notice in codes:
            self._notice = None
            self._report("status", js_object(text=""))

    def error(self, code: str, message: str) -> None:
        """Nothing goes on after this."""
        self._report("error", js_object(code=code, message=message))


def _place(entry: Entry) -> dict[str, Any]:
    place: dict[str, Any] = {"index": entry.index, "offset_s": entry.offset_s}
    if not entry.is_ready:
        return place
    manifest = entry.stream.manifest
    return place | {
        "duration_s": entry.stream.rendition.presented_duration_s,
        "title": manifest.title,
        "artist": manifest.artist or "",
        "album": manifest.album or "",
        "cover_url": entry.stream.cover_url,
        "peaks": js_bytes(manifest.peaks),
    }
