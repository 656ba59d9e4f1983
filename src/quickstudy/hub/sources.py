"""What `--data` may name: built-in collections, formulas, folders of class folders, tables."""

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quickstudy.core import Task, TaskSource
from quickstudy.data.columns import Columns
from quickstudy.data.fashion import fashion
from quickstudy.data.frames import SUFFIXES, is_table
from quickstudy.data.grocery import grocery
from quickstudy.data.omniglot import omniglot
from quickstudy.data.synthetic import Blobs, Sinusoids
from quickstudy.errors import DataError, RunError
from quickstudy.hub.config import Span
from quickstudy.hub.image_source import INK, PHOTO, Images, open_folder
from quickstudy.hub.source import Source, Split, Wanted


class Formula(Source):
    """Tasks out of a formula, fresh in every split."""

    def __init__(
        self,
        name: str,
        make: Callable[[int, int, int], TaskSource[Task]],
        input_shape: tuple[int, ...],
        outputs: int | None = None,
    ) -> None:
        self.name = name
        self.make = make
        self.input_shape = input_shape
        self.outputs = outputs

    def tasks(self, split: Split, ways: Span, shots: Span, queries: int) -> TaskSource[Task]:
        """Tasks of the formula; the split makes no difference."""
        if not (isinstance(ways, int) and isinstance(shots, int)):
            raise RunError(
                f"{self.name} takes one number of ways and shots, got {ways} and {shots}"
            )
        return self.make(ways, shots, queries)

    def facts(self) -> dict[str, Any]:
        """The shape of an input."""
        return {"data": self.name, "input_shape": list(self.input_shape), "outputs": self.outputs}


def _glyphs(wanted: Wanted) -> Source:
    from quickstudy.hub.handwriting import Glyphs

    return Glyphs(wanted)


def _omniglot(wanted: Wanted) -> Source:
    return Images("omniglot", omniglot()._asdict(), INK, curated=True, device=wanted.device)


def _fashion(wanted: Wanted) -> Source:
    pool = fashion()
    pools = {"test": pool, "all": pool}
    return Images("fashion", pools, INK, curated=True, device=wanted.device)


def _grocery(wanted: Wanted) -> Source:
    splits, device = grocery()._asdict(), wanted.device
    return Images("grocery", splits, PHOTO, curated=True, device=device, warp="crop")


def _blobs(wanted: Wanted) -> Source:
    return Formula("blobs", lambda w, s, q: Blobs(w, s, q), input_shape=(2,))


def _sinusoids(wanted: Wanted) -> Source:
    return Formula("sinusoids", lambda w, s, q: Sinusoids(s, q), input_shape=(1,), outputs=1)


SOURCES: dict[str, Callable[[Wanted], Source]] = {
    "glyphs": _glyphs,
    "omniglot": _omniglot,
    "fashion": _fashion,
    "grocery": _grocery,
    "blobs": _blobs,
    "sinusoids": _sinusoids,
}
"""Name to what opens it."""
FORMULAS = {
    "blobs": "Gaussian blobs in the plane, to classify",
    "sinusoids": "sinusoids of random amplitude and phase, to regress",
}
"""Those that are made on the fly, and what they are."""


def open_source(name: str, wanted: Wanted | None = None) -> Source:
    """The data of that name, or the table or folder of class folders at that path.

    Args:
        name: a name in `SOURCES`, or a path.
        wanted: what is asked of it.

    Raises:
        DataError: no such data or folder, or one that is broken.

    Examples:
        >>> open_source("sinusoids").outputs
        1
        >>> open_source("omniglod")
        Traceback (most recent call last):
        ...
        quickstudy.errors.DataError: --data must be ... no such folder; did you mean omniglot?
    """
    wanted = wanted or Wanted()
    if wanted.system_fonts and name.lower() != "glyphs":
        raise RunError(f"--system-fonts is for glyphs; {name} holds no characters of fonts")
    named = name.lower() in SOURCES
    if named or is_table(name):
        for flag in ("size", "channels"):
            if getattr(wanted, flag) is not None:
                raise RunError(f"--{flag} is for folders of images; {name} comes as it is")
    if not named and is_table(name):
        from quickstudy.hub.tables import open_table

        return open_table(name, wanted)
    for flag in ("group", "features", "targets", "leave_out_small"):
        if getattr(wanted, flag):
            said = flag.replace("_", "-")
            raise RunError(f"--{said} is for tables ({', '.join(SUFFIXES)}); {name} is none")
    if isinstance(wanted.preprocessing, Columns):
        raise RunError(f"the model was trained on a table, and {name} is none")
    if named:
        return SOURCES[name.lower()](wanted)
    if not Path(name).exists():
        if name.lower() == "movielens":
            raise RunError(
                "movielens holds interactions, no tasks: `quickstudy recommend` takes it"
            )
        alike = difflib.get_close_matches(name.lower(), SOURCES, n=1)
        raise DataError(
            f"--data must be {', '.join(SOURCES)}, a table or a folder of class folders, "
            f"got {name!r}: no such folder{f'; did you mean {alike[0]}?' if alike else ''}"
        )
    return open_folder(name, wanted)
