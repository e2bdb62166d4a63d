"""A page with a player, as a test sees it."""

import asyncio
import base64
import time
from typing import Any
from urllib.parse import quote

import numpy as np
from playwright.async_api import BrowserContext, Frame, Page

from tests.browser.music import Samples

PATIENCE_S = 60.0  # two cores may have much else to do
POLL_S = 0.05
QUANTUM_FRAMES = 128  # what Web Audio renders at a time

# Noted from the very first event on; the element does not exist yet when this runs.
NOTE_ERRORS = """
globalThis.digmErrors = [];
addEventListener('digm-error', ({detail}) => digmErrors.push({...detail}), true);
"""

STATE = """() => {
  const player = document.querySelector('digm-player');
  const {currentTime, duration, paused, ended, readyState, volume, muted, stats, index} = player;
  const buffered = [];
  for (let i = 0; i < player.buffered.length; i += 1) {
    buffered.push([player.buffered.start(i), player.buffered.end(i)]);
  }
  return {currentTime, duration, paused, ended, readyState, volume, muted, stats, index, buffered,
          errors: digmErrors, status: player.shadowRoot.getElementById('status').textContent};
}"""

# Runs in the audio thread: hands on every sample of the media element exactly as it is.
CAPTURE_WORKLET = """
registerProcessor('capture', class extends AudioWorkletProcessor {
  process([input]) {
    if (input.length) this.port.postMessage(input.map((channel) => channel.slice()));
    return true;
  }
});
"""

START_CAPTURE = """async ([rate, worklet]) => {
  const audio = document.querySelector('digm-player').shadowRoot.querySelector('audio');
  const context = new AudioContext({sampleRate: rate});
  await context.audioWorklet.addModule(worklet);
  const node = new AudioWorkletNode(context, 'capture', {channelCount: 2, channelCountMode: 'explicit'});
  globalThis.captured = [];
  node.port.onmessage = ({data}) => captured.push(data);
  context.createMediaElementSource(audio).connect(node);
  await context.resume();
}"""

TAKE_CAPTURE = """() => {
  const frames = captured.reduce((sum, [left]) => sum + left.length, 0);
  const all = new Float32Array(2 * frames);
  let at = 0;
  for (const [left, right] of captured) {
    for (let i = 0; i < left.length; i += 1) { all[at++] = left[i]; all[at++] = (right ?? left)[i]; }
  }
  captured.length = 0;
  const bytes = new Uint8Array(all.buffer);
  let text = '';
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return btoa(text);
}"""


# The page's own interpreter: `web.boot` is all that the page hands out, everything else is reached from there.
RUN_PYTHON = """async ([module, code]) => {
  const {startPython} = await import(module);
  const builtins = (await startPython()).random._os.sys.modules.get('builtins');
  const names = builtins.dict();
  builtins.exec(code, names);
  return names.get('main')();
}"""


