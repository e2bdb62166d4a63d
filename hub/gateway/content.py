"""What the gateway has to give: chunks, also as IPFS blocks, manifests, and the playlists made from them."""

import asyncio
import gzip
import hashlib
import re
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

from digm.cid import chunk_hash_of, cid_of
from digm.errors import CallerFault, PeerFault, Unavailable
from digm.ids import from_hex, short
from digm.manifest import Manifest, Rendition, parse_manifest
from digm.playlists import DASH_TYPE, HLS_TYPE, dash, hls, hls_media
from hub.gateway.cache import ByteCache
from hub.gateway.ranges import accepts_gzip, names_etag, parse_range, range_still_applies
from hub.gateway.replies import IMMUTABLE, Reply
from hub.gateway.shelf import SHELF_URI, Shelf
from hub.storage.chunk_store import ChunkStore

RAW = "application/vnd.ipld.raw"
_OF_RENDITION = re.compile(r"(0|[1-9][0-9]?)\.(m3u8|mp4)")


class Content:
    """Answers for one store. Every name that comes in has been checked to be 64 hex digits, or is checked here.

    Args:
        store: verifies its reads or does not, as it was made.
        cache_bytes: chunks and documents kept in memory.
        shelf: where chunks are laid for a server in front that asks for it with `X-Digm-Shelf`.
    """

    def __init__(self, store: ChunkStore, cache_bytes: int, shelf: Shelf | None = None) -> None:
        self._store = store
        self._shelf = shelf
        self._cache = ByteCache(cache_bytes)

    async def chunk(self, name: str, method: str, headers: Mapping[str, str], query: str) -> Reply:
        """`/{chunk hash}`: the encrypted chunk, as an IPFS block when that is asked for.

        Raises:
            CallerFault: `range_not_satisfiable`. Unavailable: `chunk_not_held`, `chunk_damaged`.
        """
        if self._shelf is not None and headers.get("x-digm-shelf"):
            data = await self._read(name)
            if await asyncio.to_thread(self._shelf.put, name, data):
                # Everything else about the answer is that server's to say (hub/gateway/nginx_config.py).
                return Reply(200, headers={"x-accel-redirect": SHELF_URI + name})
        is_block = _asked_format(headers, query) == "raw"
        fields = _block_fields(name) if is_block else {"content-type": "application/octet-stream"}
        return await self._ranged(name, method, headers, {"etag": f'"{name}"', **fields})

    async def block(self, cid: str, method: str, headers: Mapping[str, str], query: str) -> Reply:
        """`/ipfs/{cid}`, the raw part of the IPFS trustless gateway specification (ipfs/specs).

        Raises:
            CallerFault: `format_missing`, `format_not_offered`, `bad_cid`, `range_not_satisfiable`.
            Unavailable: `chunk_not_held`, `chunk_damaged`, `not_cached`.
        """
        asked = _asked_format(headers, query)
        if asked is None:
            raise CallerFault("format_missing", "Ask for a block with ?format=raw or Accept: " + RAW + ".")
        if asked != "raw":
            raise CallerFault("format_not_offered", "Only raw blocks are served: ask with ?format=raw.")
        chunk_hash = chunk_hash_of(cid)
        if not chunk_hash:  # the block of no bytes, by which clients try a gateway
            return Reply(200, b"", {"content-type": RAW, "cache-control": IMMUTABLE, "vary": "accept"})
        name = chunk_hash.hex()
        try:
            return await self._ranged(name, method, headers, _block_fields(name))
        except Unavailable as missing:
            if missing.code == "chunk_not_held" and "only-if-cached" in headers.get("cache-control", ""):
                raise Unavailable("not_cached", missing.message) from missing
            raise

    async def _read(self, name: str) -> bytes:
        return await self._cache.get(name, lambda: asyncio.to_thread(self._store.read, name))

    async def _ranged(
        self, name: str, method: str, headers: Mapping[str, str], fields: Mapping[str, str]
    ) -> Reply:
        data = await self._read(name)
        etag = fields["etag"]
        unchanging = {"etag": etag, "cache-control": IMMUTABLE, "vary": "accept"}
        if names_etag(headers.get("if-none-match"), etag):
            return Reply(304, headers=unchanging)
        answer = {"accept-ranges": "bytes", **unchanging, **fields}
        if method == "GET":
            self._store.note_use(name)
        asked = headers.get("range") if method == "GET" else None
        wanted = parse_range(asked, len(data)) if range_still_applies(headers.get("if-range"), etag) else None
        if wanted is None:
            return Reply(200, data, answer)
        answer["content-range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{len(data)}"
        return Reply(206, data[wanted.start : wanted.stop], answer)

    async def document(self, root: str, name: str, headers: Mapping[str, str]) -> Reply | None:
        """`/{track root}/{name}`: manifest, playlists, init segments; None for a name that is none of them.

        Raises:
            Unavailable: `track_not_held`, `manifest_damaged`, `not_found`.
        """
        if name == "manifest.json":
            data = await asyncio.to_thread(self._store.manifest, root)
            return await self._told(data, "application/json", headers)
        if name == "index.m3u8":
            return await self._made(root, name, hls, HLS_TYPE, headers)
        if name == "manifest.mpd":
            return await self._made(root, name, dash, DASH_TYPE, headers)
        match = _OF_RENDITION.fullmatch(name)
        if match is None:
            return None
        number = int(match[1])
        if match[2] == "m3u8":
            return await self._made(root, name, lambda it: hls_media(_rendition(it, number)), HLS_TYPE, headers)
        return await self._made(root, name, lambda it: _init(it, number), "audio/mp4", headers)

    async def _made(
        self,
        root: str,
        name: str,
        make: Callable[[Manifest], str | bytes],
        content_type: str,
        headers: Mapping[str, str],
    ) -> Reply:
        document = await asyncio.to_thread(self._store.manifest, root)
        # Held under the manifest's own identity: a corrected manifest makes another playlist.
        key = f"{hashlib.sha256(document).hexdigest()}/{name}"
        data = await self._cache.get(key, lambda: asyncio.to_thread(_make, root, document, make))
        return await self._told(data, content_type, headers)

    async def _told(self, data: bytes, content_type: str, headers: Mapping[str, str]) -> Reply:
        """Not immutable, unlike a chunk: an artist may correct a title, and the track root stays the same."""
        digest = hashlib.sha256(data).hexdigest()
        fields = {"cache-control": "no-cache", "vary": "accept-encoding", "etag": f'"{digest}"'}
        is_packed = accepts_gzip(headers.get("accept-encoding"))
        if is_packed:
            data = await self._cache.get(
                f"{digest}.gz", lambda: asyncio.to_thread(gzip.compress, data, 6, mtime=0)
            )
            fields["etag"] = f'"{digest}-gzip"'
        if names_etag(headers.get("if-none-match"), fields["etag"]):
            return Reply(304, headers=fields)
        fields["content-type"] = content_type
        if is_packed:
            fields["content-encoding"] = "gzip"
        return Reply(200, data, fields)


def _make(root: str, document: bytes, make: Callable[[Manifest], str | bytes]) -> bytes:
    """Read the manifest and make something of it. The signature is for the listener to check, as ever."""
    try:
        manifest = parse_manifest(document)
    except PeerFault as fault:
        raise Unavailable("manifest_damaged", f"The manifest of {short(root)} cannot be read.") from fault
    if manifest.track_root != from_hex(root):
        raise Unavailable("manifest_damaged", f"The manifest of {short(root)} is that of another track.")
    made = make(manifest)
    return made if isinstance(made, bytes) else made.encode()


def _rendition(manifest: Manifest, number: int) -> Rendition:
    if number >= len(manifest.renditions):
        raise Unavailable("not_found", f"The track has {len(manifest.renditions)} renditions, numbered from 0.")
    return manifest.renditions[number]


def _init(manifest: Manifest, number: int) -> bytes:
    rendition = _rendition(manifest, number)
    if not rendition.init:
        raise Unavailable("not_found", f"The rendition {number} is a plain stream without an init segment.")
    return rendition.init


def _asked_format(headers: Mapping[str, str], query: str) -> str | None:
    """Which response format of an IPFS gateway is asked for; the parameter wins over Accept."""
    named = parse_qs(query).get("format") if len(query) <= 256 else None
    if named:
        return named[0]
    accepted = {item.partition(";")[0].strip().lower() for item in headers.get("accept", "").split(",")}
    if RAW in accepted:
        return "raw"
    return "other" if any(item.startswith("application/vnd.ip") for item in accepted) else None


def _block_fields(name: str) -> dict[str, str]:
    cid = cid_of(from_hex(name))
    return {
        "content-type": RAW,
        "content-disposition": f'attachment; filename="{cid}.bin"',
        "etag": f'"{cid}.raw"',
        "x-ipfs-path": f"/ipfs/{cid}",
        "x-ipfs-roots": cid,
    }
