"""The collections that this library knows by name: which are on this machine, how to get others.

A collection that is published as files, or as a repository, is one entry in `LISTINGS`: where these
lie, and what converts them.
"""

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quickstudy.artefacts.atomic import exclusive
from quickstudy.data.cache import VARIABLE, cache_folders, find, writable_folder, write_arrays
from quickstudy.data.checkout import Checkout
from quickstudy.data.download import Patience, Remote, fetch, verify
from quickstudy.data.fashion import FASHION_FILE, FASHION_REMOTES, convert_fashion
from quickstudy.data.frames import is_table, require_arrow, write_frame
from quickstudy.data.glyphs import FILE as GLYPHS_FILE
from quickstudy.data.grocery import GROCERY_CHECKOUT, GROCERY_FILE, convert_grocery
from quickstudy.data.movielens import (
    FILMS_FILE,
    MOVIELENS_REMOTES,
    RATINGS_FILE,
    convert_movielens,
)
from quickstudy.data.omniglot import OMNIGLOT_FILE, OMNIGLOT_REMOTES, convert_omniglot
from quickstudy.errors import DataError

Converted = Mapping[str, NDArray[np.generic]] | Mapping[str, Any]
"""Arrays by name, or arrow tables by the files that they become."""
DOWNLOADS = "downloads"
"""Folder in the cache that holds published files until they are converted."""


class Listing(NamedTuple):
    """A collection, and whether it is here.

    Attributes:
        name: what the command line calls it.
        what: a line on what it is.
        origin: where it comes from.
        licence: that it comes under.
        file: its name in the data cache; where there are several, of the first.
        remotes: the files that it is published as; none where it is made here.
        convert: makes the arrays of `file` from these, which it finds by name; or, of tables, each
            file's.
        path: where it lies; None where it is not on this machine.
        size: of all files in bytes; 0 where there is none.
        others: names of further files, beside `file`.
        checkout: the repository that it is published as, not as files; `convert` finds it by name.
    """

    name: str
    what: str
    origin: str
    licence: str
    file: str
    remotes: tuple[Remote, ...] = ()
    convert: Callable[[Mapping[str, Path]], Converted] | None = None
    path: Path | None = None
    size: int = 0
    others: tuple[str, ...] = ()
    checkout: Checkout | None = None

    @property
    def published(self) -> bool:
        """Whether somebody else made it, so that `obtain` converts it."""
        return bool(self.remotes or self.checkout)

    @property
    def download(self) -> int:
        """Bytes that are to be fetched where it is not here; 0 where it is made here."""
        return sum(remote.size for remote in self.remotes)

    def find(self, cache: Path | str | None = None) -> Path | None:
        """Where its first file lies, if all are there."""
        path = find(self.file, cache)
        there = path and all(path.with_name(name).is_file() for name in self.others)
        return path if there else None


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
        OMNIGLOT_REMOTES,
        convert_omniglot,
    ),
    Listing(
        "fashion",
        "Fashion-MNIST's test set, 10 kinds of clothing, 1,000 photos of each, 28x28; to judge on",
        "Xiao, Rasul and Vollgraf 2017, github.com/zalandoresearch/fashion-mnist",
        "MIT",
        FASHION_FILE,
        FASHION_REMOTES,
        convert_fashion,
    ),
    Listing(
        "grocery",
        "photos of 81 kinds of groceries in shops, 35 to 143 of each, 84x84 in colour",
        "Klasson, Zhang and Kjellström 2019, github.com/marcusklasson/GroceryStoreDataset",
        "MIT",
        GROCERY_FILE,
        convert=convert_grocery,
        checkout=GROCERY_CHECKOUT,
    ),
    Listing(
        "movielens",
        "100,836 ratings of 9,742 films by 610 users, with genres; for `quickstudy recommend`",
        "Harper and Konstan 2015, grouplens.org/datasets/movielens",
        "GroupLens terms of use: for research, not commercial; cite the paper",
        RATINGS_FILE,
        MOVIELENS_REMOTES,
        convert_movielens,
        others=(FILMS_FILE,),
    ),
)


