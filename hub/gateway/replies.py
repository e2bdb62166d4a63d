"""One whole answer of the gateway, and the header fields that its answers share."""

from dataclasses import dataclass, field

import msgspec

from digm.errors import DigmError, Unavailable

METHODS = "GET, HEAD, OPTIONS"
IMMUTABLE = "public, max-age=31536000, immutable"
CORS = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "accept-ranges, content-length, content-range, etag, x-ipfs-path, "
    "x-ipfs-roots",
    "cross-origin-resource-policy": "cross-origin",
    "timing-allow-origin": "*",
    "x-content-type-options": "nosniff",
}
PREFLIGHT = {
    "access-control-allow-methods": METHODS,
    "access-control-allow-headers": "range, if-range, if-none-match",
    "access-control-max-age": "86400",
}
# A damaged chunk is our disk's fault behind this address, as a bad upstream is: 502. The player asks
# elsewhere.
STATUS_BY_CODE = {
    "not_found": 404,
    "chunk_not_held": 404,
    "track_not_held": 404,
    "chunk_damaged": 502,
    "manifest_damaged": 502,
    "range_not_satisfiable": 416,
    "method_not_allowed": 405,
    "body_too_slow": 408,
    "body_too_large": 413,
    "bad_cid": 400,
    "format_missing": 400,
    "format_not_offered": 406,
    "not_cached": 412,
    "gateway_busy": 503,
}


@dataclass(frozen=True)
class Reply:
    """One whole answer."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def json_reply(status: int, body: object) -> Reply:
    """An answer about this moment, which nobody keeps."""
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    return Reply(status, msgspec.json.encode(body), headers)


def failure_reply(error: DigmError) -> Reply:
    """The answer that tells of a failure, with its code."""
    status = STATUS_BY_CODE.get(error.code, 503 if isinstance(error, Unavailable) else 500)
    reply = json_reply(status, {"error": {"code": error.code, "message": error.message}})
    if error.code.startswith("body_"):
        reply.headers["connection"] = "close"
    if status == 503:
        reply.headers["retry-after"] = "1"
    if status == 405:
        reply.headers["allow"] = METHODS
    if status == 416:
        reply.headers["content-range"] = f"bytes */{error.data['size']}"
    return reply
