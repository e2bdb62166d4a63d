"""A new hub that knows an RPC URL and one bootstrap address lists what others published, unless it is a lie."""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from digm.chain_tracks import ChainTrack
from digm.manifest import encode_manifest
from hub.bridge.chain import CHAIN
from hub.chain.claims import claims_of
from hub.chain.state import ChainState, FoundTrack
from hub.pinning import herald
from hub.publishing.vault import FILE_NAME, Vault
from hub.services import SERVICES
from hub.storage.chunk_store import ChunkStore
from tests.hub.backbone.nodes import until
from tests.hub.bridge.test_member import HERE, member_of
from tests.hub.chain.devnet import DevnetProcess
from tests.hub.chain.publisher import Publisher, contracts_on, publisher
from tests.hub.house import Published, hub_over, publish_track

PICTURE = b"\xff\xd8\xff" + bytes(100)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevnetProcess]:
    process = DevnetProcess(tmp_path_factory.mktemp("chain"), with_contracts=True)
    contracts_on(process)
    yield process
    process.kill()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.chain.following.DEVNET_POLL_S", 0.05)
    monkeypatch.setattr("hub.chain.follower.LOOKED_AT_S", 0.05)
    monkeypatch.setattr("hub.chain.finding.ASKED_AGAIN_S", 0.1)
    monkeypatch.setattr("hub.bridge.member.LOOKED_AT_S", 0.05)
    monkeypatch.setattr("hub.bridge.member.HOLDINGS_KNOWN_FOR_S", 0.05)
    monkeypatch.setattr("hub.bridge.chain_catalogue.AGAIN_FIRST_S", 0.1)
    monkeypatch.setattr(herald, "NEWCOMERS_EVERY_S", 0.0)
    monkeypatch.setattr("tests.hub.backbone.nodes.PATIENCE_S", 60.0)


@contextlib.asynccontextmanager
async def new_hub(data: Path, origin: TestServer, chain: DevnetProcess) -> AsyncIterator[TestServer]:
    bootstrap = ((await member_of(origin)).multiaddrs[0],)
    options = {"backbone_listen": HERE, "backbone_bootstrap": bootstrap, "chain_rpc": (chain.url,)}
    async with hub_over(data, gateway_port=4712, **options) as hub:
        yield hub


@contextlib.asynccontextmanager
async def origin_of(data: Path) -> AsyncIterator[TestServer]:
    """The hub of an artist; it needs no chain to be listened to."""
    async with hub_over(data, gateway_port=4711, backbone_listen=HERE) as hub:
        yield hub


async def get(hub: TestServer, path: str, **headers: str) -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as session, session.get(hub.make_url(path), headers=headers) as answer:
        return answer.status, await answer.read()


async def titles(hub: TestServer) -> list[str]:
    return [entry.title for entry in await hub.app[SERVICES].tracks()]


def listing(hub: TestServer, *wanted: str) -> Callable[[], Awaitable[bool]]:
    async def is_so() -> bool:
        return sorted(await titles(hub)) == sorted(wanted)

    return is_so


async def test_a_new_hub_lists_every_track_with_page_cover_and_album_and_keeps_them_without_a_chain(
    chain: DevnetProcess, tmp_path: Path
) -> None:
    data = tmp_path / "artist"
    album = {"album": "Trois", "release": "a" * 64}
    second = publish_track(data, "Deux", seed=12, track_number=2, **album)
    first = publish_track(data, "Un", seed=11, track_number=1, cover=PICTURE, **album)
    alone = publish_track(data, "Seul", seed=13)
    async with publisher(chain, data) as artist, origin_of(data) as origin:
        await artist.bind()
        tracks = {one.root: await artist.publish(one.root) for one in (first, alone, second)}
        async with new_hub(tmp_path / "new", origin, chain) as hub:
            await until(listing(hub, "Un", "Deux", "Seul"))
            status, page = await get(hub, f"/tracks/{first.root}", Accept="text/html")
            assert status == 200 and b"Un" in page
            assert (await get(hub, f"/covers/{hashlib.sha256(PICTURE).hexdigest()}")) == (200, PICTURE)
            assert list((tmp_path / "new" / "chunks").rglob("*/*")) == []  # nobody fills our disk
            entry = await hub.app[SERVICES].track(second.root)
            status, page = await get(hub, f"/releases/{entry.release_id}", Accept="text/html")
            assert status == 200 and page.index(b"Un") < page.index(b"Deux")
            assert b"Trois" in (await get(hub, "/", Accept="text/html"))[1]
            # One is withdrawn: it is gone here, and at the artist's own hub once that follows the chain.
            await artist.withdraw(tracks[alone.root])
            await until(listing(hub, "Un", "Deux"))
            assert (await get(hub, f"/api/tracks/{alone.root}"))[0] == 410
            status, page = await get(hub, f"/tracks/{alone.root}", Accept="text/html")
            assert status == 410 and b"withdrawn" in page
        options = {"chain_rpc": ("http://127.0.0.1:1",)}
        async with hub_over(tmp_path / "new", gateway_port=4712, **options) as hub:
            assert sorted(await titles(hub)) == ["Deux", "Un"]
            assert (await get(hub, f"/api/tracks/{alone.root}"))[0] == 410
    async with hub_over(data, gateway_port=4711, chain_rpc=(chain.url,)) as own:
        assert len(await titles(own)) == 3
        await until(listing(own, "Un", "Deux"))
        assert (await get(own, f"/api/tracks/{alone.root}"))[0] == 410


