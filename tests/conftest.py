"""Test-wide settings: reproducible examples, no wall-clock flakiness, public sweeps where given."""

import gc
import os
import signal
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from jaxtyping import config as shapes
from jaxtyping import install_import_hook
from matplotlib.figure import Figure

from tests.heavy import listed
from tests.shapes import checked_once_called

# What modules are made of is no garbage; the collector would look through it again and again.
gc.disable()

# Shapes are checked at run time in the mathematics; the edges answer bad values themselves.
install_import_hook(
    ["horizon_bo.core", "horizon_bo.published"],
    f"{checked_once_called.__module__}.{checked_once_called.__name__}",
)

# A shell that starts the tests in the background has Ctrl-C ignored by all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What tests infer is kept for this run of them alone, and shared by all of its processes.
if "HORIZON_BO_CACHE" not in os.environ:
    KEPT = TemporaryDirectory(prefix="horizon-bo-")
    os.environ["HORIZON_BO_CACHE"] = KEPT.name

#: Objects made before the collector looks for cycles, as on the command line.
COLLECT_AFTER = 50_000
LONG = ("slow", "calibration", "notebook", "kills")
#: Where shapes are checked: quick tests of the mathematics and of a tuner's whole life. All others
#: call the same functions, thousands of times, and checks would take two thirds of that; nightly
#: they check them too (SHAPES=all).
CHECKED = ("core", "published", "test_tuner.py")
#: Files among these that infer again and again; every shape they pass, another file passes too.
REPEATING = ("test_diagnostics.py", "test_inference.py", "test_oddities.py", "test_sources.py")


HEAVY = listed()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Tests that are listed as heavy bear the mark."""
    if item.nodeid.split("[")[0] in HEAVY:
        item.add_marker("heavy")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Shapes are checked in this test, or not."""
    place = item.path.relative_to(Path(__file__).parent).parts[0]
    quick = not any(item.get_closest_marker(name) for name in LONG)
    once = place in CHECKED and item.path.name not in REPEATING
    checked = (quick and once) or os.environ.get("SHAPES") == "all"
    shapes.update("jaxtyping_disable", not checked)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests go first, then those with many heavy ones: processes end together."""
    long = {item.path for item in items if any(item.get_closest_marker(name) for name in LONG)}
    heavy = Counter(item.path for item in items if item.get_closest_marker("heavy"))
    items.sort(key=lambda item: (item.path not in long, -heavy[item.path]))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """From here on what tests leave behind is collected, and nothing older is looked at."""
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
    gc.enable()


settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=300)


@pytest.fixture
def data_folder() -> Path:
    """The folder of public sweeps; tests that need it are skipped where it is not given."""
    folder = os.environ.get("HORIZON_BO_DATA")
    if not folder:
        pytest.skip("HORIZON_BO_DATA is unset, expected a folder with cases.json and its sweeps")
    return Path(folder).resolve()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """Every figure that a test saves, by the name of its file: to look at what it shows."""
    saved: dict[str, Figure] = {}
    save = Figure.savefig

    def kept(figure: Figure, path: str | Path, *given: object, **named: object) -> None:
        save(figure, path, *given, **named)
        saved[Path(path).name] = figure

    monkeypatch.setattr(Figure, "savefig", kept)
    return saved
