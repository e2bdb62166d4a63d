"""Range headers, without a socket."""

import pytest

from digm.errors import CallerFault
from hub.gateway.ranges import accepts_gzip, names_etag, parse_range, range_still_applies


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, None),
        ("bytes=0-0", range(1)),
        ("bytes=10-19", range(10, 20)),
        ("bytes=10-", range(10, 100)),
        ("bytes=-10", range(90, 100)),
        ("bytes=-1000", range(100)),
        ("bytes=99-1000", range(99, 100)),
        ("Bytes=1-2", range(1, 3)),
        ("bytes=0-1,5-6", None),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=", None),
        ("bytes=a-b", None),
        ("frames=0-1", None),
        ("bytes=1-2; x", None),
        ("bytes=0-" + "9" * 20, range(100)),
        ("bytes=10-" + "9" * 5000, range(10, 100)),
        ("bytes=-" + "9" * 5000, range(100)),
        ("bytes=" + "0" * 30 + "1-2", range(1, 3)),
        ("bytes=" + "9" * 30 + "-5", None),
        ("bytes=\u0661-", None),
    ],
)
def test_a_range_is_understood_or_ignored(header: str | None, wanted: range | None) -> None:
    assert parse_range(header, 100) == wanted


@pytest.mark.parametrize(
    "header",
    ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=" + "9" * 20 + "-", "bytes=" + "9" * 5000 + "-"],
    ids=range(5),
)
def test_a_range_behind_the_end_cannot_be_satisfied(header: str) -> None:
    with pytest.raises(CallerFault) as failure:
        parse_range(header, 100)
    assert failure.value.code == "range_not_satisfiable"


def test_conditions_compare_etags() -> None:
    assert names_etag('"a", W/"b"', '"b"')
    assert names_etag("*", '"b"')
    assert not names_etag('"a"', '"b"')
    assert not names_etag(None, '"b"')
    assert range_still_applies(None, '"a"')
    assert range_still_applies('"a"', '"a"')
    assert not range_still_applies('W/"a"', '"a"')
    assert not range_still_applies("Sun, 22 Nov 2026 00:00:00 GMT", '"a"')


@pytest.mark.parametrize(
    "header",
    ["gzip", "br, gzip", "GZIP;q=0.5", "*", "identity;q=0, *;q=0.1", "x-gzip", "deflate, gzip ; q=1.000"],
)
def test_gzip_is_used_where_it_is_accepted(header: str) -> None:
    assert accepts_gzip(header)


@pytest.mark.parametrize(
    "header", [None, "", "gzip;q=0", "gzip; q=0.000", "*, gzip;q=0", "*;q=0", "br", "notgzip", "gzip;q=much"]
)
def test_gzip_is_not_used_where_it_is_refused_or_not_named(header: str | None) -> None:
    assert not accepts_gzip(header)
