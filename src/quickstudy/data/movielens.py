"""MovieLens small: ratings of films, and how the published file becomes tables."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quickstudy.data.download import Remote
from quickstudy.data.frames import require_arrow
from quickstudy.errors import DataError

RATINGS_FILE = "movielens_latest_small_ratings.parquet"
FILMS_FILE = "movielens_latest_small_movies.parquet"

# Size and digest: github.com/tensorflow/datasets, tensorflow_datasets/url_checksums/movielens.txt
MOVIELENS_REMOTES = (
    Remote(
        "https://files.grouplens.org/datasets/movielens/ml-latest-small.zip",
        978_202,
        "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
    ),
)

COLUMNS = {
    RATINGS_FILE: (
        "ratings.csv",
        {"userId": "int32", "movieId": "int32", "rating": "float32", "timestamp": "int64"},
    ),
    FILMS_FILE: (
        "movies.csv",
        {"movieId": "int64", "title": "large_string", "genres": "large_string"},
    ),
}
"""Of each table: the entry of the published zip that it is made of, and its columns."""
MOST_BYTES = 64 * 2**20
"""Of an entry; ratings.csv has 2.5 million."""


def convert_movielens(files: Mapping[str, Path]) -> dict[str, Any]:
    """The published zip file (Harper and Konstan 2015) as arrow tables, nothing left out.

    Args:
        files: name to path of the zip file.

    Returns:
        Name in the cache to table: userId, movieId, rating .5 to 5, timestamp in seconds since
        1970; and movieId, title, genres with `|` between them.

    Raises:
        DataError: it is no zip file, or does not hold these tables; or pyarrow is not installed.
    """
    require_arrow()
    path = files[MOVIELENS_REMOTES[0].name]
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                name: _table(archive, entry, columns, path)
                for name, (entry, columns) in COLUMNS.items()
            }
    except DataError:
        raise
    except Exception as error:  # a broken file can break zipfile in any way
        raise DataError(f"{path} is no whole zip file: {error}") from error


def _table(archive: zipfile.ZipFile, name: str, columns: Mapping[str, str], path: Path) -> Any:
    """The table of an entry, in whatever folder of the zip it is."""
    from pyarrow import csv

    entries = [e for e in archive.infolist() if e.filename.rpartition("/")[2] == name]
    if len(entries) != 1:
        raise DataError(f"{path} must hold one {name}, got {len(entries)}")
    (entry,) = entries
    if entry.file_size > MOST_BYTES or entry.flag_bits & 1:  # the latter: encrypted
        raise DataError(f"{name} in {path} must be a table of at most {MOST_BYTES} bytes")
    options = csv.ConvertOptions(
        column_types=dict(columns), include_columns=list(columns), strings_can_be_null=False
    )
    content = io.BytesIO(archive.read(entry))
    try:
        return csv.read_csv(content, convert_options=options)
    except (require_arrow().ArrowException, ValueError, KeyError) as error:
        said = " ".join(str(error).split())
        raise DataError(f"{name} in {path} must have {', '.join(columns)}: {said}") from error
