"""The hub's JSON API: what players and other programs ask for."""
