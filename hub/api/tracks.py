"""Tracks as JSON, their covers, and the listening grants that the hub fetches from the artist's vault."""

import time
from collections.abc import Sequence

import msgspec
from aiohttp import hdrs, web

from digm.errors import CallerFault, DigmError, Unavailable
from digm.ids import from_hex, is_hex_id
from hub.api.addresses import Addresses, addresses_of, dialled_host
from hub.api.bodies import read_json
from hub.api.paging import page_of
from hub.bridge.bridge import BRIDGE
from hub.granting.messages import Proof
from hub.metrics import GRANTS
from hub.services import SERVICES
from hub.signalling import SIGNALLING
from hub.signalling.tokens import swarm_token
from hub.storage.catalogue import ReleaseEntry, TrackEntry

PER_PAGE = 1_000
MAX_GRANT_BODY_BYTES = 4_096  # with a sign-in message
MAX_COVER_BYTES = 1024 * 1024
COVER_TYPES = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"))
CORS = {hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*", "Cross-Origin-Resource-Policy": "cross-origin"}
PREFLIGHT = {
    **CORS,
    hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, HEAD, POST, OPTIONS",
    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "Content-Type",
    hdrs.ACCESS_CONTROL_MAX_AGE: "86400",
}


class GrantBody(msgspec.Struct, frozen=True):
    """What a page sends to ask for keys: its X25519 public key, and maybe an account that shows itself."""

    player_key: str
    proof: Proof | None = None


def routes() -> list[web.AbstractRouteDef]:
    """The API's routes."""
    return [
        web.get("/api/tracks", list_tracks),
        web.get("/api/tracks/{track_root}", show_track),
        web.post("/api/tracks/{track_root}/grant", grant),
        web.options("/api/{path:.*}", preflight),
        web.get("/api/releases/{release_id}", show_release),
        web.get("/covers/{hash}", cover),
        web.get("/vault", vault),
    ]


def track_json(entry: TrackEntry, addresses: Addresses) -> dict[str, object]:
    """A track as the API shows it; addresses are absolute, because players run on other people's pages."""
    return {
        "track_root": entry.track_root,
        "release_id": entry.release_id,
        "title": entry.title,
        "artist": entry.artist,
        "album": entry.album,
        "duration_s": entry.duration_s,
        "preview_s": entry.preview_s,
        "cover_url": _cover_url(entry.cover_hash, addresses),
    }


def track_details(
    entry: TrackEntry, addresses: Addresses, signal_urls: Sequence[str], gateways: Sequence[str] = ()
) -> dict[str, object]:
    """A track with everything that a player needs to begin.

    Args:
        gateways: to ask in this order; empty: the own one.
        signal_urls: of the hubs where its swarm can be met, its home first; empty: this one alone.
    """
    gateways = list(gateways) or [addresses.gateway]
    return {
        **track_json(entry, addresses),
        "manifest_url": f"{gateways[0]}/{entry.track_root}/manifest.json",
        "gateways": gateways,
        "signal_url": addresses.signal,
        "signal_urls": list(signal_urls) or [addresses.signal],
    }


def release_json(entry: ReleaseEntry, tracks: list[TrackEntry], addresses: Addresses) -> dict[str, object]:
    """A release as the API shows it, with its tracks in order."""
    return {
        "release_id": entry.release_id,
        "title": entry.title,
        "artist": entry.artist,
        "year": entry.year,
        "cover_url": _cover_url(entry.cover_hash, addresses),
        "tracks": [track_json(track, addresses) for track in tracks],
    }


def _cover_url(cover_hash: str | None, addresses: Addresses) -> str | None:
    return f"{addresses.hub}/covers/{cover_hash}" if cover_hash else None


def _json(body: object, cache: str = "no-cache") -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body),
        content_type="application/json",
        headers={**CORS, hdrs.CACHE_CONTROL: cache},
    )


async def preflight(_request: web.Request) -> web.Response:
    """CORS preflight: any page may ask."""
    return web.Response(status=204, headers=PREFLIGHT)


