"""Grants from a real vault over a real WebSocket through a real hub to a page, opened by another HPKE."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from digm.grants import GRANT_INFO, Grant, decode_grant, preview_chunks, signed_part
from digm.keys import chunk_key
from hub.granting.issue import GrantIssuer
from hub.granting.links import MAX_LINKS_PER_ADDRESS, VaultLinks
from hub.granting.messages import SUBPROTOCOL, hello_bytes
from hub.granting.vault_link import VaultLink
from hub.publishing.vault import FILE_NAME, Vault
from hub.services import SERVICES
from hub.signalling.tokens import check_swarm_token, load_swarm_secret
from hub.storage.chunk_store import ChunkStore
from tests.hub.granting.rfc9180 import key_schedule, open_sealed, shared_secret
from tests.hub.house import Published, hub_over, publish_track

GRANT_SECONDS = 3600


@contextlib.asynccontextmanager
async def artist_at(hub: TestServer, data: Path) -> AsyncIterator[Vault]:
    """The artist's side of the vault link, connected."""
    with Vault.open(data / FILE_NAME) as vault:
        issuer = GrantIssuer(vault, ChunkStore(data), GRANT_SECONDS)
        link = asyncio.create_task(VaultLink(vault, issuer, str(hub.make_url("")).rstrip("/")).run())
        await linked(hub, vault.artist_key.hex())
        try:
            yield vault
        finally:
            link.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await link


async def linked(hub: TestServer, artist_key: str, is_linked: bool = True) -> None:
    """Wait until the hub has (or has lost) the artist's link."""
    links: VaultLinks = hub.app[SERVICES].vaults  # type: ignore[attr-defined]
    async with asyncio.timeout(10):
        while links.is_connected(artist_key) is not is_linked:
            await asyncio.sleep(0.01)


class Page:
    """What a player does to get its keys."""

    def __init__(self) -> None:
        self._private = X25519PrivateKey.generate()
        self.public = self._private.public_key().public_bytes_raw()

    async def ask(self, hub: TestServer, track: Published, **more: Any) -> tuple[int, Any]:
        url = hub.make_url(f"/api/tracks/{track.root}/grant")
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, json={"player_key": self.public.hex(), **more}) as answer,
        ):
            assert answer.headers["Cache-Control"] == "no-store"
            return answer.status, await answer.json()

    def open(self, body: Any, track: Published) -> Grant:
        enc, sealed, signature = (bytes.fromhex(body["grant"][name]) for name in ("enc", "sealed", "signature"))
        artist = Ed25519PublicKey.from_public_bytes(track.manifest.artist_key)
        artist.verify(signature, signed_part(enc, sealed))
        plain = open_sealed(
            enc, sealed, self._private.private_bytes_raw(), GRANT_INFO, track.manifest.track_root
        )
        return decode_grant(plain)


async def test_a_free_track_is_granted_whole_to_the_page_that_asked(tmp_path: Path) -> None:
    track, page = publish_track(tmp_path), Page()
    async with hub_over(tmp_path) as hub, artist_at(hub, tmp_path):
        status, body = await page.ask(hub, track)
    assert status == 200
    grant = page.open(body, track)
    grant.check(track.manifest, page.public, time.time())
    assert grant.track_key == track.track_key
    assert grant.not_after == body["not_after"]
    assert abs(grant.not_after - time.time() - GRANT_SECONDS) < 30
    secret = load_swarm_secret(tmp_path)
    assert (
        check_swarm_token(secret, track.manifest.track_root, body["swarm_token"], time.time())
        == grant.not_after
    )


async def test_a_preview_holds_the_keys_of_its_first_seconds_and_nothing_else(tmp_path: Path) -> None:
    track, page = publish_track(tmp_path, chunk_count=6, preview_s=9), Page()
    async with hub_over(tmp_path) as hub, artist_at(hub, tmp_path):
        _, body = await page.ask(hub, track)
    grant = page.open(body, track)
    assert grant.track_key is None
    for rendition in track.manifest.renditions:
        free = preview_chunks(rendition, 9)
        assert free == range(3)
        for number in range(rendition.chunk_count):
            expected = chunk_key(track.track_key, rendition.id, number) if number in free else None
            assert grant.key_for(rendition.id, number) == expected


async def test_a_grant_is_of_no_use_to_another_page_or_for_another_track(tmp_path: Path) -> None:
    track, other = publish_track(tmp_path), publish_track(tmp_path, seed=2)
    page, stranger = Page(), Page()
    async with hub_over(tmp_path) as hub, artist_at(hub, tmp_path):
        _, body = await page.ask(hub, track)
    with pytest.raises(InvalidTag):
        stranger.open(body, track)
    with pytest.raises(InvalidTag):
        page.open(body, other)
    body["grant"]["sealed"] = body["grant"]["sealed"][:-2] + "00"
    with pytest.raises(InvalidSignature):
        page.open(body, track)


async def test_without_the_artist_the_answer_is_a_sentence_at_once(tmp_path: Path) -> None:
    track = publish_track(tmp_path)
    async with hub_over(tmp_path) as hub:
        async with asyncio.timeout(2):
            status, body = await Page().ask(hub, track)
    assert (status, body["error"]["code"]) == (503, "artist_offline")
    assert "vault" in body["error"]["message"]


async def test_the_artist_comes_back_after_the_hub_was_away(tmp_path: Path) -> None:
    track = publish_track(tmp_path)
    async with hub_over(tmp_path) as hub, artist_at(hub, tmp_path) as vault:
        links: VaultLinks = hub.app[SERVICES].vaults  # type: ignore[attr-defined]
        await links.close()
        await linked(hub, vault.artist_key.hex(), is_linked=False)
        await linked(hub, vault.artist_key.hex())
        assert (await Page().ask(hub, track))[0] == 200


