"""Static files: what the browser fetches as it is, from memory, compressed if somebody compressed it before.

Names under `dist/` carry a hash of their content and never change; everything else is asked for again with
an ETag. The built player is found through `dist/assets.json`, which the player's build writes.
"""

import asyncio
import gzip
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from aiohttp import hdrs, web

from digm.errors import Unavailable

STATIC_FOLDER = Path(__file__).resolve().parents[2] / "static"
MEDIA_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".zip": "application/zip",
    ".bin": "application/octet-stream",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
ENCODINGS = (("br", ".br"), ("gzip", ".gz"))  # best first
_SAFE_NAME = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*/)*[A-Za-z0-9_][A-Za-z0-9._-]*")
_HASHED_NAME = re.compile(r"dist/(?:[^/]+/)*[^/]*-[0-9a-f]{16}(?:[./]|$)")
_COMPRESS_HERE = (".js", ".mjs", ".css", ".svg", ".json")
_WORTH_COMPRESSING = 1024


@dataclass(frozen=True)
class StaticFile:
    """One file as it was when it was read; `bodies` maps a content encoding to its bytes."""

    stamp: tuple[int, int]
    media_type: str
    tag: str
    bodies: dict[str, bytes]
    is_immutable: bool


class PlayerAssets(msgspec.Struct, frozen=True):
    """What `dist/assets.json` says: names below `dist/`, and which of them the page needs first."""

    pyodide: str
    bundle: str
    snapshot: str | None = None
    player: str | None = None
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preload:
    """A `<link>` that lets the browser fetch a part of the player before the code asks for it."""

    href: str
    rel: str
    kind: str | None = None


class StaticFiles:
    """Answers `/static/**` from one folder. Only names made of safe characters and known suffixes exist."""

    def __init__(self, folder: Path = STATIC_FOLDER) -> None:
        self.folder = folder.resolve()
        self._files: dict[str, StaticFile] = {}

    async def answer(self, request: web.Request, name: str) -> web.Response:
        """One file, in the encoding that the client prefers, or 304.

        Raises:
            Unavailable: `not_found`.
        """
        file = await asyncio.to_thread(self._file, name)
        encoding = _chosen_encoding(request.headers.get(hdrs.ACCEPT_ENCODING, ""), file.bodies)
        etag = f'"{file.tag}{"-" + encoding if encoding else ""}"'
        headers = {
            hdrs.ETAG: etag,
            hdrs.CACHE_CONTROL: "public, max-age=31536000, immutable" if file.is_immutable else "no-cache",
            hdrs.CONTENT_TYPE: file.media_type,
            hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
            "Timing-Allow-Origin": "*",
            "Cross-Origin-Resource-Policy": "cross-origin",
        }
        if len(file.bodies) > 1:
            headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
        if encoding:
            headers[hdrs.CONTENT_ENCODING] = encoding
        if etag in request.headers.get(hdrs.IF_NONE_MATCH, ""):
            return web.Response(
                status=304, headers={k: v for k, v in headers.items() if k != hdrs.CONTENT_TYPE}
            )
        return web.Response(body=file.bodies[encoding], headers=headers)

    def _file(self, name: str) -> StaticFile:
        path = self.folder / name
        media_type = MEDIA_TYPES.get(path.suffix)
        if media_type is None or not _SAFE_NAME.fullmatch(name):
            raise _not_found()
        try:
            if not path.resolve(strict=True).is_relative_to(self.folder) or not path.is_file():
                raise _not_found()
            facts = path.stat()
            stamp = (facts.st_mtime_ns, facts.st_size)
            known = self._files.get(name)
            if known is None or known.stamp != stamp:
                known = self._files[name] = _read(path, name, stamp, media_type)
        except OSError as error:
            raise _not_found() from error
        return known

    def assets(self) -> PlayerAssets | None:
        """The built player, or None when it is not built (or half built)."""
        try:
            body = self._file("dist/assets.json").bodies[""]
            assets = msgspec.json.decode(body, type=PlayerAssets)
        except (Unavailable, msgspec.DecodeError):
            return None
        missing = [name for name in assets.files if not (self.folder / "dist" / name).is_file()]
        return None if missing or not (self.folder / "digm-player.js").is_file() else assets

    def player(self) -> str | None:
        """Where a page loads the player from: one file, or the modules that it is made of when it is older than
        one of them. None when it is not built."""
        assets = self.assets()
        if assets is None:
            return None
        if assets.player is not None:
            built = (self.folder / "dist" / assets.player).stat().st_mtime_ns
            if all(path.stat().st_mtime_ns <= built for path in self.folder.glob("digm-*.js")):
                return f"/static/dist/{assets.player}"
        return "/static/digm-player.js"

    def modules(self) -> list[Preload]:
        """The player's code. What it fetches later, Python first of all, must not compete with it."""
        player = self.player()
        if player is None:
            return []
        names = [player]
        if "/dist/" not in player:
            names = [f"/static/{path.name}" for path in sorted(self.folder.glob("digm-*.js"))]
            names.append("/static/dist/assets.js")
        return [Preload(name, "modulepreload") for name in names]


def _not_found() -> Unavailable:
    return Unavailable("not_found", "There is nothing at this address.")


def _read(path: Path, name: str, stamp: tuple[int, int], media_type: str) -> StaticFile:
    plain = path.read_bytes()
    bodies = {"": plain}
    for encoding, suffix in ENCODINGS:
        compressed = path.with_name(path.name + suffix)
        # One that is older belongs to an earlier build.
        if compressed.is_file() and compressed.stat().st_mtime_ns >= stamp[0]:
            bodies[encoding] = compressed.read_bytes()
    if len(bodies) == 1 and path.suffix in _COMPRESS_HERE and len(plain) >= _WORTH_COMPRESSING:
        bodies["gzip"] = gzip.compress(plain, mtime=0)
    tag = hashlib.sha256(plain).hexdigest()[:16]
    return StaticFile(stamp, media_type, tag, bodies, _HASHED_NAME.match(name) is not None)


def _chosen_encoding(accepted: str, bodies: dict[str, bytes]) -> str:
    """The best encoding that both sides have (RFC 9110 §12.5.3); "" is identity."""
    weights = _weights(accepted.split(","))
    for encoding, _ in ENCODINGS:
        if encoding in bodies and weights.get(encoding, weights.get("*", 0.0)) > 0:
            return encoding
    return ""


def _weights(items: Sequence[str]) -> dict[str, float]:
    weights = {}
    for item in items:
        name, _, parameters = item.partition(";")
        try:
            weight = float(parameters.replace(" ", "").removeprefix("q=") or 1)
        except ValueError:
            weight = 0.0
        weights[name.strip().lower()] = weight
    return weights
