"""The documentation tells the truth: its examples run, and the reference misses nothing public."""

import importlib
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest

import quickstudy

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = {
    page.name: re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S) for page in PAGES
}


@pytest.mark.parametrize("page", [name for name, blocks in EXAMPLES.items() if blocks])
def test_examples_run(page: str, capsys: pytest.CaptureFixture[str], need: Any) -> None:
    if "qs.table" in "".join(EXAMPLES[page]):
        need.package("pyarrow")
    names = {"__name__": "example"}
    exec(compile("\n".join(EXAMPLES[page]), page, "exec"), names)
    if page == "quickstart.md":
        learned, control = re.findall(r"(\d+\.\d) ± \d", capsys.readouterr().out)
        assert float(learned) > 60
        assert float(control) < 40


def test_the_reference_holds_every_room() -> None:
    """A room's page shows what its `__all__` lists, or all its modules where it lists nothing."""
    pages = "\n".join(page.read_text() for page in (ROOT / "docs/api").glob("*.md"))
    shown = set(re.findall(r"^::: (\S+)$", pages, re.M))
    with_modules = set(re.findall(r"^::: (\S+)\n +options:\n +show_submodules: true", pages, re.M))
    for room in pkgutil.iter_modules(quickstudy.__path__, "quickstudy."):
        if room.name.split(".")[1].startswith("_"):
            continue
        assert room.name in shown
        lists_names = hasattr(importlib.import_module(room.name), "__all__")
        assert lists_names == (room.name not in with_modules), room.name
