"""Tracks from the chain: every one whose account is an artist's by the artist's own signature.

Titles are not here: they are in manifests, which the network gives and the artist's key signs.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from digm.chain_tracks import ChainTrack, ChainTracks, binding_message
from hub.chain.deployment import Deployment
from hub.chain.journal import Step
from hub.chain.model import Event
from hub.signatures import verify


@dataclass(frozen=True)
class FoundTrack:
    """A track that is not withdrawn. `artist_key`: who must have signed its manifest; None: nobody says so."""

    said: ChainTrack
    artist_key: bytes | None


def tracks_of(deployed: Deployment, steps: Iterable[tuple[Step, Event]]) -> list[FoundTrack]:
    """What the registry says after some steps.

    Args:
        steps: all of them, from the first on.
    """
    standing: dict[tuple[str, int], Event] = {}
    for step, event in steps:
        key = (step.log.block_hash, step.log.index)
        if step.is_undone:
            standing.pop(key, None)
        elif event.contract == "registry":
            standing[key] = event
    found = ChainTracks.of((event.name, event.arguments) for event in standing.values())
    registry = _canonical(deployed.addresses["registry"])
    keys: dict[str, bytes] = {}
    for account, binding in found.bindings.items():
        message = binding_message(deployed.chain_id, registry, _canonical(account))
        if verify(binding.key, binding.signature, message):
            keys[account] = binding.key
    return [FoundTrack(track, keys.get(track.artist)) for track in found.listed()]


def _canonical(address: str) -> bytes:
    return bytes.fromhex(address.removeprefix("0x"))
