"""`digm fetch` and `digm play` beside the real hub, gateway, artist, seeding peer and node, each a process."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiortc import RTCDataChannel
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from mutagen.flac import FLAC
from mutagen.id3 import APIC
from mutagen.wave import WAVE
from PIL import Image

from digm import wire
from digm.manifest import encode_manifest
from hub.backbone.identity import NodeIdentity
from hub.storage.chunk_store import ChunkStore
from tests.browser.hostile_peer import Babbling, Boasting, Corrupting, Flooding, HostilePeer, Silent
from tests.browser.stack import Stack
from tests.hub.fetching.bad_gateway import bad_gateway, lacking
from tests.hub.fetching.recordings import RATE, Recording, decoded, published
from tests.hub.media.sounds import music, quantised, write_wav
from tests.ports import free_port

SOUND = quantised(music(15 * RATE), 16)
PREVIEW_S = 4


@dataclass(frozen=True)
class House:
    """Everything, running."""

    stack: Stack
    free: Recording
    preview: Recording
    node: str

    @property
    def gateway(self) -> str:
        return f"http://localhost:{self.stack.ports['gateway']}"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    data = folder / "data"
    free = published(with_picture(write_wav(folder / "free.wav", SOUND, RATE, 16)), data, title="Free")
    teaser = quantised(music(15 * RATE, seed=8), 16)
    preview = published(
        write_wav(folder / "teaser.wav", teaser, RATE, 16), data, title="Teaser", preview_seconds=PREVIEW_S
    )
    port = free_port()
    listen = f"/ip4/127.0.0.1/tcp/{port}"
    stack = Stack(data, {"DIGM_BACKBONE_LISTEN": listen})
    stack.start()
    try:
        stack.wait_until_alive()
        yield House(stack, free, preview, f"{listen}/p2p/{NodeIdentity.load(data).peer_id}")
    finally:
        stack.stop()


def with_picture(path: Path) -> Path:
    """A WAV file with a cover in it."""
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(picture, "JPEG")
    file = WAVE(path)
    file.add_tags()
    file.tags.add(APIC(encoding=3, mime="image/jpeg", type=3, data=picture.getvalue()))
    file.save()
    return path


def digm(*arguments: object, **variables: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "hub.cli", *map(str, arguments)],
        env={**os.environ, "DIGM_PORT": "1", **variables},
        capture_output=True,
        timeout=90,
        check=False,
    )


def reported(done: subprocess.CompletedProcess[bytes], status: int = 0) -> Any:
    assert done.returncode == status, done.stderr.decode()
    return json.loads(done.stdout)


def key_file(folder: Path, recording: Recording) -> Path:
    path = folder / "key"
    path.write_text(recording.track_key.hex() + "\n")
    return path


def test_the_address_of_a_page_is_enough(house: House, tmp_path: Path) -> None:
    out = tmp_path / "song.flac"
    page = f"{house.stack.url}/tracks/{house.free.root}"
    report = reported(digm("fetch", page, "--out", out, "--json"))
    assert np.array_equal(decoded(out, "s16"), SOUND)
    assert (report["title"], report["is_preview"], report["error"]) == ("Free", False, None)
    assert sum(source["bytes"] for source in report["sources"]) == report["bytes"]
    assert not (tmp_path / "song.flac.part").exists()


def test_a_node_of_the_backbone_is_enough_for_whoever_has_the_key(house: House, tmp_path: Path) -> None:
    out = tmp_path / "song.flac"
    key = key_file(tmp_path, house.free)
    report = reported(
        digm("fetch", house.free.root, "--out", out, "--bootstrap", house.node, "--key", key, "--json")
    )
    assert np.array_equal(decoded(out, "s16"), SOUND)
    assert {source["kind"] for source in report["sources"]} == {"libp2p"}
    assert [picture.mime for picture in FLAC(out).pictures] == ["image/jpeg"]


def test_the_peers_of_the_swarm_are_enough(house: House, tmp_path: Path) -> None:
    out = tmp_path / "song.flac"
    page = f"{house.stack.url}/tracks/{house.free.root}"
    report = reported(digm("fetch", page, "--out", out, "--via", "webrtc", "--json"))
    assert np.array_equal(decoded(out, "s16"), SOUND)
    by_kind = {source["kind"]: source["bytes"] for source in report["sources"]}
    assert by_kind["webrtc"] == report["bytes"]


class Waiting(HostilePeer):
    """Honest, and gives nothing before the liar was found out: so somebody has to ask it."""

    liar: HostilePeer

    async def answer(self, channel: RTCDataChannel, request: wire.Request) -> None:
        await self.liar.left.wait()
        await super().answer(channel, request)


async def test_liars_in_the_swarm_spoil_nothing_and_are_left(house: House, tmp_path: Path) -> None:
    out, stack, root = tmp_path / "song.flac", house.stack, house.free.root
    liar, honest = Corrupting(stack, root, 1.0), Waiting(stack, root)
    honest.liar = liar
    others = [kind(stack, root) for kind in (Boasting, Silent, Flooding, Babbling)]
    page = f"{stack.url}/tracks/{root}"
    stack.kill("seed")
    async with AsyncExitStack() as swarm:
        swarm.callback(stack.start, "seed")
        for peer in (liar, honest, *others):
            await swarm.enter_async_context(peer.here())
        done = await asyncio.to_thread(digm, "fetch", page, "--out", out, "--via", "webrtc", "--json")
        report = reported(done)
    assert np.array_equal(decoded(out, "s16"), SOUND)
    by_name = {source["name"]: source for source in report["sources"]}
    assert (by_name[liar.peer_id]["bytes"], by_name[liar.peer_id]["is_banned"]) == (0, True)
    assert "wrong_hash" in by_name[liar.peer_id]["errors"]
    boasting, silent = (by_name.get(peer.peer_id, {"bytes": 0}) for peer in others[:2])
    assert (boasting["bytes"], silent["bytes"]) == (0, 0)
    assert by_name[honest.peer_id]["bytes"] > 0


def test_whoever_signs_the_chunks_of_another_is_put_aside(house: House, tmp_path: Path) -> None:
    """The thief's gateway is there at once, the artist's only when the hub has named it."""
    out, thief = tmp_path / "song.flac", Ed25519PrivateKey.generate()
    manifest = replace(house.free.manifest, title="Mine", artist_key=thief.public_key().public_bytes_raw())
    stolen = encode_manifest(manifest, thief.sign)
    with bad_gateway(house.stack.data, manifest=stolen) as gateway:
        asked = ("--hub", house.stack.url, "--gateway", gateway.url, "--json")
        report = reported(digm("fetch", house.free.root, "--out", out, *asked))
    assert report["title"] == "Free"
    assert np.array_equal(decoded(out, "s16"), SOUND)


def test_without_a_key_only_what_its_artist_gives_away_is_written(house: House, tmp_path: Path) -> None:
    out = tmp_path / "song.flac"
    done = digm("fetch", house.preview.root, "--out", out, "--hub", house.stack.url)
    assert done.returncode == 0, done.stderr.decode()
    assert b"Only the beginning" in done.stdout
    heard = decoded(out, "s16")
    assert PREVIEW_S * RATE <= len(heard) < 15 * RATE
    assert np.array_equal(heard, decoded(house.preview.source, "s16")[: len(heard)])


def test_what_was_killed_in_the_middle_goes_on_where_it_was(house: House, tmp_path: Path) -> None:
    out, part = tmp_path / "song.flac", ChunkStore(tmp_path / "song.flac.part")
    chunks = [item.hex() for item in house.free.manifest.renditions[0].chunk_hashes]
    key = key_file(tmp_path, house.free)
    with bad_gateway(house.stack.data) as gateway:
        gateway.stuck = lambda path: path in chunks[3:]
        gateway.hold.clear()
        command = ("fetch", house.free.root, "--out", out, "--gateway", gateway.url, "--key", key)
        fetching = subprocess.Popen(
            [sys.executable, "-m", "hub.cli", *map(str, command)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while not all(name in part for name in chunks[:3]):
            assert fetching.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        fetching.send_signal(signal.SIGKILL)
        fetching.wait()
    assert not out.exists()
    report = reported(
        digm("fetch", house.free.root, "--out", out, "--gateway", house.gateway, "--key", key, "--json")
    )
    assert (report["chunks_before"], report["chunks"]) == (3, len(chunks))
    assert np.array_equal(decoded(out, "s16"), SOUND)


def test_a_failure_is_a_sentence_and_a_report(house: House, tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    asked = ("fetch", house.free.root, "--out", tmp_path / "song.flac", "--gateway", nowhere)
    report = reported(digm(*asked, "--json"), status=2)
    assert report["error"] == "no_manifest"
    assert report["sources"][0]["errors"] == {"unreachable": 1}
    done = digm(*asked)
    assert (done.returncode, done.stdout) == (2, b"")
    assert nowhere in done.stderr.decode().splitlines()[-1]


def test_a_check_says_who_really_has_what(house: House) -> None:
    rendition = house.free.manifest.renditions[0]
    chunks = [item.hex() for item in rendition.chunk_hashes]
    with bad_gateway(house.stack.data, lacking(set(chunks[1:]))) as partial:
        asked = ("fetch", house.free.root, "--check", "--gateway", partial.url, "--rendition", "flac")
        alone = digm(*asked)
        both = reported(digm(*asked, "--gateway", house.gateway, "--bootstrap", house.node, "--json"))
    assert alone.returncode == 1
    assert "NOWHERE: 0/0" in alone.stdout.decode()
    by_kind = {(source["kind"], source["right"]): source for source in both["sources"]}
    assert by_kind.keys() == {("http", len(chunks)), ("http", len(chunks) - 1), ("libp2p", len(chunks))}
    assert by_kind["http", len(chunks) - 1]["missing"] == ["0/0"]
    assert (both["whole_copies"], both["least_copies"], both["nowhere"]) == (2, 2, [])


@pytest.mark.parametrize("rendition", ["flac", "opus"])
def test_a_player_gets_a_stream_that_it_can_play(house: House, tmp_path: Path, rendition: str) -> None:
    page = f"{house.stack.url}/tracks/{house.free.root}"
    done = digm("play", page, "--player", "-", "--rendition", rendition, "--via", "http")
    assert done.returncode == 0, done.stderr.decode()
    (tmp_path / "stream").write_bytes(done.stdout)
    heard = decoded(tmp_path / "stream", "s16")
    if rendition == "flac":
        assert np.array_equal(heard, SOUND)
    else:
        assert len(heard) == 15 * 48_000
