"""For all tests: which of them two workers run beside each other (`-n2`, as `make test` does), which get a
second try, and that what py-libp2p leaves behind is the fault of no test, and gone when the next one begins."""

import gc
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

# Who uses something from here has py-libp2p in the test's own process, and is marked `libp2p`.
LIBP2P = ("hub.backbone.backbone", "hub.backbone.host", "hub.bridge.member", "tests.hub.backbone.nodes")
# py-libp2p 0.8.1 leaves the sockets of calls that were cancelled half way to the garbage collector.
LEFT = (
    "ignore:unclosed <socket:ResourceWarning",
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning",
)

# They drive Chromium and listen, or measure: one worker runs them one after the other, and the other waits.
SOUND = ("tests/browser/", "tests/net/")
SOUND_GROUP = "sound"
# ... except those that drive Chromium and judge neither sound nor time.
SILENT = tuple(
    f"tests/browser/test_{name}.py"
    for name in (
        *("captured_session", "disk_images", "my_music", "new_hub", "operator"),
        *("panel", "premium", "purchase", "sharing", "studio", "vectors"),
    )
)
LEFT_BEHIND = 2
STRANGER = "tests/stranger/"  # its npm packages are fetched once

# Real browsers, real networks and processes that attack each other, in real time: what fails here is tried once
# more, a few times in a run (pyproject.toml), and the first failure is printed at the end (decision 39).
SECOND_TRY = ("tests/browser/", "tests/net/", "tests/hub/backbone/")
TIME_LIMIT = pytest.StashKey[Any]()


def _group(test: str) -> str:
    """Its tests are run by one worker, in their order: the sound, the strangers, or a file."""
    if test.startswith(SOUND) and not test.startswith(SILENT):
        return SOUND_GROUP
    return STRANGER if test.startswith(STRANGER) else test.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

        def _assign_work_unit(self, node: Any) -> None:
            """Nothing begins beside the sound. A worker begins its last test only when it has got more."""
            sound = next((work[SOUND_GROUP] for work in self.assigned_work.values() if SOUND_GROUP in work), {})
            if self._pending_of({SOUND_GROUP: sound}) <= LEFT_BEHIND:
                super()._assign_work_unit(node)

        def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
            super().mark_test_complete(node, item_index, duration)
            for other in self.nodes:  # such as those who waited for the sound to be over
                if self._pending_of(self.assigned_work[other]) <= 1:
                    self._reschedule(other)

    config.option.loadscopereorder = False  # the sound is first
    return Groups(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(SECOND_TRY):
            item.add_marker(pytest.mark.flaky(reruns=1))
        if isinstance(item, pytest.Function) and _uses_libp2p(item.module):
            item.add_marker(pytest.mark.libp2p)
        if item.get_closest_marker("libp2p"):
            for warning in LEFT:
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> None:
    item.stash[TIME_LIMIT] = settings


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """pytest-timeout stops its clock when a test has failed; a second try has a clock of its own."""
    if getattr(item, "execution_count", 1) > 1 and TIME_LIMIT in item.stash:
        item.ihook.pytest_timeout_set_timer(item=item, settings=item.stash[TIME_LIMIT])


def _uses_libp2p(module: object) -> bool:
    origins = [getattr(value, "__module__", None) or "" for value in vars(module).values()]
    return any(origin.startswith(LIBP2P) for origin in origins)


@pytest.fixture(autouse=True)
def swept(request: pytest.FixtureRequest) -> Iterator[None]:
    """What py-libp2p left to the garbage collector goes with the test that left it."""
    yield
    if request.node.get_closest_marker("libp2p"):
        sweep()


def sweep() -> None:
    """Close the sockets that py-libp2p dropped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
