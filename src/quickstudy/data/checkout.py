"""Published as a git repository: no digest that a download could be checked by is known."""

from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from quickstudy.errors import DataError


class Checkout(NamedTuple):
    """A repository that a user checks out, and that is converted here.

    Attributes:
        url: of the repository.
    """

    url: str

    @property
    def name(self) -> str:
        """The folder that git makes.

        Examples:
            >>> Checkout("https://example.org/someone/Letters").name
            'Letters'
        """
        return urlsplit(self.url).path.rpartition("/")[2]

    def advice(self, collection: str) -> str:
        """How a collection gets here.

        Examples:
            >>> Checkout("https://example.org/someone/Letters").advice("letters")
            '`git clone https://example.org/someone/Letters`, then `quickstudy data prepare letters
            --from Letters`'
        """
        prepare = f"quickstudy data prepare {collection} --from {self.name}"
        return f"`git clone {self.url}`, then `{prepare}`"

    def folder(self, collection: str, given: str | None) -> Path:
        """The folder that was checked out.

        Args:
            collection: that the repository holds.
            given: where it is said to be.

        Raises:
            DataError: it is not said, or is no folder.
        """
        folder = Path(given or "").expanduser()
        if given is None or not folder.is_dir():
            came = "" if given is None else f"; got {given}, which is no folder"
            raise DataError(
                f"{collection} is published as a git repository: {self.advice(collection)}{came}"
            )
        return folder
