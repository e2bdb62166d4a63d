"""The format's test vectors, checked by the very code that visitors run: Pyodide in Chromium."""

import json
from pathlib import Path

from tests.browser.conftest import Recording
from tests.browser.player_page import PlayerPage
from tests.browser.stack import Stack

VECTORS = Path(__file__).resolve().parents[1] / "vectors"

CHECK = """
import json
import js
from pyodide.ffi import to_js

{checks}

async def seal(key, nonce, additional_data, plaintext):
    subtle = js.crypto.subtle
    imported = await subtle.importKey("raw", to_js(key), "AES-GCM", False, to_js(["encrypt"]))
    fields = [["name", "AES-GCM"], ["iv", nonce], ["additionalData", additional_data]]
    how = js.Object.fromEntries(to_js(fields))
    return (await subtle.encrypt(how, imported, to_js(plaintext))).to_bytes()

async def main():
    vectors = json.loads({vectors!r})
    return check_trees(vectors) + await check_tracks(vectors, seal)
"""


async def test_the_format_is_the_same_in_the_page(
    stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    await player_page.visit(stack.url, recordings["flac"].track_root)
    vectors = json.loads((VECTORS / "format.json").read_text())
    code = CHECK.format(checks=(VECTORS / "check.py").read_text(), vectors=json.dumps(vectors))
    proofs = sum(len(tree["proofs"]) for tree in vectors["trees"])
    chunks = sum(len(rows) for track in vectors["tracks"] for rows in track["chunks"])
    audits = sum(len(track["audits"]) for track in vectors["tracks"])
    assert await player_page.run_python(stack.url, code) == proofs + chunks + audits
