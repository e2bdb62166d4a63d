"""Byte ranges and conditions of one request (RFC 9110 §13 and §14), without a socket."""

import re

from digm.errors import CallerFault

_RANGE = re.compile(r"bytes=[ \t]*(\d{0,19})-(\d{0,19})[ \t]*", re.IGNORECASE)


def parse_range(header: str | None, size: int) -> range | None:
    """Which bytes a Range header asks for.

    Returns:
        the bytes; None where the whole body is the answer: no header, another unit, or several ranges, all
        of which a server may ignore (§14.2).
    Raises:
        CallerFault: `range_not_satisfiable`.
    """
    match = _RANGE.fullmatch(header) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        wanted = range(max(0, size - int(last)), size)
    elif last and int(last) < int(first):
        return None  # not a range at all, so ignored
    else:
        wanted = range(int(first), min(size, int(last) + 1 if last else size))
    if not wanted:
        raise CallerFault(
            "range_not_satisfiable", f"There are {size} bytes; the range begins behind them.", size=size
        )
    return wanted


def names_etag(header: str | None, etag: str) -> bool:
    """Whether If-None-Match lists this ETag, compared weakly (§13.1.2)."""
    if not header:
        return False
    listed = (tag.strip().removeprefix("W/") for tag in header.split(","))
    return header.strip() == "*" or etag in listed


def range_still_applies(if_range: str | None, etag: str) -> bool:
    """Whether the Range header counts: If-Range is missing or names exactly this ETag (§13.1.5)."""
    return if_range is None or if_range.strip() == etag
