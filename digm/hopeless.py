"""When to say that a chunk that is needed now cannot be had."""

from digm import chunk_mask
from digm.fetch_plan import NoSource
from digm.listening import Listening, Look
from digm.situation import Situation
from digm.sources import Source, Trouble


class Hopeless:
    """Says it once, and again after each further failure; the scheduler goes on trying meanwhile."""

    def __init__(self, situation: Situation, listening: Listening) -> None:
        self._situation = situation
        self._listening = listening
        self._told: tuple[int, int] | None = None

    def act(self, look: Look, now: float) -> None:
        situation, settings = self._situation, self._situation.settings
        missing = look.near & situation.chunks.missing
        if not missing:
            return
        chunk = chunk_mask.lowest(missing)
        left_s = self._listening.left_s(look, chunk, situation.chunks.arrived(chunk))
        if left_s >= settings.urgent_s or situation.running.of_chunk(chunk):
            return
        sources = [source for source in situation.sources if source.holds(chunk) and source.slots]
        if any(source.usable_at(chunk) <= now for source in sources):
            return  # it is only not their turn yet
        trouble = situation.troubles.get(chunk)
        attempts = trouble.attempts if trouble else 0
        if not self._is_hopeless(sources, trouble, now) or self._told == (chunk, attempts):
            return
        self._told = (chunk, attempts)
        moments = [source.usable_at(chunk) for source in sources]
        retry_at = max(now, min(moments, default=now + settings.tick_s))
        reasons = trouble.snapshot() if trouble else {}
        situation.actions.append(NoSource(chunk, attempts, reasons, retry_at))

    def _is_hopeless(self, sources: list[Source], trouble: Trouble | None, now: float) -> bool:
        settings = self._situation.settings
        if not sources:
            is_new = self._listening.active_s(now) < settings.peer_patience_s
            return not (self._situation.expects_peers and is_new)
        return trouble is not None and (
            trouble.attempts >= settings.no_source_attempts or now - trouble.since >= settings.no_source_after_s
        )
