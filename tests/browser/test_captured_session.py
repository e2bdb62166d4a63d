"""Whoever only listened to the preview has nothing that opens one frame behind it."""

import json
import re
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from digm.chunks import FRAME_BYTES, frame_additional_data, frame_nonce
from digm.grants import preview_chunks
from digm.keys import chunk_key
from digm.manifest import Manifest, parse_manifest
from tests.browser.captured import Captured, heap_search
from tests.browser.music import Samples, plucked, write_wav
from tests.browser.player_page import PlayerPage
from tests.browser.purchases import buy, track_key
from tests.browser.stack import Stack

PREVIEW_S = 5
RATE = 44_100
HEX_KEY = re.compile(rb"[0-9a-f]{64}")

# Every `bytes` of a key's length that anything in the interpreter refers to.
FIND_KEYS = """
import gc, json

def main():
    seen, keys = set(), set()
    heap = gc.get_objects()
    while heap:
        item = heap.pop()
        for other in gc.get_referents(item):
            if isinstance(other, (bytes, bytearray)) and len(other) == 32:
                keys.add(bytes(other).hex())
            elif id(other) not in seen and not gc.is_tracked(other):
                seen.add(id(other))
                heap.append(other)
    return json.dumps(sorted(keys))
"""


def opens(manifest: Manifest, rendition: int, chunk: int, data: bytes, candidate: bytes) -> bool:
    """Whether a candidate, as a chunk's key or as the track's, opens the first frame of a chunk."""
    is_last = manifest.renditions[rendition].is_last_frame(chunk, 0)
    place = frame_additional_data(rendition, chunk, 0, is_last)
    for key in (candidate, chunk_key(candidate, rendition, chunk)):
        try:
            AESGCM(key).decrypt(frame_nonce(0), data[:FRAME_BYTES], place)
            return True
        except InvalidTag:
            continue
    return False


def secrets_of(key: bytes, manifest: Manifest, plain: dict[str, bytes]) -> dict[str, bytes]:
    """What must not be found: the track key, the keys of locked chunks, and the sound in them."""
    found = {"track key": key, **plain}
    for rendition in manifest.renditions:
        for chunk in range(len(preview_chunks(rendition, PREVIEW_S)), rendition.chunk_count):
            found[f"key {rendition.id}/{chunk}"] = chunk_key(key, rendition.id, chunk)
    return found


def sound_behind(stack: Stack, manifest: Manifest, key: bytes) -> dict[str, bytes]:
    """Pieces of the locked chunks' plaintext, from where there is sound."""
    pieces = {}
    for chunk in range(len(preview_chunks(manifest.renditions[0], PREVIEW_S)), 4):
        data = stack.chunks_of(manifest.track_root.hex())[chunk].read_bytes()
        last = manifest.renditions[0].is_last_frame(chunk, 0)
        opened = AESGCM(chunk_key(key, 0, chunk)).decrypt(
            frame_nonce(0), data[:FRAME_BYTES], frame_additional_data(0, chunk, 0, last)
        )
        pieces[f"sound of {chunk}"] = opened[30_000:30_048]
    return pieces


async def test_what_a_preview_listener_received_opens_not_one_frame_behind_it(
    own_stack: Stack, player_page: PlayerPage, tmp_path: Path
) -> None:
    samples: Samples = plucked(20, RATE, 16, 77)
    (line,) = own_stack.publish(
        write_wav(tmp_path / "a.wav", samples, RATE, 16), "--preview-seconds", str(PREVIEW_S)
    )
    root = line["track_root"]
    own_stack.start()
    own_stack.wait_until_ready()
    manifest = parse_manifest((own_stack.data / "manifests" / f"{root}.json").read_bytes())
    key = track_key(own_stack, root)
    rendition = manifest.renditions[0]
    free = len(preview_chunks(rendition, PREVIEW_S))
    page = player_page
    captured = await Captured.of(page.page)
    await page.visit(own_stack.url, root)
    await page.play()
    size = sum(rendition.chunk_bytes(chunk) for chunk in range(rendition.chunk_count))
    await page.until("the end of the preview", lambda state: state["paused"] and state["errors"])
    await page.until("all of the ciphertext", lambda state: sum(state["stats"]["bytes"].values()) >= size)

    traffic = await captured.traffic()
    traffic += [await captured.channel_messages(), await captured.kept()]
    print(len(traffic), "answers and messages,", *map(len, traffic[-2:]), "bytes by channels and kept")
    assert len(traffic[-1]) > size / 2, "the ciphertext is in the cache"
    assert await opened(page, own_stack, manifest, traffic) == set(range(free)), (
        "the preview's own keys, no others"
    )
    secrets = secrets_of(key, manifest, sound_behind(own_stack, manifest, key))
    for body in traffic:
        for name, secret in secrets.items():
            assert secret not in body, name
            assert secret.hex().encode() not in body, name

    found, heap_bytes = json.loads(await page.run_python(own_stack.url, heap_search(secrets)))
    assert found == [] and heap_bytes > 20_000_000

    # What is looked with sees: after a purchase everything opens.
    await buy(page, own_stack, root)
    await page.until_time(PREVIEW_S + 1)
    assert await opened(page, own_stack, manifest, traffic) == set(range(rendition.chunk_count))
    found, _ = json.loads(await page.run_python(own_stack.url, heap_search(secrets)))
    assert "track key" in found


async def opened(page: PlayerPage, stack: Stack, manifest: Manifest, traffic: list[bytes]) -> set[int]:
    """Chunks that something opens which the page has, or received: every 32 bytes are tried as a key."""
    candidates = {bytes.fromhex(word) for word in json.loads(await page.run_python(stack.url, FIND_KEYS))}
    for body in traffic:
        candidates |= {bytes.fromhex(word.decode()) for word in HEX_KEY.findall(body)}
    chunks = [path.read_bytes() for path in stack.chunks_of(manifest.track_root.hex())]
    return {
        chunk
        for chunk, data in enumerate(chunks)
        if any(opens(manifest, 0, chunk, data, candidate) for candidate in candidates)
    }