def revised(data: Path, track: Published, **changes: Any) -> bytes:
    """Another edition into the data folder, signed; returns its hash."""
    with Vault.open(data / FILE_NAME) as vault:
        document = encode_manifest(replace(track.manifest, **changes), vault.sign)
    ChunkStore(data).put_manifest(track.root, document)
    return hashlib.sha256(document).digest()


async def test_a_new_edition_takes_the_place_of_the_old_one_and_what_a_fork_takes_back_leaves(
    tmp_path: Path,
) -> None:
    data = tmp_path / "artist"
    track, other = publish_track(data, "Draft", seed=21), publish_track(data, "Second", seed=22)
    process = DevnetProcess(tmp_path, with_contracts=True)
    try:
        async with publisher(process, data) as artist, origin_of(data) as origin:
            await artist.bind()
            name = await artist.publish(track.root)
            async with new_hub(tmp_path / "new", origin, process) as hub:
                await until(listing(hub, "Draft"))
                await artist.tell("revise", "revise", name, revised(data, track, title="Final"))
                await until(listing(hub, "Final"))
                # An edition that nobody gives yet: the old one stays until somebody does.
                kept = ChunkStore(data).manifest(track.root)
                newer = revised(data, track, title="Finale")
                ChunkStore(data).put_manifest(track.root, kept)
                await artist.tell("revise again", "revise", name, newer)
                await artist.publish(other.root)
                await until(listing(hub, "Final", "Second"))
                process.ask("anvil_rollback", 1)
                process.ask("anvil_mine", "0x3")
                await until(listing(hub, "Final"))
                assert (await get(hub, f"/api/tracks/{other.root}"))[0] == 404
                revised(data, track, title="Finale")
                await until(listing(hub, "Finale"))
    finally:
        process.kill()


async def claim(attacker: Publisher, track: Published, manifest_hash: bytes) -> None:
    """Publish a root that may be anybody's under an own account."""
    manifest = track.manifest
    shape = [(one.chunk_count, one.frames_per_chunk, one.last_chunk_frames) for one in manifest.renditions]
    arguments = (manifest.track_root, manifest.audit_root, manifest_hash, shape, bytes(32))
    await attacker.tell(f"claim {track.root} {manifest_hash.hex()}", "publish", *arguments)


async def test_nobody_lists_anothers_music_as_his_own_or_puts_words_into_anothers_mouth(
    chain: DevnetProcess, tmp_path: Path
) -> None:
    data, theirs = tmp_path / "artist", tmp_path / "thief"
    track, unpublished = publish_track(data, "Mine", seed=31), publish_track(data, "Not out yet", seed=32)
    forged, garbage, lost = (publish_track(theirs, name, seed=seed) for name, seed in
                             (("Forged", 33), ("Garbage", 34), ("Nobody has it", 35)))  # fmt: skip
    real = {
        one.root: hashlib.sha256(ChunkStore(data).manifest(one.root)).digest() for one in (track, unpublished)
    }
    async with (
        publisher(chain, data) as artist, publisher(chain, theirs) as thief,
        publisher(chain, tmp_path / "stranger") as stranger,
        origin_of(data) as origin, origin_of(theirs) as other,
    ):  # fmt: skip
        await artist.bind()
        await thief.bind()
        await claim(thief, unpublished, real[unpublished.root])  # another's track under an own name
        await claim(stranger, track, real[track.root])  # under an account that has no key at all
        await claim(thief, track, real[track.root])  # seen on its way, and claimed before
        await artist.publish(track.root)
        document = encode_manifest(
            replace(forged.manifest, artist_key=track.manifest.artist_key), lambda _: bytes(64)
        )
        ChunkStore(theirs).put_manifest(forged.root, document)
        await claim(thief, forged, hashlib.sha256(document).digest())  # signed by another than it says
        junk = b'{"title":"' + b"[" * 100_000
        await claim(thief, garbage, hashlib.sha256(junk).digest())
        await claim(thief, lost, hashlib.sha256(b"a manifest that nobody has").digest())
        (tmp_path / "new" / "manifests").mkdir(parents=True)
        (tmp_path / "new" / "manifests" / f"{garbage.root}.json").write_bytes(junk)
        with capture_logs() as logs:
            async with new_hub(tmp_path / "new", origin, chain) as hub:
                node = await member_of(hub)
                await node.connect((await member_of(other)).multiaddrs[0])
                await until(lambda: len(refusals(logs)) >= 4)
                await until(listing(hub, "Mine"))
                assert refusals(logs) == {
                    track.root[:8]: "manifest_forged",
                    unpublished.root[:8]: "manifest_forged",
                    forged.root[:8]: "manifest_forged",
                    garbage.root[:8]: "manifest_unsigned",
                }
                status, body = await get(hub, f"/api/tracks/{lost.root}")
                assert status == 503 and b"manifest_not_found" in body
                entry = await hub.app[SERVICES].track(track.root)
                assert entry.artist_key == track.manifest.artist_key.hex()


