"""The desk: dropped, read, described, listened to, published; and gone when it should be."""

import base64
import io
from pathlib import Path

import av
import msgspec
import pytest
from PIL import Image

from digm.errors import CallerFault
from hub.config import Settings
from hub.storage.catalogue import Catalogue
from hub.studio.desk import FOLDER, safe_name
from hub.studio.news import News
from hub.studio.terms import TermsBody, read_terms
from tests.hub.house import publish_track
from tests.hub.publishing.conftest import write_wav
from tests.hub.studio.conftest import Studio


def picture() -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (40, 40), "teal").save(written, "PNG")
    return written.getvalue()


def is_read(state: dict) -> bool:
    return all(track["state"] in ("ready", "refused") for track in state["tracks"])


async def test_a_recording_is_dropped_described_heard_and_published(studio: Studio, tmp_path: Path) -> None:
    await studio.enter()
    wav = write_wav(tmp_path / "tone.wav", 6.0).read_bytes()
    status, said = await studio.ask("PUT", "/api/desk/files?name=../../My%20tone.wav", wav)
    assert status == 200, said
    (track,) = (await studio.until(is_read))["tracks"]
    assert (track["state"], track["tags"]["title"], track["size"]) == ("ready", "My tone", len(wav))
    assert abs(track["duration_s"] - 6) < 0.01 and len(track["peaks"]) > 20
    where = f"/api/desk/{track['id']}"
    assert (await studio.ask("PATCH", where, {"title": "Night train", "artist": "Nobody", "year": 2026}))[
        0
    ] == 200
    status, said = await studio.ask("PATCH", where, {"title": "Other", "year": 0})
    assert status == 400 and said["error"]["code"] == "bad_tag"
    assert (await studio.ask("PUT", f"{where}/cover?name=front.png", picture()))[0] == 200
    status, said = await studio.ask("PUT", f"{where}/cover?name=front.png", b"no picture")
    assert status == 400 and "no picture" in said["error"]["message"]
    status, heard = await studio.ask("GET", f"/desk/{track['id']}/audio", Range="bytes=44-143")
    assert status == 206 and heard == wav[44:144]
    status, said = await studio.ask("POST", "/api/publish", {"is_on_chain": False, "preview_s": 9})
    assert status == 400 and "6 seconds" in said["error"]["message"]
    assert (await studio.ask("POST", "/api/publish", {"is_on_chain": False, "preview_s": 3}))[0] == 200
    state = await studio.until(lambda state: state["journey"] and state["journey"]["state"] != "running")
    journey = state["journey"]
    assert journey["state"] == "done", journey
    steps = {step["name"]: step["state"] for step in journey["steps"]}
    assert steps["encrypt"] == steps["store"] == "done" and steps["chain"] == "left_out"
    assert state["tracks"] == []
    data = studio.room.settings.data
    assert list((data / FOLDER).iterdir()) == [], "plaintext stayed behind"
    with Catalogue.open_for_reading(data) as catalogue:
        (entry,) = catalogue.tracks()
    assert (entry.title, entry.artist, entry.preview_s) == ("Night train", "Nobody", 3)
    status, cover = await studio.ask("GET", f"/covers/{entry.cover_hash}")
    assert status == 200 and cover[:3] == b"\xff\xd8\xff"
    status, music = await studio.ask("GET", "/api/music")
    assert status == 200 and [one["title"] for one in music["tracks"]] == ["Night train"]
    assert music["tracks"][0]["has_key"] and not music["is_hub_up"]


async def test_what_cannot_be_published_is_said_at_once_and_keeps_the_rest_from_it(studio: Studio) -> None:
    await studio.enter()
    assert (await studio.ask("PUT", "/api/desk/files?name=song.exe", b"MZ"))[0] == 400
    assert (await studio.ask("PUT", "/api/desk/files?name=song.flac", b"<html>" * 50))[0] == 200
    (track,) = (await studio.until(is_read))["tracks"]
    assert track["state"] == "refused" and track["fault"].startswith("song.flac ")
    status, said = await studio.ask("POST", "/api/publish", {"is_on_chain": False})
    assert status == 400 and "song.flac" in said["error"]["message"]
    assert (await studio.ask("DELETE", "/api/desk"))[0] == 200
    status, said = await studio.ask("POST", "/api/publish", {"is_on_chain": False})
    assert status == 400 and said["error"]["code"] == "nothing_to_publish"


async def test_a_second_studio_on_one_folder_is_refused_and_leftovers_are_swept(studio: Studio) -> None:
    from hub.studio.desk import Desk

    other = Desk(studio.room.settings.data, News())
    with pytest.raises(CallerFault, match="already open"), other.open():
        pass
    left = Settings(data=studio.room.settings.data.parent / "other")
    (left.data / FOLDER / "abandoned").mkdir(parents=True)
    with Desk(left.data, News()).open():
        assert list((left.data / FOLDER).iterdir()) == []
        assert (left.data / FOLDER).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Music\\a song.flac", "a song.flac"),
        ("..", "recording"),
        (".flac", "flac"),
        ("a\0b\n.wav", "a b .wav"),
        ("ü" * 300 + ".flac", "ü" * 90 + ".flac"),
    ],
)
def test_a_name_is_a_name_and_nothing_else(given: str, kept: str) -> None:
    assert safe_name(given) == kept


