"""Chromium as a client of the gateway: the same bytes over HTTP/1.1, 2, 3; players that read its playlists."""

import asyncio
import base64
import hashlib
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.async_api import Page, async_playwright

from bench.stack import npm_package
from tests.browser.conftest import CHROMIUM_ARGUMENTS
from tests.hub.gateway.gateway_process import GatewayProcess
from tests.hub.house import Published, publish_track

FETCH = """async url => {
    const body = await (await fetch(url, {cache: "no-store"})).arrayBuffer();
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", body));
    const hash = [...digest].map(byte => byte.toString(16).padStart(2, "0")).join("");
    for (let i = 0; i < 100; i++) {
        const [entry] = performance.getEntriesByName(url);
        if (entry?.nextHopProtocol) return [hash, entry.nextHopProtocol];
        await new Promise(done => setTimeout(done, 20));
    }
    return [hash, null];
}"""
READ_HLS = """async url => {
    const hls = new Hls({enableWorker: false}), errors = [];
    hls.on(Hls.Events.ERROR, (_, data) => errors.push(data.details));
    const parsed = new Promise(done => hls.on(Hls.Events.MANIFEST_PARSED, (_, data) => done(data.levels)));
    const loaded = new Promise(done => hls.on(Hls.Events.LEVEL_LOADED, (_, data) => done(data.details)));
    hls.attachMedia(document.createElement("audio"));
    hls.loadSource(url);
    const levels = await parsed, details = await loaded;
    hls.stopLoad();
    return {
        codecs: levels.map(level => level.audioCodec), total: details.totalduration, errors,
        init: details.fragments[0].initSegment?.url, live: details.live,
        segments: details.fragments.map(fragment => [fragment.url, fragment.duration]),
    };
}"""
READ_DASH = """async url => {
    shaka.polyfill.installAll();
    const player = new shaka.Player();
    const engine = player.getNetworkingEngine();
    const parser = new shaka.dash.DashParser();
    parser.configure(player.getConfiguration().manifest);
    const manifest = await parser.start(url, {
        networkingEngine: engine, filter: async () => {}, makeTextStreamsForClosedCaptions: () => {},
        onTimelineRegionAdded: () => {}, onEvent: () => {}, onError: error => { throw error; },
        isLowLatencyMode: () => false, updateDuration: () => {}, newDrmInfo: () => {},
        onManifestUpdated: () => {}, getBandwidthEstimate: () => 1e6,
        onMetadata: () => {}, disableStream: () => {}, addFont: () => {},
        getConfiguration: () => player.getConfiguration(), onHttpResponseHeaders: () => {},
    });
    const streams = [];
    for (const {audio} of manifest.variants) {
        await audio.createSegmentIndex();
        const segments = [...audio.segmentIndex].flatMap(item => item ? [item] : []);
        streams.push({
            codecs: audio.codecs, rate: audio.audioSamplingRate, encrypted: audio.encrypted,
            segments: segments.map(item => [item.getUris()[0], item.getEndTime() - item.getStartTime()]),
        });
    }
    return {duration: manifest.presentationTimeline.getDuration(), streams};
}"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, Published]]:
    data = tmp_path_factory.mktemp("data")
    track = publish_track(data)
    with GatewayProcess(data) as process:
        yield process, track


@asynccontextmanager
async def page_of(*arguments: str, url: str) -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=[*CHROMIUM_ARGUMENTS, *arguments]
        )
        page = await browser.new_page()
        await page.goto(url)
        yield page
        await browser.close()


def spki(certificate: Path) -> str:
    """What Chromium wants to know a self-signed certificate by."""
    key = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    digest = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    return base64.b64encode(digest).decode()


@pytest.mark.parametrize("protocol", ["http/1.1", "h2", "h3"])
async def test_chromium_fetches_the_same_bytes_over_every_version(
    gateway: tuple[GatewayProcess, Published], protocol: str
) -> None:
    process, track = gateway
    known = f"--ignore-certificate-errors-spki-list={spki(process.certificate)}"
    more = {
        "http/1.1": ["--disable-http2"],
        "h2": ["--disable-quic"],
        "h3": ["--enable-quic", f"--origin-to-force-quic-on=127.0.0.1:{process.tls_port}"],
    }[protocol]
    async with page_of(known, *more, url=f"http://127.0.0.1:{process.port}/healthz") as page:
        for number in range(4):
            name = track.chunk(0, number)
            async with asyncio.timeout(30):
                got = await page.evaluate(FETCH, f"https://127.0.0.1:{process.tls_port}/{name}")
            assert got == [name, protocol]


async def read_by(
    player: str, script: str, gateway: tuple[GatewayProcess, Published], document: str
) -> dict[str, Any]:
    process, track = gateway
    package, _, file = player.partition("/")
    path = await asyncio.to_thread(npm_package, package) / file
    async with page_of(url=f"http://127.0.0.1:{process.port}/healthz") as page:
        await page.add_script_tag(path=path)
        async with asyncio.timeout(30):
            return await page.evaluate(script, f"http://127.0.0.1:{process.port}/{track.root}/{document}")


async def test_hls_js_reads_every_segment_of_the_playlist(gateway: tuple[GatewayProcess, Published]) -> None:
    process, track = gateway
    read = await read_by("hls.js/dist/hls.min.js", READ_HLS, gateway, "index.m3u8")
    rendition = track.manifest.renditions[0]
    assert [codec.lower() for codec in read["codecs"]] == ["flac", "opus"]
    assert read["total"] == pytest.approx(rendition.duration / rendition.config.timescale, abs=1e-5)
    assert not read["live"]
    here = f"http://127.0.0.1:{process.port}"
    assert read["init"] == f"{here}/{track.root}/0.mp4"
    assert [url for url, _ in read["segments"]] == [f"{here}/{name.hex()}" for name in rendition.chunk_hashes]


async def test_shaka_reads_every_segment_of_the_description(gateway: tuple[GatewayProcess, Published]) -> None:
    process, track = gateway
    read = await read_by("shaka-player/dist/shaka-player.compiled.js", READ_DASH, gateway, "manifest.mpd")
    assert read["duration"] == pytest.approx(track.manifest.duration_s)
    here = f"http://127.0.0.1:{process.port}"
    for stream, rendition in zip(read["streams"], track.manifest.renditions, strict=True):
        urls = [url for url, _ in stream["segments"]]
        assert urls == [f"{here}/{name.hex()}" for name in rendition.chunk_hashes]
        assert stream["encrypted"]
