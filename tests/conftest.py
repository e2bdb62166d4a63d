"""For all tests: what py-libp2p leaves behind is the fault of no test, and is gone when the next one begins."""

import gc
import warnings
from collections.abc import Iterator

import pytest

# Who uses something from here has py-libp2p in the test's own process, and is marked `libp2p`.
LIBP2P = ("hub.backbone.backbone", "hub.backbone.host", "hub.bridge.member", "tests.hub.backbone.nodes")
# py-libp2p 0.8.1 leaves the sockets of calls that were cancelled half way to the garbage collector.
LEFT = (
    "ignore:unclosed <socket:ResourceWarning",
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning",
)


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
