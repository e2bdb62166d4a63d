"""The commands as they are called: `digm publish` and `digm verify`."""

import contextlib
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from digm.errors import CallerFault
from hub.cli.publish import publish_command
from hub.cli.verify import verify_command
from hub.publishing.sources import find_release, fingerprint, printable
from hub.storage.catalogue import Catalogue

DIGM = [sys.executable, "-c", "from hub.cli import main; main()"]


@pytest.fixture(autouse=True)
def environment(data, monkeypatch):
    monkeypatch.setenv("DIGM_DATA", str(data.path))
    for name in [name for name in os.environ if name.startswith("DIGM_") and name != "DIGM_DATA"]:
        monkeypatch.delenv(name)


@pytest.fixture
def publish(capfd):
    def publish(*paths, **options):
        given = dict.fromkeys(("title", "artist", "album", "preview_seconds")) | {"as_json": True} | options
        status = publish_command([str(path) for path in paths], **given)
        out, err = capfd.readouterr()
        return status, [json.loads(line) for line in out.splitlines()] if given["as_json"] else out, err

    return publish


@pytest.fixture
def verify(capfd):
    def verify(*roots, as_json=True):
        status = verify_command(list(roots), as_json)
        out, _ = capfd.readouterr()
        return status, [json.loads(line) for line in out.splitlines()] if as_json else out

    return verify


def test_a_machine_gets_one_json_line_a_track(publish, stand_in, record, data):
    path = record("one.flac")
    status, [line], err = publish(path, title="Air", artist="Bach")
    assert status == 0
    assert err == ""
    root = data.tracks()[0].track_root
    assert line == {
        "track_root": root,
        "title": "Air",
        "artist": "Bach",
        "album": None,
        "duration_s": 20.0,
        "status": "published",
        "file": str(path),
    }
    status, [line], _ = publish(path)
    assert (status, line["status"], line["track_root"]) == (0, "already_published", root)


def test_a_bad_file_is_said_on_stderr_and_does_not_keep_the_others_back(publish, stand_in, record, data):
    stand_in.bad.add("bad.flac")
    bad = record("bad.flac")
    status, lines, err = publish(record("1.flac"), bad, record("2.flac"))
    assert status == 2
    assert [line["status"] for line in lines] == ["published", "failed", "published"]
    sentence = f"{bad} is damaged: copy or export it again."
    assert lines[1] == {
        "file": str(bad),
        "status": "failed",
        "error": {"code": "damaged_file", "message": sentence},
    }
    assert err.splitlines() == [sentence]
    data.assert_consistent()


def test_people_get_a_line_a_track(publish, stand_in, record):
    status, out, _ = publish(record("one.flac"), title="[red]Air", artist="Bach", as_json=False)
    assert status == 0
    assert out.startswith("Published [red]Air by Bach (0:20)")
    _, out, _ = publish(record("one.flac"), as_json=False)
    assert out.startswith("Was published already: [red]Air")


def test_one_title_for_several_files_is_refused(publish, stand_in, record, data):
    first = record("1.flac")
    status, [line], err = publish(first, record("2.flac"), title="Air")
    assert status == 2
    assert (line["file"], line["error"]["code"]) == (str(first), "bad_option")
    assert "one track" in err
    assert not data.path.exists()


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("", "empty_name"),
        ("x" * 300 + ".flac", "name_too_long"),
        ("folder/" * 1000, "name_too_long"),
        ("null\0.flac", "no_such_file"),
        ("none/one.flac", "no_such_file"),
        ("a  b.flac", "no_such_file"),
        ("\x1b[31mred\n.flac", "no_such_file"),
        ("\udcff.flac", "no_such_file"),
    ],
)
def test_an_odd_name_gets_one_sentence_and_the_others_go_on(
    publish, stand_in, record, music, monkeypatch, name, code
):
    monkeypatch.chdir(music)
    status, [bad, good], err = publish(name, record("good.flac"))
    assert (status, bad["status"], good["status"]) == (2, "failed", "published")
    assert bad["error"]["code"] == code
    assert err == bad["error"]["message"] + "\n"
    assert "was not published: " not in err
    assert err[:-1].isprintable()


