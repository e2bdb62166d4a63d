"""Playlists over HTTP: standard clients read and follow them to the chunks; ffmpeg plays what they list."""

import asyncio
import gzip
import hashlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urljoin

import aiohttp
import m3u8
import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from mpegdash.parser import MPEGDASHParser

from digm.chunks import FRAME_BYTES, frame_additional_data, frame_nonce
from digm.keys import chunk_key
from digm.manifest import Manifest, Rendition, parse_manifest
from digm.playlists import dash, hls, hls_media
from hub.config import Settings
from hub.publishing.publish import publish
from hub.publishing.vault import FILE_NAME, Vault
from hub.storage.chunk_store import ChunkStore
from tests.hub.gateway.conftest import RunningGateway
from tests.hub.media.sounds import music, quantised, write_wav

RATE = 44_100
# Hashes have no extension, and ffmpeg 5.1.7 and later want one.
ANY_NAME = ("-allowed_extensions", "ALL", "-allowed_segment_extensions", "ALL", "-extension_picky", "0")


async def get(session: aiohttp.ClientSession, url: str, **asked: str) -> tuple[int, bytes, Mapping[str, str]]:
    headers = {
        "Accept-Encoding": "identity",
        **{name.replace("_", "-"): value for name, value in asked.items()},
    }
    async with session.get(url, headers=headers) as answer:
        return answer.status, await answer.read(), answer.headers


async def test_a_client_of_hls_finds_every_chunk_from_the_index_alone(
    gateway: RunningGateway, session: aiohttp.ClientSession
) -> None:
    index_url = f"{gateway.url}/{gateway.track.root}/index.m3u8"
    status, text, headers = await get(session, index_url)
    assert (status, headers["Content-Type"]) == (200, "application/vnd.apple.mpegurl")
    variants = m3u8.loads(text.decode()).playlists
    assert len(variants) == 2
    for variant, rendition in zip(variants, gateway.track.manifest.renditions, strict=True):
        media_url = urljoin(index_url, variant.uri)
        media = m3u8.loads((await get(session, media_url))[1].decode())
        status, init, headers = await get(session, urljoin(media_url, media.segment_map[0].uri))
        assert (init, headers["Content-Type"]) == (rendition.init, "audio/mp4")
        names = []
        for segment in media.segments:
            status, chunk, _ = await get(session, urljoin(media_url, segment.uri))
            assert status == 200
            names.append(hashlib.sha256(chunk).digest())
        assert tuple(names) == rendition.chunk_hashes


async def test_a_client_of_dash_finds_every_chunk_from_the_description_alone(
    gateway: RunningGateway, session: aiohttp.ClientSession
) -> None:
    url = f"{gateway.url}/{gateway.track.root}/manifest.mpd"
    status, text, headers = await get(session, url)
    assert (status, headers["Content-Type"]) == (200, "application/dash+xml")
    sets = MPEGDASHParser.parse(text.decode()).periods[0].adaptation_sets
    for adaptation_set, rendition in zip(sets, gateway.track.manifest.renditions, strict=True):
        segments = adaptation_set.representations[0].segment_lists[0]
        init = await get(session, urljoin(url, segments.initializations[0].source_url))
        assert init[1] == rendition.init
        chunks = [await get(session, urljoin(url, segment.media)) for segment in segments.segment_urls]
        assert tuple(hashlib.sha256(body).digest() for _, body, _ in chunks) == rendition.chunk_hashes


@pytest.mark.parametrize("name", ["index.m3u8", "0.m3u8", "1.mp4", "manifest.mpd"])
async def test_documents_answer_conditions_head_and_gzip(
    gateway: RunningGateway, session: aiohttp.ClientSession, name: str
) -> None:
    url = f"{gateway.url}/{gateway.track.root}/{name}"
    _, body, headers = await get(session, url)
    assert headers["Cache-Control"] == "no-cache"
    assert (await get(session, url, If_None_Match=headers["ETag"]))[0] == 304
    assert (await get(session, url, If_None_Match='"another"'))[0] == 200
    _, packed, packed_headers = await get(session, url, Accept_Encoding="gzip")
    assert gzip.decompress(packed) == body
    assert packed_headers["ETag"] != headers["ETag"]
    async with session.head(url, headers={"Accept-Encoding": "identity"}) as answer:
        assert answer.headers["Content-Length"] == str(len(body))
        assert answer.headers["ETag"] == headers["ETag"]
        assert await answer.read() == b""


async def test_names_that_the_track_does_not_have_are_not_found(
    gateway: RunningGateway, session: aiohttp.ClientSession
) -> None:
    for name in (
        "2.m3u8",
        "2.mp4",
        "00.m3u8",
        "-1.m3u8",
        "100.m3u8",
        "0.mp4x",
        "0.ts",
        "x/0.mp4",
        "INDEX.M3U8",
    ):
        status, body, _ = await get(session, f"{gateway.url}/{gateway.track.root}/{name}")
        assert (status, json.loads(body)["error"]["code"]) == (404, "not_found"), name
    status, body, _ = await get(session, f"{gateway.url}/{'0' * 64}/index.m3u8")
    assert (status, json.loads(body)["error"]["code"]) == (404, "track_not_held")


