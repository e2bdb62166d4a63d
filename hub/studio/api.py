"""What the page asks for and tells, as JSON; files come and go as they are."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import hdrs, web

from digm.errors import CallerFault, Unavailable
from digm.ids import is_hex_id
from hub.storage.chunk_store import ChunkStore
from hub.studio.desk import DeskTrack
from hub.studio.journey import Journey, release_of
from hub.studio.music import music_of
from hub.studio.replies import answer, read
from hub.studio.room import ROOM, Room
from hub.studio.terms import TermsBody, check_free, read_terms

WAIT_S = 20.0
_BLOCK_BYTES = 1 << 20
AUDIO_TYPES = {
    ".flac": "audio/flac",
    ".wav": "audio/wav",
    ".wave": "audio/wav",
    ".bwf": "audio/wav",
    ".mp3": "audio/mpeg",
    ".m4a": "audio/mp4",
    ".m4b": "audio/mp4",
    ".mp4": "audio/mp4",
    ".aac": "audio/aac",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
}


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tags that are changed; unset: left as they are; null: taken away."""

    title: str | msgspec.UnsetType | None = msgspec.UNSET
    artist: str | msgspec.UnsetType | None = msgspec.UNSET
    album: str | msgspec.UnsetType | None = msgspec.UNSET
    genre: str | msgspec.UnsetType | None = msgspec.UNSET
    isrc: str | msgspec.UnsetType | None = msgspec.UNSET
    licence: str | msgspec.UnsetType | None = msgspec.UNSET
    track_number: int | msgspec.UnsetType | None = msgspec.UNSET
    year: int | msgspec.UnsetType | None = msgspec.UNSET


def routes() -> list[web.AbstractRouteDef]:
    """All of them need the page key, but those that an element of the page fetches by itself."""
    return [
        web.get("/api/desk", show_desk),
        web.delete("/api/desk", clear_desk),
        web.put("/api/desk/files", drop),
        web.put("/api/desk/cover", drop_cover),
        web.patch("/api/desk/{track}", describe),
        web.delete("/api/desk/{track}", take_off),
        web.put("/api/desk/{track}/cover", drop_cover),
        web.delete("/api/desk/{track}/cover", bare),
        web.post("/api/publish", publish),
        web.post("/api/publish/again", go_on),
        web.delete("/api/publish", forget),
        web.get("/api/music", music),
        web.get("/desk/{track}/audio", audio),
        web.get("/desk/{track}/cover", cover),
        web.get("/covers/{hash}", published_cover),
    ]


# -- the desk


async def show_desk(request: web.Request) -> web.Response:
    """What is on the desk and on its way, when it is different from `?after=VERSION`."""
    room = request.app[ROOM]
    after = request.query.get("after", "0")
    await room.news.wait(int(after) if after.isdecimal() else 0, WAIT_S)
    return answer(_state(room))


def _state(room: Room) -> dict[str, Any]:
    return {
        "version": room.news.version,
        "tracks": [_track(track) for track in room.desk.tracks],
        "journey": room.journey.document() if room.journey else None,
    }


def _track(track: DeskTrack) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": track.id,
        "name": track.name,
        "size": track.size,
        "state": track.state,
        "done": track.done,
        "fault": track.fault,
        "tags": {name: getattr(track.tags, name) for name in Words.__struct_fields__},
        "cover": f"/desk/{track.id}/cover?{track.cover_version}" if track.cover else None,
        "can_be_heard": track.heard is not None or track.path.suffix.lower() in AUDIO_TYPES,
    }
    if (before := track.published) is not None:
        found["published"] = {"title": before.title, "preview_s": before.preview_s}
    if (made := track.ingested) is not None:
        found |= {
            "duration_s": made.duration_s,
            "loudness_lufs": made.loudness_lufs,
            "codec": made.source_codec,
            "peaks": base64.b64encode(made.peaks).decode(),
            "notes": made.notes,
        }
    return found


async def drop(request: web.Request) -> web.Response:
    """A recording: the body, with its name in `?name=`."""
    track = await request.app[ROOM].desk.receive(_name(request), _blocks(request), request.content_length)
    return answer({"id": track.id})


