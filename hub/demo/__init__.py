"""Demo music: public-domain scores rendered to audio by code, so that a fresh start has something to play."""
