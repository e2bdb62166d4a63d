"""From a file to a published track: ingest, encrypt, sign, store, acknowledge; and the artist's vault."""
