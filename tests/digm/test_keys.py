import pytest

from digm.errors import CallerFault
from digm.keys import chunk_key, hkdf_sha256, key_commitment

TRACK_KEY = bytes(range(32))


def test_hkdf_gives_the_okm_of_rfc_5869_test_case_1():
    okm = hkdf_sha256(b"\x0b" * 22, bytes(range(0xF0, 0xFA)), 42, salt=bytes(range(13)))
    assert okm.hex() == ("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")


def test_hkdf_without_salt_gives_the_okm_of_rfc_5869_test_case_3():
    assert hkdf_sha256(b"\x0b" * 22, b"", 42).hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )


def test_every_chunk_of_every_rendition_has_a_key_of_its_own():
    keys = {chunk_key(TRACK_KEY, rendition, chunk) for rendition in range(3) for chunk in range(50)}
    assert len(keys) == 150
    assert TRACK_KEY not in keys


def test_the_commitment_differs_for_different_keys():
    assert key_commitment(TRACK_KEY) != key_commitment(bytes(32))


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)])
def test_a_key_of_the_wrong_length_is_refused(key):
    with pytest.raises(CallerFault, match="32 bytes"):
        chunk_key(key, 0, 0)


@pytest.mark.parametrize("place", [(-1, 0), (0, -1), (65_536, 0), (0, 1 << 32)])
def test_a_place_that_no_track_has_is_refused(place):
    with pytest.raises(CallerFault) as fault:
        chunk_key(TRACK_KEY, *place)
    assert fault.value.code == "bad_place"
