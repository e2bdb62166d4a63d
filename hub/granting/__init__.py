"""Listening grants: the vault link between hub and artist, and the artist process itself."""