def test_what_may_not_be_looked_at_is_said_to_be_unreadable():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        closed = Path(folder) / "closed"
        closed.mkdir()
        (closed / "one.flac").write_bytes(b"sound")
        listed = Path(folder) / "listed"
        listed.mkdir()
        (listed / "one.flac").write_bytes(b"sound")
        closed.chmod(0)
        listed.chmod(0o744)
        user = os.geteuid()
        os.seteuid(65_534 if user == 0 else user)
        try:
            for path in (closed, closed / "one.flac"):
                with pytest.raises(CallerFault, match="cannot be read") as caught:
                    find_release(path)
                assert caught.value.code == "unreadable_file"
            [file] = find_release(listed).files
            with pytest.raises(CallerFault, match="cannot be read"):
                fingerprint(file)
        finally:
            os.seteuid(user)
            closed.chmod(0o700)


def test_names_are_printed_as_one_line_that_moves_nothing():
    assert printable("caf\u00e9 \u3000 \U0001f3b5.flac") == "caf\u00e9 \u3000 \U0001f3b5.flac"
    assert printable(Path("a\x1b[2J\n\u202eb\udcff")) == "a\\x1b[2J\\n\\u202eb\\udcff"


def a_file_in_place_of_the_folder(data):
    data.path.write_text("a file")


def a_folder_in_place_of_the_vault(data):
    (data.path / "vault.digm").mkdir(parents=True)


def a_damaged_catalogue(data):
    data.path.mkdir()
    (data.path / "catalogue.sqlite").write_bytes(b"this is not a database" * 1000)


def a_damaged_vault(data):
    data.path.mkdir()
    (data.path / "vault.digm").touch(0o600)


@pytest.mark.parametrize(
    ("spoil", "code", "says"),
    [
        (a_file_in_place_of_the_folder, "data_not_a_folder", "is a file, where a folder belongs"),
        (a_folder_in_place_of_the_vault, "vault_is_no_file", "is a folder"),
        (a_damaged_catalogue, "catalogue_damaged", "damaged"),
        (a_damaged_vault, "vault_damaged", "empty or torn"),
    ],
)
def test_a_data_folder_that_cannot_be_used_is_one_json_line_too(publish, record, data, spoil, code, says):
    spoil(data)
    path = record("one.flac")
    status, [line], err = publish(path)
    assert (status, line["file"], line["status"], line["error"]["code"]) == (2, str(path), "failed", code)
    assert says in err
    assert err == line["error"]["message"] + "\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("as_json", [True, False])
