"""A track as a file, made in the page: the artist's sound as it was published, with tags and cover.

What `digm fetch` does with a disk, this does with what the page hands over, and with the same writers
(digm.containers). Only who owns the track has its key; a grant does not do.
"""

from collections.abc import AsyncIterator
from typing import Any

from digm.containers import open_container, usual_suffix
from digm.errors import PeerFault
from digm.keys import chunk_key
from digm.manifest import Manifest, Rendition
from digm.plain_text import clean_text
from digm.tags import tags_of
from digm.unpacking import access_units
from web import browser, purchase, unlock
from web.browser import JsBytes

MOST_NAME = 120
NOT_IN_NAMES = dict.fromkeys(map(ord, '\\/:*?"<>|'), "_")


class PageFile:
    """What the writers need of a file: bytes go to the page as they come, a few of them are written again."""

    def __init__(self, host: Any) -> None:
        self._host = host
        self._at = 0
        self._size = 0

    def write(self, data: bytes) -> int:
        if self._at == self._size:
            self._host.append(browser.js_bytes(data))
            self._size += len(data)
        else:
            self._host.patch(self._at, browser.js_bytes(data))
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = self._size + offset if whence == 2 else offset
        return self._at


async def save(host: Any) -> str:
    """Write the best rendition, which is the one that was published.

    Args:
        host: static/music-saving.js: `track`, `manifest`, `owned`, `chunk(hash)`, `cover(hash)`,
            `append(bytes)`, `patch(at, bytes)`, `progress(0..1)`.
    Returns:
        a name for the file.
    Raises:
        PeerFault: a `manifest_*` code, what `open_owned` raises, `frame_tag`, `media_malformed`.
        BrowserError: a chunk cannot be had.
    """
    manifest = await unlock.check_manifest(bytes(JsBytes.of(host.manifest)), host.track)
    track_key = await purchase.open_owned(host.owned, manifest)
    rendition = manifest.renditions[0]
    name = file_name(manifest, rendition)
    container = open_container(PageFile(host), name, rendition, tags_of(manifest, await _cover(host, manifest)))
    async for plaintext in _plaintexts(host, rendition, track_key):
        for samples in access_units(rendition, [plaintext]):
            container.add(samples)
    container.close()
    return name


def file_name(manifest: Manifest, rendition: Rendition) -> str:
    """Such as "The Owls - Night train.flac"."""
    said = " - ".join(part for part in (manifest.artist, manifest.title) if part)
    name = clean_text(said.translate(NOT_IN_NAMES), MOST_NAME).strip(". ")
    return (name or "track") + usual_suffix(rendition.config.codec)


async def _plaintexts(host: Any, rendition: Rendition, track_key: bytes) -> AsyncIterator[bytes]:
    for chunk, name in enumerate(rendition.chunk_hashes):
        data = JsBytes(await host.chunk(name.hex()))
        if await browser.sha256(data) != name or len(data) != rendition.chunk_bytes(chunk):
            raise PeerFault("chunk_wrong", "A part of this track is not what its artist published.")
        key = chunk_key(track_key, rendition.id, chunk)
        yield bytes(await unlock.open_chunk(rendition, chunk, data, key, 0))
        host.progress((chunk + 1) / rendition.chunk_count)


async def _cover(host: Any, manifest: Manifest) -> bytes | None:
    """The picture, if it can be had and is the artist's: a file without it is better than none."""
    if manifest.cover is None:
        return None
    found = await host.cover(manifest.cover.hash.hex())
    if not found:
        return None
    data = JsBytes(found)
    is_right = len(data) == manifest.cover.size and await browser.sha256(data) == manifest.cover.hash
    return bytes(data) if is_right else None
