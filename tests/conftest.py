"""What every test can ask for.

- `need.data("omniglot_28.npz")`, `need.program("chromium")`, `need.package("pandas")`: what not
  every machine has. A test that misses one is skipped by name, and fails if QUICKSTUDY_REQUIRE=all.
- `data_cache`: the session's own cache folder, and what QUICKSTUDY_DATA names while tests run. It
  holds links to the user's data files; whatever tests render or convert is written here.
"""

import importlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings


class Need:
    """Finds what a test needs, or skips the test, or fails it where all is required."""

    def __init__(self) -> None:
        required = os.environ.get("QUICKSTUDY_REQUIRE", "")
        if required not in ("", "all"):
            raise pytest.UsageError(f"QUICKSTUDY_REQUIRE must be unset or 'all', got {required!r}")
        self._miss: Callable[[str], None] = pytest.fail if required == "all" else pytest.skip

    def data(self, name: str) -> Path:
        """The file of that name in $QUICKSTUDY_DATA."""
        path = Path(os.environ["QUICKSTUDY_DATA"]) / name
        if not path.is_file():
            self._miss(f"needs {name} in $QUICKSTUDY_DATA")
        return path

    def program(self, *names: str) -> str:
        """The path of the first of these programs that is installed (a browser, a database)."""
        found = next(filter(None, map(shutil.which, names)), "")
        if not found:
            self._miss(f"needs {' or '.join(names)} on the PATH")
        return found

    def package(self, name: str) -> ModuleType | None:
        """The module, imported; for what only an extra brings."""
        try:
            return importlib.import_module(name)
        except ImportError:
            self._miss(f"needs the package {name}")
            return None


@pytest.fixture(scope="session")
def need() -> Need:
    return Need()


@pytest.fixture(scope="session")
def data_cache() -> Path:
    return Path(os.environ["QUICKSTUDY_DATA"])


def pytest_configure(config: pytest.Config) -> None:
    """Before anything of quickstudy or torch is imported."""
    if not hasattr(config, "workerinput"):  # the first process of the session; the others inherit
        cache = _make_cache()
        config.add_cleanup(lambda: shutil.rmtree(cache, ignore_errors=True))
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tests' processes already fill the cores
    os.environ["MPLBACKEND"] = "agg"
    os.environ["QUICKSTUDY_STORE"] = str(Path(os.environ["QUICKSTUDY_DATA"]) / "runs.sqlite")
    settings.register_profile(
        "quickstudy",
        deadline=None,
        derandomize=bool(os.environ.get("QUICKSTUDY_REQUIRE")),
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("quickstudy")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a module that share what it makes once run in one process, where it is made once."""
    for item in items:
        info = getattr(item, "_fixtureinfo", None)
        if info is None or item.get_closest_marker("xdist_group"):
            continue
        made = (definitions[-1] for definitions in info.name2fixturedefs.values())
        if any(one.scope == "module" for one in made):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


def _make_cache() -> Path:
    """Points QUICKSTUDY_DATA at a new folder that holds links to the files it pointed at.

    Tests then read the user's data and never write among them, nor into the platform's cache.
    """
    cache = Path(tempfile.mkdtemp(prefix="quickstudy-tests-"))
    held = os.environ.get("QUICKSTUDY_DATA")
    if held:
        if not Path(held).is_dir():
            raise pytest.UsageError(f"QUICKSTUDY_DATA must name a folder, got {held}")
        for file in Path(held).resolve().iterdir():
            (cache / file.name).symlink_to(file)
    os.environ["QUICKSTUDY_DATA"] = str(cache)
    return cache
