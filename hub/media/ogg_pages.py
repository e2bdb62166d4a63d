"""The last page of an Ogg file (RFC 3533 §6): it tells whether the file is whole."""

from typing import BinaryIO

from hub.media.faults import MediaFault

_MAX_PAGE_BYTES = 65_307
_HEADER_BYTES = 27
_END_OF_STREAM = 0x04


def refuse_truncated_ogg(file: BinaryIO, file_size: int) -> None:
    """See that the last page is whole and says that it is the last.

    Raises:
        MediaFault: `truncated_file`.
    """
    file.seek(max(0, file_size - 2 * _MAX_PAGE_BYTES))
    tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0 or at + _HEADER_BYTES > len(tail):
        raise MediaFault("truncated_file", what="its last page is missing")
    lacing = tail[at + _HEADER_BYTES : at + _HEADER_BYTES + tail[at + 26]]
    end = at + _HEADER_BYTES + tail[at + 26] + sum(lacing)
    if len(lacing) < tail[at + 26] or end > len(tail):
        raise MediaFault("truncated_file", what="its last page is not whole")
    if not tail[at + 5] & _END_OF_STREAM:
        raise MediaFault("truncated_file", what="its last page is missing")
