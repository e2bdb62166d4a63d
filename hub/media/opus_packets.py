"""How long an Opus packet is (RFC 6716 §3)."""

# Samples at 48 kHz per frame by configuration: SILK, hybrid, CELT.
_FRAME_SAMPLES = (480, 960, 1920, 2880) * 3 + (480, 960) * 2 + (120, 240, 480, 960) * 4
_MAX_SAMPLES = 5760


def packet_samples(packet: bytes) -> int:
    """Samples at 48 kHz; 0 if the packet is malformed."""
    if not packet:
        return 0
    code = packet[0] & 3
    if code == 3 and len(packet) < 2:
        return 0
    frames = (1, 2, 2, packet[1] & 63 if code == 3 else 0)[code]
    samples = frames * _FRAME_SAMPLES[packet[0] >> 3]
    return samples if samples <= _MAX_SAMPLES else 0
