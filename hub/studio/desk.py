"""The desk: recordings that were dropped into the studio and are not published yet.

Each file is taken in at once as publishing would (`hub.media`): so its tags, cover, length, loudness and
shape are there to look at, what cannot be published is said before anybody asks for it, and publishing need
not read it again. Copies and what was made of them lie in DATA/studio, mode 700, and are gone when they are
published or taken off, or with the process. One studio works on a data folder at a time.
"""

import asyncio
import contextlib
import fcntl
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from digm.errors import CallerFault, DigmError, Unavailable
from digm.json_reader import MAX_TEXT
from digm.mp4 import init_segment
from digm.packing import frames_per_chunk, pack
from digm.plain_text import clean_text
from hub.media import IngestedTrack, Tags, ingest, make_cover
from hub.publishing.sources import AUDIO_SUFFIXES
from hub.storage.catalogue import TrackEntry
from hub.storage.durable import disk_faults_named, make_folder
from hub.studio.news import News

FOLDER = "studio"
MAX_TRACKS = 200
MAX_NUMBER = 9_999
MAX_PICTURE_BYTES = 64 << 20
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"})
_MAX_NAME_BYTES = 180
# What Chromium, Firefox and Safari have a decoder for; AIFF is no container of theirs.
_PLAYED = ("flac", "mp3", "aac", "opus", "vorbis", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_u8")
_NOT_PLAYED = (".aif", ".aiff", ".aifc", ".rf64")
_ISRC = re.compile(r"[A-Z]{2}[A-Z0-9]{3}[0-9]{7}", re.ASCII)
_NAMES = ("title", "artist", "album", "genre", "isrc", "licence")
State = Literal["receiving", "waiting", "reading", "ready", "refused"]


@dataclass(eq=False)
class DeskTrack:
    """One recording on the desk.

    Attributes:
        id: random, so that nobody else can name it.
        name: of the file, as it was dropped.
        done: of receiving or reading, 0 to 1.
        tags: as they will be published.
        fault: why it cannot be.
        heard: its Opus rendition, where browsers do not play the file itself.
        published: the track that was made of the same bytes before; it stays as it is.
    """

    id: str
    name: str
    path: Path
    size: int = 0
    state: State = "receiving"
    done: float = 0.0
    ingested: IngestedTrack | None = None
    tags: Tags = field(default_factory=Tags)
    cover: Path | None = None
    cover_version: int = 0
    fault: str | None = None
    heard: Path | None = None
    published: TrackEntry | None = None

    @property
    def for_publishing(self) -> IngestedTrack:
        """What was ingested, with the artist's own words in it."""
        assert self.ingested is not None
        return replace(self.ingested, tags=self.tags, cover=self.cover)


class Desk:
    """Everything on the desk, in the order in which it was dropped. Owns the files under its folder.

    Args:
        published: finds the track that was made of a file before; blocks.
    """

    def __init__(
        self, data: Path, news: News, published: Callable[[Path], TrackEntry | None] = lambda _: None
    ) -> None:
        self.tracks: list[DeskTrack] = []
        self._published = published
        self._folder = data / FOLDER
        self._news = news
        self._reading: asyncio.Queue[DeskTrack] = asyncio.Queue()
        self._pictures: set[Path] = set()

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Make the folder, empty, and keep other studios out of it.

        Raises:
            CallerFault: `already_running`. As `disk_faults_named`.
        """
        with disk_faults_named(self._folder):
            make_folder(self._folder.parent)
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._folder.chmod(0o700)
        with (self._folder.parent / "studio.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise CallerFault(
                    "already_running", f"A studio is already open on {self._folder.parent}."
                ) from error
            try:
                self._sweep()  # of one that was killed
                yield
            finally:
                self._sweep()

    def _sweep(self) -> None:
        for path in self._folder.iterdir():
            shutil.rmtree(path, ignore_errors=True)

    async def read_on(self) -> None:
        """Take in what was dropped, one after the other, until cancelled."""
        while True:
            track = await self._reading.get()
            if track in self.tracks:
                await self._read(track)

    # -- what lies on it

    def track(self, track_id: str) -> DeskTrack:
        """One of them. Raises Unavailable `not_found`."""
        for track in self.tracks:
            if track.id == track_id:
                return track
        raise Unavailable("not_found", "This recording is not on the desk any more.")

    async def receive(self, name: str, content: AsyncIterator[bytes], size: int | None) -> DeskTrack:
        """Take a file that is dropped.

        Args:
            size: that was announced, for the progress.
        Raises:
            CallerFault: `bad_file`, `desk_full`, `data_not_writable`. Unavailable: `disk_full`, ...
        """
        file_name = safe_name(name)
        if Path(file_name).suffix.lower() not in AUDIO_SUFFIXES:
            raise CallerFault("bad_file", f"{file_name} is no audio that DIGM takes: give FLAC, WAV or MP3.")
        if len(self.tracks) >= MAX_TRACKS:
            raise CallerFault("desk_full", f"The desk holds {MAX_TRACKS} recordings: publish those first.")
        folder = self._folder / secrets.token_hex(16)
        track = DeskTrack(folder.name, file_name, folder / file_name)
        self.tracks.append(track)
        try:
            with disk_faults_named(self._folder):
                folder.mkdir(mode=0o700)
                async for block in _written(track.path, content):
                    track.size += block
                    self._progress(track, track.size / size if size else 0.0)
        except BaseException:
            await self.take_off(track)
            raise
        track.state, track.done = "waiting", 0.0
        self._news.tell()
        self._reading.put_nowait(track)
        return track

    def describe(self, track: DeskTrack, words: dict[str, str | int | None]) -> None:
        """Change what is said of a recording: only the tags that are named.

        Raises:
            CallerFault: `bad_tag`, with a sentence; nothing is changed.
        """
        checked: dict[str, Any] = {name: _checked(name, value) for name, value in words.items()}
        track.tags = replace(track.tags, **checked)
        self._news.tell()

    async def picture(
        self, name: str, content: AsyncIterator[bytes], tracks: list[DeskTrack], only_missing: bool = False
    ) -> None:
        """Give recordings a cover.

        Args:
            only_missing: leave those that have one.
        Raises:
            CallerFault: `bad_file`, `cover_unreadable`, `cover_too_large`.
        """
        if Path(safe_name(name)).suffix.lower() not in PICTURE_SUFFIXES:
            raise CallerFault("bad_file", f"{safe_name(name)} is no picture: give a JPEG or PNG.")
        folder = self._folder / secrets.token_hex(16)
        path = folder / safe_name(name)
        with disk_faults_named(self._folder):
            folder.mkdir(mode=0o700)
        size = 0
        try:
            async for block in _written(path, content):
                size += block
                if size > MAX_PICTURE_BYTES:
                    raise CallerFault("bad_file", f"A picture has at most {MAX_PICTURE_BYTES >> 20} MiB.")
            cover = await asyncio.to_thread(make_cover, path, folder)
            for track in tracks:
                if not (only_missing and track.cover is not None):
                    track.cover = cover
                    track.cover_version += 1
        except CallerFault as fault:
            raise CallerFault(fault.code, fault.message.replace(str(path), path.name)) from fault
        finally:
            self._pictures.add(folder)
            await self._clear_pictures()
        self._news.tell()

    def bare(self, track: DeskTrack) -> None:
        """Take a recording's cover away."""
        track.cover = None
        track.cover_version += 1
        self._news.tell()

    async def take_off(self, *tracks: DeskTrack) -> None:
        """Forget recordings and what was made of them; the artist's own files are elsewhere."""
        self.tracks = [track for track in self.tracks if track not in tracks]
        self._news.tell()
        for track in tracks:
            await asyncio.to_thread(shutil.rmtree, track.path.parent, ignore_errors=True)
        await self._clear_pictures()

    async def _clear_pictures(self) -> None:
        """Remove those that nothing on the desk uses."""
        used = {track.cover.parent for track in self.tracks if track.cover}
        for folder in self._pictures - used:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        self._pictures &= used

    # -- reading

    async def _read(self, track: DeskTrack) -> None:
        loop = asyncio.get_running_loop()

        def progress(done: float) -> None:
            loop.call_soon_threadsafe(self._progress, track, done)

        track.state = "reading"
        self._news.tell()
        try:
            media = track.path.parent / "media"
            ingested = await asyncio.to_thread(ingest, track.path, media, None, progress)
            if ingested.source_codec not in _PLAYED or track.path.suffix.lower() in _NOT_PLAYED:
                track.heard = await asyncio.to_thread(_write_heard, ingested, track.path.parent)
            track.published = await asyncio.to_thread(self._published, track.path)
        except DigmError as fault:
            track.state, track.fault = "refused", fault.message.replace(str(track.path), track.name)
        else:
            track.ingested, track.tags, track.cover = ingested, ingested.tags, track.cover or ingested.cover
            track.state, track.done = "ready", 1.0
        if track not in self.tracks:  # taken off meanwhile
            await asyncio.to_thread(shutil.rmtree, track.path.parent, ignore_errors=True)
        self._news.tell()

    def _progress(self, track: DeskTrack, done: float) -> None:
        if done - track.done >= 0.01 or done == 0:
            track.done = min(1.0, done)
            self._news.tell()


def _write_heard(ingested: IngestedTrack, folder: Path) -> Path:
    """The last rendition, which is Opus, as one file; blocks."""
    rendition = ingested.renditions[-1]
    duration_s = rendition.duration / rendition.config.timescale
    frames = frames_per_chunk(rendition.total_bytes, duration_s, rendition.largest_sample_bytes)
    path = folder / "heard.mp4"
    with path.open("wb") as file:
        file.write(init_segment(rendition.config))
        for chunk in pack(rendition.config, rendition.samples(), frames):
            file.write(chunk.plaintext)
    return path


def safe_name(name: str) -> str:
    """A file's name, of what a page says: one that is a name and nothing else."""
    last = clean_text(name.replace("\\", "/").rpartition("/")[2], MAX_TEXT).lstrip(".") or "recording"
    stem, dot, suffix = last.rpartition(".")
    if not dot:
        stem, suffix = last, ""
    stem = stem.encode()[:_MAX_NAME_BYTES].decode("utf-8", "ignore") or "recording"
    return f"{stem}{dot}{suffix[:8]}"


async def _written(path: Path, content: AsyncIterator[bytes]) -> AsyncIterator[int]:
    """Write a file as it comes. Yields the sizes of its pieces."""
    with path.open("xb") as file:
        async for block in content:
            await asyncio.to_thread(file.write, block)
            yield len(block)


def _checked(name: str, value: str | int | None) -> str | int | None:
    if value in (None, ""):
        return None
    if name in ("track_number", "year"):
        if isinstance(value, int) and 1 <= value <= MAX_NUMBER:
            return value
        raise CallerFault("bad_tag", f"The {name.replace('_', ' ')} is a number from 1 to {MAX_NUMBER}.")
    if name == "isrc" and isinstance(value, str):
        code = value.upper().replace("-", "").replace(" ", "")
        if not _ISRC.fullmatch(code):
            raise CallerFault("bad_tag", "An ISRC has 12 letters and digits, such as DE-A12-26-00001.")
        return code
    if name in _NAMES and isinstance(value, str) and (text := clean_text(value, MAX_TEXT)):
        return text
    raise CallerFault("bad_tag", f"{name.replace('_', ' ')!r} cannot be that.")
