"""Real ratings to try things on."""

from pathlib import Path

from quickstudy.apps.recommend.content import Content, items
from quickstudy.apps.recommend.log import Log, interactions
from quickstudy.data.movielens import FILMS_FILE
from quickstudy.data.sources import obtain


def movielens(cache: Path | str | None = None) -> tuple[Log, Content]:
    """MovieLens small (Harper and Konstan 2015): 100,836 ratings of 9,742 films by 610 users.

    Fetched from GroupLens where it is not here, 1 MB; their terms allow research, and no
    commercial use.

    Args:
        cache: the folder that holds it, or will; see `cache_folders`.

    Returns:
        What `train` takes: the ratings, .5 to 5; and genres, years and words of titles.

    Raises:
        DataError: it cannot be fetched or read, or pyarrow is not installed.
    """
    ratings = obtain("movielens", cache)
    return interactions(ratings), items(ratings.with_name(FILMS_FILE))