async def test_a_track_that_was_published_a_moment_ago_is_granted(tmp_path: Path) -> None:
    publish_track(tmp_path)
    async with hub_over(tmp_path) as hub, artist_at(hub, tmp_path):
        newer, page = publish_track(tmp_path, seed=2), Page()
        _, body = await page.ask(hub, newer)
    assert page.open(body, newer).track_key == newer.track_key


async def test_fifty_pages_at_once_each_get_their_own_grant(tmp_path: Path) -> None:
    track, pages = publish_track(tmp_path), [Page() for _ in range(50)]
    async with hub_over(tmp_path) as hub, artist_at(hub, tmp_path):
        answers = await asyncio.gather(*(page.ask(hub, track) for page in pages))
    for page, (status, body) in zip(pages, answers, strict=True):
        assert status == 200
        assert page.open(body, track).player_key == page.public


async def test_a_manifest_that_the_artist_did_not_sign_is_not_granted(tmp_path: Path) -> None:
    track = publish_track(tmp_path)
    store = ChunkStore(tmp_path)
    document = store.manifest(track.root)
    store.manifest_path(track.root).chmod(0o644)
    store.manifest_path(track.root).write_bytes(document.replace(b'"title":"Noise"', b'"title":"Voice"'))
    async with hub_over(tmp_path) as hub, artist_at(hub, tmp_path):
        status, body = await Page().ask(hub, track)
    assert (status, body["error"]["code"]) == (403, "grant_refused")


async def say(hub: TestServer, *messages: object, protocol: str = SUBPROTOCOL) -> list[Any]:
    """Open `/vault`, say something after the challenge, and return everything that comes back."""
    heard = []
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(hub.make_url("/vault"), protocols=(protocol,)) as socket,
    ):
        challenge = await socket.receive_json()
        for message in messages:
            if callable(message):
                message = message(bytes.fromhex(challenge["nonce"]))
            if isinstance(message, bytes):
                await socket.send_bytes(message)
            else:
                await socket.send_json(message)
        async for answer in socket:
            heard.append(answer.json())
    return heard


async def test_an_artist_key_must_be_proven_to_this_very_hub(tmp_path: Path) -> None:
    track, key = publish_track(tmp_path), Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw().hex()

    def hello(artist: str, host: str) -> Any:
        return lambda nonce: {
            "type": "hello",
            "artist_key": artist,
            "signature": key.sign(hello_bytes(nonce, host)).hex(),
        }

    async with hub_over(tmp_path) as hub:
        here = f"127.0.0.1:{hub.port}"
        somebody_else = track.manifest.artist_key.hex()
        for first in (hello(somebody_else, here), hello(public, "another.example"), hello("zz", here)):
            assert await say(hub, first) == [{"type": "bye", "code": "bad_signature"}]
        assert (await Page().ask(hub, track))[1]["error"]["code"] == "artist_offline"


@pytest.mark.parametrize(
    "message", [{"type": "grant", "id": 1}, {"type": "what"}, [], {"type": "refused", "id": 1, "code": "x"}]
)
async def test_nonsense_on_the_vault_link_ends_it(tmp_path: Path, message: object) -> None:
    async with hub_over(tmp_path) as hub:
        assert await say(hub, message) == [{"type": "bye", "code": "bad_message"}]


async def test_one_address_cannot_take_every_vault_link(tmp_path: Path) -> None:
    async with (
        hub_over(tmp_path) as hub,
        aiohttp.ClientSession() as session,
        contextlib.AsyncExitStack() as held,
    ):
        for _ in range(MAX_LINKS_PER_ADDRESS):
            socket = await held.enter_async_context(session.ws_connect(hub.make_url("/vault")))
            assert (await socket.receive_json())["type"] == "challenge"
        one_more = await held.enter_async_context(session.ws_connect(hub.make_url("/vault")))
        await one_more.receive()
        assert one_more.close_code == 1013


async def test_an_artist_who_does_not_answer_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.granting.links.ANSWER_TIMEOUT_S", 0.2)
    track = publish_track(tmp_path)
    with Vault.open(tmp_path / FILE_NAME) as vault:
        async with (
            hub_over(tmp_path) as hub,
            aiohttp.ClientSession() as session,
            session.ws_connect(hub.make_url("/vault"), protocols=(SUBPROTOCOL,)) as socket,
        ):
            nonce = bytes.fromhex((await socket.receive_json())["nonce"])
            signature = vault.sign(hello_bytes(nonce, f"127.0.0.1:{hub.port}")).hex()
            await socket.send_json(
                {"type": "hello", "artist_key": vault.artist_key.hex(), "signature": signature}
            )
            assert (await socket.receive_json())["type"] == "welcome"
            status, body = await Page().ask(hub, track)
    assert (status, body["error"]["code"]) == (503, "artist_offline")


def test_the_independent_hpke_agrees_with_the_vector_of_the_rfc() -> None:
    """RFC 9180 A.1.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-128-GCM, base mode."""
    enc = bytes.fromhex("37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431")
    private = bytes.fromhex("4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8")
    info = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e")
    secret = shared_secret(enc, private)
    assert secret.hex() == "fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc"
    key, nonce = key_schedule(secret, info, 0x0001, 16)
    assert key.hex() == "4531685d41d65f03dc48f6b8302c05b0"
    assert nonce.hex() == "56d890e5accaaf011cff4b7d"
