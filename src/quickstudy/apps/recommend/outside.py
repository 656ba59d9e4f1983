"""The library `implicit` as a comparator from outside, where it is installed."""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from quickstudy.apps.recommend.controls import Settings
from quickstudy.apps.recommend.evidence import profiles
from quickstudy.apps.recommend.log import Log
from quickstudy.apps.recommend.statistics import History
from quickstudy.errors import DataError

WIDTH, SWEEPS = 24, 15
NEIGHBOURS = 100


class Outside:
    """Two models of `implicit` (github.com/benfred/implicit), fitted to what was liked.

    Args:
        log: interactions of the training users.
        settings: confidence and penalty of ALS, and its weight beside log-popularity, that tuning
            chose for the control of the same form.

    Raises:
        DataError: the library is not installed.
    """

    def __init__(self, log: Log, settings: Settings) -> None:
        try:
            from implicit.als import AlternatingLeastSquares
            from implicit.nearest_neighbours import BM25Recommender
            from implicit.utils import ParameterWarning
        except ImportError as error:
            raise DataError(
                f"implicit is not installed ({error}); pip install 'quickstudy[peers]'"
            ) from None
        from threadpoolctl import threadpool_limits

        liked = log.rows(log.liked)
        _, user = np.unique(liked.user, return_inverse=True)
        ones = np.ones(len(user), np.float32)
        shape = (int(user.max(initial=-1)) + 1, len(log.items))
        wanted = sparse.csr_matrix((ones, (user, liked.item)), shape)
        confidence, penalty = settings.implicit
        # As the library asks for; it warns of how it converts its own matrices.
        with threadpool_limits(1, "blas"), warnings.catch_warnings():
            warnings.simplefilter("ignore", ParameterWarning)
            self.als = AlternatingLeastSquares(
                factors=WIDTH, alpha=confidence, regularization=penalty, iterations=SWEEPS,
                use_gpu=False, random_state=0,
            )  # fmt: skip
            self.als.fit(wanted, show_progress=False)
            self.near = BM25Recommender(K=NEIGHBOURS)
            self.near.fit(wanted, show_progress=False)
        self.popularity = np.log1p(np.bincount(liked.item, minlength=len(log.items)))
        self.weight = settings.weights["implicit ALS"]
        self.liked_from = log.liked_from

    def scores(self, histories: Sequence[History]) -> dict[str, NDArray[np.float32]]:
        """Scores [histories, items] of each."""
        liked, _, _ = profiles(histories, len(self.popularity), self.liked_from)
        ones = sparse.csr_matrix((liked > 0).astype(np.float32))
        theirs = self.als.recalculate_user(np.arange(len(histories)), ones)
        wanted = np.asarray(theirs @ self.als.item_factors.T, np.float32)
        return {
            "implicit (library), ALS": wanted,
            "implicit (library), ALS + log-popularity": self.popularity + self.weight * wanted,
            "implicit (library), BM25": (ones @ self.near.similarity).toarray().astype(np.float32),
        }
