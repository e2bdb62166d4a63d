"""Signalling: how peers of one swarm find each other and exchange offers. No media, no keys, no track data."""
