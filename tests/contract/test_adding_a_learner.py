"""docs/adding-a-learner.md, followed literally on a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def test_the_page_can_be_followed(tmp_path):
    page = (PROJECT / "docs/adding-a-learner.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r'```python title="([^"]+)"\n(.*?)```', page, re.DOTALL))
    file, export, zoo = blocks
    for part in ("src", "tests"):
        shutil.copytree(PROJECT / part, tmp_path / part)
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)

    (tmp_path / file).write_text(blocks[file], encoding="utf-8")
    catalogue = (tmp_path / export).read_text(encoding="utf-8")
    catalogue = catalogue.replace("\n__all__ = [", f"{blocks[export]}\n__all__ = [")
    catalogue = catalogue.replace('"NearestMean",', '"NearestMean", "NearestNeighbour",')
    (tmp_path / export).write_text(catalogue, encoding="utf-8")
    rows = (tmp_path / zoo).read_text(encoding="utf-8")
    learners = "from quickstudy.learners import (\n"
    rows = rows.replace(learners, f"{learners}    NearestNeighbour,\n")
    rows = rows.replace("LEARNERS = {\n", "LEARNERS = {\n" + blocks[zoo])
    (tmp_path / zoo).write_text(rows, encoding="utf-8")

    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    environment = {k: v for k, v in environment.items() if not k.startswith("PYTEST")}

    def run(*command):
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )

    contract = run(
        "pytest", "tests/contract", "-p", "no:cacheprovider", "-q", "-k",
        "nearest-neighbour or NearestNeighbour or catalogued",
    )  # fmt: skip
    assert contract.returncode == 0, contract.stdout[-4000:]
    assert int(re.search(r"(\d+) passed", contract.stdout)[1]) > 40
    doctest = run("pytest", file, "-p", "no:cacheprovider", "-q")
    assert doctest.returncode == 0, doctest.stdout[-4000:]
    trained = run(
        "quickstudy", "train", "--learner", "nearest-neighbour", "--ways", "5", "--steps", "2",
        "--out", "runs/nn",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr[-4000:]
    assert (tmp_path / "runs/nn/manifest.json").is_file()