async def drop_cover(request: web.Request) -> web.Response:
    """A picture, for one recording, or for all on the desk that have none (`?missing`) or at all."""
    desk = request.app[ROOM].desk
    tracks = [_of(request)] if "track" in request.match_info else desk.tracks
    await desk.picture(_name(request), _blocks(request), tracks, "missing" in request.query)
    return answer({})


async def describe(request: web.Request) -> web.Response:
    """Change tags of one recording."""
    words = await read(request, Words)
    told = {name: value for name, value in msgspec.structs.asdict(words).items() if value is not msgspec.UNSET}
    request.app[ROOM].desk.describe(_of(request), told)
    return answer({})


async def take_off(request: web.Request) -> web.Response:
    """Take one recording off the desk."""
    room = request.app[ROOM]
    room.check_idle()
    await room.desk.take_off(_of(request))
    return answer({})


async def clear_desk(request: web.Request) -> web.Response:
    """Take all of them off."""
    room = request.app[ROOM]
    room.check_idle()
    await room.desk.take_off(*room.desk.tracks)
    return answer({})


async def bare(request: web.Request) -> web.Response:
    """Take a recording's cover away."""
    request.app[ROOM].desk.bare(_of(request))
    return answer({})


# -- publishing


async def publish(request: web.Request) -> web.Response:
    """Send what is on the desk on its way; `show_desk` tells how far it is."""
    room = request.app[ROOM]
    body = await read(request, TermsBody)
    room.check_idle()
    tracks = list(room.desk.tracks)
    release_of(tracks)
    terms = read_terms(body, [track.ingested.duration_s for track in tracks if track.ingested])
    check_free(terms, [track.published for track in tracks if track.published])
    room.begin(Journey(room.settings, terms, tracks, room.news))
    return answer({})


async def go_on(request: web.Request) -> web.Response:
    """Go on with a release that is published here and did not get further."""
    request.app[ROOM].go_on()
    return answer({})


async def forget(request: web.Request) -> web.Response:
    """The artist has read how it ended."""
    room = request.app[ROOM]
    room.check_idle()
    room.journey = None
    room.news.tell()
    return answer({})


async def music(request: web.Request) -> web.Response:
    """What is published, and how it fares."""
    room = request.app[ROOM]
    return answer(await music_of(room.settings, room.vault, room.chain.state))


# -- what the page's own elements fetch


async def audio(request: web.Request) -> web.StreamResponse:
    """A recording on the desk, as it was dropped; in pieces (Range), as players ask for it.

    What browsers do not play is given as listeners will get it.
    """
    track = _of(request)
    path = track.heard or track.path
    kind = AUDIO_TYPES.get(path.suffix.lower())
    if kind is None or track.state == "receiving":
        raise Unavailable("not_found", "This recording cannot be played here.")
    return web.FileResponse(path, headers={hdrs.CONTENT_TYPE: kind, hdrs.CACHE_CONTROL: "no-store"})


async def cover(request: web.Request) -> web.StreamResponse:
    """The cover of a recording on the desk."""
    track = _of(request)
    if track.cover is None:
        raise Unavailable("not_found", "This recording has no cover.")
    return _picture(await asyncio.to_thread(track.cover.read_bytes))


async def published_cover(request: web.Request) -> web.StreamResponse:
    """A cover in the chunk store."""
    name = request.match_info["hash"]
    if not is_hex_id(name):
        raise Unavailable("not_found", "There is no such picture.")
    data = await asyncio.to_thread(ChunkStore(request.app[ROOM].settings.data).read, name)
    if not data.startswith(b"\xff\xd8\xff"):  # a chunk
        raise Unavailable("not_found", "There is no such picture.")
    return _picture(data)


def _picture(data: bytes) -> web.Response:
    return web.Response(body=data, content_type="image/jpeg", headers={hdrs.CACHE_CONTROL: "no-store"})


# -- reading and answering


def _of(request: web.Request) -> DeskTrack:
    return request.app[ROOM].desk.track(request.match_info["track"])


def _name(request: web.Request) -> str:
    name = request.query.get("name", "")
    if not name or not Path(name).name:
        raise CallerFault("bad_file", "A file has a name.")
    return name


async def _blocks(request: web.Request) -> AsyncIterator[bytes]:
    async for block in request.content.iter_chunked(_BLOCK_BYTES):
        yield block
