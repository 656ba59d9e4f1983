"""Which stored formats this release reads, and the refusal of all others."""

from os import PathLike

from quickstudy._version import __version__
from quickstudy.errors import ArtefactError

SCHEMA = 1
"""The newest layout this release knows, and the one it writes. A release that only adds fields
keeps the number: unknown fields are ignored, so an older release still reads the file."""


def stamp(kind: str) -> dict[str, str | int]:
    """The fields every stored format begins with.

    Examples:
        >>> stamp("state")["format"]
        'quickstudy state'
    """
    return {"format": f"quickstudy {kind}", "schema": SCHEMA, "library": __version__}


def check_stamp(document: object, kind: str, path: str | PathLike[str]) -> None:
    """Refuse a document of another kind, or of a newer schema.

    Args:
        document: what a file holds, parsed from JSON.
        kind: "model", "state" or "checkpoint".
        path: of the file, for the message.

    Raises:
        ArtefactError: another kind or a newer schema.

    Examples:
        >>> check_stamp({"format": "quickstudy state", "schema": 1}, "model", "a.json")
        Traceback (most recent call last):
            ...
        quickstudy.errors.ArtefactError: a.json is a quickstudy state; wanted a quickstudy model
    """
    came = document.get("format") if isinstance(document, dict) else None
    if not isinstance(document, dict) or came != f"quickstudy {kind}":
        what = f"a {came}" if str(came).startswith("quickstudy ") else "nothing of quickstudy's"
        raise ArtefactError(f"{path} is {what}; wanted a quickstudy {kind}")
    schema = document.get("schema")
    if type(schema) is not int or schema < 1:
        raise ArtefactError(f"{path} has the schema {schema!r}; wanted a number from 1 to {SCHEMA}")
    if schema > SCHEMA:
        raise ArtefactError(
            f"{path} has schema {schema}, written by quickstudy {document.get('library')}; "
            f"quickstudy {__version__} reads up to schema {SCHEMA}: upgrade to read it"
        )
