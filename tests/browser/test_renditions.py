"""Which encoding of a track is played: the best that the link carries, and another one in the middle."""

from playwright.async_api import Route

from tests.browser.conftest import Recording
from tests.browser.player_page import PlayerPage
from tests.browser.stack import Stack

SWITCH = """
import gc
from web.track import TrackStream

def main():
    (stream,) = [item for item in gc.get_objects() if isinstance(item, TrackStream)]
    stream._choice._current = %d
    stream.switch(stream._playable[stream._choice.current])
"""
# As a link of about one megabit would have it: the page's own files took this long.
SLOW_LINK = """
const native = performance.getEntriesByType.bind(performance);
performance.getEntriesByType = (type) => type === 'navigation'
  ? [{transferSize: 60_000, responseStart: 100, responseEnd: 600}] : [];
"""


async def test_a_switch_in_the_middle_leaves_no_gap(
    stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    await player_page.visit(stack.url, recordings["flac"].track_root)
    await player_page.play()
    state = await player_page.until("Python's part", lambda state: state["buffered"][-1:] > [[0, 20]])
    assert state["stats"]["codec"] == "flac"
    seams = []
    for index, codec in ((1, "opus"), (0, "flac")):
        seams.append(state["buffered"][-1][1])
        await player_page.run_python(stack.url, SWITCH % index)
        await player_page.until(codec, lambda state, codec=codec: state["stats"]["codec"] == codec)
        state = await player_page.until(
            "more of it", lambda state: state["buffered"][-1][1] > seams[-1] + 2, 60
        )
    assert len(state["buffered"]) == 1, "one stretch of sound, in two formats"
    await player_page.run(f"player.currentTime = {seams[0] - 1}")
    state = await player_page.until_time(seams[-1] + 1)
    assert state["stats"]["stalls"] == 0
    assert state["errors"] == []
    assert player_page.crashes == []


async def test_a_slow_link_begins_with_the_light_rendition(
    stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    await player_page.page.add_init_script(SLOW_LINK)
    await player_page.visit(stack.url, recordings["flac"].track_root)
    await player_page.play()
    state = await player_page.until("Python", lambda state: state["stats"].get("codec"))
    assert state["stats"]["codec"] == "opus"
    await player_page.until_time(3)


async def test_the_head_start_takes_only_what_is_heard_soon(
    stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    """Python never comes: the music goes on all the same, and the server gives no more than it takes."""
    asked: list[str] = []

    async def note(route: Route) -> None:
        asked.append(route.request.headers.get("range", "whole"))
        await route.continue_()

    recording = recordings["flac"]
    hashes = {path.name for path in stack.chunks_of(recording.track_root)}
    await player_page.page.route(lambda url: url.rsplit("/", 1)[1] in hashes, note)
    await player_page.page.route("**/pyodide.mjs", lambda route: None)
    await player_page.page.add_init_script("delete globalThis.RTCPeerConnection;")
    await player_page.visit(stack.url, recording.track_root)
    state = await player_page.until(
        "2.5 s of sound", lambda state: state["buffered"] and state["buffered"][-1][1] > 2.5
    )
    assert asked[0].startswith("bytes=0-"), "a part of the first chunk"
    assert state["buffered"][-1][1] < 8
    await player_page.run("player.currentTime = 40")
    await player_page.until("a place far away", lambda state: state["buffered"][-1][0] > 30)