async def test_a_manifest_that_cannot_be_believed_makes_no_playlist(
    gateway: RunningGateway, session: aiohttp.ClientSession
) -> None:
    store, root = ChunkStore(gateway.data), gateway.track.root
    document = store.manifest(root)
    store.put_manifest("1" * 64, document)
    store.put_manifest("2" * 64, document[:-200])
    store.put_manifest("3" * 64, b"[" * 100_000)
    for wrong in ("1" * 64, "2" * 64, "3" * 64):
        for name in ("index.m3u8", "0.m3u8", "0.mp4", "manifest.mpd"):
            status, body, headers = await get(session, f"{gateway.url}/{wrong}/{name}")
            assert (status, json.loads(body)["error"]["code"]) == (502, "manifest_damaged")
            assert headers["Cache-Control"] == "no-store"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Manifest, np.ndarray]]:
    """A real recording, published, with its playlists beside *decrypted* chunks of the same names."""
    folder = tmp_path_factory.mktemp("opened")
    samples = quantised(music(20 * RATE), 16)
    data = folder / "data"
    [track] = publish([write_wav(folder / "music.wav", samples, RATE, 16)], Settings(data=data))
    manifest = parse_manifest(ChunkStore(data).manifest(track.track_root))
    with Vault.open(data / FILE_NAME) as vault:
        track_key = vault.secret(track.track_root).track_key
    _lay_open(folder, manifest, track_key, ChunkStore(data))
    yield folder / track.track_root, manifest, samples


def _lay_open(folder: Path, manifest: Manifest, track_key: bytes, store: ChunkStore) -> None:
    beside = folder / manifest.track_root.hex()
    beside.mkdir()
    (beside / "index.m3u8").write_text(hls(manifest))
    (beside / "manifest.mpd").write_text(dash(manifest))
    for it in manifest.renditions:
        (beside / f"{it.id}.m3u8").write_text(hls_media(it))
        (beside / f"{it.id}.mp4").write_bytes(it.init)
        for chunk, chunk_hash in enumerate(it.chunk_hashes):
            opened = _opened(store.read(chunk_hash.hex()), track_key, it, chunk)
            (folder / chunk_hash.hex()).write_bytes(opened)


def _opened(sealed: bytes, track_key: bytes, it: Rendition, chunk: int) -> bytes:
    cipher = AESGCM(chunk_key(track_key, it.id, chunk))
    return b"".join(
        cipher.decrypt(
            frame_nonce(frame),
            sealed[frame * FRAME_BYTES : (frame + 1) * FRAME_BYTES],
            frame_additional_data(it.id, chunk, frame, it.is_last_frame(chunk, frame)),
        )
        for frame in range(it.chunk_frames(chunk))
    )


def ffmpeg(*arguments: str) -> bytes:
    done = subprocess.run(
        ["ffmpeg", "-v", "error", *arguments, "-f", "s16le", "-"], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_ffmpeg_plays_the_hls_playlist_of_decrypted_chunks_sample_for_sample(
    opened: tuple[Path, Manifest, np.ndarray],
) -> None:
    beside, _, samples = opened
    heard = ffmpeg(
        *ANY_NAME,
        "-i",
        str(beside / "0.m3u8"),
        "-c:a",
        "pcm_s16le",
    )
    assert np.array_equal(np.frombuffer(heard, "<i2").reshape(-1, 2), samples)


def test_ffmpeg_finds_both_renditions_and_their_length_in_the_index(
    opened: tuple[Path, Manifest, np.ndarray],
) -> None:
    beside, manifest, _ = opened
    for name, options in (
        ("index.m3u8", ANY_NAME),
        ("manifest.mpd", ANY_NAME[:2]),
    ):
        told = subprocess.run(
            ["ffprobe", "-v", "error", *options, "-show_streams", "-show_format", "-of", "json", beside / name],
            capture_output=True, check=True, timeout=60,
        )  # fmt: skip
        probe = json.loads(told.stdout)
        assert [stream["codec_name"] for stream in probe["streams"]] == ["flac", "opus"], name
        assert float(probe["format"]["duration"]) == pytest.approx(manifest.duration_s, abs=0.05), name


async def test_ffmpeg_reads_the_gateways_playlist_and_says_that_ciphertext_is_no_sound(
    gateway: RunningGateway,
) -> None:
    url = f"{gateway.url}/{gateway.track.root}/0.m3u8"
    process = await asyncio.create_subprocess_exec(
        "ffprobe", "-v", "verbose", *ANY_NAME, url, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    async with asyncio.timeout(30):
        _, said = await process.communicate()
    assert process.returncode != 0
    assert gateway.track.chunk(0, 0).encode() in said
