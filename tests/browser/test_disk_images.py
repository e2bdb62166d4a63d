"""After a thousand plays no disk but the artist's holds a key or a sound: every byte of them is looked at."""

import asyncio
import base64
import json
import re
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from playwright.async_api import Browser

from digm.chunks import FRAME_BYTES
from digm.grants import preview_chunks
from digm.keys import chunk_key
from digm.manifest import parse_manifest
from digm.receipts import BUCKET_S
from hub.fetching.unlocking import open_chunk
from hub.publishing.vault import FILE_NAME, Vault
from hub.receipts.store import ReceiptStore
from hub.storage.secret_files import load_secret
from tests.browser.disk_search import Secrets, files_of, spellings
from tests.browser.disks import STRANGERS, Disks, Owner, Piece, play_often
from tests.browser.music import plucked, write_wav
from tests.browser.player_page import PlayerPage

PLAYS = 1_000
SECONDS, PREVIEW_S = 10, 5
CHUNK = re.compile(r":\d+/[0-9a-f]{64}$")


def published(disks: Disks, wav: Path, *options: str) -> Piece:
    """Publish, and open every chunk with what only the artist's disk has."""
    (line,) = disks.stack.publish(wav, *options)
    disk, root = disks.disk("artist"), line["track_root"]
    manifest = parse_manifest((disk / "manifests" / f"{root}.json").read_bytes())
    with Vault.open(disk / FILE_NAME, read_only=True) as vault:
        secret = vault.secret(root)
        assert secret is not None
    plaintexts, playable = {}, {}
    for one in manifest.renditions:
        free = manifest.preview_s is None
        playable[one.id] = one.chunk_count if free else len(preview_chunks(one, manifest.preview_s or 0))
        for chunk, name in enumerate(disks.stack.chunks_of(root, one.id)):
            key = chunk_key(secret.track_key, one.id, chunk)
            plaintexts[one.id, chunk] = open_chunk(one, chunk, name.read_bytes(), key)
    return Piece(manifest, secret.track_key, plaintexts, playable)


@pytest.fixture(scope="module")
def disks(built_player: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disks]:
    disks = Disks(tmp_path_factory.mktemp("disks"))
    yield disks
    disks.stop()


@pytest.fixture(scope="module")
def pieces(disks: Disks) -> list[Piece]:
    """One that is free and one with a preview; their sources lie with the artist."""
    sources = [disks.disk("artist") / f"source{number}.wav" for number in range(2)]
    for number, source in enumerate(sources):
        write_wav(source, plucked(SECONDS, 44_100, 16, 60 + number), 44_100, 16)
    return [published(disks, sources[0]), published(disks, sources[1], "--preview-seconds", str(PREVIEW_S))]


@pytest.fixture(scope="module")
def owners(disks: Disks, pieces: list[Piece]) -> list[Owner]:
    """Who bought the second piece."""
    return disks.sell(pieces[1], (5, 6))


@pytest.fixture(scope="module")
def secret(disks: Disks, pieces: list[Piece]) -> Secrets:
    """Everything that only the artist, or who was granted it, may have."""
    looked_for = Secrets()
    with Vault.open(disks.disk("artist") / FILE_NAME, read_only=True) as vault:
        looked_for.add_key("the artist's signing key", vault._private_key().private_bytes_raw())
    for number, piece in enumerate(pieces):
        looked_for.add_key(f"track key {number}", piece.track_key)
        for rendition, chunk in piece.plaintexts:
            looked_for.add_key(
                f"chunk key {number}/{rendition}/{chunk}", chunk_key(piece.track_key, rendition, chunk)
            )
        for rendition in range(len(piece.manifest.renditions)):
            looked_for.add_music(f"sound {number}/{rendition}", piece.sound(rendition))
        pcm = (disks.disk("artist") / f"source{number}.wav").read_bytes()[44:]
        looked_for.add_music(f"samples {number}", pcm)
    return looked_for


