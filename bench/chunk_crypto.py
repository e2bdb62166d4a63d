"""Hashing and opening chunks, in the page and on the server, beside the raw primitives: MB/s and their ratio.

    .venv/bin/python bench/chunk_crypto.py [--json] [--chunks 60] [--rounds 5]

page: the player's own `sha256` and `open_chunk` (Python in Chromium, bytes in JavaScript) beside
`subtle.digest` and `subtle.decrypt` called from JavaScript on the same chunks. server: `encrypt_chunk` and
SHA-256 beside AESGCM and hashlib alone. A chunk is 512 KiB, eight frames; in the page four are on their way at
once, on both sides. Rounds of both alternate; the median counts.
"""

import asyncio
import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from playwright.async_api import async_playwright

from bench import ingest, stack
from bench.report import Report, arguments
from digm.chunks import FRAME_BYTES, FRAME_PLAINTEXT_BYTES, frame_nonce
from hub.publishing.encryption import ChunkPlace, encrypt_chunk

FRAMES = 8
CHUNK_BYTES = FRAMES * FRAME_BYTES
AT_ONCE = 4  # chunks on their way at once, as a player's look-ahead has them

# The same chunk for both: sealed in the page with the nonces and the additional data of the format.
IN_PAGE = """
import asyncio, json
import js
from pyodide.code import run_js
from digm.chunks import FRAME_BYTES, FRAME_PLAINTEXT_BYTES, frame_additional_data, frame_nonce
from digm.manifest import Rendition
from web import browser, unlock
from web.browser import JsBytes, js_object, js_bytes

FRAMES, CHUNKS, ROUNDS = {frames}, {chunks}, {rounds}
RAW = '''async (key, frames, chunk, times) => {{
  const one = async () => {{
    for (let i = 0; i < times / {at_once}; i++) {{
      await crypto.subtle.digest('SHA-256', chunk)
      await Promise.all(frames.map(({{iv, additionalData, data}}) =>
        crypto.subtle.decrypt({{name: 'AES-GCM', iv, additionalData}}, key, data)))
    }}
  }}
  const began = performance.now()
  await Promise.all(Array.from({{length: {at_once}}}, one))
  return performance.now() - began
}}'''

async def one(rendition, chunk, key):
    for _ in range(CHUNKS // {at_once}):
        await browser.sha256(chunk)
        opened = await unlock.open_chunk(rendition, 0, chunk, key, 0)
        assert len(opened) == FRAMES * FRAME_PLAINTEXT_BYTES

async def main():
    key = bytes(range(32))
    subtle = js.crypto.subtle
    sealer = await subtle.importKey("raw", js_bytes(key), "AES-GCM", False, js_object(u=["encrypt"]).u)
    rendition = Rendition(0, None, 1, FRAMES, FRAMES, 1, b"", (bytes(32),) * 2, ())
    chunk = JsBytes.zeros(FRAMES * FRAME_BYTES)
    raw_frames = []
    for frame in range(FRAMES):
        nonce, data = frame_nonce(frame), frame_additional_data(0, 0, frame, False)
        how = js_object(name="AES-GCM", iv=nonce, additionalData=data)
        sealed = JsBytes.of(await subtle.encrypt(how, sealer, JsBytes.zeros(FRAME_PLAINTEXT_BYTES).view))
        chunk.write(frame * FRAME_BYTES, sealed)
        raw_frames.append(js_object(iv=nonce, additionalData=data, data=sealed.view))
    opener = await subtle.importKey("raw", js_bytes(key), "AES-GCM", False, js_object(u=["decrypt"]).u)
    raw = run_js(RAW)
    frames = js.Array.of(*raw_frames)
    ours, theirs = [], []
    for _ in range(ROUNDS + 1):
        began = js.performance.now()
        await asyncio.gather(*(one(rendition, chunk, key) for _ in range({at_once})))
        ours.append(js.performance.now() - began)
        theirs.append(await raw(opener, frames, chunk.view, CHUNKS))
    return json.dumps([ours[1:], theirs[1:]])
"""
RUN = """async ([module, code]) => {
  const { startPython } = await import(module)
  const builtins = (await startPython()).random._os.sys.modules.get('builtins')
  const names = builtins.dict()
  builtins.exec(code, names)
  return names.get('main')()
}"""


def megabytes_per_s(chunks: int, milliseconds: list[float]) -> float:
    """The median round, in 10^6 bytes per second."""
    return round(chunks * CHUNK_BYTES / 1e6 / (statistics.median(milliseconds) / 1e3), 1)


async def page(digm: stack.Stack, chunks: int, rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds per round of the player's code and of the primitives, in Chromium."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=stack.CHROMIUM, args=stack.CHROMIUM_FLAGS)
        # The raw side is JavaScript given as text, which the page's policy rightly forbids.
        context = await browser.new_context(bypass_csp=True)
        page = await context.new_page()
        await page.goto(digm.url)
        code = IN_PAGE.format(frames=FRAMES, chunks=chunks, rounds=rounds, at_once=AT_ONCE)
        ours, theirs = json.loads(await page.evaluate(RUN, [f"{digm.url}static/digm-python.js", code]))
        await browser.close()
    return ours, theirs


def milliseconds(work: Callable[[], Any], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - began) * 1e3


def server(chunks: int, rounds: int) -> tuple[list[float], list[float]]:
    """The same for the publisher's code and the primitives in this process."""
    key, plaintext = bytes(range(32)), bytes(FRAMES * FRAME_PLAINTEXT_BYTES)
    pieces = [plaintext[i : i + FRAME_PLAINTEXT_BYTES] for i in range(0, len(plaintext), FRAME_PLAINTEXT_BYTES)]
    cipher = AESGCM(key)

    def ours() -> None:
        hashlib.sha256(encrypt_chunk(key, ChunkPlace(0, 0, False), plaintext)).digest()

    def raw() -> None:
        digest = hashlib.sha256()
        for frame, piece in enumerate(pieces):
            digest.update(cipher.encrypt(frame_nonce(frame), piece, b"additional data of 21"))
        digest.digest()

    times = [(milliseconds(ours, chunks), milliseconds(raw, chunks)) for _ in range(rounds + 1)][1:]
    return [pair[0] for pair in times], [pair[1] for pair in times]


def main() -> None:
    options = arguments(__doc__ or "", chunks=60, rounds=5)
    report = Report("chunk_crypto", options.json)
    figures = {}
    with tempfile.TemporaryDirectory(prefix="digm-bench-") as folder:
        song = ingest.render(Path(folder), 0.2, "song.flac")
        with stack.running(song) as digm:
            measured = {"page": asyncio.run(page(digm, options.chunks, options.rounds))}
    measured["server"] = server(options.chunks, options.rounds)
    for place, (ours, theirs) in measured.items():
        speeds = [megabytes_per_s(options.chunks, times) for times in (ours, theirs)]
        figures[f"{place}_of_raw"] = round(speeds[0] / speeds[1], 3)
        report.row(
            place=place, digm_mb_per_s=speeds[0], raw_mb_per_s=speeds[1], of_raw=figures[f"{place}_of_raw"]
        )
    report.summary(**figures, aim="at least 0.8 of the raw primitive")


if __name__ == "__main__":
    main()
