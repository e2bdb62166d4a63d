"""What cannot be published is refused with one clear sentence and a stable code, and leaves nothing behind."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from digm.errors import CallerFault
from hub.media import IngestLimits, ingest
from hub.media.faults import SENTENCES
from tests.hub.media.conftest import Refuse
from tests.hub.media.sounds import music, path_with, quantised, render, riff, write_wav

RATE = 44_100
SOME = 60_000


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    """A good WAV file of a bit more than a second."""
    return write_wav(tmp_path / "good.wav", quantised(music(SOME), 16), RATE, 16)


def test_a_name_that_is_not_there(tmp_path: Path, refuse: Refuse) -> None:
    assert refuse(tmp_path / "nowhere.flac").code == "no_such_file"


def test_an_empty_file(tmp_path: Path, refuse: Refuse) -> None:
    fault = refuse(path_with(tmp_path / "a.flac", b""))
    assert fault.code == "empty_file"
    assert fault.message == f"{tmp_path}/a.flac is empty: copy or export it again."


def test_a_folder_a_pipe_a_socket_and_a_device_are_not_files(tmp_path: Path, refuse: Refuse) -> None:
    folder = tmp_path / "folder.flac"
    folder.mkdir()
    pipe = tmp_path / "pipe.flac"
    os.mkfifo(pipe)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s.flac"))
        for path in (folder, pipe, tmp_path / "s.flac", Path("/dev/zero")):
            assert refuse(path).code == "not_a_file"


def test_a_file_without_permission(refuse: Refuse) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = path_with(Path(folder) / "a.flac", b"fLaC")
        path.chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(CallerFault) as caught:
                ingest(path, Path(folder) / "work")
        finally:
            os.seteuid(user)
    assert caught.value.code == "unreadable_file"


TEXTS = {
    "text": b"This is no music at all, but somebody called it a FLAC file.\n" * 40,
    "playlist": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "concat": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "sdp": b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=audio 5004 RTP/AVP 0\r\n",
}


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("name", ["a.flac", "a.mp3"])
def test_text_under_a_false_name(kind: str, name: str, tmp_path: Path, refuse: Refuse) -> None:
    fault = refuse(path_with(tmp_path / name, TEXTS[kind]))
    assert fault.code == "unsupported_format"
    assert "is text, not audio" in fault.message


@pytest.mark.parametrize(
    ("start", "what"),
    [(b"\x89PNG\r\n\x1a\n", "a picture"), (b"wvpk\0", "WavPack"), (b"\x1aE\xdf\xa3", "Matroska")],
)
def test_files_of_a_known_other_kind_are_called_by_their_name(
    start: bytes, what: str, tmp_path: Path, refuse: Refuse
) -> None:
    fault = refuse(path_with(tmp_path / "a.flac", start + bytes(2000)))
    assert (fault.code, what in fault.message) == ("unsupported_format", True)


def test_random_bytes(tmp_path: Path, refuse: Refuse) -> None:
    noise = quantised(music(20_000), 16).astype("<i2").tobytes()
    assert refuse(path_with(tmp_path / "a.mp3", noise)).code == "unsupported_format"


CUT = {
    "wav": ("a.wav", ["-c:a", "pcm_s16le"]),
    "aiff": ("a.aiff", ["-c:a", "pcm_s24be"]),
    "flac": ("a.flac", ["-c:a", "flac"]),
    "m4a": ("a.m4a", ["-c:a", "aac"]),
    "m4a-header-first": ("a.m4a", ["-c:a", "aac", "-movflags", "faststart"]),
    "alac": ("a.m4a", ["-c:a", "alac", "-movflags", "faststart"]),
    "mp3": ("a.mp3", ["-c:a", "libmp3lame"]),
    "mp3-without-tag": ("a.mp3", ["-c:a", "libmp3lame", "-write_xing", "0"]),
    "adts": ("a.aac", ["-c:a", "aac", "-f", "adts"]),
    "opus": ("a.opus", ["-c:a", "libopus"]),
    "ogg": ("a.ogg", ["-c:a", "libvorbis"]),
}


@pytest.mark.parametrize("name", CUT)
def test_a_file_that_was_cut_short(name: str, tmp_path: Path, refuse: Refuse) -> None:
    file_name, options = CUT[name]
    rate = 48_000 if name == "opus" else RATE
    whole = render(tmp_path / file_name, music(SOME), rate, *options).read_bytes()
    cut = path_with(tmp_path / f"cut-{file_name}", whole[: len(whole) * 2 // 3])
    assert refuse(cut).code == "truncated_file"


def test_a_flac_that_ends_between_two_frames_is_cut_short_all_the_same(tmp_path: Path, refuse: Refuse) -> None:
    whole = render(tmp_path / "a.flac", music(SOME), RATE, "-c:a", "flac").read_bytes()
    last_frame = whole.rindex(b"\xff\xf8")
    fault = refuse(path_with(tmp_path / "b.flac", whole[:last_frame]))
    assert fault.code == "truncated_file"
    assert "% of the declared sound is there" in fault.message


def test_a_flipped_bit_in_a_flac_is_found(tmp_path: Path, refuse: Refuse) -> None:
    whole = render(tmp_path / "a.flac", music(SOME), RATE, "-c:a", "flac").read_bytes()
    for place, code in ((len(whole) // 4, "damaged_file"), (len(whole) - 100, "truncated_file")):
        data = bytearray(whole)
        data[place] ^= 0x10
        assert refuse(path_with(tmp_path / "b.flac", bytes(data))).code == code


def test_an_mp3_with_a_hole_is_damaged_and_not_cut_short(tmp_path: Path, refuse: Refuse) -> None:
    whole = render(tmp_path / "a.mp3", music(5 * RATE), RATE, "-c:a", "libmp3lame", "-b:a", "128k").read_bytes()
    middle = len(whole) // 2
    fault = refuse(path_with(tmp_path / "b.mp3", whole[:middle] + bytes(20_000) + whole[middle + 20_000 :]))
    assert fault.code == "damaged_file"
    assert "% of its frames cannot be read" in fault.message
    assert refuse(path_with(tmp_path / "c.mp3", whole[:middle])).code == "truncated_file"


def test_an_adts_file_of_a_few_bytes_is_not_to_be_resampled(tmp_path: Path, refuse: Refuse) -> None:
    whole = render(tmp_path / "a.aac", music(SOME), RATE, "-c:a", "aac", "-f", "adts").read_bytes()
    for size in (7, 20, 40):
        fault = refuse(path_with(tmp_path / "b.aac", whole[:size]))
        assert fault.code == "damaged_file"
        assert "resample" not in fault.message


def test_damage_in_the_middle_is_refused_or_heard_but_never_crashes(tmp_path: Path, workdir: Path) -> None:
    for name in ("alac", "m4a", "mp3", "adts", "opus", "ogg"):
        file_name, options = CUT[name]
        rate = 48_000 if name == "opus" else RATE
        data = bytearray(render(tmp_path / file_name, music(SOME), rate, *options).read_bytes())
        middle = len(data) // 2
        data[middle : middle + 200] = bytes(range(200))
        try:
            ingest(path_with(tmp_path / f"b-{file_name}", bytes(data)), workdir)
        except CallerFault as fault:
            assert fault.code in ("damaged_file", "changing_format", "unsupported_codec", "truncated_file")


def test_headers_of_every_kind_cut_anywhere_never_crash_the_reader(tmp_path: Path, refuse: Refuse) -> None:
    for name in ("wav", "aiff", "flac", "m4a-header-first", "opus"):
        file_name, options = CUT[name]
        whole = render(tmp_path / file_name, music(4800), 48_000, *options).read_bytes()
        for size in (5, 13, 40):
            code = refuse(path_with(tmp_path / f"h-{file_name}", whole[:size])).code
            assert code in ("truncated_file", "damaged_file", "unsupported_format", "no_audio")


@pytest.mark.parametrize("entry", [b"drms", b"enca"])
def test_a_protected_file(entry: bytes, tmp_path: Path, refuse: Refuse) -> None:
    data = render(tmp_path / "a.m4a", music(SOME), RATE, "-c:a", "aac").read_bytes()
    fault = refuse(path_with(tmp_path / "b.m4p", data.replace(b"mp4a", entry, 1)))
    assert fault.code == "drm_protected"
    assert "without protection" in fault.message


def test_a_video(tmp_path: Path, refuse: Refuse) -> None:
    for name in ("a.mp4", "a.avi"):
        path = tmp_path / name
        sources = ["-f", "lavfi", "-i", "testsrc=d=1:s=64x64", "-f", "lavfi", "-i", "sine=d=1"]
        subprocess.run(
            ["ffmpeg", "-v", "error", *sources, "-c:v", "mpeg4", "-c:a", "aac", str(path)], check=True
        )
        assert refuse(path).code == "video_file"


def test_a_file_without_sound(tmp_path: Path, refuse: Refuse) -> None:
    assert refuse(path_with(tmp_path / "a.wav", riff(RATE, 2, 16, b""))).code == "no_audio"
    text_only = tmp_path / "a.mp4"
    subtitle = path_with(tmp_path / "a.srt", b"1\n00:00:00,000 --> 00:00:01,000\nla la\n")
    command = ["ffmpeg", "-v", "error", "-i", str(subtitle), "-c:s", "mov_text", str(text_only)]
    subprocess.run(command, check=True)
    assert refuse(text_only).code == "no_audio"


def test_twelve_hours_are_refused_from_the_header(tmp_path: Path, refuse: Refuse) -> None:
    path = tmp_path / "long.wav"
    size = 12 * 3600 * 8000
    path.write_bytes(riff(8000, 1, 8, b"", size))
    os.truncate(path, path.stat().st_size + size)
    began = time.monotonic()
    fault = refuse(path)
    assert fault.code == "too_long"
    assert "longer than 8 hours" in fault.message
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("name", ["wav", "flac", "mp3-without-tag", "adts", "ogg"])
def test_too_long_is_noticed_while_decoding_where_the_header_does_not_tell(
    name: str, tmp_path: Path, refuse: Refuse
) -> None:
    file_name, options = CUT[name]
    data = bytearray(render(tmp_path / file_name, music(3 * RATE), RATE, *options).read_bytes())
    if name == "wav":
        at = data.index(b"data")
        data[at + 4 : at + 8] = b"\xff\xff\xff\xff"
    if name == "flac":
        # STREAMINFO: the lower 32 of the 36 bits of the total, and the checksum; zero is "unknown".
        data[22:42] = bytes(20)
    path = path_with(tmp_path / f"b-{file_name}", bytes(data))
    assert refuse(path, IngestLimits(max_duration_s=2)).code == "too_long"


def test_four_hundred_channels(tmp_path: Path, refuse: Refuse) -> None:
    fault = refuse(path_with(tmp_path / "a.wav", riff(8000, 400, 16, bytes(8000))))
    assert fault.code == "too_many_channels"
    assert "has 400 channels" in fault.message


@pytest.mark.parametrize("name", ["wav", "flac", "m4a", "ogg"])
def test_surround_sound_is_refused_for_now(name: str, tmp_path: Path, refuse: Refuse) -> None:
    file_name, options = CUT[name]
    path = render(tmp_path / file_name, music(SOME, 6), RATE, *options)
    assert refuse(path).code == "too_many_channels"


def test_sample_rates_out_of_bounds(tmp_path: Path, refuse: Refuse) -> None:
    for rate in (4000, 384_000):
        path = write_wav(tmp_path / "a.wav", quantised(music(rate // 8), 16), rate, 16)
        fault = refuse(path)
        assert (fault.code, f"{rate} Hz" in fault.message) == ("unsupported_sample_rate", True)


def test_codecs_that_are_not_taken_are_named(tmp_path: Path, refuse: Refuse) -> None:
    path = render(tmp_path / "a.wav", music(SOME), RATE, "-c:a", "adpcm_ms")
    fault = refuse(path)
    assert (fault.code, "adpcm_ms" in fault.message) == ("unsupported_codec", True)


# --- The machine, not the file


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few hundred kilobytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", quantised(music(10 * RATE), 16), RATE, 16)
    with pytest.raises(CallerFault) as caught:
        ingest(path, small_disk)
    assert caught.value.code == "disk_full"
    assert list(small_disk.iterdir()) == []


def test_a_folder_that_was_made_for_the_result_goes_away_again(tmp_path: Path) -> None:
    with pytest.raises(CallerFault):
        ingest(path_with(tmp_path / "a.flac", b"text"), tmp_path / "deep" / "work")
    assert not (tmp_path / "deep" / "work").exists()


def test_more_output_than_allowed(wav: Path, refuse: Refuse) -> None:
    assert refuse(wav, IngestLimits(output_bytes=20_000)).code == "output_too_large"


def test_more_memory_than_allowed(wav: Path, refuse: Refuse) -> None:
    assert refuse(wav, IngestLimits(memory_bytes=200 << 20)).code in ("ingest_out_of_memory", "ingest_crashed")


def test_more_time_than_allowed(wav: Path, refuse: Refuse) -> None:
    assert refuse(wav, IngestLimits(wall_s=0)).code == "ingest_timeout"
    assert refuse(wav, IngestLimits(stall_s=0)).code == "ingest_timeout"


def test_more_processor_time_than_allowed(tmp_path: Path, refuse: Refuse) -> None:
    path = write_wav(tmp_path / "a.wav", quantised(music(120 * RATE, 1), 16), RATE, 16)
    assert refuse(path, IngestLimits(cpu_s=1)).code == "ingest_timeout"


def test_a_worker_that_is_killed(tmp_path: Path, refuse: Refuse) -> None:
    path = write_wav(tmp_path / "a.wav", quantised(music(60 * RATE, 1), 16), RATE, 16)

    def kill_it(_done: float) -> None:
        for pid in _children():
            os.kill(pid, signal.SIGKILL)

    fault = refuse(path, on_progress=kill_it)
    assert (fault.code, "signal 9" in fault.message) == ("ingest_crashed", True)


def test_an_interruption_ends_the_worker_too(tmp_path: Path, workdir: Path) -> None:
    path = write_wav(tmp_path / "a.wav", quantised(music(60 * RATE, 1), 16), RATE, 16)

    def interrupt(_done: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(path, workdir, on_progress=interrupt)
    assert _children() == []
    assert list(workdir.iterdir()) == []


def _children() -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True
    )
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if "hub.media.worker" in line]


def test_every_sentence_names_the_file_and_is_one_sentence() -> None:
    for code, sentence in SENTENCES.items():
        assert "{file}" in sentence, code
        assert sentence.endswith(".")
        assert ". " not in sentence