def test_a_result_that_cannot_be_written_is_said_on_stderr(wav, data, as_json):
    command = [*DIGM, "publish", *(["--json"] if as_json else []), wav(seconds=1)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("Published tone")
    assert "No space left on device" in line
    data.assert_consistent()
    assert len(data.tracks()) == 1


@pytest.mark.parametrize("make", ["missing", "empty", "text", "truncated", "folder"])
def test_bad_input_gets_one_sentence_status_2_and_leaves_nothing(music, data, wav, make):
    path = music / "one.flac"
    if make == "empty":
        path.write_bytes(b"")
    elif make == "text":
        path.write_text("This is not music, it is a text. " * 100)
    elif make == "truncated":
        path.write_bytes(wav(seconds=3).read_bytes()[:100_001])
    elif make == "folder":
        path.mkdir()
    done = subprocess.run([*DIGM, "publish", "--json", path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    [line] = [json.loads(line) for line in done.stdout.splitlines()]
    assert line["status"] == "failed"
    assert done.stderr.splitlines() == [line["error"]["message"]]
    assert "one.flac" in done.stderr
    data.assert_empty()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--preview-seconds", "0"], "--preview-seconds takes 1 or more"),
        (["--preview-seconds", "-3"], "--preview-seconds takes 1 or more"),
        (["--preview-seconds", "60"], "shorter than a preview of 60"),
        (["--title", ""], "--title takes"),
    ],
)
def test_options_that_cannot_be_are_refused_in_a_sentence(wav, data, arguments, says):
    command = [*DIGM, "publish", "--json", *arguments, wav(seconds=2)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    [line] = [json.loads(line) for line in done.stdout.splitlines()]
    assert (line["status"], line["error"]["message"]) == ("failed", done.stderr.strip())
    assert not data.path.exists() or data.tracks() == []


def test_a_wrong_passphrase_is_a_sentence(wav, data, monkeypatch):
    monkeypatch.setenv("DIGM_VAULT_PASSPHRASE", "right")
    command = [*DIGM, "publish", wav(seconds=1)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    monkeypatch.setenv("DIGM_VAULT_PASSPHRASE", "wrong")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "DIGM_VAULT_PASSPHRASE" in done.stderr
    data.assert_consistent()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_middle_leaves_nothing_behind(wav, data, number):
    command = [*DIGM, "publish", "--json", wav(seconds=60)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    staging = data.path / "staging"
    while not any(staging.glob("*/media/*")):
        assert process.poll() is None
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert len(err.splitlines()) == 1
    assert "Stopped" in err
    data.assert_empty()


def test_on_a_terminal_there_is_a_bar_with_the_files_name(wav, data):
    screen, terminal = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        [*DIGM, "publish", wav("a[b]c.wav", 20)], stdout=subprocess.PIPE, stderr=terminal, env=environment
    )
    os.close(terminal)
    shown = b""
    while process.poll() is None or select.select([screen], [], [], 0)[0]:
        if select.select([screen], [], [], 0.1)[0]:
            try:
                shown += os.read(screen, 65_536)
            except OSError:
                break
    os.close(screen)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"a[b]c.wav" in shown
    assert b"encoding" in shown
    assert out.startswith(b"Published a[b]c (0:20)")


def test_verify_finds_a_whole_catalogue_whole(publish, verify, stand_in, record):
    publish(record("1.flac"), record("2.flac"))
    status, lines = verify()
    assert status == 0
    assert [line["damages"] for line in lines[:-1]] == [[], []]
    assert lines[-1]["tracks"] == 2
    assert lines[-1]["damaged"] == 0
    status, out = verify(as_json=False)
    assert status == 0
    assert "0 damaged" in out


@pytest.mark.parametrize("harm", ["flip", "truncate", "swap", "remove", "lengthen"])
def test_verify_names_a_chunk_that_came_to_harm(publish, verify, stand_in, record, data, harm):
    _, [line], _ = publish(record("1.flac"))
    publish(record("2.flac"))
    entry = next(entry for entry in data.tracks() if entry.track_root == line["track_root"])
    document = json.loads(data.store.manifest(entry.track_root))
    victim, other = (data.store.path(name) for name in document["renditions"][0]["chunk_hashes"][:2])
    content = bytearray(victim.read_bytes())
    content[1000] ^= 1
    harms = {
        "flip": lambda: victim.write_bytes(content),
        "truncate": lambda: os.truncate(victim, 60_000),
        "swap": lambda: shutil.copy(other, victim),
        "remove": victim.unlink,
        "lengthen": lambda: os.truncate(victim, 1 << 30),
    }
    harms[harm]()
    status, lines = verify()
    assert status == 1
    damaged = {line["track_root"]: line["damages"] for line in lines[:-1] if line["damages"]}
    [(root, [damage])] = damaged.items()
    assert root == entry.track_root
    assert damage["hash"] == victim.name
    assert (damage["rendition"], damage["chunk"]) == (0, 0)
    assert damage["code"] == ("chunk_not_held" if harm == "remove" else "chunk_damaged")
    assert lines[-1]["damaged"] == 1
    status, out = verify(root, as_json=False)
    assert status == 1
    assert "DAMAGED" in out
    assert victim.name[:8] in out


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda text: text.replace('"title":"1"', '"title":"2"'), "signature"),
        (lambda text: text[:-40], "manifest_unsigned"),
        (lambda text: text.replace('"audit_root":"', '"audit_root":"0')[:-1], "manifest_unsigned"),
        (lambda text: "[" * 100_000, "manifest_unsigned"),
    ],
)
def test_verify_names_a_manifest_that_came_to_harm(publish, verify, stand_in, record, data, change, code):
    _, [line], _ = publish(record("1.flac"))
    path = data.store.manifest_path(line["track_root"])
    path.write_text(change(path.read_text()))
    status, lines = verify()
    assert status == 1
    assert code in {damage["code"] for damage in lines[0]["damages"]}