def list_sources(cache: Path | str | None = None) -> list[Listing]:
    """All collections known by name, with where they lie on this machine.

    Args:
        cache: the folder to look in; see `cache_folders`.

    Raises:
        DataError: the cache is no folder.

    Examples:
        >>> [listing.name for listing in list_sources("no/such/folder") if listing.path is None]
        ['glyphs', 'omniglot', 'fashion', 'grocery', 'movielens']
    """
    found = []
    for listing in LISTINGS:
        path = listing.find(cache)
        names = (listing.file, *listing.others)
        size = sum(path.with_name(name).stat().st_size for name in names) if path else 0
        found.append(listing._replace(path=path, size=size))
    return found


def obtain(
    name: str,
    cache: Path | str | None = None,
    *,
    mirror: str | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    patience: Patience | None = None,
) -> Path:
    """The file of a published collection; fetched, checked and converted where it is not here.

    Args:
        name: of a collection that is published, "omniglot" say.
        cache: where it is looked for and put; see `cache_folders`.
        mirror: where the published files are taken from instead of their publisher: a folder that
            holds them, or an address that their names are appended to. They must be the same files.
            Of what is published as a repository: the folder that it is checked out in.
        progress: told a file's name, and how many bytes of how many of it are here.
        patience: how often and how long a server is tried; see `fetch`.

    Returns:
        The path of the file in the data cache; of the first, where there are several.

    Raises:
        DataError: there is no such collection, or it is not published; no cache can be written;
            it is tables, and pyarrow is not installed; a file cannot be fetched or is not the
            wanted one; a repository is to be checked out first. The cache is as it was, but for
            what the next time can go on from.

    Examples:
        >>> obtain("glyphs")
        Traceback (most recent call last):
        ...
        quickstudy.errors.DataError: what is published is omniglot, fashion, grocery, movielens; ...
    """
    published = {listing.name: listing for listing in LISTINGS if listing.published}
    if name not in published:
        raise DataError(f"what is published is {', '.join(published)}; got {name!r}")
    listing = published[name]
    here = listing.find(cache)
    if here:
        return here
    if is_table(listing.file):
        require_arrow()
    folder = writable_folder(cache)
    if folder is None:
        places = ", ".join(map(str, cache_folders(cache)))
        raise DataError(f"{places} cannot be written; name a data cache with ${VARIABLE}")
    with exclusive(folder):
        path = folder / listing.file
        if not listing.find(folder):  # another process may have made it meanwhile
            _make(listing, path, mirror, progress or (lambda *_: None), patience)
    return path


def _make(
    listing: Listing,
    path: Path,
    mirror: str | None,
    progress: Callable[[str, int, int], None],
    patience: Patience | None,
) -> None:
    """Fetch, convert, write, and tidy up."""
    assert listing.convert is not None
    downloads = path.parent / DOWNLOADS / listing.name
    try:
        files = {
            remote.name: _published(remote, downloads, mirror, progress, patience)
            for remote in listing.remotes
        }
        if listing.checkout:
            files[listing.checkout.name] = listing.checkout.folder(listing.name, mirror)
        _write(listing, path, listing.convert(files))
        shutil.rmtree(downloads, ignore_errors=True)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # they hold what the next time goes on from, or were never made
            downloads.rmdir()
        with suppress(OSError):
            downloads.parent.rmdir()


def _write(listing: Listing, path: Path, converted: Converted) -> None:
    """The file at a path, and those beside it."""
    if not is_table(path):
        write_arrays(path, converted)
        return
    for name in (*listing.others, listing.file):
        write_frame(path.with_name(name), converted[name])


def _published(
    remote: Remote,
    downloads: Path,
    mirror: str | None,
    progress: Callable[[str, int, int], None],
    patience: Patience | None,
) -> Path:
    """The path of a published file, which is the wanted one."""
    if mirror is not None and "://" not in mirror:
        path = Path(mirror).expanduser() / remote.name
        verify(path, size=remote.size, sha256=remote.sha256)
        return path
    path = downloads / remote.name
    try:
        fetch(
            remote.url if mirror is None else f"{mirror.rstrip('/')}/{remote.name}",
            path,
            size=remote.size,
            sha256=remote.sha256,
            progress=lambda done, total: progress(remote.name, done, total),
            patience=patience,
        )
    except DataError as error:
        if mirror is not None:
            raise
        advice = "`quickstudy data prepare --from` takes it from a mirror or a folder"
        raise DataError(f"{error}; {advice}") from error
    return path
