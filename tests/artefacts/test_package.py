"""What holds for the whole of it: no pickle anywhere, no torch for a manifest, one public face."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import quickstudy
from quickstudy import artefacts

PICKLERS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FILES = sorted(Path(quickstudy.__file__).parent.rglob("*.py"))


def unsafe(source: str) -> Iterator[str]:
    """Every way in this code to run what a file says."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (a.name for a in names if a.name.partition(".")[0] in PICKLERS)
            case ast.ImportFrom(module=str(module), names=names):
                if module.partition(".")[0] in PICKLERS:
                    yield module
                if module in ("torch", "torch.serialization"):
                    yield from (f"{module}.{a.name}" for a in names if a.name in ("load", "save"))
            case ast.Attribute(value=ast.Name(id="torch"), attr=("load" | "save") as name):
                yield f"torch.{name}"
            case ast.Attribute(attr="serialization"):
                yield "torch.serialization"
            case ast.keyword(arg="allow_pickle", value=ast.Constant(value=False)):
                pass
            case ast.keyword(arg="allow_pickle"):
                yield "allow_pickle"
            case ast.Call(func=ast.Name(id=("eval" | "exec") as name)):
                yield name


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(FILES[0].parent)))
def test_nothing_in_the_package_unpickles(file: Path) -> None:
    assert list(unsafe(file.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import joblib.memory as m",
        "from pickle import loads",
        "from torch import load",
        "import torch\ntorch.load('x')",
        "import torch\nf = torch.save",
        "import torch\ntorch.serialization.load",
        "import numpy\nnumpy.load('x', allow_pickle=True)",
        "eval('1')",
    ],
)
def test_the_search_finds_what_it_looks_for(source: str) -> None:
    assert list(unsafe(source))


def test_a_manifest_is_read_without_torch() -> None:
    code = (
        "import sys; from quickstudy.artefacts import read_manifest; "
        "assert 'torch' not in sys.modules and 'safetensors' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there_and_no_other() -> None:
    assert all(hasattr(artefacts, name) for name in artefacts.__all__)
    assert dir(artefacts) == sorted(artefacts.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'load'"):
        artefacts.load  # noqa: B018
