"""Tracks from the chain: every one whose account is an artist's by the artist's own signature.

Titles are not here: they are in manifests, which the network gives and the artist's key signs.
"""

from collections.abc import Iterable

from digm.chain_tracks import Binding, ChainTracks, binding_message
from hub.chain.deployment import Deployment
from hub.chain.journal import Step
from hub.chain.model import Event
from hub.chain.state import FoundTrack
from hub.signatures import verify


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
    found = ChainTracks()
    for event in standing.values():
        found.apply(event.name, event.arguments, event.log.block)
    keys = ArtistKeys(deployed)
    return [keys.found(found, track.track) for track in found.listed()]


class ArtistKeys:
    """Whether artists' keys have signed what accounts say of them; each signature is checked once."""

    def __init__(self, deployed: Deployment) -> None:
        self._chain_id = deployed.chain_id
        self._registry = _canonical(deployed.addresses["registry"])
        self._checked: dict[tuple[str, Binding], bool] = {}

    def found(self, said: ChainTracks, track: bytes) -> FoundTrack:
        """A track with the key that is its artist's; without, where the key has not signed for the account.

        Args:
            track: its id on the chain.
        """
        one = said.tracks[track]
        binding = said.bindings.get(one.artist)
        is_signed = binding is not None and self._is_signed(one.artist, binding)
        return FoundTrack(one, binding.key if binding is not None and is_signed else None)

    def _is_signed(self, account: str, binding: Binding) -> bool:
        known = self._checked.get((account, binding))
        if known is None:
            message = binding_message(self._chain_id, self._registry, _canonical(account))
            known = verify(binding.key, binding.signature, message)
            self._checked[account, binding] = known
        return known


def _canonical(address: str) -> bytes:
    return bytes.fromhex(address.removeprefix("0x"))
