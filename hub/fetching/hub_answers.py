"""What a hub says to a listener over HTTP: who has a track, and the grant that the artist seals for us."""

import asyncio
import json
from typing import Any, TypeVar

import aiohttp
import msgspec

from digm.errors import PeerFault, Unavailable
from digm.grants import MAX_GRANT_BYTES, SealedGrant
from digm.json_reader import JsonReader

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


async def ask_grant(http: aiohttp.ClientSession, hub: str, track_root: str, player_key: bytes) -> GrantAnswer:
    """Raises as `ask_track`; among the hub's codes are `artist_offline` and `grant_refused`."""
    body = {"player_key": player_key.hex()}
    return await _ask(http, "POST", f"{hub}/api/tracks/{track_root}/grant", GrantAnswer, body)


async def _ask(
    http: aiohttp.ClientSession, method: str, url: str, kind: type[Answer], body: Any = None
) -> Answer:
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S), http.request(method, url, json=body) as answer:
            said = await answer.content.read(MAX_ANSWER_BYTES)
            while len(said) < MAX_ANSWER_BYTES and (more := await answer.content.readany()):
                said += more
            status = answer.status
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise Unavailable(
            "unreachable", f"It does not answer: {str(error) or type(error).__name__:.160}."
        ) from error
    if status != 200:
        raise _refusal(status, said)
    try:
        return msgspec.json.decode(said, type=kind)
    except msgspec.DecodeError as error:
        raise PeerFault("answer_malformed", f"What it answers cannot be understood: {error!s:.80}.") from error


def _refusal(status: int, said: bytes) -> Unavailable:
    """The hub's own code and sentence, where it has any."""
    try:
        error = json.loads(said)["error"]
        return Unavailable(str(error["code"])[:64], str(error["message"])[:300])
    except (ValueError, LookupError, TypeError):
        return Unavailable("unreachable", f"It answers with HTTP {status}.")
