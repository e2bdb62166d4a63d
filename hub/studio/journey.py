"""From the desk to listeners, step by step, as the page shows it.

The steps are those of `digm publish --pin` (`hub.chain.going_public`), and as safe to be begun again: what is
published, on the chain or ordered already stays as it is.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import structlog

from digm.errors import CallerFault, DigmError
from digm.plain_text import clean_text
from hub.config import Settings
from hub.publishing.model import Note, ProgressEvent, PublishedTrack, PublishOptions, Report
from hub.publishing.publish import Publisher
from hub.publishing.sources import ReleaseSource
from hub.studio.desk import MAX_NUMBER, Desk, DeskTrack
from hub.studio.news import News
from hub.studio.terms import Terms

log = structlog.get_logger()
COPIES_WITHIN_S = 600.0
StepState = Literal["waiting", "running", "done", "failed", "left_out"]
HERE = ("read", "encrypt", "store")
ON_CHAIN = ("chain", "split", "price")
COPIES = ("order", "tell", "accepted", "advertised")
_STAGES = {"encoding": "read", "encrypting": "encrypt", "storing": "store"}


@dataclass
class Step:
    """One of the journey. `done`: 0 to 1; `words`: what it came to."""

    name: str
    state: StepState = "waiting"
    done: float = 0.0
    words: str = ""


class Journey:
    """One release on its way.

    Attributes:
        state: `running`, `done`; `failed`: `sentence` says why, and the desk is as it was.
        roots: of the tracks, when they are published.
    """

    def __init__(self, settings: Settings, terms: Terms, tracks: Sequence[DeskTrack], news: News) -> None:
        self._settings, self._terms, self._news = settings, terms, news
        self._tracks = sorted(tracks, key=lambda track: track.tags.track_number or MAX_NUMBER + 1)
        self._done: dict[tuple[Path, str], float] = {}
        self.state: Literal["running", "done", "failed"] = "running"
        self.sentence = ""
        self.notes: list[str] = []
        self.published: list[PublishedTrack] = []
        self.steps = {name: Step(name) for name in (*HERE, *ON_CHAIN, *COPIES)}
        self._leave_out()

    def _leave_out(self) -> None:
        terms, out = self._terms, set()
        out |= set() if terms.is_on_chain else set(ON_CHAIN) | set(COPIES)
        out |= set() if terms.copies else set(COPIES)
        out |= set() if terms.price else {"price"}
        out |= set() if terms.shares else {"split"}
        for name in out:
            self.steps[name].state = "left_out"

    def document(self) -> dict[str, Any]:
        """For the page."""
        return {
            "state": self.state,
            "sentence": self.sentence,
            "can_go_on": self.state == "failed" and bool(self.published),
            "notes": self.notes,
            "steps": [asdict(step) for step in self.steps.values()],
            "tracks": [{"track_root": one.track_root, "title": one.title} for one in self.published],
        }

    async def run(self, desk: Desk) -> None:
        """All of it; what is published leaves the desk. Whatever goes wrong is said in `sentence`."""
        try:
            await self._check()
            if not self.published:
                await self._publish()
                await desk.take_off(*self._tracks)
            if self._terms.is_on_chain:
                from hub.studio.onward import go_on

                await go_on(self._settings, self._terms, self.published, self)
            self.state = "done"
        except DigmError as fault:
            self._failed(fault.message)
        except Exception:
            log.exception("journey_crashed")
            self._failed("Something broke on our side; the terminal says more.")
        self._news.tell()

    def again(self) -> None:
        """Before `run` goes on with what is published already. Raises CallerFault `nothing_to_go_on`."""
        if self.state != "failed" or not self.published:
            raise CallerFault("nothing_to_go_on", "There is nothing to go on with.")
        self.state, self.sentence = "running", ""
        for step in self.steps.values():
            if step.state == "failed":
                step.state = "waiting"

    def _failed(self, sentence: str) -> None:
        for track in self._tracks:
            sentence = sentence.replace(str(track.path.parent) + "/", "")
        self.state, self.sentence = "failed", sentence
        for step in self.steps.values():
            if step.state == "running":
                step.state = "failed"

    # -- what the steps say of themselves

    def on(self, name: str, words: str = "", done: float = 0.0) -> None:
        """A step has begun, or is so far."""
        step = self.steps[name]
        step.state, step.words, step.done = "running", words or step.words, done
        self._news.tell()

    def done(self, name: str, words: str = "") -> None:
        """A step is done."""
        step = self.steps[name]
        step.state, step.words, step.done = "done", words or step.words, 1.0
        self._news.tell()

    # -- on this machine

    async def _check(self) -> None:
        """Before anything is done: would the chain take it?"""
        if not self._terms.is_on_chain:
            return
        from hub.studio.onward import check

        await check(self._settings, self._terms)

    async def _publish(self) -> None:
        loop = asyncio.get_running_loop()

        def report(event: Report) -> None:
            loop.call_soon_threadsafe(self._hear, event)

        self.done("read", "read when it was dropped")
        self.published = await asyncio.to_thread(self._publish_here, report)
        for name in HERE:
            self.done(name)
        self.done("store", f"{len(self.published)} track{'s' * (len(self.published) != 1)} in the catalogue")

    def _publish_here(self, report: Callable[[Report], None]) -> list[PublishedTrack]:
        ingested = {track.path: track.for_publishing for track in self._tracks}
        options = PublishOptions(preview_seconds=self._terms.preview_s)
        source = release_of(self._tracks)
        with Publisher(self._settings, options, report, ingested) as publisher:
            return publisher.publish(source)

    def _hear(self, event: Report) -> None:
        if isinstance(event, Note):
            sentence = event.sentence.replace("--preview-seconds", "the free beginning")
            self.notes.append(f"{clean_text(event.file.name, 120)}: {sentence}")
            self._news.tell()
        elif isinstance(event, ProgressEvent) and event.stage in _STAGES:
            name = _STAGES[event.stage]
            self._done[event.file, name] = event.done
            share = sum(self._done.get((track.path, name), 0.0) for track in self._tracks) / len(self._tracks)
            if name == "store":
                self.done("encrypt")
            if share - self.steps[name].done >= 0.01 and self.steps[name].state != "done":
                self.on(name, done=share)


def release_of(tracks: Sequence[DeskTrack]) -> ReleaseSource:
    """The desk as one release: a track alone, or an album.

    Raises:
        CallerFault: `nothing_to_publish`, `not_ready`.
    """
    if not tracks:
        raise CallerFault("nothing_to_publish", "Drop a recording first.")
    for track in tracks:
        if track.state != "ready":
            raise CallerFault("not_ready", f"{track.name} is not ready: wait for it, or take it off the desk.")
    paths = tuple(track.path for track in tracks)
    if len(tracks) == 1:
        return ReleaseSource(None, paths)
    # Its name is asked for only where no track names an album.
    return ReleaseSource(Path("Untitled"), paths)
