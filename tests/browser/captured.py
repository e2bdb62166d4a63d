"""Everything that reached a page: what an attacker can look through.

Traffic is what Chromium's own network log hands out (bodies, WebSocket messages), data channels are listened to
in the page.
"""

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
