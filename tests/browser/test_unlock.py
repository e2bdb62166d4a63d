"""A preview ends at its last sample; a key that comes opens the rest where it lies, and the sound goes on."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.browser.conftest import Recording
from tests.browser.music import Samples, encode, plucked, write_wav
from tests.browser.player_page import (
    PlayerPage,
    assert_same_sound,
    place_of,
    without_dropouts,
    without_silence,
)
from tests.browser.purchases import account, buy, keep, track_key, wrapped_for
from tests.browser.stack import Stack

PREVIEW_S = 5
FADE_S = 0.3
STRANGER: dict[str, Any] = {
    "suite": 1,
    "publicKey": list(X25519PrivateKey.generate().public_key().public_bytes_raw()),
}
# A browser without X25519 listens with P-256; on the chain that is an x whose y is even.
MAKE_P256 = """async () => {
  for (;;) {
    const pair = await crypto.subtle.generateKey({name: 'ECDH', namedCurve: 'P-256'}, false, ['deriveBits']);
    const raw = new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey));
    if (raw[64] % 2) continue;
    globalThis.p256 = pair;
    return [...raw];
  }
}"""
OPEN_P256 = """
import js
from web import purchase, unlock

async def main():
    root = {root!r}
    answer = await js.fetch((await (await js.fetch("/api/tracks/" + root)).json()).manifest_url)
    manifest = await unlock.check_manifest((await answer.arrayBuffer()).to_bytes(), root)
    owned = js.JSON.parse({owned!r})
    owned.wrapped, owned.keys, owned.suite = js.Uint8Array.new(owned.wrapped), js.p256, 2
    return (await purchase.open_owned(owned, manifest)).hex()
"""
Music = tuple[Stack, dict[str, Recording]]


@pytest.fixture(scope="module")
def for_sale(built_player: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Music]:
    """Tracks with a preview of five seconds: FLAC, and Opus alone."""
    folder = tmp_path_factory.mktemp("for sale")
    stack = Stack(tmp_path_factory.mktemp("unlock"))
    recordings = {}
    for number, (name, rate) in enumerate({"flac": 44_100, "opus": 48_000}.items()):
        samples = plucked(16, rate, 16, 40 + number)
        path = write_wav(folder / f"{name}.wav", samples, rate, 16)
        if name == "opus":
            path = encode(path, folder / "strings.opus", "libopus", 128_000)
        (line,) = stack.publish(path, "--preview-seconds", str(PREVIEW_S))
        recordings[name] = Recording(line["track_root"], samples, rate, 16)
    stack.start("hub", "gateway", "artist")
    stack.wait_until_ready()
    yield stack, recordings
    stack.stop()


async def capture(page: PlayerPage, stack: Stack, track: Recording) -> None:
    await page.visit(stack.url, track.track_root)
    await page.start_capture(track.rate)
    await page.play()


def assert_softly_ended(heard: Samples, source: Samples, rate: int) -> None:
    """It is the source up to its end, and the end is soft and the source's as well."""
    fade = int((FADE_S + 0.1) * rate)
    assert_same_sound(heard[:-fade], source, rate)
    loud = np.abs(source[len(heard) - fade : len(heard)]).astype(np.int64)
    soft = np.abs(heard[-fade:]).astype(np.int64)
    assert (soft <= loud + 1).all()
    quarters = [(soft[part].sum() + 1) / (loud[part].sum() + 1) for part in np.array_split(np.arange(fade), 4)]
    assert quarters == sorted(quarters, reverse=True)
    assert quarters[-1] < 0.5


async def test_a_preview_ends_softly_at_its_last_sample_and_goes_on_from_there_with_the_key(
    for_sale: Music, capture_page: PlayerPage
) -> None:
    stack, tracks = for_sale
    track = tracks["flac"]
    page = capture_page
    await capture(page, stack, track)
    state = await page.until("the end of the preview", lambda state: state["paused"] and state["errors"])
    assert [error["code"] for error in state["errors"]] == ["preview_ended"]
    assert await page.run("return player.preview") == {"seconds": PREVIEW_S, "ended": True}
    assert abs(state["currentTime"] - PREVIEW_S) < 0.25
    heard = without_silence(without_dropouts(await page.take_capture(16)))
    start = place_of(heard, track.samples)
    assert start + len(heard) == PREVIEW_S * track.rate
    assert_softly_ended(heard, track.samples[start:], track.rate)

    await buy(page, stack, track.track_root)
    state = await page.until_time(PREVIEW_S + 2)
    await page.run("player.pause()")
    after = without_silence(without_dropouts(await page.take_capture(16)))
    assert_same_sound(after, track.samples[PREVIEW_S * track.rate :], track.rate)
    state = await page.state()
    assert state["stats"]["bytes"]["twice"] == 0
    assert await page.run("return [player.preview, player.owned, player.volume]") == [None, True, 1]
    assert page.crashes == []


