"""What is known of users apart from what they did, as numbers; new users are read alike."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quickstudy.apps.recommend.coding import BINS, Coding
from quickstudy.apps.recommend.content import Content
from quickstudy.apps.recommend.log import USER, column
from quickstudy.data.frames import Frame, read_frame
from quickstudy.errors import DataError

Floats = NDArray[np.float32]

KINDS = 200
"""The most common kinds and tags are features of users; words of text are none."""


class Traits(NamedTuple):
    """How features of users are read.

    Attributes:
        coding: of the table's columns.
        kept: which of its kinds and tags are features.
    """

    coding: Coding
    kept: NDArray[np.int64]

    @classmethod
    def of(cls, content: Content) -> "Traits":
        """The traits that a table of users tells of."""
        counts = np.asarray((content.kinds != 0).sum(0)).ravel()
        return cls(content.coding, np.sort(np.argsort(-counts, kind="stable")[:KINDS]))

    @property
    def labels(self) -> list[str]:
        """What each column of `rows` is: kinds, then soft bins of numbers."""
        kinds = [self.coding.tags[place] for place in self.kept.tolist()]
        numbers = [name for name, kind in self.coding.columns if kind in ("numbers", "dated")]
        return [*kinds, *(f"{name}, bin {place}" for name in numbers for place in range(BINS))]

    def rows(self, content: Content) -> Floats:
        """Features of users [users, labels]; zeros where nothing is known."""
        rows = np.concatenate([content.kinds[:, self.kept].toarray(), content.numbers], axis=1)
        return rows.astype(np.float32)

    def row(self, about: Any) -> Floats:
        """Features of one user [labels].

        Args:
            about: a mapping of columns to values, or a table of one row; columns may be left out.

        Raises:
            DataError: there is no such column, or it holds something else; or there is not one row.

        Examples:
            >>> from quickstudy.apps.recommend.content import users
            >>> traits = Traits.of(users({"user": ["ann", "bob"], "member": [True, False]}))
            >>> traits.labels, traits.row({"member": True}).tolist()
            (['member=False', 'member=True'], [0.0, 1.0])
        """
        frame = self._whole(_one_row(about, {name for name, _ in self.coding.columns}))
        blocks = self.coding.encode(frame)
        joined = np.concatenate([blocks.kinds[:, self.kept].toarray(), blocks.numbers], axis=1)
        row: Floats = joined[0].astype(np.float32)
        return row

    def _whole(self, frame: Frame) -> Frame:
        """The row with all columns, missing where not told, if it tells of no others."""
        kinds = dict(self.coding.columns)
        for name in frame.names:
            if name not in kinds:
                raise DataError(
                    f"there was no feature {name!r} of users in training; there were "
                    f"{', '.join(kinds)}"
                )
            value = frame.arrow[name][0].as_py()
            wanted = "a number" if kinds[name] == "numbers" else "text or true/false"
            if value is not None and frame.is_numeric(name) != (wanted == "a number"):
                raise DataError(
                    f"feature {name!r} of a user must be {wanted}, as it was in training, got "
                    f"{value!r}"
                )
        return frame.only(list(kinds))


class People(NamedTuple):
    """Users and their features.

    Attributes:
        rows: of each [users, features]; zeros where nothing is known.
        traits: how they were read.
    """

    rows: Floats
    traits: Traits

    @classmethod
    def of(cls, content: Content, names: Sequence[str]) -> "People":
        """Features of these users in this order, of whom not all need be known.

        Raises:
            DataError: none is, or there is nothing but text.
        """
        if not set(names) & set(content.names):
            raise DataError(
                f"the table of users has nobody of the interactions, {names[0]!r} for one; it has "
                f"{content.names[0]!r}"
            )
        known = content.of(names)
        traits = Traits.of(known)
        rows = traits.rows(known)
        if not rows.shape[1]:
            raise DataError(
                "a table of users must have a column of numbers, kinds or tags beside their names"
            )
        return cls(rows, traits)


def _one_row(about: Any, columns: set[str]) -> Frame:
    """A mapping or a table as a table of one row, without the user's name."""
    if isinstance(about, Mapping):
        if not about:
            raise DataError("about must tell a feature of the user at least, got none")
        about = {name: [value] for name, value in about.items()}
    frame = read_frame(about)
    if frame.arrow.num_rows != 1:
        raise DataError(f"about must be of one user, got {frame.arrow.num_rows} rows")
    named = column(frame, "user", None, USER, needed=False)
    if named is not None and named not in columns:
        frame = frame.only([name for name in frame.names if name != named])
    return frame
