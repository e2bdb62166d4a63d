"""Signalling: how peers of one swarm find each other and exchange offers. No media, no keys, no track data."""

from hub.signalling.server import SIGNALLING, SignallingServer, add_signalling

__all__ = ["SIGNALLING", "SignallingServer", "add_signalling"]
