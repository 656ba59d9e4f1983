"""What a run keeps of the data that it is trained on, whatever becomes of that later."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from quickstudy.data.columns import Columns
from quickstudy.data.images import class_folders
from quickstudy.data.pools import Pool
from quickstudy.data.preprocessing import Preprocessing
from quickstudy.errors import DataError, RunError

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


class Kept(BaseModel, ABC):
    """A split that was drawn when a run began: what comes or goes later moves nothing else.

    A class, or a group of a table, that the run has never seen may only be judged on.

    Attributes:
        train: names of the meta-train classes or groups.
        validation: names of the meta-validation ones.
        test: names of the meta-test ones.
        preprocessing: how the data is read.
    """

    model_config = ConfigDict(frozen=True)

    preprocessing: Preprocessing | Columns
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def parts(self) -> dict[str, Part]:
        """The part of each class or group, by name."""
        return {name: part for part in PARTS for name in getattr(self, part)}

    @property
    @abstractmethod
    def place(self) -> Path:
        """Where the data was."""

    @property
    @abstractmethod
    def what(self) -> str:
        """What is split: classes, or groups."""

    def check(self, pools: Mapping[str, Pool]) -> None:
        """Refuse to go on without what the run is trained on and tuned by.

        Raises:
            DataError: names it.
        """
        for part in PARTS[:2]:
            there = set(pools[part].names) if part in pools else set()
            gone = [repr(name) for name in getattr(self, part) if name not in there]
            if gone:
                more = f" and {len(gone) - 5} more" if len(gone) > 5 else ""
                raise DataError(
                    f"{self.place} no longer holds meta-{part} {self.what} of the run: "
                    f"{', '.join(gone[:5])}{more}; put them back to go on with it"
                )


class KeptFolder(Kept):
    """The split of a folder's classes, and how its images are read.

    Attributes:
        folder: its absolute path.
        preprocessing: of its images.
    """

    folder: str
    preprocessing: Preprocessing

    @property
    def place(self) -> Path:
        """The folder."""
        return Path(self.folder)

    @property
    def what(self) -> str:
        """Classes."""
        return "classes"

    def known(self, folder: Path | str) -> dict[str, Part]:
        """The part of each class in a folder that is a class of the run, by name.

        A class is one of the run where it has its name and its folder, however that is reached:
        another spelling, a link, a folder inside the run's. Where the run's folder is gone (moved,
        or on another machine), the name decides.

        Raises:
            DataError: a folder cannot be read.
        """
        parts = self.parts
        there = [place for place in class_folders(folder) if place.is_dir()]
        own = self.place
        if not own.is_dir() or own.samefile(folder):
            return {place.name: parts[place.name] for place in there if place.name in parts}
        held = {_place(p): parts[p.name] for p in class_folders(own) if p.name in parts}
        return {place.name: held[_place(place)] for place in there if _place(place) in held}


class KeptTable(Kept):
    """The split of a table's groups, or classes, and the columns with their meta-train statistics.

    A group is one of the run where it has its name, in whatever file: a shop's number says which
    shop it is in next year's table too.

    Attributes:
        table: the file's absolute path.
        preprocessing: its columns.
        leave_out_small: whether groups with too few rows for a task are left out.
    """

    table: str
    preprocessing: Columns
    leave_out_small: bool = False

    @property
    def place(self) -> Path:
        """The file."""
        return Path(self.table)

    @property
    def what(self) -> str:
        """Groups, or classes where there is no group column."""
        return "classes" if self.preprocessing.group is None else "groups"


def parse_kept(stored: JsonValue, path: Path | str) -> KeptFolder | KeptTable | None:
    """What a stored run or model kept of its data; None where that needs nothing kept.

    Args:
        stored: as JSON.
        path: where that was found, for the message.

    Raises:
        RunError: it is something else.
    """
    if stored is None:
        return None
    kind = KeptTable if isinstance(stored, dict) and "table" in stored else KeptFolder
    try:
        return kind.model_validate(stored)
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
