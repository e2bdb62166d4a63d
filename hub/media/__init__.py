"""From a file that somebody dropped to clean access units: recognised, decoded once, encoded, measured.

`ingest` is the only door. Media files are hostile until proven otherwise, so everything that looks inside
one runs in a confined subprocess (`hub.media.worker`); this side starts it, watches it and checks what it says.
Packing, encrypting and publishing are left to others.
"""

from hub.media.model import IngestedRendition, IngestedTrack, IngestLimits, Tags
from hub.media.supervisor import ingest, make_cover

__all__ = ["IngestLimits", "IngestedRendition", "IngestedTrack", "Tags", "ingest", "make_cover"]