def refusals(logs: list[Any]) -> dict[str, str]:
    return {line["track_root"][:8]: line["code"] for line in logs if line["event"] == "track_not_listed"}


def found(number: int, key: bytes, block: int = 1) -> FoundTrack:
    name = number.to_bytes(32, "big")
    said = ChainTrack(name, "0x" + key.hex()[:40], "", name, name, name, 4, 65_536 * 4, block=block)
    return FoundTrack(said, key)


def test_everybodys_first_track_comes_before_anybodys_second() -> None:
    spam = [found(number, b"s" * 32) for number in range(10_000)]
    ours = [found(20_000 + number, b"o" * 32, block=9) for number in range(3)]
    claims = claims_of([*spam, *ours], most=8)
    assert [one.artist_key[:1] for (one,) in claims.values() if one.artist_key] == [b"s", b"o"] * 3 + [b"s"] * 2
    assert claims_of([FoundTrack(spam[0].said, None)]) == {}
    # Of those who claim one root, the first.
    both = [found(2, b"a" * 32), found(1, b"a" * 32), found(1, b"b" * 32)]
    assert [one.artist_key for one in claims_of(both)[f"{1:064x}"]] == [b"a" * 32, b"b" * 32]


async def test_ten_thousand_tracks_that_nobody_gives_keep_nobodys_track_from_being_listed(
    tmp_path: Path,
) -> None:
    track = publish_track(tmp_path / "artist", "Heard", seed=41)
    manifest = track.manifest
    document = ChunkStore(tmp_path / "artist").manifest(track.root)
    sizes = [one.chunk_bytes(number) for one in manifest.renditions for number in range(one.chunk_count)]
    said = ChainTrack(
        b"t" * 32, "0xa", "0xa", manifest.track_root, manifest.audit_root, hashlib.sha256(document).digest(),
        len(sizes), sum(sizes), block=10_001,
    )  # fmt: skip
    spam = tuple(found(number, number.to_bytes(32, "big")) for number in range(10_000))
    state = ChainState(head=10_001, is_current=True, tracks=(*spam, FoundTrack(said, manifest.artist_key)))
    async with origin_of(tmp_path / "artist") as origin:
        bootstrap = ((await member_of(origin)).multiaddrs[0],)
        options = {"backbone_listen": HERE, "backbone_bootstrap": bootstrap}
        async with hub_over(tmp_path / "new", gateway_port=4712, **options) as hub:
            await member_of(hub)
            hub.app[CHAIN]._take(state)
            await until(listing(hub, "Heard"))
            assert len(hub.app[SERVICES].listed.expected) == 10_000


async def test_no_more_is_read_of_a_manifest_than_its_chunks_can_make_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.bridge.listing._FIXED_BYTES", 100)
    monkeypatch.setattr("hub.bridge.listing._BYTES_PER_CHUNK", 10)
    track = publish_track(tmp_path / "artist", "Long words", seed=51)
    document = ChunkStore(tmp_path / "artist").manifest(track.root)
    name = hashlib.sha256(document).digest()
    said = replace(found(1, b"k" * 32).said, track_root=track.manifest.track_root, manifest_hash=name)
    state = ChainState(is_current=True, tracks=(FoundTrack(said, track.manifest.artist_key),))
    async with origin_of(tmp_path / "artist") as origin:
        bootstrap = ((await member_of(origin)).multiaddrs[0],)
        options = {"backbone_listen": HERE, "backbone_bootstrap": bootstrap}
        with capture_logs() as logs:
            async with hub_over(tmp_path / "new", gateway_port=4712, **options) as hub:
                await member_of(hub)
                hub.app[CHAIN]._take(state)
                await until(lambda: "frame_too_large" in [line.get("code") for line in logs])
                assert await titles(hub) == []
