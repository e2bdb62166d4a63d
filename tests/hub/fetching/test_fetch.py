"""Fetching from gateways that are good, bad and gone: what is written is what was published, or nothing is."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from digm.errors import CallerFault, DigmError, Unavailable
from hub.fetching.fetch import Fetch, FetchJob, FetchReport
from hub.fetching.ledger import Ledger
from hub.fetching.search import MOST_GIVERS, Search
from hub.fetching.sources import GatewaySource
from hub.fetching.targets import Target, read_target
from hub.storage.chunk_store import ChunkStore
from tests.hub.fetching.bad_gateway import Behaviour, bad_gateway, busy, lacking, lying, short
from tests.hub.fetching.recordings import RATE, Recording, decoded, published
from tests.hub.media.sounds import music, quantised, write_wav

SOUND = quantised(music(15 * RATE), 16)
NOBODY = "http://127.0.0.1:9"  # the port of discard, where nothing listens


@pytest.fixture(scope="module")
def track(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    folder = tmp_path_factory.mktemp("track")
    return published(write_wav(folder / "music.wav", SOUND, RATE, 16), folder / "data", title="Night train")


def job(track: Recording, out: Path | None, *gateways: str, **options: Any) -> FetchJob:
    made = FetchJob(
        target=Target(track.root, gateways=gateways),
        out=out,
        raw=None,
        track_key=track.track_key,
        via=frozenset({"http"}),
        patience_s=options.pop("patience_s", 10.0),
    )
    return replace(made, **options)


async def fetched(made: FetchJob) -> FetchReport:
    async with asyncio.timeout(60):
        return await Fetch(made).run()


def of(report: FetchReport, url: str) -> Any:
    return next(source for source in report.sources if source.name == url)


def names(track: Recording, rendition: int = 0) -> list[str]:
    return [item.hex() for item in track.manifest.renditions[rendition].chunk_hashes]


async def test_a_fetched_file_has_every_sample_and_leaves_nothing_beside_it(
    track: Recording, tmp_path: Path
) -> None:
    with bad_gateway(track.data) as gateway:
        report = await fetched(job(track, tmp_path / "song.flac", gateway.url))
    assert np.array_equal(decoded(tmp_path / "song.flac", "s16"), SOUND)
    assert [path.name for path in tmp_path.iterdir()] == ["song.flac"]
    assert (of(report, gateway.url).chunks, report.error) == (len(names(track)), None)
    assert sorted(gateway.asked) == sorted(names(track))


@pytest.mark.parametrize("behaviour", [lying, short, busy])
async def test_a_bad_gateway_spoils_nothing_while_there_is_a_good_one(
    track: Recording, tmp_path: Path, behaviour: Behaviour
) -> None:
    with bad_gateway(track.data, behaviour) as bad, bad_gateway(track.data) as good:
        report = await fetched(job(track, tmp_path / "song.flac", bad.url, NOBODY, good.url))
    assert np.array_equal(decoded(tmp_path / "song.flac", "s16"), SOUND)
    assert of(report, bad.url).bytes == 0
    assert of(report, bad.url).errors.keys() & {"wrong_hash", "wrong_size", "busy"}
    assert of(report, NOBODY).errors.keys() == {"unreachable"}


async def test_two_halves_make_a_whole(track: Recording, tmp_path: Path) -> None:
    chunks = names(track)
    one, other = set(chunks[::2]), set(chunks[1::2])
    with bad_gateway(track.data, lacking(one)) as first, bad_gateway(track.data, lacking(other)) as second:
        report = await fetched(job(track, tmp_path / "song.flac", first.url, second.url))
    assert np.array_equal(decoded(tmp_path / "song.flac", "s16"), SOUND)
    assert (of(report, first.url).chunks, of(report, second.url).chunks) == (len(one), len(other))


async def test_a_gateway_that_stops_in_the_middle_is_overtaken(track: Recording, tmp_path: Path) -> None:
    with bad_gateway(track.data) as stuck, bad_gateway(track.data) as good:
        stuck.stuck = lambda path: not path.endswith("manifest.json")
        stuck.hold.clear()
        report = await fetched(job(track, tmp_path / "song.flac", stuck.url, good.url))
    assert stuck.asked
    assert np.array_equal(decoded(tmp_path / "song.flac", "s16"), SOUND)
    assert of(report, good.url).chunks == len(names(track))


async def test_what_is_nowhere_is_said_at_once_with_everybodys_reasons(
    track: Recording, tmp_path: Path
) -> None:
    without_one = lacking(set(names(track)[1:]))
    with bad_gateway(track.data, without_one) as gateway:
        fetching = Fetch(job(track, tmp_path / "song.flac", gateway.url, NOBODY, patience_s=1.0))
        with pytest.raises(Unavailable) as failed:
            await fetching.run()
    assert failed.value.code == "no_source"
    assert "chunk 0/0" in failed.value.message
    report = fetching.report(failed.value)
    assert of(report, gateway.url).errors == {"not_held": 1}
    assert not (tmp_path / "song.flac").exists()


async def test_what_came_before_a_failure_is_not_fetched_again(track: Recording, tmp_path: Path) -> None:
    chunks = names(track)
    with bad_gateway(track.data, lacking(set(chunks[:-1]))) as gateway, pytest.raises(Unavailable):
        await fetched(job(track, tmp_path / "song.flac", gateway.url))
    # A chunk that rotted meanwhile does not count.
    part = ChunkStore(tmp_path / "song.flac.part")
    part.path(chunks[0]).write_bytes(bytes(1000))
    with bad_gateway(track.data) as gateway:
        report = await fetched(job(track, tmp_path / "song.flac", gateway.url))
        assert sorted(gateway.asked) == sorted([chunks[0], chunks[-1]])
    assert report.chunks_before == len(chunks) - 2
    assert np.array_equal(decoded(tmp_path / "song.flac", "s16"), SOUND)
    assert [path.name for path in tmp_path.iterdir()] == ["song.flac"]


async def test_a_manifest_that_its_artist_did_not_sign_is_not_believed(
    track: Recording, tmp_path: Path
) -> None:
    document = track.store.manifest(track.root)
    forged = document.replace(b"Night train", b"Light rain ")
    with bad_gateway(track.data, manifest=forged) as liar, bad_gateway(track.data) as honest_one:
        report = await fetched(job(track, tmp_path / "song.flac", liar.url, honest_one.url))
        assert report.title == "Night train"  # whoever answered first
        with pytest.raises(Unavailable) as failed:
            await fetched(job(track, tmp_path / "other.flac", liar.url))
    assert failed.value.code == "no_manifest"
    assert "signature on this track is not genuine" in failed.value.message


async def test_only_the_artist_that_was_named_is_believed(track: Recording, tmp_path: Path) -> None:
    with bad_gateway(track.data) as gateway, pytest.raises(Unavailable) as failed:
        await fetched(job(track, tmp_path / "song.flac", gateway.url, artist="0" * 64))
    assert "another artist" in failed.value.message


async def test_encrypted_chunks_make_a_folder_that_a_gateway_serves(track: Recording, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    with bad_gateway(track.data) as gateway:
        report = await fetched(job(track, None, gateway.url, raw=folder, track_key=None))
    assert report.chunks == sum(it.chunk_count for it in track.manifest.renditions)
    with bad_gateway(folder) as mirror:
        await fetched(job(track, tmp_path / "song.opus", mirror.url))
    assert len(decoded(tmp_path / "song.opus", "s16")) == 15 * 48_000


@pytest.mark.parametrize(
    "changes, code",
    [
        ({"track_key": bytes(32)}, "wrong_key"),
        ({"track_key": None}, "no_key"),
        ({"rendition": "9"}, "rendition_unknown"),
        ({"rendition": "opus"}, "bad_out"),
    ],
)
async def test_what_cannot_be_done_is_said_before_a_chunk_is_asked_for(
    track: Recording, tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    with bad_gateway(track.data) as gateway:
        with pytest.raises(DigmError) as refused:
            await fetched(job(track, tmp_path / "song.flac", gateway.url, **changes))
        assert gateway.asked == []
    assert refused.value.code == code
    assert list(tmp_path.iterdir()) == []


async def test_nothing_is_written_over_unless_that_is_wanted(track: Recording, tmp_path: Path) -> None:
    (tmp_path / "song.flac").write_bytes(b"mine")
    with bad_gateway(track.data) as gateway:
        with pytest.raises(CallerFault) as refused:
            await fetched(job(track, tmp_path / "song.flac", gateway.url))
        assert refused.value.code == "out_exists"
        assert (tmp_path / "song.flac").read_bytes() == b"mine"
        await fetched(job(track, tmp_path / "song.flac", gateway.url, may_replace=True))
    assert np.array_equal(decoded(tmp_path / "song.flac", "s16"), SOUND)


async def test_two_processes_do_not_fetch_into_one_file(track: Recording, tmp_path: Path) -> None:
    with bad_gateway(track.data) as gateway:
        gateway.hold.clear()
        first = asyncio.create_task(fetched(job(track, tmp_path / "song.flac", gateway.url)))
        while not (tmp_path / "song.flac.part").exists():
            await asyncio.sleep(0.01)
        with pytest.raises(CallerFault) as refused:
            await fetched(job(track, tmp_path / "song.flac", gateway.url))
        assert refused.value.code == "fetch_running"
        gateway.hold.set()
        await first


@pytest.mark.parametrize(
    "text, expected",
    [
        ("R", Target("R")),
        ("http://a.example/tracks/R", Target("R", hubs=("http://a.example",))),
        ("https://a.example:8/x/embed/R?y=1#z", Target("R", hubs=("https://a.example:8/x",))),
        ("http://a.example/api/tracks/R/sources", Target("R", hubs=("http://a.example",))),
        ("http://[::1]:81/R/manifest.json", Target("R", gateways=("http://[::1]:81",))),
        ("http://a.example/g/R/index.m3u8", Target("R", gateways=("http://a.example/g",))),
    ],
)
def test_what_people_paste_is_understood(text: str, expected: Target) -> None:
    root = "0123456789abcdef" * 4
    assert read_target(text.replace("R", root)) == replace(expected, track_root=root)


@pytest.mark.parametrize(
    "text", ["", "x", "0" * 63, "http://a.example/", "ftp://a.example/tracks/" + "0" * 64, "http://[/"]
)
def test_what_names_no_track_is_refused(text: str) -> None:
    with pytest.raises(CallerFault) as refused:
        read_target(text)
    assert refused.value.code == "bad_track"


async def test_a_hub_that_names_ever_more_gateways_is_heard_up_to_a_bound(track: Recording) -> None:
    async with aiohttp.ClientSession() as http:
        search = Search(Target(track.root), http, Ledger(), frozenset({"http"}))
        for port in range(1, 2 * MOST_GIVERS):
            search.add(GatewaySource(http, f"http://192.0.2.1:{port}", track.root))
    assert len(search.sources) == len(search.givers) == MOST_GIVERS


async def test_who_answers_a_byte_at_a_time_for_ever_does_not_keep_the_search_waiting(
    track: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b" ")
            await asyncio.sleep(0.02)

    monkeypatch.setattr("hub.fetching.hub_answers.ANSWER_WITHIN_S", 0.3)
    monkeypatch.setattr("hub.fetching.sources.MANIFEST_WITHIN_S", 0.3)
    app = web.Application()
    app.router.add_get("/{path:.*}", trickle)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        target = Target(track.root, hubs=(url,), gateways=(url,))
        with pytest.raises(Unavailable) as failed:
            await fetched(replace(job(track, None), target=target, raw=tmp_path / "raw"))
    assert failed.value.code == "no_manifest"
