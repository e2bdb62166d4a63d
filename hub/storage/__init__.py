"""Where bytes and what is known about them live: the chunk store, the catalogue, and checking both."""
