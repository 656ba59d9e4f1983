"""What holds for the whole of it: no pickle anywhere, no torch for a manifest, one public face."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

import pytest

import quickstudy
from quickstudy import artefacts

PICKLERS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
SAFE = {"SafeLoader", "CSafeLoader"}
FILES = sorted(Path(quickstudy.__file__).parent.rglob("*.py"))


UNSAFE = {
    "torch": {"load", "save", "serialization", "jit", "hub", "package"},
    "torch.serialization": {"load", "save"},
    "yaml": {"load", "load_all", "full_load", "full_load_all", "unsafe_load", "unsafe_load_all"},
    "numpy": {"load", "save", "savez", "savez_compressed"},
    "pandas": {"read_pickle"},
    "builtins": {"eval", "exec"},
}
"""Of each module, what may run what a file says."""


def unsafe(source: str) -> Iterator[str]:
    """Every way in this code to run what a file says."""
    tree = ast.parse(source)
    modules = {  # by the name that the code has for it
        alias.asname or alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name in UNSAFE
    }
    harmless = {node.func for node in ast.walk(tree) if _says_how(node, modules)}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (a.name for a in names if a.name.partition(".")[0] in PICKLERS)
            case ast.ImportFrom(module=str(module), names=names):
                if module.partition(".")[0] in PICKLERS:
                    yield module
                taken = UNSAFE.get(module, set())
                yield from (f"{module}.{a.name}" for a in names if a.name in taken)
            case ast.Attribute(value=ast.Name(id=name), attr=attr) if (
                node not in harmless and attr in UNSAFE.get(modules.get(name, ""), set())
            ):
                yield f"{modules[name]}.{attr}"
            case ast.Attribute(attr=("serialization" | "read_pickle") as attr):
                yield attr
            case ast.keyword(arg="allow_pickle", value=ast.Constant(value=False)):
                pass
            case ast.keyword(arg="allow_pickle"):
                yield "allow_pickle"
            case ast.Name(id=("eval" | "exec") as name):
                yield name
            case ast.Call(args=[ast.Constant(value=str(name)), *_]) if name in PICKLERS:
                yield name  # import_module("pickle")


def _says_how(node: ast.AST, modules: dict[str, str]) -> TypeGuard[ast.Call]:
    """Whether it is a call that is safe because of what it is told."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name)), args=args, keywords=keywords):
            told = {k.arg: k.value for k in keywords}
            if modules.get(name) == "numpy":
                pickles = told.get("allow_pickle")
                return isinstance(pickles, ast.Constant) and pickles.value is False
            if modules.get(name) == "yaml":
                loader = told.get("Loader", args[1] if len(args) > 1 else None)
                return loader is not None and ast.unparse(loader).rpartition(".")[2] in SAFE
    return False


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
        "import numpy as np\nnp.load('x')",
        "import numpy as np\nf = np.load",
        "from numpy import load",
        "import numpy as np\nnp.savez('x', a=1)",
        "import torch as t\nt.load('x')",
        "import torch\ntorch.jit.load('x')",
        "import joblib\njoblib.load('x')",
        "import marshal, shelve",
        "from importlib import import_module\nimport_module('dill')",
        "import pandas as pd\npd.read_pickle('x')",
        "frame.read_pickle('x')",
        "import yaml\nyaml.load('x')",
        "import yaml\nyaml.load('x', yaml.Loader)",
        "import yaml\nyaml.load('x', Loader=yaml.UnsafeLoader)",
        "import yaml as y\ny.unsafe_load('x')",
        "from yaml import full_load",
        "eval('1')",
        "run = exec",
        "import builtins\nbuiltins.exec('1')",
    ],
)
def test_the_search_finds_what_it_looks_for(source: str) -> None:
    assert list(unsafe(source))


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np\nnp.load('x', allow_pickle=False)",
        "import yaml\nyaml.safe_load('x')\nyaml.load('x', yaml.SafeLoader)",
        "net.eval()\nsafetensors.torch.load(b'')\njson.load(file)",
    ],
)
def test_the_search_finds_nothing_else(source: str) -> None:
    assert list(unsafe(source)) == []


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