async def test_what_was_published_free_is_known_again_and_cannot_be_sold(
    studio: Studio, tmp_path: Path
) -> None:
    await studio.enter()
    wav = write_wav(tmp_path / "tone.wav", 2.0).read_bytes()
    for _ in range(2):
        assert (await studio.ask("PUT", "/api/desk/files?name=tone.wav", wav))[0] == 200
        (track,) = (await studio.until(lambda state: state["tracks"] and is_read(state)))["tracks"]
        if "published" not in track:
            assert (await studio.ask("POST", "/api/publish", {"is_on_chain": False}))[0] == 200
            await studio.until(lambda state: state["journey"]["state"] == "done")
    assert track["published"] == {"title": "tone", "preview_s": None}
    status, said = await studio.ask("POST", "/api/publish", {"price": "2.50", "preview_s": 1})
    assert status == 400 and said["error"]["code"] == "free_already"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"price": "2.50"}, "free beginning"),
        ({"price": "much", "preview_s": 30}, "no amount"),
        ({"price": "1", "preview_s": 600}, "shortest recording"),
        ({"price": "1", "preview_s": 0}, "1 to 3600"),
        ({"price": "1", "preview_s": 30, "is_on_chain": False}, "stand on the chain"),
        ({"album_price": "4"}, "two or more tracks"),
        ({"price": "1", "preview_s": 30, "token": "gold"}, "PARA"),
        ({"copies": 101}, "0 to 100"),
        ({"shares": [{"account": "0x" + "11" * 20, "percent": "60"}]}, "100 per cent"),
        ({"shares": [{"account": "somebody", "percent": "100"}]}, "no address"),
    ],
)
def test_terms_that_cannot_be_are_said_in_words(said: dict, words: str) -> None:
    body = msgspec.convert(said, TermsBody)
    with pytest.raises(CallerFault, match=words):
        read_terms(body, [120.0, 90.0] if "album_price" not in said else [120.0])


async def test_the_vault_is_backed_up_and_brought_back(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.publishing.vault_records.SCRYPT_COST", 1 << 10)
    await studio.enter()
    status, said = await studio.ask("POST", "/api/vault/backup", {"passphrase": "short"})
    assert status == 400 and said["error"]["code"] == "weak_passphrase"
    status, document = await studio.ask("POST", "/api/vault/backup", {"passphrase": "four wörds are enough"})
    assert status == 200 and document.startswith(b'{"format":"digm backup"')
    status, said = await studio.ask("PUT", "/api/vault/restore", document, **{"X-DIGM-Passphrase": "AAAA"})
    assert status == 400 and said["error"]["code"] == "wrong_passphrase"
    right = base64.b64encode("four wörds are enough".encode()).decode()
    status, said = await studio.ask("PUT", "/api/vault/restore", document, **{"X-DIGM-Passphrase": right})
    assert status == 200 and said["keys"] == 0
    status, said = await studio.ask("GET", "/api/vault")
    assert status == 200 and said["artist"] == studio.room.vault.artist_key.hex() and said["is_replaced"]


async def test_what_browsers_do_not_play_is_heard_as_listeners_will_get_it(
    studio: Studio, tmp_path: Path
) -> None:
    await studio.enter()
    wav, aiff = write_wav(tmp_path / "tone.wav", 2.0), tmp_path / "tone.aiff"
    with av.open(str(wav)) as source, av.open(str(aiff), "w", format="aiff") as target:
        stream = target.add_stream("pcm_s16be", rate=44_100)
        for frame in source.decode(audio=0):
            target.mux(stream.encode(frame))
    assert (await studio.ask("PUT", "/api/desk/files?name=tone.aiff", aiff.read_bytes()))[0] == 200
    (track,) = (await studio.until(is_read))["tracks"]
    assert track["state"] == "ready" and track["can_be_heard"], track
    status, heard = await studio.ask("GET", f"/desk/{track['id']}/audio")
    assert status == 200
    with av.open(io.BytesIO(heard)) as file:
        assert file.streams.audio[0].codec_context.name.endswith("opus")
        seconds = sum(frame.samples for frame in file.decode(audio=0)) / 48_000
    assert abs(seconds - 2.0) < 0.1


async def test_nodes_are_shown_with_how_they_do_and_what_they_hold_of_ours(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = publish_track(studio.room.settings.data, title="Ours").root
    node = {
        "peer_id": "12D3", "operator": "Allegro", "network": "AS1", "state": "healthy", "is_self": False,
        "latency_ms": 1.4, "chain": {"jailed_until": None},
        "tracks": [{"track_root": root, "share": 1.0}, {"track_root": "ab" * 32, "share": 1.0}],
    }  # fmt: skip
    said = {
        "/api/nodes": {"nodes": [node], "tracks": [{"track_root": root, "held": 1, "desired": 3}]},
        "/api/operator/swarms": {"swarms": [{"track": root, "listeners": 2}]},
    }

    async def get(_api: object, path: str) -> object:
        return said[path]

    monkeypatch.setattr("hub.cli.hub_api.HubApi.get", get)
    await studio.enter()
    status, music = await studio.ask("GET", "/api/music")
    assert status == 200 and music["is_hub_up"]
    (track,), (shown,) = music["tracks"], music["nodes"]
    assert (track["held"], track["desired"], track["listeners"], track["plays"]) == (1, 3, 2, 0)
    assert (shown["holds"], shown["latency_ms"], shown["is_jailed"]) == (1, 1, False)
