import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digm.errors import DigmError, PeerFault
from digm.manifest import encode_manifest, parse_manifest
from tests.vectors import generate

DOCUMENT = json.loads(generate.FORMAT_VECTORS.read_text(encoding="utf-8"))["tracks"][0]["manifest"].encode()


def altered(change):
    """The document with its members changed by `change(members)`; the signature stays where it was."""
    members = json.loads(DOCUMENT)
    signature = members.pop("signature")
    change(members)
    return json.dumps(members, separators=(",", ":")).encode()[:-1] + f',"signature":"{signature}"}}'.encode()


def code_of(document):
    with pytest.raises(PeerFault) as fault:
        parse_manifest(document)
    return fault.value.code


def test_what_is_written_is_what_is_read():
    manifest = parse_manifest(DOCUMENT)
    again = parse_manifest(encode_manifest(manifest, lambda _: manifest.signature))
    assert again == manifest


def test_the_signed_part_is_the_document_without_its_signature():
    signed = parse_manifest(DOCUMENT).signed_part
    assert json.loads(signed) == {k: v for k, v in json.loads(DOCUMENT).items() if k != "signature"}
    assert DOCUMENT.startswith(signed[:-1])


def test_members_that_nobody_knows_are_ignored():
    assert parse_manifest(altered(lambda m: m.update(mood="blue"))).title == parse_manifest(DOCUMENT).title


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda m: m.update(digm=2), "manifest_version"),
        (lambda m: m.update(title=""), "manifest_field"),
        (lambda m: m.update(title="x" * 501), "manifest_field"),
        (lambda m: m.update(title="\ud800"), "manifest_field"),
        (lambda m: m.update(title=7), "manifest_field"),
        (lambda m: m.update(year=True), "manifest_field"),
        (lambda m: m.update(duration_s=-1), "manifest_field"),
        (lambda m: m.update(duration_s=10**9), "manifest_field"),
        (lambda m: m.update(peaks="not base64!"), "manifest_field"),
        (lambda m: m.update(track_root="AB" * 32), "manifest_field"),
        (lambda m: m.update(track_root="00" * 32), "manifest_root"),
        (lambda m: m.update(renditions=[]), "manifest_field"),
        (lambda m: m.update(preview_s=9_999), "manifest_field"),
        (lambda m: m["renditions"][0].update(codec="mp9"), "manifest_field"),
        (lambda m: m["renditions"][0].update(id=1), "manifest_field"),
        (lambda m: m["renditions"][0].update(frames_per_chunk=3), "manifest_field"),
        (lambda m: m["renditions"][0].update(last_chunk_frames=2), "manifest_field"),
        (lambda m: m["renditions"][0]["chunk_hashes"].reverse(), "manifest_root"),
        (lambda m: m["renditions"][0]["chunk_hashes"].pop(), "manifest_field"),
        (lambda m: m["renditions"][0]["fragments"].reverse(), "manifest_times"),
        (lambda m: m["renditions"][0]["fragments"][0].reverse(), "manifest_times"),
        (lambda m: m["renditions"][0]["fragments"][0].append([65_536, 10**6]), "manifest_times"),
        (lambda m: m["renditions"][0]["fragments"][0].append("x"), "manifest_field"),
        (lambda m: m["renditions"][0].update(duration=44_100 * 60), "manifest_times"),
        (lambda m: m["renditions"][1].update(delay=10**8), "manifest_times"),
        (lambda m: m.update(loudness=None), "manifest_field"),
        (lambda m: m.update(cover={"hash": "x"}), "manifest_field"),
    ],
)
def test_a_manifest_that_is_not_right_is_refused_by_name(change, code):
    assert code_of(altered(change)) == code


def test_a_member_named_twice_is_refused():
    assert code_of(DOCUMENT.replace(b'{"digm":1', b'{"title":"other","digm":1')) == "manifest_not_json"


@pytest.mark.parametrize(
    "document", [b"", b"{}", b"[]", DOCUMENT[:-1], DOCUMENT + b" ", DOCUMENT[:-3] + b'Z"}']
)
def test_a_document_that_does_not_end_with_a_signature_is_refused(document):
    assert code_of(document) == "manifest_unsigned"


def test_nan_is_refused():
    nan = DOCUMENT.replace(b'"integrated_lufs":-14.5', b'"integrated_lufs":NaN')
    assert nan != DOCUMENT
    assert code_of(nan) == "manifest_not_json"


def test_deep_nesting_is_refused_and_does_not_end_the_process():
    bomb = b'{"digm":' + b"[" * 1_000_000 + DOCUMENT[-145:]
    assert code_of(bomb) in ("manifest_not_json", "manifest_unsigned")


@given(st.integers(0, len(DOCUMENT) - 1), st.binary(min_size=0, max_size=4))
def test_no_damage_does_more_than_raise_a_named_error(at, noise):
    try:
        parse_manifest(DOCUMENT[:at] + noise + DOCUMENT[at + 1 :])
    except DigmError as fault:
        assert fault.code.startswith("manifest_")


def test_times_are_presented_without_the_encoder_delay():
    opus = parse_manifest(DOCUMENT).renditions[1]
    assert opus.config.delay == 312
    assert opus.chunk_start_s(0) == 0.0
    assert opus.chunk_start_s(1) == pytest.approx((opus.fragments[1][0][1] - 312) / 48_000)
    assert opus.chunk_end_s(opus.chunk_count - 1) == pytest.approx((465 * 960 - 312 - 400) / 48_000)


@pytest.mark.parametrize("rendition", [0, 1])
def test_every_moment_is_in_the_chunk_that_starts_before_it(rendition):
    rendition = parse_manifest(DOCUMENT).renditions[rendition]
    for chunk in range(rendition.chunk_count):
        start, end = rendition.chunk_start_s(chunk), rendition.chunk_end_s(chunk)
        assert rendition.chunk_at(start) == chunk
        assert rendition.chunk_at((start + end) / 2) == chunk
    assert rendition.chunk_at(-5) == 0
    assert rendition.chunk_at(10**6) == rendition.chunk_count - 1