def test_a_secret_that_lies_on_a_disk_is_found_however_it_was_written(
    disks: Disks, pieces: list[Piece], secret: Secrets, tmp_path: Path
) -> None:
    key, later = pieces[0].track_key, pieces[1].playable[1]
    late_key, sound = chunk_key(pieces[1].track_key, 1, later), pieces[0].sound(0)
    for way, written in spellings(key).items():
        (tmp_path / f"{way}.bin").write_bytes(secrets.token_bytes(777) + written + secrets.token_bytes(99))
    (tmp_path / "plain.log").write_text(f'{{"event": "grant_issued", "keys": "{late_key.hex()}"}}\n')
    (tmp_path / "long.json").write_bytes(base64.b64encode(b'{"digm":1,"key":"' + late_key + b'"}'))
    (tmp_path / f".{key.hex()}").write_bytes(b"x")
    (tmp_path / "torn").write_bytes(sound[5_001 : 5_001 + 64])
    (tmp_path / "wave").write_bytes(
        b"RIFF" + (disks.disk("artist") / "source1.wav").read_bytes()[90_001:90_101]
    )
    shutil.copy(disks.disk("artist") / FILE_NAME, tmp_path)
    with closing(sqlite3.connect(tmp_path / "rows.sqlite", isolation_level=None)) as rows:
        rows.execute("pragma journal_mode=wal")
        rows.execute("create table kept (key blob)")
        rows.execute("insert into kept values (?)", (pieces[1].track_key,))
        found = secret.search([tmp_path])
    by_file: dict[str, set[str]] = {}
    for finding in found:
        by_file.setdefault(finding.path.name, set()).add(finding.what)
    for way in spellings(key):  # some keys look the same in two of them
        assert {one.partition(", ")[0] for one in by_file[f"{way}.bin"]} == {"track key 0"}
    assert by_file["plain.log"] == {f"chunk key 1/1/{later}, hex"}
    assert all(one.startswith(f"chunk key 1/1/{later}, base64") for one in by_file["long.json"])
    assert by_file[f".{key.hex()}"] == {"track key 0, hex"}
    assert (by_file["torn"], by_file["wave"]) == ({"sound 0/0"}, {"samples 1"})
    assert by_file["rows.sqlite-wal"] == {"track key 1, raw"}
    # And as it truly lies somewhere: with the artist.
    assert {f"track key {number}, hex" for number in range(2)} <= by_file[FILE_NAME]


async def listen(browser: Browser, hub: str, piece: Piece, is_relayed: bool = False, **sharing: bool) -> None:
    """In Chromium, until it sounds.

    Args:
        is_relayed: every chunk comes from a peer, through the relay.
        sharing: what the listener decided.
    """
    context = await browser.new_context()
    script = f"localStorage.setItem('digm.sharing', '{json.dumps(sharing | {'hide_address': is_relayed})}');"
    await context.add_init_script(f"try {{ {script} }} catch {{}}")
    if is_relayed:
        await context.route(CHUNK, lambda route: route.abort())
    page = await PlayerPage.open(context)
    answers: list[int] = []
    page.page.on(
        "response", lambda one: answers.append(one.status) if one.url.endswith("/api/receipts") else None
    )
    await page.visit(hub, piece.root)
    await page.play()
    await page.until_sound()
    if is_relayed:
        await page.until("a chunk from a peer", lambda state: state["stats"]["bytes"]["peer"] >= FRAME_BYTES)
    if sharing.get("receipts"):
        await page.until("a receipt", lambda _: answers)
    await context.close()
    assert set(answers) <= {204}


@pytest.fixture(scope="module")
def running(disks: Disks, pieces: list[Piece], owners: list[Owner]) -> Disks:
    disks.start()
    return disks


async def test_a_listener_who_agrees_signs_for_the_peer_that_gave(
    running: Disks, pieces: list[Piece], browser: Browser
) -> None:
    piece = pieces[0]
    await listen(browser, running.stack.url, piece, is_relayed=True, receipts=True)
    assert running.relayed_bytes() > FRAME_BYTES
    with closing(ReceiptStore(running.disk("hub"))) as store:
        batches = store.batch(time.time() + 3 * BUCKET_S)
        # Two, where the page was just between two stretches of time.
        receipts = [one.receipt for batch in batches for one in store.proven(batch)]
    key = Ed25519PrivateKey.from_private_bytes(load_secret(running.disk("seed"), "seed"))
    seed = key.public_key().public_bytes_raw()
    assert {(one.giver, one.track_root) for one in receipts} == {(seed, piece.manifest.track_root)}
    every = [one.chunk_bytes(chunk) for one in piece.manifest.renditions for chunk in range(one.chunk_count)]
    assert FRAME_BYTES <= sum(one.bytes_taken for one in receipts) <= sum(every)


async def test_after_a_thousand_plays_no_disk_but_the_artists_holds_a_key_or_a_sound(
    running: Disks, pieces: list[Piece], owners: list[Owner], secret: Secrets, browser: Browser
) -> None:
    disks = running
    for owner in owners:
        secret.add_key("a buyer's listening key", owner.buyer.private_key.private_bytes_raw())
        await asyncio.to_thread(owner.wait)
    node = await asyncio.to_thread(disks.keep, *(piece.root for piece in pieces))
    own = f"http://localhost:{disks.stack.ports['gateway']}"
    for piece in pieces:
        await listen(browser, disks.stack.url, piece)
    heard = await play_often(disks, [own, node], pieces, owners, PLAYS - len(pieces))
    assert heard > PLAYS * 65_520
    images = [disks.disk(name) for name in STRANGERS]
    for name, image in zip(STRANGERS, images, strict=True):
        assert any(path.stat().st_size for path in files_of(image)), name
    # While they run, with journals and write-ahead logs; and after they ended, one of them by a power cut.
    assert secret.search(images) == []
    disks.stack.kill("seed")
    await asyncio.to_thread(disks.stop)
    assert secret.search(images) == []