async def list_tracks(request: web.Request) -> web.Response:
    """`{"tracks": [...], "next_page": n or null}`, newest first."""
    services = request.app[SERVICES]
    addresses = addresses_of(request, services.settings)
    page = page_of(request, await services.tracks(), PER_PAGE)
    return _json({"tracks": [track_json(entry, addresses) for entry in page.items], "next_page": page.next})


async def show_track(request: web.Request) -> web.Response:
    """One track, with everything a player needs to begin."""
    services = request.app[SERVICES]
    addresses = addresses_of(request, services.settings)
    entry = await services.track(_root_of(request))
    homes = request.app[SIGNALLING].homes.signal_urls(entry.track_root)
    request.app[BRIDGE].expect_grants(entry)
    gateways = await request.app[BRIDGE].first_gateways(entry.track_root, addresses.gateway)
    return _json(track_details(entry, addresses, homes, gateways))


async def show_release(request: web.Request) -> web.Response:
    """One release and its tracks."""
    services = request.app[SERVICES]
    addresses = addresses_of(request, services.settings)
    entry, tracks = await services.release(request.match_info["release_id"])
    return _json(release_json(entry, tracks, addresses))


def _root_of(request: web.Request) -> str:
    root = request.match_info["track_root"]
    if not is_hex_id(root):
        raise Unavailable("track_not_found", "There is no such track here.")
    return root


async def grant(request: web.Request) -> web.Response:
    """Ask the artist's vault for the keys that this page may have; what comes back is sealed to the page."""
    services = request.app[SERVICES]
    try:
        services.grant_rate.take(addresses_of(request, services.settings).client, time.monotonic())
        body = await _grant_body(request)
        entry = await services.track(_root_of(request))
        answer = await request.app[BRIDGE].grant(entry, body.player_key, body.proof)
    except DigmError as error:
        GRANTS.labels(error.code).inc()
        raise
    GRANTS.labels("issued").inc()
    token = swarm_token(services.swarm_secret, from_hex(entry.track_root), answer.not_after)
    return _json({"grant": answer.grant, "swarm_token": token, "not_after": answer.not_after}, cache="no-store")


async def _grant_body(request: web.Request) -> GrantBody:
    sentence = 'Send JSON like {"player_key": "64 hex digits"}.'
    parsed = await read_json(request, GrantBody, sentence, MAX_GRANT_BODY_BYTES)
    if not is_hex_id(parsed.player_key):
        raise CallerFault("bad_player_key", "The player's key is 64 lower-case hex digits.")
    if parsed.proof is not None:
        parsed.proof.encode()  # what no vault would read goes no further
    return parsed


async def cover(request: web.Request) -> web.Response:
    """A cover picture. Only what looks like one is served, never a chunk."""
    name = request.match_info["hash"]
    services = request.app[SERVICES]
    etag = f'"{name}"'
    if not is_hex_id(name) or not await services.uses_cover(name):
        raise Unavailable("cover_not_found", "There is no such picture here.")
    headers = {
        **CORS,
        hdrs.ETAG: etag,
        hdrs.CACHE_CONTROL: "public, max-age=31536000, immutable",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    if etag in request.headers.get(hdrs.IF_NONE_MATCH, ""):
        return web.Response(status=304, headers=headers)
    data = await request.app[BRIDGE].cover(name)
    media_type = next((kind for magic, kind in COVER_TYPES if data.startswith(magic)), None)
    if media_type is None or len(data) > MAX_COVER_BYTES:
        raise Unavailable("cover_not_found", "There is no such picture here.")
    return web.Response(body=data, content_type=media_type, headers=headers)


async def vault(request: web.Request) -> web.WebSocketResponse:
    """The artist process's WebSocket."""
    services = request.app[SERVICES]
    settings = services.settings
    client = addresses_of(request, settings).client
    return await services.vaults.serve(request, dialled_host(request, settings), client)
