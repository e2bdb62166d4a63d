"""Byte ranges and conditions of one request (RFC 9110 §13 and §14), without a socket."""

import re

from digm.errors import CallerFault

_RANGE = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)
_WEIGHT = re.compile(r"(?:q[ \t]*=[ \t]*(?P<value>[01](?:\.[0-9]{0,3})?))?", re.IGNORECASE)
_NO_SUCH_POSITION = 10**19


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
        wanted = range(max(0, size - _number(last)), size)
    elif last and _number(last) < _number(first):
        return None  # not a range at all, so ignored
    else:
        wanted = range(_number(first), min(size, _number(last) + 1 if last else size))
    if not wanted:
        raise CallerFault(
            "range_not_satisfiable", f"There are {size} bytes; the range begins behind them.", size=size
        )
    return wanted


def _number(digits: str) -> int:
    """Any number of digits is valid; what is longer than a position can be lies behind every end."""
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) < 20 else _NO_SUCH_POSITION


def accepts_gzip(header: str | None) -> bool:
    """Whether Accept-Encoding gives gzip, by name or by `*`, a weight above 0 (RFC 9110 §12.5.3)."""
    weights = {}
    for item in (header or "").split(","):
        coding, _, parameters = item.partition(";")
        weight = _WEIGHT.fullmatch(parameters.strip())
        # A weight that cannot be read promises nothing.
        weights[coding.strip().lower()] = float(weight["value"] or 1) if weight else 0.0
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0


def names_etag(header: str | None, etag: str) -> bool:
    """Whether If-None-Match lists this ETag, compared weakly (§13.1.2)."""
    if not header:
        return False
    listed = (tag.strip().removeprefix("W/") for tag in header.split(","))
    return header.strip() == "*" or etag in listed


def range_still_applies(if_range: str | None, etag: str) -> bool:
    """Whether the Range header counts: If-Range is missing or names exactly this ETag (§13.1.5)."""
    return if_range is None or if_range.strip() == etag
