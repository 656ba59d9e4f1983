"""The collections that this library knows by name, and which of them are on this machine."""

from pathlib import Path
from typing import NamedTuple

from quickstudy.data.cache import find
from quickstudy.data.glyphs import FILE as GLYPHS_FILE
from quickstudy.data.images import OMNIGLOT_FILE


class Listing(NamedTuple):
    """A collection, and whether it is here.

    Attributes:
        name: what the command line calls it.
        what: a line on what it is.
        origin: where it comes from.
        licence: that it comes under.
        file: its name in the data cache.
        path: where it lies; None where it is not on this machine.
        size: of the file in bytes; 0 where there is none.
    """

    name: str
    what: str
    origin: str
    licence: str
    file: str
    path: Path | None = None
    size: int = 0


LISTINGS = (
    Listing(
        "glyphs",
        "letters and digits of 15 writing systems in up to 12 faces, 28x28; rendered when needed",
        "the DejaVu fonts that matplotlib brings along",
        "Bitstream Vera and Arev licence, changes by DejaVu in the public domain",
        GLYPHS_FILE,
    ),
    Listing(
        "omniglot",
        "1,623 handwritten characters of 50 alphabets, 20 drawings of each, 28x28",
        "Lake, Salakhutdinov and Tenenbaum 2015, github.com/brendenlake/omniglot",
        "MIT",
        OMNIGLOT_FILE,
    ),
)


def list_sources(cache: Path | str | None = None) -> list[Listing]:
    """All collections known by name, with where they lie on this machine.

    Args:
        cache: the folder to look in; see `cache_folders`.

    Raises:
        DataError: the cache is no folder.

    Examples:
        >>> [(listing.name, listing.path) for listing in list_sources("no/such/folder")]
        [('glyphs', None), ('omniglot', None)]
    """
    found = []
    for listing in LISTINGS:
        path = find(listing.file, cache)
        size = path.stat().st_size if path else 0
        found.append(listing._replace(path=path, size=size))
    return found
