"""Recommendations from a few interactions.

import quickstudy as qs

rec = qs.recommend.train("ratings.csv", "items.csv")
state = rec.adapt(["a jacket", "a scarf"])
rec.top(state, k=20)
"""

from quickstudy.apps.recommend.content import Content, items
from quickstudy.apps.recommend.log import Log, interactions
from quickstudy.apps.recommend.movielens import movielens
from quickstudy.apps.recommend.recommender import (
    Reason,
    Recommended,
    Recommender,
    train,
)

load = Recommender.load

__all__ = [
    "Content",
    "Log",
    "Reason",
    "Recommended",
    "Recommender",
    "interactions",
    "items",
    "load",
    "movielens",
    "train",
]
