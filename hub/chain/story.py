"""The journal's steps in words, with the names that are known here."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from digm.chain_pins import ChainPins
from digm.chain_sales import COIN
from digm.chain_story import Sentence, Story, Told
from digm.chain_tracks import ChainTracks
from digm.errors import DigmError
from digm.fresh_index import MAX_INDEX_BYTES
from digm.ids import to_hex
from digm.manifest import parse_manifest
from hub.chain.deployment import Deployment
from hub.chain.journal import Step
from hub.chain.model import Event
from hub.chain.rules import TOKENS
from hub.storage.chunk_store import ChunkStore

KEPT_KEYS = 2_000
INDEX_FILE = "fresh-index.json"
Key = tuple[str, int]


def token_names(deployed: Deployment) -> dict[str, str]:
    """Address -> what people call the token."""
    return {COIN: "coins"} | {deployed.addresses[part]: part.upper() for part in TOKENS}


class Storyteller:
    """Tells step after step, and what was said before when the chain takes it back."""

    def __init__(self, deployed: Deployment) -> None:
        self.story = Story(token_names(deployed))
        self._said: dict[Key, list[Told]] = {}

    def tell(self, step: Step, event: Event, before: ChainPins) -> list[Told]:
        """What there is to say of a step.

        Args:
            before: orders and nodes as they were before it.
        """
        key = (step.log.block_hash, step.log.index)
        if step.is_undone:
            return self.story.undo(step.sequence, self._said.pop(key, []))
        log = event.log
        found = self.story.take(
            step.sequence, log.block, log.transaction_hash, event.name, event.arguments, before
        )
        if found:
            self._said[key] = found
        while len(self._said) > KEPT_KEYS:
            del self._said[next(iter(self._said))]
        return found


class WholeStory:
    """The story from the first step on, for a command: it keeps all events.

    Attributes:
        tracks: what the registry says, for titles.
    """

    def __init__(self, deployed: Deployment) -> None:
        self.tracks = ChainTracks()
        self._teller = Storyteller(deployed)
        self._pins = ChainPins()
        self._standing: dict[Key, Event] = {}
        self._is_stale = False

    def tell(self, steps: Iterable[tuple[Step, Event]]) -> Iterator[tuple[Step, Event, list[Told]]]:
        """Steps with what there is to say of each."""
        for step, event in steps:
            key = (step.log.block_hash, step.log.index)
            if step.is_undone:
                self._standing.pop(key, None)
                self._is_stale = True
            elif self._is_stale:
                self._begin_again()
            told = self._teller.tell(step, event, self._pins)
            if not step.is_undone:
                self._standing[key] = event
                self._apply(event)
            yield step, event, told

    def _begin_again(self) -> None:
        self._pins, self.tracks, self._is_stale = ChainPins(), ChainTracks(), False
        for event in self._standing.values():
            self._apply(event)

    def _apply(self, event: Event) -> None:
        self._pins.apply(event.name, event.arguments, event.log.block)
        if event.contract == "registry":
            self.tracks.apply(event.name, event.arguments)


def short(account: str) -> str:
    """An account of which no name is known."""
    return f"{account[:6]}…{account[-4:]}"


def say(sentence: Sentence, account: Callable[[str], str], track: Callable[[bytes], str]) -> str:
    """A sentence with names, on one line and without anything that rearranges it."""
    said = sentence.say(account, track)
    return "".join(letter if letter.isprintable() else " " for letter in said)


def line(told: Told, in_words: str) -> str:
    """As it is printed."""
    return f"{told.sequence}  block {told.block}  {'TAKEN BACK: ' if told.is_undone else ''}{in_words}"


class FolderNames:
    """Names out of a data folder: of nodes, as its fresh index has them, and of tracks, by their manifests.

    Args:
        story: whose tracks are named.
    """

    def __init__(self, data: Path, story: WholeStory) -> None:
        self._store, self._story = ChunkStore(data), story
        self._accounts = _named_by_index(data / INDEX_FILE)
        self._titles: dict[bytes, str] = {}

    def say(self, told: Told) -> str:
        return say(told.sentence, self._account, self._track)

    def _account(self, address: str) -> str:
        return self._accounts.get(address, short(address))

    def _track(self, track: bytes) -> str:
        known = self._story.tracks.tracks.get(track)
        if known is None:
            return "a track"
        if track not in self._titles and (title := self._title(known.track_root, known.artist)):
            self._titles[track] = title
        return self._titles.get(track, f"track {to_hex(known.track_root)[:8]}")

    def _title(self, root: bytes, artist: str) -> str:
        """Of a manifest that is signed by the key which the publishing account named; others may not use it."""
        binding = self._story.tracks.bindings.get(artist)
        try:
            manifest = parse_manifest(self._store.manifest(to_hex(root)))
        except DigmError:
            return ""
        return f"“{manifest.title}”" if binding is not None and binding.key == manifest.artist_key else ""


class _Chain(msgspec.Struct):
    account: str


class _Node(msgspec.Struct):
    operator: str
    chain: _Chain | None = None


class _Index(msgspec.Struct):
    nodes: list[_Node] = []


def _named_by_index(path: Path) -> dict[str, str]:
    """Account -> operator, of the index that this folder's hub or node wrote last; an old name is one too."""
    try:
        document = path.read_bytes()[:MAX_INDEX_BYTES]
        nodes = msgspec.json.decode(document, type=_Index).nodes
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}
    return {node.chain.account: node.operator for node in nodes if node.chain is not None}
