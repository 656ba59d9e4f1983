"""What this installation is and has: the first thing to look at when something is odd."""

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from quickstudy._version import __version__
from quickstudy.data.cache import VARIABLE, cache_folder, cache_folders, free_bytes
from quickstudy.data.sources import list_sources
from quickstudy.hub.devices import devices

PACKAGES = ("torch", "numpy", "matplotlib", "pillow", "safetensors", "scikit-learn", "pydantic")
LITTLE_DISK = 1 << 30


def examine() -> dict[str, Any]:
    """Versions, devices, data cache, disk and threads, as JSON."""
    folder = cache_folder()
    here = Path.cwd()
    named: list[str] = [] if not torch.cuda.is_available() else [
        torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())
    ]  # fmt: skip
    return {
        "quickstudy": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "devices": devices(),
        "cuda_devices": named,
        "threads": {"torch": torch.get_num_threads(), "cores": os.cpu_count()},
        "cache": {
            "folder": str(folder),
            "variable": {VARIABLE: os.environ.get(VARIABLE)},
            "looked_in": [str(place) for place in cache_folders()],
            "holds": {
                row.name: {"file": str(row.path), "bytes": row.size} if row.path else None
                for row in list_sources()
            },
        },
        "disk_free_bytes": {"cache": free_bytes(folder), str(here): free_bytes(here)},
        "problems": _problems(folder),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _problems(folder: Path) -> list[str]:
    """What will hurt, each with what to do."""
    said = []
    if folder not in cache_folders():
        said.append(f"no data cache can be written; {folder} is used. Name one with ${VARIABLE}")
    if free_bytes(folder) < LITTLE_DISK:
        said.append(f"less than 1 GB is free for the data cache {folder}")
    missing = [name for name in PACKAGES if _version(name) is None]
    if missing:
        said.append(f"not installed: {', '.join(missing)}")
    return said
