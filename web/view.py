"""What the player tells its element: plain values, never a proxy of anything that is alive here."""

from collections.abc import Callable
from typing import Any

from digm.manifest import Manifest, Rendition
from web.browser import js_bytes, js_object


class View:
    """The element's ear.

    Args:
        report: the element's callback (kind, value).
    """

    def __init__(self, report: Callable[[str, Any], None]) -> None:
        self._report = report
        self._notice: str | None = None

    def manifest(self, manifest: Manifest, rendition: Rendition) -> None:
        """The checked facts replace what the hub said."""
        self._report(
            "manifest",
            js_object(
                title=manifest.title,
                artist=manifest.artist or "",
                album=manifest.album or "",
                duration_s=rendition.presented_duration_s,
                peaks=js_bytes(manifest.peaks),
            ),
        )

    def ready(self) -> None:
        self._report("ready", js_object())

    def stats(self, **numbers: Any) -> None:
        self._report("stats", js_object(**numbers))

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
