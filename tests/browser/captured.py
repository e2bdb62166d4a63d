"""Everything that reached a page: what an attacker can look through.

Traffic is what Chromium's own network log hands out (bodies, WebSocket messages), data channels are listened to
in the page. Memory is the whole of the interpreter's, as bytes, and what the page keeps in its databases.
"""

import base64
import json
from contextlib import suppress
from dataclasses import dataclass, field

from playwright.async_api import Error, Page, Response, WebSocket

# Noted before anything else of the page runs.
HEAR_CHANNELS = """
globalThis.channelMessages = [];
const note = (channel) => channel.addEventListener('message', ({data}) => channelMessages.push(data));
globalThis.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...how) {
    super(...how);
    this.addEventListener('datachannel', ({channel}) => note(channel));
  }
  createDataChannel(...how) {
    const channel = super.createDataChannel(...how);
    note(channel);
    return channel;
  }
};
"""

CHANNEL_MESSAGES = """() => {
  const parts = channelMessages.map((data) => (typeof data === 'string' ? data : new Uint8Array(data)));
  return new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(',') + 1));
    reader.readAsDataURL(new Blob(parts));
  });
}"""

# Every value of every database, with what is binary as a list of numbers; and what storage has as text.
KEPT = """async () => {
  const answer = (request) => new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  const parts = [JSON.stringify([{...localStorage}, {...sessionStorage}])];
  const put = async (value) => {
    if (value instanceof Blob) parts.push(await value.arrayBuffer());
    else if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) parts.push(value);
    else if (typeof value === 'string') parts.push(value);
    else if (value && typeof value === 'object') for (const inner of Object.values(value)) await put(inner);
  };
  for (const {name} of await indexedDB.databases()) {
    const database = await answer(indexedDB.open(name));
    for (const store of database.objectStoreNames) {
      await put(await answer(database.transaction(store).objectStore(store).getAll()));
    }
    database.close();
  }
  for (const name of await caches.keys()) {
    const cache = await caches.open(name);
    for (const request of await cache.keys()) parts.push(await (await cache.match(request)).arrayBuffer());
  }
  return new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(',') + 1));
    reader.readAsDataURL(new Blob(parts));
  });
}"""

# What is looked for comes veiled, and is unveiled when the copy is made: else it would find itself.
SEARCH_HEAP = """
import json, pyodide_js

def main():
    copy = pyodide_js._module.HEAPU8.slice()
    whole = copy.to_bytes()
    found = []
    for name, veiled in VEILED.items():
        secret = bytes(byte ^ 0x5A for byte in bytes.fromhex(veiled))
        if secret in whole or secret.hex().encode() in whole:
            found.append(name)
    return json.dumps([found, len(whole)])
"""


@dataclass
class Captured:
    """One page's traffic so far.

    Attributes:
        bodies: of all answers, and all messages, in the order of their end.
    """

    page: Page
    bodies: list[bytes] = field(default_factory=list)
    _answers: list[Response] = field(default_factory=list)

    @classmethod
    async def of(cls, page: Page) -> "Captured":
        captured = cls(page)
        await page.add_init_script(HEAR_CHANNELS)
        page.on("response", lambda answer: captured._answers.append(answer))
        page.on("websocket", captured._hear)
        return captured

    def _hear(self, socket: WebSocket) -> None:
        def note(message: str | bytes) -> None:
            self.bodies.append(message.encode() if isinstance(message, str) else message)

        socket.on("framereceived", note)
        socket.on("framesent", note)

    async def traffic(self) -> list[bytes]:
        """Everything that came, the headers of answers as well."""
        answers, self._answers = self._answers, []
        page_answers = [answer for answer in answers if "/static/" not in answer.url]
        for answer in page_answers:
            self.bodies.append(json.dumps(await answer.all_headers()).encode())
            with suppress(Error):  # of what was given up half way the log has no body
                self.bodies.append(await answer.body())
        return self.bodies

    async def channel_messages(self) -> bytes:
        """Everything that came by data channels, one behind the other."""
        return base64.b64decode(await self.page.evaluate(CHANNEL_MESSAGES))

    async def kept(self) -> bytes:
        """Everything in IndexedDB, the Cache API and Web Storage that a script can read as bytes or text."""
        return base64.b64decode(await self.page.evaluate(KEPT))


def heap_search(secrets: dict[str, bytes]) -> str:
    """Python for the page: names of the secrets in the interpreter's memory, raw or in hex, and its size."""
    veiled = {name: bytes(byte ^ 0x5A for byte in secret).hex() for name, secret in secrets.items()}
    return SEARCH_HEAP.replace("VEILED", repr(veiled))
