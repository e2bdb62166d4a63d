"""HLS and DASH playlists of a track, made from its manifest (RFC 8216; ISO/IEC 23009-1).

A segment is a chunk, and its name is its hash: every rendition lists the same names, durations and count as the
manifest. The segments are ciphertext. Neither standard has a word for AES-256-GCM in frames, so the playlists
say it with a name of our own, where both have a place for one (`EXT-X-KEY`, `ContentProtection`): a player that
does not know the name learns that it cannot open them. The init segments are not encrypted. docs/playlists.md
says what this is good for. Where anything is served is left to the gateway.
"""

from collections.abc import Iterator

from digm.manifest import Manifest, Rendition

HLS_TYPE = "application/vnd.apple.mpegurl"
DASH_TYPE = "application/dash+xml"
ENCRYPTION_METHOD = "DIGM-AES-256-GCM"
ENCRYPTION_SCHEME = "urn:digm:frames:1"
_MICROSECONDS = 1_000_000
# RFC 6381: the name of the sample entry, in its own case. MP3 is a plain stream, named as in MP4 all the same.
_HLS_CODECS = {"flac": "fLaC", "opus": "Opus", "aac": "mp4a.40.2", "mp3": "mp4a.40.34"}


def init_name(rendition: Rendition) -> str:
    """What the init segment of a rendition is called beside the playlists."""
    return f"{rendition.id}.mp4"


def segment_units(rendition: Rendition) -> list[int]:
    """How long each chunk is, in units of the timescale; together they are `rendition.duration`.

    The encoder's delay and padding count: a segment says what a decoder gives, not what should be heard.
    """
    starts = [fragments[0][1] for fragments in rendition.fragments]
    return [end - start for start, end in zip(starts, [*starts[1:], rendition.duration], strict=True)]