class PlayerPage:
    """One page, and the player on it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.view: Page | Frame = page
        self.crashes: list[str] = []
        self.console: list[str] = []
        page.on("pageerror", lambda error: self.crashes.append(str(error)))
        page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))

    @classmethod
    async def open(cls, context: BrowserContext) -> "PlayerPage":
        await context.add_init_script(NOTE_ERRORS)
        return cls(await context.new_page())

    async def visit(self, hub_url: str, track_root: str) -> None:
        await self.page.goto(f"{hub_url}/tracks/{track_root}")

    async def play(self) -> None:
        """Press the button, as a listener does."""
        await self.view.locator("digm-player #play").click()

    async def run(self, code: str) -> Any:
        """Run JavaScript with `player` bound to the element."""
        return await self.view.evaluate(
            f"() => {{ const player = document.querySelector('digm-player'); {code} }}"
        )

    async def run_python(self, hub_url: str, code: str) -> Any:
        """Run Python in the page's interpreter; the result of its function `main`, which may be async."""
        return await self.view.evaluate(RUN_PYTHON, [f"{hub_url}/static/digm-python.js", code])

    async def state(self) -> dict[str, Any]:
        state: dict[str, Any] = await self.view.evaluate(STATE)
        return state

    async def until(self, what: str, fact: Any, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """Wait for a fact about the state; says what the state was when it does not come."""
        deadline = time.monotonic() + patience_s
        while True:
            state = await self.state()
            if fact(state):
                return state
            assert time.monotonic() < deadline, (
                f"{what} did not happen: {state} {self.crashes} {self.console[-10:]}"
            )
            await asyncio.sleep(POLL_S)

    async def until_time(self, seconds: float, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        return await self.until(f"{seconds} s", lambda state: state["currentTime"] >= seconds, patience_s)

    async def until_sound(self) -> dict[str, Any]:
        return await self.until_time(0.05)

    async def start_capture(self, rate: int) -> None:
        """Record everything that comes out of the audio element from now on.

        The page's policy forbids the code for it, so the context is one with `bypass_csp`.
        """
        worklet = f"data:text/javascript,{quote(CAPTURE_WORKLET)}"
        await self.view.evaluate(START_CAPTURE, [rate, worklet])

    async def take_capture(self, bits: int) -> Samples:
        """What was recorded since the last time, as whole numbers of that many bits; frames x 2."""
        raw = base64.b64decode(await self.view.evaluate(TAKE_CAPTURE))
        floats = np.frombuffer(raw, dtype="<f4").reshape(-1, 2)
        # Chromium's SignedInt16SampleTypeTraits scale negative samples by 1/32768 and positive ones by 1/32767;
        # 24 bits arrive as 32, where the difference is smaller than a step.
        full = 2 ** (bits - 1)
        scale = np.where(floats > 0, full - (bits == 16), full)
        whole: Samples = np.round(floats.astype(np.float64) * scale).astype(np.int32)
        return whole


def without_silence(captured: Samples) -> Samples:
    """The part from the first sample that is not zero to the last."""
    (heard,) = np.nonzero(captured.any(axis=1))
    return captured[heard[0] : heard[-1] + 1] if len(heard) else captured[:0]


def without_dropouts(captured: Samples) -> Samples:
    """What was heard, without the pauses of an audio thread that came late: whole quanta of nothing at all.

    For tests that keep the machine busier than a listener's; of the music only what was heard is compared, and
    music from tests.browser.music is never silent for so long.
    """
    is_silent = np.concatenate([[False], ~captured.any(axis=1), [False]])
    edges = np.flatnonzero(is_silent[1:] != is_silent[:-1])
    kept = np.ones(len(captured), dtype=bool)
    for start, end in edges.reshape(-1, 2):
        if end - start >= QUANTUM_FRAMES:
            kept[start:end] = False
    return captured[kept]


def place_of(captured: Samples, source: Samples) -> int:
    """Where in the source the recording begins.

    Raises:
        AssertionError: its first 64 frames are nowhere in the source.
    """
    head = captured[:64]
    (candidates,) = np.nonzero((source[: len(source) - 63] == head[0]).all(axis=1))
    for start in candidates:
        if (source[start : start + 64] == head).all():
            return int(start)
    raise AssertionError("what was played is not in the source")


def assert_same_sound(heard: Samples, source: Samples, rate: int) -> None:
    """Every sample that was heard is the source's; says where they part when they do not."""
    expected = source[: len(heard)]
    if len(expected) == len(heard) and (heard == expected).all():
        return
    (wrong,) = np.nonzero((heard[: len(expected)] != expected).any(axis=1))
    first = int(wrong[0]) if len(wrong) else len(expected)
    around = slice(max(0, first - 3), first + 5)
    raise AssertionError(
        f"{len(wrong)} of {len(heard)} frames differ, first at {first / rate:.4f} s: "
        f"{heard[around].tolist()} instead of {expected[around].tolist()}; "
        f"{_what_follows(heard[first:], source, first)}"
    )


def _what_follows(rest: Samples, source: Samples, expected: int) -> str:
    """Where in the source the sound goes on that should have gone on at `expected`; in words."""
    if not rest[:64].any():
        return "silence follows"
    try:
        goes_on = place_of(rest, source)
    except AssertionError:
        return "what follows is nowhere in the source"
    return f"the source goes on {goes_on - expected} frames from there"
