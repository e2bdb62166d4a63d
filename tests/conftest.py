"""For all tests: which of them two workers run beside each other (`-n2`), and that what py-libp2p leaves
behind is the fault of no test, and gone when the next one begins."""

import gc
import os
import warnings
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Any

import pytest

# Who uses something from here has py-libp2p in the test's own process, and is marked `libp2p`.
LIBP2P = ("hub.backbone.backbone", "hub.backbone.host", "hub.bridge.member", "tests.hub.backbone.nodes")
# py-libp2p 0.8.1 leaves the sockets of calls that were cancelled half way to the garbage collector.
LEFT = (
    "ignore:unclosed <socket:ResourceWarning",
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning",
)

# They drive Chromium and listen: one worker runs them one after the other, before anything else.
SOUND = ("tests/browser/", "tests/net/")
STRANGER = "tests/stranger/"  # its npm packages are fetched once
# What runs beside the sound takes what it leaves of the processors, so that it does not stop for it.
NICENESS = 5
USUAL_NICENESS = os.getpriority(os.PRIO_PROCESS, 0)


def _group(test: str) -> str:
    """Its tests are run by one worker, in their order: the sound, the strangers, or a file."""
    if test.startswith(SOUND):
        return "sound"
    return STRANGER if test.startswith(STRANGER) else test.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    config.option.loadscopereorder = False  # the sound lasts longest: it is first
    return Groups(config, log)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """What a test starts is as nice as the test."""
    if hasattr(item.config, "workerinput"):  # another worker runs beside this one
        niceness = USUAL_NICENESS + (0 if _group(item.nodeid) == "sound" else NICENESS)
        with suppress(PermissionError):  # only root goes back, and after other tests there is no sound
            os.setpriority(os.PRIO_PROCESS, 0, niceness)
    return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and _uses_libp2p(item.module):
            item.add_marker(pytest.mark.libp2p)
        if item.get_closest_marker("libp2p"):
            for warning in LEFT:
                item.add_marker(pytest.mark.filterwarnings(warning))


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