def average_bit_rate(rendition: Rendition) -> int:
    """Bits a second that a client fetches on the whole: ciphertext, with what fills it up."""
    fetched = sum(rendition.chunk_bytes(chunk) for chunk in range(rendition.chunk_count))
    return -(-8 * fetched * rendition.config.timescale // rendition.duration)


def peak_bit_rate(rendition: Rendition) -> int:
    """The highest rate over neighbouring segments that last half a target duration, and no more of them than
    that takes: shorter ones say nothing (RFC 8216 §4.1). Bits a second, of ciphertext."""
    segments = [(units, rendition.chunk_bytes(chunk)) for chunk, units in enumerate(segment_units(rendition))]
    half_target = _target_s(rendition) * rendition.config.timescale / 2
    peak = average_bit_rate(rendition)
    for direction in (segments, segments[::-1]):
        first = length = size = 0
        for units, chunk_bytes in direction:
            length, size = length + units, size + chunk_bytes
            while length - direction[first][0] >= half_target:
                length, size, first = length - direction[first][0], size - direction[first][1], first + 1
            if length >= half_target:
                peak = max(peak, -(-8 * size * rendition.config.timescale // length))
    return peak


def hls(manifest: Manifest) -> str:
    """The master playlist, `index.m3u8`: a variant for each rendition, in the manifest's order, best first."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    for rendition in manifest.renditions:
        codec = _HLS_CODECS[rendition.config.codec]
        rates = f"BANDWIDTH={peak_bit_rate(rendition)},AVERAGE-BANDWIDTH={average_bit_rate(rendition)}"
        lines += [f'#EXT-X-STREAM-INF:{rates},CODECS="{codec}"', f"{rendition.id}.m3u8"]
    return "\n".join([*lines, ""])


def hls_media(rendition: Rendition) -> str:
    """The media playlist of one rendition, `{id}.m3u8`: whole, so that it says VOD and ENDLIST."""
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{_target_s(rendition)}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
    ]
    if rendition.init:
        # Before the key: a key is for what comes after it (§4.3.2.4).
        lines.append(f'#EXT-X-MAP:URI="{init_name(rendition)}"')
    lines.append(
        f'#EXT-X-KEY:METHOD={ENCRYPTION_METHOD},URI="manifest.json",'
        f'KEYFORMAT="{ENCRYPTION_SCHEME}",KEYFORMATVERSIONS="1"'
    )
    for length_us, chunk_hash in zip(_whole_microseconds(rendition), rendition.chunk_hashes, strict=True):
        lines += [f"#EXTINF:{length_us // _MICROSECONDS}.{length_us % _MICROSECONDS:06},", _url(chunk_hash)]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])


def dash(manifest: Manifest) -> str:
    """The media presentation description, `manifest.mpd`: an adaptation set for each rendition.

    They are not offered as one set: a player may switch inside a set without asking its decoder, and renditions
    differ in codec and timescale.
    """
    longest_s = max(_target_s(rendition) for rendition in manifest.renditions)
    sets = "".join(_adaptation_set(rendition) for rendition in manifest.renditions)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:full:2011" type="static"'
        f' mediaPresentationDuration="PT{_seconds(manifest.duration_s)}S" maxSegmentDuration="PT{longest_s}S"'
        f' minBufferTime="PT{longest_s}S">\n <Period id="0" start="PT0S">\n{sets} </Period>\n</MPD>\n'
    )


def _adaptation_set(rendition: Rendition) -> str:
    config = rendition.config
    kind = 'mimeType="audio/mpeg"'
    if config.codec != "mp3":
        kind = f'mimeType="audio/mp4" codecs="{_HLS_CODECS[config.codec]}"'
    init = f'     <Initialization sourceURL="{init_name(rendition)}"/>\n' if rendition.init else ""
    urls = "".join(f'     <SegmentURL media="{_url(name)}"/>\n' for name in rendition.chunk_hashes)
    return (
        f'  <AdaptationSet id="{rendition.id}" contentType="audio" segmentAlignment="true" startWithSAP="1">\n'
        f'   <ContentProtection schemeIdUri="{ENCRYPTION_SCHEME}" value="{ENCRYPTION_METHOD}"/>\n'
        f'   <Representation id="{rendition.id}" {kind} bandwidth="{peak_bit_rate(rendition)}"'
        f' audioSamplingRate="{config.sample_rate}">\n'
        '    <AudioChannelConfiguration schemeIdUri="urn:mpeg:dash:23003:3:audio_channel_configuration:2011"'
        f' value="{config.channels}"/>\n'
        # What the encoder put before the first sound lies before the beginning of the period.
        f'    <SegmentList timescale="{config.timescale}" presentationTimeOffset="{config.delay}">\n{init}'
        f"     <SegmentTimeline>\n{''.join(_timeline(rendition))}     </SegmentTimeline>\n{urls}"
        "    </SegmentList>\n   </Representation>\n  </AdaptationSet>\n"
    )


def _timeline(rendition: Rendition) -> Iterator[str]:
    """Neighbours of the same length are written once."""
    units = segment_units(rendition)
    begin, start = 0, 0
    for chunk in range(1, len(units) + 1):
        if chunk < len(units) and units[chunk] == units[begin]:
            continue
        more = chunk - begin - 1
        repeat = f' r="{more}"' if more else ""
        yield f'      <S t="{start}" d="{units[begin]}"{repeat}/>\n'
        start += (more + 1) * units[begin]
        begin = chunk


def _whole_microseconds(rendition: Rendition) -> Iterator[int]:
    """Durations whose sum does not drift: both ends are rounded, not the length between them."""
    timescale, passed, before_us = rendition.config.timescale, 0, 0
    for units in segment_units(rendition):
        passed += units
        end_us = (2 * passed * _MICROSECONDS + timescale) // (2 * timescale)
        yield end_us - before_us
        before_us = end_us


def _target_s(rendition: Rendition) -> int:
    """The longest segment in whole seconds, rounded up: nothing is longer, however it is rounded."""
    return -(-max(segment_units(rendition)) // rendition.config.timescale)


def _url(chunk_hash: bytes) -> str:
    """Relative to the playlist, which lies under the track root."""
    return f"../{chunk_hash.hex()}"


def _seconds(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")
