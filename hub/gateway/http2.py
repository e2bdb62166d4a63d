"""What Hypercorn's HTTP/2 needs to be told: bytes for a stream that is answered already are no error."""

from typing import Any

import hypercorn.protocol
from hypercorn.protocol.h2 import H2Protocol


class _AnsweredStream:
    """Takes the place of a stream that is gone, and forgets what still comes for it."""

    idle = True

    async def handle(self, event: object) -> None:
        """Nothing is to be done."""


class _Streams(dict[int, Any]):
    def __missing__(self, _stream_id: int) -> _AnsweredStream:
        return _AnsweredStream()


class PatientH2Protocol(H2Protocol):
    """A client may go on sending its body after the answer (RFC 9113 §8.1).

    Hypercorn 0.18 looks the stream up, fails with a KeyError, and ends the connection with all its streams.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.streams = _Streams()


def forget_late_bodies() -> None:
    """Make Hypercorn use it, for the whole process."""
    vars(hypercorn.protocol)["H2Protocol"] = PatientH2Protocol
