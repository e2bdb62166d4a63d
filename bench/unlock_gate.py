"""What people use today: a preview file for everybody, and the whole file for who has the cookie.

One aiohttp server over HTTPS with a certificate of its own. Its till takes the money in no time: neither a card
processor nor a chain is waited for, so that what is measured is the gate alone.
"""

import asyncio
import contextlib
import datetime
import ipaddress
import secrets
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench import ingest, stack

BLOCK = 65_536
COOKIE = "paid"
PAGE = """<!doctype html><meta charset="utf-8"><title>A gate</title>
<audio src="/preview.mp4" preload="auto"></audio><button id="buy">Buy</button>
<script>
const audio = document.querySelector('audio')
globalThis.unlock = (at) => {
  const {currentTime, paused, ended} = audio
  audio.src = '/song.mp4'
  audio.currentTime = at ?? currentTime
  if (!paused || ended) audio.play()
}
globalThis.pay = async () => {
  const answer = await fetch('/pay', {method: 'POST'})
  if (!answer.ok) throw new Error('not paid')
}
document.querySelector('#buy').onclick = async () => {
  globalThis.clickedAt = performance.now()
  await pay()
  unlock()
}
</script>"""


class Gate:
    """The shop of one song.

    Attributes:
        url: of its page.
        files: what lies behind which address.
    """

    url = ""

    def __init__(self, song: Path, preview_s: float) -> None:
        self.files = {
            "/song.mp4": _with_index(song, "whole"),
            "/preview.mp4": _with_index(song, "preview", "-t", str(preview_s)),
        }
        self._paid: set[str] = set()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self._page), web.post("/pay", self._pay),
            web.get("/preview.mp4", self._send_preview), web.get("/song.mp4", self._send_song),
        ]  # fmt: skip

    async def _page(self, _: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def _pay(self, _: web.Request) -> web.Response:
        self._paid.add(token := secrets.token_hex(16))
        answer = web.Response()
        answer.set_cookie(COOKIE, token, secure=True, httponly=True, samesite="Strict")
        return answer

    async def _send_preview(self, request: web.Request) -> web.StreamResponse:
        return await self._send(request)

    async def _send_song(self, request: web.Request) -> web.StreamResponse:
        if request.cookies.get(COOKIE) not in self._paid:
            raise web.HTTPPaymentRequired
        return await self._send(request)

    async def _send(self, request: web.Request) -> web.StreamResponse:
        file = self.files[request.path]
        asked = request.http_range
        start, stop = asked.start or 0, min(asked.stop or len(file), len(file))
        headers = {"Accept-Ranges": "bytes", "Content-Length": str(stop - start), "Content-Type": "audio/mp4"}
        if request.headers.get("Range"):
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(file)}"
        answer = web.StreamResponse(status=206 if "Content-Range" in headers else 200, headers=headers)
        await answer.prepare(request)
        for at in range(start, stop, BLOCK):
            if request.transport is None or request.transport.is_closing():
                break  # a browser that looks for its place hangs up
            await answer.write(file[at : min(at + BLOCK, stop)])
            await asyncio.sleep(0)  # to hear of that
        return answer


class Received:
    """Bytes of sound that a page got from the gate.

    Attributes:
        twice: of these, what it had had before: the same range once more, or in the other file.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._had = bytearray(len(gate.files["/song.mp4"]))
        self._places: dict[str, tuple[bytes, int]] = {}
        self.twice = 0

    def response(self, event: dict[str, Any]) -> None:
        """`Network.responseReceived` of the DevTools protocol."""
        response = event["response"]
        file = self._gate.files.get(urlsplit(response["url"]).path)
        if file is None or response.get("fromDiskCache"):
            return
        headers = {name.lower(): value for name, value in response["headers"].items()}
        start = headers.get("content-range", "bytes 0-").removeprefix("bytes ").partition("-")[0]
        self._places[event["requestId"]] = file, int(start)

    def data(self, event: dict[str, Any]) -> None:
        """`Network.dataReceived`. The same FLAC frames are in both files, behind an index each."""
        request = event["requestId"]
        if request not in self._places:
            return
        file, start = self._places[request]
        end = start + event["dataLength"]
        self._places[request] = file, end
        sound = file.index(b"mdat") + 4
        start, end = max(0, start - sound), max(0, end - sound)
        self.twice += sum(self._had[start:end])
        self._had[start:end] = b"\x01" * (end - start)


def _with_index(song: Path, name: str, *options: str) -> bytes:
    """In MP4, its index first: in that browsers find a place at once, in a bare FLAC after some searching."""
    path = song.with_name(f"{name}.mp4")
    ingest.ffmpeg("-i", song, *options, "-c:a", "copy", "-strict", "-2", "-movflags", "faststart", path)
    return path.read_bytes()


def _certificate(folder: Path) -> ssl.SSLContext:
    """For localhost, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "gate.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@contextlib.asynccontextmanager
async def serving(song: Path, preview_s: float) -> AsyncIterator[Gate]:
    """The gate, on a free port."""
    gate = Gate(song, preview_s)
    application = web.Application()
    application.add_routes(gate.routes())
    runner = web.AppRunner(application)
    await runner.setup()
    port = stack.free_ports(1)
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=_certificate(song.parent)).start()
    gate.url = f"https://localhost:{port}/"
    try:
        yield gate
    finally:
        await runner.cleanup()
