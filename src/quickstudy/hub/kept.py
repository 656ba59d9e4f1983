"""What a run keeps of the folder that it is trained on, whatever becomes of the folder later."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from quickstudy.data.images import class_folders
from quickstudy.data.pools import Pool
from quickstudy.data.preprocessing import Preprocessing
from quickstudy.errors import DataError, RunError

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


class Kept(BaseModel):
    """The split of a folder's classes, and how its images are read.

    Drawn once, when the run begins: classes that come or go later move no other one. A class that
    the run has never seen may only be judged on.

    Attributes:
        folder: its absolute path.
        preprocessing: of its images.
        train: names of the meta-train classes.
        validation: names of the meta-validation classes.
        test: names of the meta-test classes.
    """

    model_config = ConfigDict(frozen=True)

    folder: str
    preprocessing: Preprocessing
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def known(self, folder: Path | str) -> dict[str, Part]:
        """The part of each class in a folder that is a class of the run, by name.

        A class is one of the run where it has its name and its folder, however that is reached:
        another spelling, a link, a folder inside the run's. Where the run's folder is gone (moved,
        or on another machine), the name decides.

        Raises:
            DataError: a folder cannot be read.
        """
        parts = {name: part for part in PARTS for name in getattr(self, part)}
        there = [place for place in class_folders(folder) if place.is_dir()]
        own = Path(self.folder)
        if not own.is_dir() or own.samefile(folder):
            return {place.name: parts[place.name] for place in there if place.name in parts}
        held = {_place(p): parts[p.name] for p in class_folders(own) if p.name in parts}
        return {place.name: held[_place(place)] for place in there if _place(place) in held}

    def check(self, pools: Mapping[str, Pool]) -> None:
        """Refuse to go on without classes that the run is trained on and tuned by.

        Raises:
            DataError: names them.
        """
        for part in PARTS[:2]:
            there = set(pools[part].names) if part in pools else set()
            gone = [repr(name) for name in getattr(self, part) if name not in there]
            if gone:
                more = f" and {len(gone) - 5} more" if len(gone) > 5 else ""
                raise DataError(
                    f"{self.folder} no longer holds meta-{part} classes of the run: "
                    f"{', '.join(gone[:5])}{more}; put them back to go on with it"
                )


def parse_kept(stored: JsonValue, path: Path | str) -> Kept | None:
    """What a stored run or model kept of its folder; None where it was trained on no folder.

    Args:
        stored: as JSON.
        path: where that was found, for the message.

    Raises:
        RunError: it is something else.
    """
    if stored is None:
        return None
    try:
        return Kept.model_validate(stored)
    except ValidationError as error:
        wrong = error.errors()[0]
        place = ".".join(map(str, ("kept", *wrong["loc"])))
        raise RunError(f"{path} cannot be read: {place}: {wrong['msg']}") from None


def split_as_known(pool: Pool, known: Mapping[str, Part]) -> dict[str, Pool]:
    """Part to its classes, without parts that have none; a class that is not known is meta-test."""
    parts = [known.get(name, "test") for name in pool.names]
    return {
        part: pool.select([other == part for other in parts]) for part in PARTS if part in parts
    }


def _place(folder: Path) -> tuple[int, int]:
    """What a folder is, whatever it is called."""
    held = folder.stat()
    return held.st_dev, held.st_ino
