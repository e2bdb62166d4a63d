"""What aiortc's SCTP needs to be told: it has constants and private state where others have options."""

from aiortc import RTCPeerConnection, rtcsctptransport

# aiortc waits at least a second before it sends a lost packet again, as RFC 9260 has it. When the end of a
# chunk is lost, nothing after it reveals that earlier. Linux' TCP has waited 0.2 s for decades.
RETRANSMIT_AFTER_S = 0.2
# RFC 9260 §16 has 1 s; aiortc still has the 3 s of RFC 4960.
FIRST_RETRANSMIT_AFTER_S = 1.0
# Slow start ends here and the window grows linearly. aiortc starts from the receiver's window of a megabyte
# and sends without pacing, so the first chunks overran the receiver's socket buffer (about 90 packets by Linux'
# default) and their ends were lost. Measured between two Python peers, one run after the other on a busy
# machine: a fresh connection's first 512 KiB took 0.22 s in the median, 0.86 s at worst; with this limit 0.04 s
# and 0.06 s, and 40 chunks in a row came at 18 instead of 2 MB/s.
SLOW_START_BYTES = 65_536


def quicken_retransmission() -> None:
    """Lower the retransmission time-outs, for the whole process."""
    constants = vars(rtcsctptransport)
    constants["SCTP_RTO_MIN"] = RETRANSMIT_AFTER_S
    constants["SCTP_RTO_INITIAL"] = FIRST_RETRANSMIT_AFTER_S


def bound_slow_start(connection: RTCPeerConnection) -> None:
    """End slow start early; call it when the association is up."""
    if connection.sctp is not None:
        connection.sctp._ssthresh = SLOW_START_BYTES