async def test_a_key_that_comes_while_the_preview_plays_is_not_heard(
    for_sale: Music, capture_page: PlayerPage
) -> None:
    stack, tracks = for_sale
    track = tracks["flac"]
    page = capture_page
    await capture(page, stack, track)
    await account(page)
    await page.until_time(1)
    await buy(page, stack, track.track_root)
    await page.until_time(PREVIEW_S + 2)
    await page.run("player.pause()")
    heard = without_silence(await page.take_capture(16))
    start = place_of(heard, track.samples)
    assert_same_sound(heard, track.samples[start:], track.rate)
    state = await page.state()
    assert state["errors"] == []
    assert (state["stats"]["stalls"], state["stats"]["bytes"]["twice"]) == (0, 0)


@pytest.mark.parametrize("moment", ["while it plays", "at its end"])
async def test_lossy_sound_goes_on_with_the_key_too(
    moment: str, for_sale: Music, capture_page: PlayerPage
) -> None:
    stack, tracks = for_sale
    track = tracks["opus"]
    page = capture_page
    await capture(page, stack, track)
    if moment == "at its end":
        await page.until("the end of the preview", lambda state: state["paused"] and state["errors"])
        ended = without_silence(without_dropouts(await page.take_capture(16)))
        assert abs(len(ended) / track.rate - PREVIEW_S) < 0.3
    else:
        await account(page)
        await page.until_time(1)
    await buy(page, stack, track.track_root)
    await page.until_time(PREVIEW_S + 2)
    await page.run("player.pause()")
    heard = without_silence(without_dropouts(await page.take_capture(16)))
    # From one second before the border on, or from the border: the same distance to the source everywhere.
    first_s = PREVIEW_S if moment == "at its end" else PREVIEW_S - 1.0
    begun = 0 if moment == "at its end" else len(heard) - round((PREVIEW_S + 2 - first_s) * track.rate)
    lags = [lag(heard, track, begun + round(at * track.rate)) for at in (0.1, 0.6, 1.2)]
    assert max(lags) - min(lags) <= 1, f"the sound moved: {lags}"
    state = await page.state()
    assert state["stats"]["bytes"]["twice"] == 0
    assert page.crashes == []


def lag(heard: Samples, track: Recording, at: int) -> int:
    """How many frames later the source has what was heard from a frame on."""
    piece = heard[at : at + track.rate // 2, 0].astype(np.float64)
    whole = track.samples[:, 0].astype(np.float64)
    size = 1 << (len(whole) + len(piece)).bit_length()
    match = np.fft.irfft(np.fft.rfft(whole, size) * np.conj(np.fft.rfft(piece, size)), size)
    return int(np.argmax(match[: len(whole)])) - at


async def test_keys_of_others_and_of_other_tracks_are_named_and_the_preview_plays_on(
    for_sale: Music, player_page: PlayerPage
) -> None:
    stack, tracks = for_sale
    root, other = tracks["flac"].track_root, tracks["opus"].track_root
    page = player_page
    await page.visit(stack.url, root)
    await page.play()
    await page.until_sound()
    me, key = await account(page), track_key(stack, root)
    right = wrapped_for(me, key)
    wrong = [
        (wrapped_for(STRANGER | {"address": me["address"]}, key), "wrapped_key_not_ours"),
        ({**right, "chainId": 1}, "wrapped_key_not_ours"),
        ({**right, "item": "0x" + "18" * 32}, "wrapped_key_not_ours"),
        ({**right, "wrapped": right["wrapped"][:-1]}, "bad_wrapped_key"),
        (wrapped_for(me, track_key(stack, other)), "wrong_track_key"),
    ]
    codes: list[str] = []
    for number, (owned, code) in enumerate(wrong):
        await keep(page, root, owned)
        if code not in codes[-1:]:
            codes.append(code)
        want = list(codes)
        state = await page.until(f"a word about {number}", lambda state, want=want: said(state) == want)
        assert not any(error["fatal"] for error in state["errors"])
    await page.run("player.currentTime = 0.5; player.play()")  # its end may have come meanwhile
    await page.until_time(1)
    assert await page.run("return [player.owned, player.preview]") == [
        False, {"seconds": PREVIEW_S, "ended": False},
    ]  # fmt: skip
    await keep(page, root, right)
    await page.until_time(PREVIEW_S + 0.5)
    assert await page.run("return player.owned")

    fallback: dict[str, Any] = {
        "suite": 2,
        "publicKey": await page.page.evaluate(MAKE_P256),
        "address": me["address"],
    }
    kept = json.dumps(wrapped_for(fallback, key))
    assert await page.run_python(stack.url, OPEN_P256.format(root=root, owned=kept)) == key.hex()
    assert page.crashes == []


def said(state: dict[str, Any]) -> list[str]:
    """Of keys; on a slow machine the preview ends while they come."""
    codes = [error["code"] for error in state["errors"]]
    return [code for code in codes if code != "preview_ended"]


async def test_what_is_owned_plays_from_the_start_while_nobody_gives_grants(
    for_sale: Music, player_page: PlayerPage
) -> None:
    stack, tracks = for_sale
    root = tracks["opus"].track_root
    page = player_page
    await page.visit(stack.url, root)
    await buy(page, stack, root)
    await page.page.route("**/grant", lambda route: route.abort())
    await page.visit(stack.url, root)
    await page.play()
    await page.until_sound()
    await page.run(f"player.currentTime = {PREVIEW_S + 1}")
    state = await page.until_time(PREVIEW_S + 2)
    assert state["errors"] == []
    assert await page.run("return [player.owned, player.preview]") == [True, None]
