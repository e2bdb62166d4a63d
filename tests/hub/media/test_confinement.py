"""The worker reaches nothing but its file and its folder, and nothing that it says is believed unchecked."""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from digm.errors import CallerFault
from hub.media import IngestLimits, ingest
from hub.media.report import Request
from tests.hub.media.sounds import music, quantised, write_wav

RATE = 44_100

INSIDE = """
import json, os, resource, socket, sys
from pathlib import Path
import hub
from hub.media.confinement import confine_files, die_with_parent, limit_resources
from hub.media.model import IngestLimits
source, folder, secret, parent = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
die_with_parent(parent)
limit_resources(IngestLimits())
listener = socket.create_server(("127.0.0.1", 0))
no_new_privs = "NoNewPrivs:\\t1" in Path("/proc/self/status").read_text()
is_confined = confine_files([source], folder)
def tried(action):
    try:
        action()
    except OSError as error:
        return error.errno
    return 0
import encodings.cp1250
print(json.dumps({
    "no_new_privs": no_new_privs,
    "is_confined": is_confined,
    "source": tried(lambda: source.read_bytes()),
    "write": tried(lambda: (folder / "x").write_bytes(b"x")),
    "secret": tried(lambda: secret.read_bytes()),
    "checkout": tried(lambda: Path(hub.__file__).parents[1].joinpath("pyproject.toml").read_bytes()),
    "passwd": tried(lambda: Path("/etc/passwd").read_bytes()),
    "spoil": tried(lambda: source.write_bytes(b"")),
    "elsewhere": tried(lambda: (secret.parent / "y").write_bytes(b"y")),
    "execute": tried(lambda: os.execv("/bin/true", ["true"])),
    "connect": tried(lambda: socket.create_connection(listener.getsockname(), 5)),
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "files": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
    "memory": resource.getrlimit(resource.RLIMIT_AS)[1],
}))
"""


def test_the_worker_reaches_its_file_and_its_folder_and_nothing_else(tmp_path: Path) -> None:
    source, folder, secret = tmp_path / "a.wav", tmp_path / "work", tmp_path / "secrets" / "vault"
    folder.mkdir()
    secret.parent.mkdir()
    for path in (source, secret):
        path.write_bytes(b"x")
    arguments = [str(source), str(folder), str(secret), str(os.getpid())]
    command = [sys.executable, "-c", INSIDE, *arguments]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert (told["source"], told["write"]) == (0, 0)
    assert told["no_new_privs"]
    assert (told["core"], told["files"], told["memory"]) == ([0, 0], 64, 2 << 30)
    if not told["is_confined"]:
        pytest.skip("this kernel has no Landlock")
    for forbidden in ("secret", "checkout", "passwd", "spoil", "elsewhere", "execute", "connect"):
        assert told[forbidden] == 13, forbidden


def test_the_worker_dies_with_its_parent(tmp_path: Path) -> None:
    source = write_wav(tmp_path / "a.wav", quantised(music(120 * RATE, 1), 16), RATE, 16)
    script = (
        "import os, sys; from pathlib import Path; from hub.media import ingest\n"
        "ingest(Path(sys.argv[1]), Path(sys.argv[2]), on_progress=lambda done: print(done, flush=True))"
    )
    command = [sys.executable, "-c", script, str(source), str(tmp_path / "work")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        listed = ["ps", "-o", "pid=", "--ppid", str(parent.pid)]
        worker = int(subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()[0])
        ended = os.pidfd_open(worker)
        parent.kill()
    try:
        assert select.select([ended], [], [], 10)[0], "the worker outlived its parent"
    finally:
        os.close(ended)


def test_a_worker_whose_parent_is_gone_already_does_nothing(tmp_path: Path) -> None:
    request = Request(b"/nowhere", os.fsencode(tmp_path), None, IngestLimits(), parent_pid=1)
    command = [sys.executable, "-I", "-m", "hub.media.worker"]
    ended = subprocess.run(command, input=msgspec.json.encode(request), capture_output=True)
    if sys.platform == "linux":
        assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, b"")


# --- A worker that lies: a script in its place leaves what the case says in the folder, and answers.

