"""Descriptions and candidates of others, looked at as far as needed to let one data channel through (RFC 8866).

What the rest of a description means is the business of the WebRTC stack that gets it.
"""

import re

from digm.errors import PeerFault

MAX_SDP_BYTES = 16_384
MAX_CANDIDATE_BYTES = 1_024
MAX_CANDIDATES = 64  # of one side of one connection: a laptop with VPNs has a dozen
_DATA_CHANNEL = re.compile(r"m=application [0-9]+ [A-Z/]*SCTP webrtc-datachannel(?=[\r\n]|\Z)")


def check_sdp(sdp: str) -> None:
    """Let through a description of exactly one data channel section.

    Raises:
        PeerFault: `sdp_too_long`, `sdp_malformed`, `sdp_media` (audio, video or several sections).
    """
    size = len(sdp) if sdp.isascii() else len(sdp.encode("utf-8", "surrogatepass"))
    if size > MAX_SDP_BYTES:
        raise PeerFault("sdp_too_long", f"A session description has at most {MAX_SDP_BYTES} bytes.")
    if not _is_plain(sdp):
        _check_lines(sdp)


def _is_plain(sdp: str) -> bool:
    """True for what honest stacks send: seen without taking it apart, which costs a hub ten times as much."""
    at = sdp.find("m=")
    return (
        sdp.startswith(("v=0\r", "v=0\n"))
        and sdp.count("m=") == 1
        and sdp[at - 1] in "\r\n"
        and _DATA_CHANNEL.match(sdp, at) is not None
        and sdp.count("a=candidate:") <= MAX_CANDIDATES
    )


def _check_lines(sdp: str) -> None:
    # Split only where SDP parsers do: a form feed must not hide a section from us that aiortc then sees.
    lines = sdp.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if lines[0] != "v=0":
        raise PeerFault("sdp_malformed", "A session description starts with v=0.")
    sections = [line for line in lines if line.lstrip().startswith("m=")]
    if len(sections) != 1 or not _DATA_CHANNEL.fullmatch(sections[0]):
        raise PeerFault("sdp_media", "Only one data channel section may be described.")
    if sum(line.startswith("a=candidate:") for line in lines) > MAX_CANDIDATES:
        raise PeerFault("sdp_malformed", f"A session description has at most {MAX_CANDIDATES} candidates.")


def check_candidate(candidate: str) -> None:
    """Let through one line of bounded length.

    Raises:
        PeerFault: `candidate_bad`.
    """
    is_long = len(candidate.encode("utf-8", "surrogatepass")) > MAX_CANDIDATE_BYTES
    if is_long or "\n" in candidate or "\r" in candidate:
        raise PeerFault("candidate_bad", f"A candidate is one line of at most {MAX_CANDIDATE_BYTES} bytes.")
