"""What aiortc and aioice need to be told about addresses."""

import re

from aioice import ice
from aiortc import RTCIceCandidate
from aiortc.sdp import candidate_from_sdp

LOOPBACK = "127.0.0.1"
GATHERING_S = 2  # aioice has 5: nobody hears of us while a STUN or TURN server is out of reach
_gathered = ice.get_host_addresses


def offer_loopback(is_wanted: bool) -> None:
    """Let this process offer 127.0.0.1 as a candidate, so that peers on one machine meet without a network.

    aioice leaves loopback out and has no option for it, so its function is replaced, for the whole process.
    """

    def with_loopback(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        addresses = _gathered(use_ipv4, use_ipv6)
        return [*addresses, LOOPBACK] if use_ipv4 else addresses

    ice.get_host_addresses = with_loopback if is_wanted else _gathered


def quicken_gathering() -> None:
    """Wait for STUN and TURN servers no longer than GATHERING_S. aioice has no option for it."""
    ice.Connection.get_component_candidates.__defaults__ = (GATHERING_S,)


def without_unusable_candidates(sdp: str) -> str:
    """Drop `.local` candidates and the end of candidates from a description.

    Looking up a `.local` name blocks setRemoteDescription for a second (measured), and who hides behind one
    reaches us all the same: as a peer-reflexive candidate. For those, the candidates never end.
    """
    lines = sdp.split("\n")
    return "\n".join(line for line in lines if not _is_unusable(line.strip()))


def usable_candidate(
    candidate: str | None, sdp_mid: str | None, sdp_m_line_index: int | None
) -> RTCIceCandidate | None:
    """Read a trickled candidate.

    Returns:
        None for the end of candidates, `.local` names, TCP, and what cannot be read.
    """
    line = (candidate or "").removeprefix("a=").removeprefix("candidate:")
    if not line or ".local" in line or (sdp_mid is None and sdp_m_line_index is None):
        return None
    try:
        parsed = candidate_from_sdp(line)
    except (ValueError, AssertionError, IndexError):
        return None
    if parsed.protocol.lower() != "udp":
        return None
    parsed.sdpMid, parsed.sdpMLineIndex = sdp_mid, sdp_m_line_index
    return parsed


def _is_unusable(line: str) -> bool:
    if line == "a=end-of-candidates":
        return True
    return line.startswith("a=candidate:") and re.search(r"\.local\b|\btcp\b", line, re.IGNORECASE) is not None
