"""What a hub says to a listener over HTTP: who has a track, how the nodes stand, and the grant that the artist
seals for us."""

import asyncio
import json
import time
from typing import Any, TypeVar

import aiohttp
import msgspec

from digm.errors import PeerFault, Unavailable
from digm.fresh_index import MAX_INDEX_BYTES, FreshIndex, parse_fresh_index
from digm.grants import MAX_GRANT_BYTES, SealedGrant
from digm.json_reader import JsonReader
from hub.signatures import verify

MAX_ANSWER_BYTES = 2 * MAX_GRANT_BYTES + 65_536
ANSWER_WITHIN_S = 20.0  # all of it: a byte now and then would otherwise keep the search waiting for days
Answer = TypeVar("Answer")


class TrackAnswer(msgspec.Struct, frozen=True):
    """`GET /api/tracks/{root}`, as far as it matters here."""

    gateways: list[str] = []
    signal_urls: list[str] = []


class NodeAnswer(msgspec.Struct, frozen=True):
    """An elder node."""

    peer_id: str
    multiaddrs: list[str] = []


class GatewayAnswer(msgspec.Struct, frozen=True):
    """A gateway; with score 0 it does not answer or does not hold the track."""

    url: str
    score: float = 0.0


class SourcesAnswer(msgspec.Struct, frozen=True):
    """`GET /api/tracks/{root}/sources`."""

    nodes: list[NodeAnswer] = []
    gateways: list[GatewayAnswer] = []


class GrantAnswer(msgspec.Struct, frozen=True):
    """`POST /api/tracks/{root}/grant`: the grant is sealed, and the token opens the swarm."""

    grant: dict[str, str]
    swarm_token: str
    not_after: int

    def sealed(self) -> SealedGrant:
        """Raises PeerFault `grant_field`."""
        return SealedGrant.from_reader(JsonReader(dict(self.grant), "grant"))


async def ask_track(http: aiohttp.ClientSession, hub: str, track_root: str) -> TrackAnswer:
    """Raises Unavailable: the hub's own code, or `unreachable`; PeerFault: `answer_malformed`."""
    return await _ask(http, "GET", f"{hub}/api/tracks/{track_root}", TrackAnswer)


async def ask_sources(http: aiohttp.ClientSession, hub: str, track_root: str) -> SourcesAnswer:
    """Raises as `ask_track`."""
    return await _ask(http, "GET", f"{hub}/api/tracks/{track_root}/sources", SourcesAnswer)


async def ask_fresh_index(http: aiohttp.ClientSession, author: str) -> FreshIndex:
    """What a hub or a node knows of the nodes. It is signed by whoever that address belongs to; that is all the
    caller knows of its author.

    Raises:
        Unavailable: as `ask_track`; `fresh_index_missing`. PeerFault: as `parse_fresh_index`.
    """
    said = await _read(http, "GET", f"{author}/fresh-index.json", MAX_INDEX_BYTES + 1)
    return parse_fresh_index(said, time.time(), verify)


async def ask_grant(http: aiohttp.ClientSession, hub: str, track_root: str, player_key: bytes) -> GrantAnswer:
    """Raises as `ask_track`; among the hub's codes are `artist_offline` and `grant_refused`."""
    body = {"player_key": player_key.hex()}
    return await _ask(http, "POST", f"{hub}/api/tracks/{track_root}/grant", GrantAnswer, body)


async def _ask(
    http: aiohttp.ClientSession, method: str, url: str, kind: type[Answer], body: Any = None
) -> Answer:
    said = await _read(http, method, url, MAX_ANSWER_BYTES, body)
    try:
        return msgspec.json.decode(said, type=kind)
    except msgspec.DecodeError as error:
        raise PeerFault("answer_malformed", f"What it answers cannot be understood: {error!s:.80}.") from error


async def _read(http: aiohttp.ClientSession, method: str, url: str, most_bytes: int, body: Any = None) -> bytes:
    """The answer's body, or as much of it as was asked for. Raises Unavailable."""
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S), http.request(method, url, json=body) as answer:
            said = await answer.content.read(most_bytes)
            while len(said) < most_bytes and (more := await answer.content.readany()):
                said += more
            status = answer.status
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise Unavailable(
            "unreachable", f"It does not answer: {str(error) or type(error).__name__:.160}."
        ) from error
    if status != 200:
        raise _refusal(status, said)
    return said


def _refusal(status: int, said: bytes) -> Unavailable:
    """The hub's own code and sentence, where it has any."""
    try:
        error = json.loads(said)["error"]
        return Unavailable(str(error["code"])[:64], str(error["message"])[:300])
    except (ValueError, LookupError, TypeError):
        return Unavailable("unreachable", f"It answers with HTTP {status}.")
