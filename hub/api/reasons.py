"""Why a condition of `/readyz` does not hold, and what to do about it: for whoever runs this hub."""

from collections.abc import Mapping

from digm.errors import DigmError
from digm.ids import short
from hub.bridge.bridge import Bridge
from hub.services import Services

MOST_NAMED = 3


async def reasons(services: Services, bridge: Bridge, conditions: Mapping[str, bool]) -> dict[str, str]:
    """A sentence without a full stop for each condition that does not hold."""
    sentences = {
        "player_built": "the player is not built: run npm ci && npm run build",
        "track_published": "nothing is published: run digm publish",
        "chunks_held": "no track is whole in the data folder: digm verify says what is missing",
        "gateway_answers": f"no gateway answers on port {services.settings.gateway_port}",
    }
    if not conditions["vault_connected"]:
        sentences["vault_connected"] = await _vault_reason(services, bridge)
    return {name: sentences.get(name, name) for name, holds in conditions.items() if not holds}


async def _vault_reason(services: Services, bridge: Bridge) -> str:
    try:
        tracks = await services.own_tracks() or await services.tracks()
    except DigmError as error:
        return error.message.rstrip(".")
    unanswered = {
        entry.artist_key: f"{entry.artist or 'an unnamed artist'} (key {short(entry.artist_key)})"
        for entry in tracks
        if not bridge.can_grant(entry)
    }
    if not unanswered:
        return "there is no track that a vault could answer for"
    names = list(unanswered.values())
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return (
        f"no artist process answers for {', '.join(names[:MOST_NAMED])}{more}: "
        "is vault.digm in the data folder the right one?"
    )
