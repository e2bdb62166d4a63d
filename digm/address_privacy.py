"""'Hide my address': descriptions and candidates that show a relay's address and no other (RFC 8839, 8828).

The browser is told to use relays only; this looks again at what leaves, so that a browser which gathers more,
or a mistake of ours, shows nobody where the listener is.
"""

import re
from collections.abc import Iterable

_RELATED = re.compile(r" raddr \S+ rport \S+")
_TYPE = re.compile(r" typ (\S+)")


def relay_only_candidate(candidate: str) -> str | None:
    """A trickled candidate as it may leave; None when it may not.

    The related address of a relay candidate is the listener's own, so it is blanked (RFC 8839 §5.1).
    """
    kinds = _TYPE.findall(candidate)
    if kinds != ["relay"] or "\n" in candidate or "\r" in candidate:
        return None
    return _RELATED.sub(" raddr 0.0.0.0 rport 0", candidate)


def relay_only_sdp(sdp: str) -> str:
    """A description without any other candidate, and without an address anywhere else."""
    kept = []
    for line in re.split(r"\r\n|\r|\n", sdp):
        if line.startswith("a=candidate:"):
            candidate = relay_only_candidate(line[2:])
            if candidate is not None:
                kept.append("a=" + candidate)
        elif line.startswith("c="):
            kept.append("c=IN IP4 0.0.0.0")
        elif line.startswith("o="):
            fields = line.split(" ")
            kept.append(" ".join([*fields[:4], "IP4", "0.0.0.0"]))
        elif not line.startswith("a=rtcp:"):
            kept.append(line)
    return "\r\n".join(kept)


def has_relay(urls: Iterable[str]) -> bool:
    """Whether a TURN server is among the ICE servers: without one, hiding means no peers at all."""
    return any(url.startswith(("turn:", "turns:")) for url in urls)
