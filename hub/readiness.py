"""Whether somebody could press play on this hub right now: what `/readyz` answers.

Each condition is checked by doing it: the newest track's manifest is parsed and its chunks are looked up,
the gateway is asked, the vault link is there. Results that cost something are kept for a moment. Chunks may lie
at others' gateways and a vault be linked to another hub: then somebody can press play here, too.
"""

import time

import aiohttp

from digm.errors import DigmError
from digm.ids import to_hex
from digm.manifest import parse_manifest
from hub.bridge.bridge import Bridge
from hub.services import Services, off_loop
from hub.storage.catalogue import TrackEntry

GATEWAY_TIMEOUT_S = 2.0
CHECKED_FOR_S = 10.0
TRACKS_TRIED = 5


class Readiness:
    """Checks one hub's conditions."""

    def __init__(self, services: Services, bridge: Bridge) -> None:
        self._services, self._bridge = services, bridge
        self._complete: dict[str, float] = {}

    async def conditions(self) -> dict[str, bool]:
        """Each named condition and whether it holds."""
        services = self._services
        try:
            # Its own, if it has any: that others' can be heard just now is not up to it.
            tracks = await services.own_tracks() or await services.tracks()
        except DigmError:
            tracks = []
        entry = await self._playable(tracks)
        return {
            "player_built": services.static.assets() is not None,
            "track_published": bool(tracks),
            "chunks_held": entry is not None,
            "vault_connected": entry is not None and self._bridge.can_grant(entry),
            "gateway_answers": await self._gateway_answers(),
        }

    async def _playable(self, tracks: list[TrackEntry]) -> TrackEntry | None:
        """A track whose chunks are all here or at another gateway, preferring one whose vault can be asked."""
        for entry in tracks[:TRACKS_TRIED]:
            self._bridge.expect_grants(entry)
        linked = [entry for entry in tracks if self._bridge.can_grant(entry)]
        for entry in (linked or tracks)[:TRACKS_TRIED]:
            now = time.monotonic()
            if now - self._complete.get(entry.track_root, -CHECKED_FOR_S) < CHECKED_FOR_S:
                return entry
            if await off_loop(self._is_complete, entry.track_root):
                self._complete = {entry.track_root: now}
                return entry
            if self._bridge.is_elsewhere(entry):
                return entry
        return None

    def _is_complete(self, track_root: str) -> bool:
        store = self._services.store
        try:
            manifest = parse_manifest(store.manifest(track_root))
        except DigmError:
            return False
        return all(
            to_hex(name) in store for rendition in manifest.renditions for name in rendition.chunk_hashes
        )

    async def _gateway_answers(self) -> bool:
        settings = self._services.settings
        timeout = aiohttp.ClientTimeout(total=GATEWAY_TIMEOUT_S)
        if settings.gateway_port:
            scheme = "https" if settings.gateway_cert else "http"
            host = "127.0.0.1" if settings.host in ("", "0.0.0.0", "localhost") else settings.host
            host = "[::1]" if host == "::" else f"[{host}]" if ":" in host else host
            url = f"{scheme}://{host}:{settings.gateway_port}"
        else:
            url = settings.gateway_url or ""
        try:
            # Only whether it answers: its certificate is for listeners, who know it by another name.
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(url + "/healthz", ssl=False) as answer,
            ):
                return answer.status == 200
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError):
            return False
