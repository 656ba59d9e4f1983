"""Meta-learning a recommender from tables of interactions, items and users."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from quickstudy.apps.recommend.category import Opener
from quickstudy.apps.recommend.content import Content, nothing
from quickstudy.apps.recommend.content import items as read_items
from quickstudy.apps.recommend.content import users as read_users
from quickstudy.apps.recommend.elsewhere import Elsewhere
from quickstudy.apps.recommend.log import Log, check_seed
from quickstudy.apps.recommend.log import interactions as read_log
from quickstudy.apps.recommend.opening_ratings import OpeningRatings
from quickstudy.apps.recommend.openings import held_out, meta_train_openings
from quickstudy.apps.recommend.people import People
from quickstudy.apps.recommend.reader import meta_train
from quickstudy.apps.recommend.recommender import Recommender
from quickstudy.errors import DataError


def train(
    interactions: Any,
    items: Content | Any | None = None,
    users: Content | Any | None = None,
    *,
    seed: int = 0,
    categories: bool = True,
    looked: Callable[[int, int], None] | None = None,
) -> Recommender:
    """Meta-learn a recommender from interactions and what is known of items.

    Args:
        interactions: a `Log`, or a table that `interactions` reads.
        items: a `Content`, or a table that `items` reads; None where nothing is known.
        users: likewise of the users, as `users` reads it; `adapt` then takes a new one's features.
        seed: of everything that is drawn.
        categories: whether to learn how new categories open, for `adapt_category`.
        looked: called with how much is done, and of how much.

    Raises:
        DataError: what came cannot be read, or holds too few users.
    """
    check_seed(seed)
    log = interactions if isinstance(interactions, Log) else read_log(interactions)
    content = items if isinstance(items, Content) or items is None else read_items(items)
    log, features = joined(log, content)
    people = None
    if users is not None:
        told = users if isinstance(users, Content) else read_users(users)
        people = People.of(told, log.users)
    groups = held_out(log, features, seed) if categories else []
    tell = looked or (lambda done, total: None)
    parts = 0

    def read(done: int, of: int) -> None:
        nonlocal parts
        parts = of
        tell(done, of + len(groups))

    reader = meta_train(log, features, people=people, seed=seed, looked=read)
    opener = None
    head = None
    if groups:
        with suppress(DataError):  # too few likes: then it knows nothing of new categories
            head = meta_train_openings(
                log,
                features,
                groups,
                seed=seed,
                looked=lambda done, openings: tell(parts + done, parts + openings),
            )
    if head is not None:
        known = reader.known.factors
        rated = None if known is None else OpeningRatings.of(log, known)
        opener = Opener(Elsewhere.of(log, features), head, log.users, rated)
    return Recommender(reader, log.items, opener)


def joined(log: Log, content: Content | None) -> tuple[Log, Content]:
    """Interactions and features of one catalogue: all items that either names.

    Raises:
        DataError: they have no item in common.
    """
    if content is None:
        return log, nothing(log.items)
    known = set(content.names)
    if not any(name in known for name in log.items):
        raise DataError(
            f"none of the {len(log.items)} items of the interactions ({log.items[0]!r} for one) is "
            f"in the table of items, which has {content.names[0]!r} for one"
        )
    log = log.catalogued(content.names)
    return log, content.of(log.items)