def test_verify_misses_a_key_that_was_torn_off_the_vault(publish, verify, stand_in, record, data):
    publish(record("1.flac"))
    _, [lost], _ = publish(record("2.flac"))
    vault = data.path / "vault.digm"
    os.truncate(vault, vault.stat().st_size - 5)
    status, lines = verify()
    assert status == 1
    damaged = {line["track_root"]: line["damages"] for line in lines[:-1] if line["damages"]}
    [(root, [damage])] = damaged.items()
    assert (root, damage["part"], damage["code"]) == (lost["track_root"], "key", "no_key")
    assert lines[-1]["vault"] == "whole"


@pytest.mark.parametrize(
    ("harm", "status", "says"),
    [
        (lambda path: os.truncate(path, 30), 1, "restore it from a backup"),
        (lambda path: path.unlink(), 0, "There is no vault here"),
    ],
)
def test_verify_says_when_there_is_no_vault_to_look_into(
    publish, stand_in, record, data, capfd, harm, status, says
):
    publish(record("1.flac"))
    harm(data.path / "vault.digm")
    assert verify_command([], as_json=True) == status
    out, err = capfd.readouterr()
    assert says in err
    assert json.loads(out.splitlines()[-1])["vault"] in ("vault_damaged", "vault_missing")


@pytest.fixture
def read_only(data):
    """Mounts the data folder over itself so that nobody can write to it."""
    mounted = []

    def mount():
        done = subprocess.run(["mount", "--bind", "-o", "ro", data.path, data.path], capture_output=True)
        if done.returncode:
            pytest.skip("mounting a folder read-only needs root")
        mounted.append(data.path)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.skipif(not shutil.which("mount"), reason="there is no mount here")
@pytest.mark.parametrize("has_log", [True, False])
def test_a_data_folder_that_cannot_be_written_is_verified_but_not_published_into(
    publish, verify, stand_in, record, data, read_only, has_log
):
    publish(record("1.flac"))
    with contextlib.closing(Catalogue.open(data.path)) as catalogue:
        catalogue.tracks()
        publish(record("2.flac"))
        copies = {
            name: (data.path / name).read_bytes() for name in ("catalogue.sqlite", "catalogue.sqlite-wal")
        }
    if has_log:
        for name, content in copies.items():
            (data.path / name).write_bytes(content)
    read_only()
    status, lines = verify()
    assert (status, lines[-1]["tracks"], lines[-1]["vault"]) == (0, 2, "whole")
    status, [line], err = publish(record("3.flac"))
    assert (status, line["error"]["code"]) == (2, "data_not_writable")
    assert "cannot be opened or written" in err


def test_verify_refuses_a_track_that_is_not_here(publish, stand_in, record):
    publish(record("1.flac"))
    for root, says in (("0" * 64, "not published here"), ("../etc", "64 lower-case hex digits")):
        done = subprocess.run([*DIGM, "verify", root], capture_output=True, text=True, timeout=60)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert says in done.stderr
