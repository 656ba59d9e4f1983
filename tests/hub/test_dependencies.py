from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

HUB = [
    "alembic", "fastapi", "httptools", "httpx", "platformdirs", "prometheus-client", "pydantic",
    "python-multipart", "pyyaml", "rich", "sqlalchemy", "typer", "uvicorn", "uvloop",
]  # fmt: skip
"""What the hub needs that the rooms below it do not."""
MOST = 60_000_000


def needed(name: str) -> list[str]:
    """What a package needs here, without its extras."""
    told = [Requirement(one) for one in distribution(name).requires or ()]
    return [one.name for one in told if one.marker is None or one.marker.evaluate({"extra": ""})]


def all_needed(names: list[str]) -> set[str]:
    found: set[str] = set()
    while names:
        name = names.pop().lower().replace("_", "-")
        if name not in found:
            found.add(name)
            names += needed(name)
    return found


def size(name: str) -> int:
    found = distribution(name)
    places = (Path(found.locate_file(file)) for file in found.files or ())
    return sum(p.stat().st_size for p in places if p.suffix != ".pyc" and p.is_file())


def test_what_the_hub_needs_beyond_torch_is_small():
    sizes = {name: size(name) for name in all_needed([*HUB])}
    assert {"starlette", "pydantic-core", "anyio"} <= sizes.keys()
    assert sum(sizes.values()) <= MOST, sizes


def test_what_is_counted_is_what_the_package_asks_for():
    assert set(HUB) <= {name.lower() for name in needed("quickstudy")}
