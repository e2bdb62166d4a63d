"""A preview ends where its keys end, whatever the page does."""

import json

from tests.browser.conftest import Recording
from tests.browser.player_page import PlayerPage
from tests.browser.stack import Stack

# Everything that looks like a key in the whole interpreter, found without asking the player.
FIND_GRANTS = """
import gc
import json
from digm.grants import Grant

def main():
    grants = [item for item in gc.get_objects() if isinstance(item, Grant)]
    return json.dumps([
        {"track_key": grant.track_key and grant.track_key.hex(),
         "keys": {run.rendition: [run.first_chunk, len(run.keys)] for run in grant.chunk_keys},
         "later": [grant.key_for(0, chunk) is not None for chunk in range(8, 14)]}
        for grant in grants
    ])
"""


async def test_a_preview_stops_at_its_end_and_says_so(
    stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    await player_page.visit(stack.url, recordings["preview"].track_root)
    await player_page.play()
    await player_page.until_sound()
    await player_page.run("player.currentTime = 40")
    state = await player_page.until("the end of the preview", lambda state: state["errors"])
    assert state["errors"][0]["code"] == "preview_ended"
    assert not state["errors"][0]["fatal"]
    state = await player_page.until("rest", lambda state: state["paused"] and state["readyState"] >= 2)
    assert 29 <= state["currentTime"] <= 30
    await player_page.run("player.play().catch(() => {})")
    await player_page.until("another stop", lambda state: state["paused"])
    assert (await player_page.state())["buffered"][-1][1] <= 30
    assert player_page.crashes == []


async def test_the_keys_of_what_follows_a_preview_are_not_in_the_page(
    stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    root = recordings["preview"].track_root
    await player_page.visit(stack.url, root)
    await player_page.play()
    # So far ahead only Python feeds, with keys of its own opening.
    await player_page.until("Python's keys", lambda state: state["buffered"] and state["buffered"][-1][1] > 20)
    grants = json.loads(await player_page.run_python(stack.url, FIND_GRANTS))
    fragments = json.loads((stack.data / "manifests" / f"{root}.json").read_bytes())["renditions"][0][
        "fragments"
    ]
    free = sum(chunk[0][1] < 30 * 44_100 for chunk in fragments)
    assert len(grants) == 1
    assert grants[0]["track_key"] is None
    assert grants[0]["keys"]["0"] == [0, free]
    assert fragments[free][0][1] / 44_100 < 30.1
    assert grants[0]["later"] == [False] * 6


async def test_the_rest_of_a_preview_is_fetched_unread_unless_the_listener_saves_data(
    stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    await player_page.page.add_init_script("""
        const value = Object.assign(new EventTarget(), {saveData: true});
        Object.defineProperty(navigator, 'connection', {value});
    """)
    await player_page.visit(stack.url, recordings["preview"].track_root)
    await player_page.play()
    await player_page.until_time(3)
    state = await player_page.until("the preview", lambda state: state["buffered"][-1][1] > 29)
    assert sum(state["stats"]["bytes"].values()) <= 9 * 524_288
    await player_page.run("""
        navigator.connection.saveData = false;
        navigator.connection.dispatchEvent(new Event('change'));
    """)
    state = await player_page.until("the rest", lambda state: state["stats"]["bytes"]["peer"] > 10 * 524_288)
    assert state["buffered"][-1][1] <= 30
    assert state["stats"]["bytes"]["twice"] == 0