LIAR = """
import json, os, struct, sys
from pathlib import Path
request = json.load(sys.stdin)
import base64
folder = Path(os.fsdecode(base64.b64decode(request["folder"])))
def relink(name, target):
    (folder / name).unlink()
    (folder / name).symlink_to(target)
def rendition(codec, sizes=(4, 4), data=b"12345678", durations=None):
    (folder / f"{codec}.packets").write_bytes(data)
    pairs = zip(sizes, durations or [24000] * len(sizes))
    (folder / f"{codec}.index").write_bytes(b"".join(struct.pack(">II", *pair) for pair in pairs))
    opus = codec == "opus"
    private = b"OpusHead" + bytes(11) if opus else b"\\x11\\x90"
    return {"codec": codec, "sample_rate": 48000, "channels": 2, "bits": 0, "timescale": 48000,
            "codec_private": base64.b64encode(private).decode(), "delay": 0, "padding": 0}
answer = {"type": "track", "tags": {"title": "T"}, "has_cover": False, "duration_s": 1.0,
          "loudness_lufs": -20.0, "true_peak_db": -1.0, "peaks": "AAAA", "source_codec": "aac",
          "renditions": [rendition("aac"), rendition("opus")], "notes": []}
"""

LIES = {
    "no answer": "answer = None",
    "two tracks in one": "answer['renditions'].append(rendition('opus'))",
    "unknown fields": "answer['file'] = '/etc/passwd'",
    "an unknown codec": "answer['renditions'][0]['codec'] = 'vp9'",
    "a path as codec": "answer['renditions'][0]['codec'] = '../../etc/passwd'",
    "too many channels": "answer['renditions'][0]['channels'] = 400",
    "sizes that do not add up": "rendition('aac', sizes=(4, 5))",
    "an empty access unit": "rendition('aac', sizes=(8, 0))",
    "a duration of zero": "rendition('aac', durations=[48000, 0])",
    "a broken index": "(folder / 'aac.index').write_bytes(b'123')",
    "an index that is a link": "relink('aac.index', 'opus.index')",
    "packets that are a link": "relink('aac.packets', '/etc/passwd')",
    "a missing file": "(folder / 'aac.packets').unlink()",
    "another duration": "answer['duration_s'] = 2.0",
    "no duration": "answer['duration_s'] = 0.0",
    "a duration that is no number": "answer['duration_s'] = 'long'",
    "a negative delay": "answer['renditions'][0]['delay'] = -1",
    "a waveform without end": "answer['peaks'] = 'AAAA' * 1000",
    "control characters in the title": "answer['tags']['title'] = 'a\\x1b[2Jb'",
    "an endless title": "answer['tags']['title'] = 'a' * 501",
    "a year out of bounds": "answer['tags']['year'] = 10**9",
    "a loudness out of bounds": "answer['loudness_lufs'] = 1e300",
    "its own words": "answer['notes'] = [{'code': 'Send money to the following address'}]",
    "a cover that is not there": "answer['has_cover'] = True",
    "a cover that is no JPEG": "answer['has_cover'] = True; (folder / 'cover.jpg').write_bytes(b'<svg/>')",
    "a name of a codec with markup": "answer['source_codec'] = '<b>'",
    "a fault nobody knows": "answer = {'type': 'fault', 'code': 'pwned', 'facts': {}}",
    "no JSON": "print('hello')",
    "an endless line": "sys.stdout.write('x' * (3 << 20))",
}


def liar(monkeypatch: pytest.MonkeyPatch, lie: str) -> None:
    """Put a script in the place of the worker."""
    script = LIAR + lie + "\nif answer: print(json.dumps(answer))\n"
    started = subprocess.Popen

    def start(_command: list[str], **options: object) -> "subprocess.Popen[bytes]":
        return started([sys.executable, "-c", script], **options)

    monkeypatch.setattr("hub.media.supervisor.subprocess.Popen", start)


def test_an_honest_answer_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    liar(monkeypatch, "")
    source = tmp_path / "a.wav"
    source.write_bytes(b"x")
    track = ingest(source, tmp_path / "work")
    assert [sample.payload for sample in track.renditions[0].samples()] == [b"1234", b"5678"]


@pytest.mark.parametrize("lie", LIES)
def test_a_worker_that_lies_is_not_believed(lie: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    liar(monkeypatch, LIES[lie])
    source = tmp_path / "a.wav"
    source.write_bytes(b"x")
    with pytest.raises(CallerFault) as caught:
        ingest(source, tmp_path / "work")
    assert caught.value.code in ("ingest_refused", "ingest_crashed")
    assert "money" not in caught.value.message
    assert not (tmp_path / "work").exists()


def test_facts_of_a_fault_cannot_speak_for_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = "{'what': 'x\\n\\x1b[2J' * 999, 'file': 'evil'}"
    lie = "answer = {'type': 'fault', 'code': 'damaged_file', 'facts': " + facts + "}"
    liar(monkeypatch, lie)
    source = tmp_path / "a.wav"
    source.write_bytes(b"x")
    with pytest.raises(CallerFault) as caught:
        ingest(source, tmp_path / "work")
    assert caught.value.message.startswith(str(source))
    assert len(caught.value.message) < 400
    assert caught.value.message.isprintable()
