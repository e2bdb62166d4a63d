"""My music: what a listener owns is listed, plays without a network and is saved as the artist's file."""

import io
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import mutagen
import numpy as np
import pytest
import pytest_asyncio
from mutagen.flac import FLAC, Picture
from PIL import Image
from playwright.async_api import BrowserContext

from tests.browser import purchases
from tests.browser.music import Samples, encode, plucked, write_wav
from tests.browser.player_page import PlayerPage
from tests.browser.stack import Stack

SECONDS, RATE, BITS = 12, 44_100, 16
PREVIEW_S = 4
PATIENCE_MS = 60_000
PARTS = ("hub", "gateway", "artist")


@dataclass(frozen=True)
class Shop:
    """A hub with two tracks that are for sale."""

    stack: Stack
    flac: str
    mp3: str
    samples: Samples
    mp3_file: Path


def picture() -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((320, 320)).convert("RGB").save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def opened(built_player: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    samples = plucked(SECONDS, RATE, BITS, 11)
    wav = write_wav(folder / "owls.wav", samples, RATE, BITS)
    flac, mp3 = (
        encode(wav, folder / "owls.flac", "flac"),
        encode(wav, folder / "owls.mp3", "libmp3lame", 128_000),
    )
    tags = FLAC(flac)
    tags.update({"title": "Night train", "artist": "The Owls", "album": "Rails", "date": "1987"})
    front = Picture()
    front.data, front.type, front.mime = picture(), 3, "image/jpeg"
    tags.add_picture(front)
    tags.save()
    (folder / "data").mkdir()
    stack = Stack(folder / "data")
    preview = ("--preview-seconds", str(PREVIEW_S))
    (first,) = stack.publish(flac, *preview)
    (second,) = stack.publish(mp3, *preview, "--title", "Owls as MP3")
    yield Shop(stack, first["track_root"], second["track_root"], samples, mp3)
    stack.stop()


@pytest.fixture
def shop(opened: Shop) -> Shop:
    """Open, whatever the test before did to it."""
    if missing := [name for name in PARTS if name not in opened.stack.running]:
        opened.stack.start(*missing)
    opened.stack.wait_until_ready()
    return opened


@pytest_asyncio.fixture(loop_scope="module")
async def owner(shop: Shop, player_page: PlayerPage) -> AsyncIterator[PlayerPage]:
    """The page of somebody who bought both tracks."""
    await player_page.page.goto(f"{shop.stack.url}/music")
    for track in (shop.mp3, shop.flac):
        await purchases.buy(player_page, shop.stack, track)
    await row(player_page, shop.flac).wait_for(timeout=PATIENCE_MS)
    yield player_page
    assert player_page.crashes == []


def row(page: PlayerPage, track: str) -> Any:
    return page.page.locator(f"[data-track='{track}']")


async def saved(page: PlayerPage, track: str, folder: Path) -> Path:
    """Press *Save file*; what the browser saved, under its own name."""
    async with page.page.expect_download(timeout=PATIENCE_MS) as download:
        await row(page, track).locator(".mine-save").click()
    file = await download.value
    path = folder / file.suggested_filename
    await file.save_as(path)
    return path


def cover(shop: Shop) -> bytes:
    """The picture as the hub has it: publishing makes one of its own size and kind."""
    address = shop.stack.ask(f"/api/tracks/{shop.flac}")["cover_url"]
    with urllib.request.urlopen(address) as answer:
        found: bytes = answer.read()
    return found


def decoded(path: Path) -> Samples:
    """Frames x 2."""
    with av.open(str(path)) as file:
        frames = [frame.to_ndarray() for frame in file.decode(audio=0)]
    return np.concatenate([frame.reshape(-1, 2) if len(frame) == 1 else frame.T for frame in frames])


async def test_the_saved_file_has_the_artists_samples_tags_and_cover(
    shop: Shop, owner: PlayerPage, tmp_path: Path
) -> None:
    path = await saved(owner, shop.flac, tmp_path)
    assert path.name == "The Owls - Night train.flac"
    tags = mutagen.File(path)
    said = {name: tags[name] for name in ("title", "artist", "album", "date")}
    assert said == {"title": ["Night train"], "artist": ["The Owls"], "album": ["Rails"], "date": ["1987"]}
    assert (tags.pictures[0].data, tags.pictures[0].mime) == (cover(shop), "image/jpeg")
    assert np.array_equal(decoded(path), shop.samples)

    path = await saved(owner, shop.mp3, tmp_path)
    assert (path.suffix, str(mutagen.File(path).tags["TIT2"])) == (".mp3", "Owls as MP3")
    assert np.array_equal(decoded(path), decoded(shop.mp3_file))


async def test_what_is_kept_stays_when_the_cache_is_emptied_and_goes_when_it_is_let_go(
    shop: Shop, owner: PlayerPage
) -> None:
    count = "async () => (await import('/static/digm-cache.js')).pinnedBytes()"
    empty = "async () => (await import('/static/digm-cache.js')).setCacheLimit(0)"
    keep = row(owner, shop.mp3).locator(".mine-keep")
    await keep.click()
    await row(owner, shop.mp3).locator(".mine-keep[aria-pressed='true']").wait_for(timeout=PATIENCE_MS)
    await owner.page.evaluate(empty)
    held = sum(path.stat().st_size for path in shop.stack.chunks_of(shop.mp3))
    assert await owner.page.evaluate(count) == {shop.mp3: held}
    await keep.click()
    await row(owner, shop.mp3).locator(".mine-keep[aria-pressed='false']").wait_for(timeout=PATIENCE_MS)
    assert await owner.page.evaluate(count) == {}


async def test_a_key_that_is_not_the_tracks_saves_nothing_and_says_so(
    shop: Shop, player_page: PlayerPage, context: BrowserContext
) -> None:
    await player_page.page.goto(f"{shop.stack.url}/music")
    buyer = await purchases.account(player_page)
    others = purchases.track_key(shop.stack, shop.mp3)
    await purchases.keep(player_page, shop.flac, purchases.wrapped_for(buyer, others))
    await row(player_page, shop.flac).locator(".mine-save").click(timeout=PATIENCE_MS)
    trouble = player_page.page.locator("#trouble")
    await trouble.wait_for(timeout=PATIENCE_MS)
    assert "not the key of this track" in await trouble.inner_text()


async def test_what_is_kept_plays_and_can_be_saved_without_a_network(
    shop: Shop, owner: PlayerPage, tmp_path: Path
) -> None:
    page = owner.page
    await row(owner, shop.flac).locator(".mine-keep").click()
    await row(owner, shop.flac).locator(".mine-keep[aria-pressed='true']").wait_for(timeout=PATIENCE_MS)
    assert "1 plays offline" in await page.locator("#summary").inner_text()
    picture_there = cover(shop)
    for name in PARTS:
        shop.stack.kill(name)
    await page.reload()
    await row(owner, shop.flac).locator(".mine-play").click()
    state = await owner.until("sound", lambda state: state["currentTime"] > 0.2)
    await owner.run(f"player.currentTime = {SECONDS - 3}")  # long behind the preview
    state = await owner.until_time(SECONDS - 1.5)
    assert [fault["code"] for fault in state["errors"] if fault["fatal"]] == []
    assert (state["stats"]["bytes"]["gateway"], state["stats"]["bytes"]["peer"]) == (0, 0)
    path = await saved(owner, shop.flac, tmp_path)
    assert np.array_equal(decoded(path), shop.samples)
    assert mutagen.File(path).pictures[0].data == picture_there
