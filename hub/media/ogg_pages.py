"""The pages of an Ogg file (RFC 3533 §6): they tell whether it is whole, and whether it is one recording."""

from typing import BinaryIO

from hub.media.faults import MediaFault

_HEADER_BYTES = 27
_MAX_HEADER_BYTES = _HEADER_BYTES + 255
_BEGIN_OF_STREAM, _END_OF_STREAM = 0x02, 0x04


def check_ogg(file: BinaryIO, start: int, file_size: int) -> None:
    """Go from page to page without reading what is in them.

    Raises:
        MediaFault: `truncated_file`; `damaged_file`; `changing_format` if a second recording follows the first,
            which FFmpeg would play as if it went on.
    """
    at, has_ended, sound_began = start, False, False
    while at < file_size:
        file.seek(at)
        head = file.read(_MAX_HEADER_BYTES)
        if not head.startswith(b"OggS"):
            if has_ended:
                return  # Something that others put behind the recording.
            raise MediaFault("damaged_file", what="its pages do not follow one another")
        lacing = head[_HEADER_BYTES : _HEADER_BYTES + head[26]] if len(head) > _HEADER_BYTES else b""
        at += _HEADER_BYTES + len(lacing) + sum(lacing)
        if at > file_size or len(head) < _HEADER_BYTES or len(lacing) < head[26]:
            raise MediaFault("truncated_file", what="its last page is not whole")
        begins = bool(head[5] & _BEGIN_OF_STREAM)
        if begins and sound_began:
            raise MediaFault("changing_format")
        sound_began = sound_began or not begins
        has_ended = bool(head[5] & _END_OF_STREAM)
    if not has_ended:
        raise MediaFault("truncated_file", what="its last page is missing")
