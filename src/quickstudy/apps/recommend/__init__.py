"""Recommendations from a few interactions.

import quickstudy as qs

shop = qs.recommend.shop()  # made up; or files of your own, or frames
rec = qs.recommend.train(shop.interactions, shop.items)
state = rec.adapt(["coat 012", "scarf 007"])
rec.top(state, k=20)
"""

from quickstudy.apps.recommend.category import Category
from quickstudy.apps.recommend.content import Content, items, users
from quickstudy.apps.recommend.log import Log, interactions
from quickstudy.apps.recommend.movielens import movielens
from quickstudy.apps.recommend.recommender import Recommender
from quickstudy.apps.recommend.shop import Shop, shop
from quickstudy.apps.recommend.state import Reason, Recommended
from quickstudy.apps.recommend.training import train

load = Recommender.load

__all__ = [
    "Category",
    "Content",
    "Log",
    "Reason",
    "Recommended",
    "Recommender",
    "Shop",
    "interactions",
    "items",
    "load",
    "movielens",
    "shop",
    "train",
    "users",
]
