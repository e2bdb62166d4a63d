"""Everything that runs on a server or on an artist's machine."""
