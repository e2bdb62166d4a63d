"""Where the bytes come from: the seeding peer first, the gateway when it must be, other listeners too."""

from pathlib import Path

from playwright.async_api import Browser

from tests.browser.conftest import Recording, Unseeded
from tests.browser.music import Samples
from tests.browser.player_page import PlayerPage
from tests.browser.stack import Stack

Music = dict[str, tuple[Path, Samples, int, int]]
SLOW_PEER = {
    "DIGM_UPLOAD_BYTES_PER_S": "400000"
}  # three times the music, so that it is still sending when it dies

# Python asks for its public key between the head start's last word about a connection and its own first one;
# the connection opens just then.
OPENS_AT_THE_HANDOVER = """
const exportKey = crypto.subtle.exportKey.bind(crypto.subtle);
const describe = RTCPeerConnection.prototype.setRemoteDescription;
let isAsked, asked = 0;
const pythonAsked = new Promise((resolve) => { isAsked = resolve; });
crypto.subtle.exportKey = async (format, key) => {
  if (key.algorithm.name === 'Ed25519' && (asked += 1) > 1) {
    isAsked();
    await new Promise((resolve) => setTimeout(resolve, 3000));
  }
  return exportKey(format, key);
};
RTCPeerConnection.prototype.setRemoteDescription = async function (description) {
  await pythonAsked;
  return describe.call(this, description);
};
"""
COUNT_CONNECTIONS = """
globalThis.connections = 0;
globalThis.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...options) { super(...options); globalThis.connections += 1; }
};
"""


async def test_bytes_come_from_the_seeding_peer(
    stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    await player_page.visit(stack.url, recordings["flac"].track_root)
    await player_page.play()
    state = await player_page.until(
        "bytes from a peer", lambda state: state["stats"]["bytes"]["peer"] > 2_000_000
    )
    assert state["stats"]["peers"] == 1
    await player_page.until_sound()
    assert player_page.crashes == []


async def test_the_gateway_takes_over_without_a_stall_when_the_peer_dies(
    own_stack: Stack, music: Music, player_page: PlayerPage
) -> None:
    own_stack.settings = SLOW_PEER
    (track,) = own_stack.publish(music["flac"][0])
    own_stack.start()
    own_stack.wait_until_ready()
    await player_page.visit(own_stack.url, track["track_root"])
    await player_page.play()
    state = await player_page.until(
        "bytes from the peer", lambda state: state["stats"]["bytes"]["peer"] > 1_000_000
    )
    assert state["buffered"][-1][1] < 59, "the peer was to die in the middle"
    own_stack.kill("seed")
    before = state["stats"]["bytes"]["gateway"]
    state = await player_page.until("the whole track", lambda state: state["buffered"][-1][1] > 35, 60)
    state = await player_page.until_time(20, 40)
    assert state["stats"]["bytes"]["gateway"] > before
    assert state["stats"]["stalls"] == 0
    assert state["errors"] == []
    assert player_page.crashes == []


async def test_listeners_feed_listeners(unseeded: Unseeded, player_page: PlayerPage, browser: Browser) -> None:
    stack, root = unseeded
    await player_page.visit(stack.url, root)
    await player_page.play()
    await player_page.until("a few chunks", lambda state: state["stats"]["bytes"]["gateway"] > 2_000_000)

    another = await browser.new_context()
    second = await PlayerPage.open(another)
    await second.visit(stack.url, root)
    await second.play()
    await second.until(
        "bytes from the first listener", lambda state: state["stats"]["bytes"]["peer"] > 1_000_000
    )
    await player_page.until("an upload", lambda state: state["stats"]["uploaded"] > 1_000_000)
    await second.until_sound()
    await another.close()
    assert player_page.crashes == second.crashes == []


async def test_a_connection_that_opens_while_python_takes_over_is_not_lost(
    unseeded: Unseeded, browser: Browser
) -> None:
    stack, root = unseeded
    first, second = [await PlayerPage.open(await browser.new_context()) for _ in range(2)]
    for page in (first, second):
        await page.page.add_init_script(COUNT_CONNECTIONS)
    await second.page.add_init_script(OPENS_AT_THE_HANDOVER)
    await first.visit(stack.url, root)
    await first.play()
    await first.until("a few chunks", lambda state: state["stats"]["bytes"]["gateway"] > 2_000_000)
    await second.visit(stack.url, root)
    await second.play()
    await second.until("bytes from the first", lambda state: state["stats"]["bytes"]["peer"] > 0)
    for page in (first, second):
        assert await page.page.evaluate("connections") == 1, "the first connection is the one that is used"
        assert page.crashes == []
