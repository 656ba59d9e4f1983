from collections import Counter

import numpy as np
import pytest

from quickstudy import recommend
from quickstudy.apps.recommend.shop import CATEGORIES, DAY, START, Shop
from quickstudy.errors import DataError


@pytest.fixture(scope="module")
def shop():
    return recommend.shop()


@pytest.fixture(scope="module")
def clicked(shop):
    """Places of users and items, and days, of all interactions."""
    rows = shop.interactions
    users = {name: place for place, name in enumerate(shop.users["user"])}
    items = {name: place for place, name in enumerate(shop.items["item"])}
    return (
        np.array([users[name] for name in rows["user"]]),
        np.array([items[name] for name in rows["item"]]),
        (np.array(rows["time"]) - START) / DAY,
    )


@pytest.fixture
def tiny():
    utility = np.array([[4, 1, 2, 3], [0, 0, 1, 5]], np.float32)
    return Shop({}, {"item": ["a", "b", "c", "d"]}, {"user": ["ann", "bob"]}, utility)


def ranks(values):
    return np.argsort(np.argsort(values))


def test_the_same_seed_makes_the_same_shop():
    size = {"users": 30, "items": 60, "interactions": 300}
    one, same, other = (recommend.shop(seed, **size) for seed in (3, 3, 4))
    assert one[:3] == same[:3]
    assert np.array_equal(one.utility, same.utility)
    assert one.interactions != other.interactions


def test_tables_are_whole_and_in_order(shop, clicked):
    user, item, day = clicked
    assert shop.utility.shape == (1500, 1000)
    assert len({*zip(user, item, strict=True)}) == len(user)
    assert 50_000 < len(user) <= 60_000
    assert (np.diff(day) >= 0).all()
    assert 0 <= day.min() < 30
    assert 600 < day.max() < 735
    sizes = Counter(shop.items["category"])
    assert sizes.keys() == CATEGORIES.keys()
    assert min(sizes.values()) > 50
    assert max(sizes.values()) < 200
    assert len(set(shop.items["item"])) == 1000
    assert all(1 <= len(tags.split("|")) <= 3 for tags in shop.items["tags"])


def test_some_users_and_items_have_far_more_than_others(clicked):
    for places in clicked[:2]:
        counts = np.sort(np.unique(places, return_counts=True)[1])[::-1]
        tenth = counts[: len(counts) // 10].sum() / counts.sum()
        assert 0.2 < tenth < 0.6


def test_popular_is_what_most_like_and_not_only_that(shop, clicked):
    """Within a category, likes follow mean utility, but exposure has its part."""
    count = np.bincount(clicked[1], minlength=1000)
    mean = shop.utility.mean(0)
    kinds = np.array(shop.items["category"])
    found = [
        np.corrcoef(ranks(mean[kinds == kind]), ranks(count[kinds == kind]))[0, 1]
        for kind in CATEGORIES
    ]
    assert 0.3 < np.mean(found) < 0.9


def test_people_click_what_they_like(shop, clicked):
    user, item, _ = clicked
    above = shop.utility[user, item] - shop.utility[user].mean(1)
    assert (above > 0).mean() > 0.8


def test_who_minds_prices_does_so_in_most_categories_but_not_equally(shop):
    price, kinds = np.log(shop.items["price"]), np.array(shop.items["category"])
    slopes = []
    for kind in CATEGORIES:
        of = kinds == kind
        centred = price[of] - price[of].mean()
        slopes.append(shop.utility[:, of] @ centred / (centred**2).sum())
    slopes = np.array(slopes)
    between = np.corrcoef(slopes)[np.triu_indices(len(slopes), 1)]
    assert 0.1 < between.mean() < 0.8
    assert np.ptp(slopes.mean(1)) > 0.3


def test_tastes_carry_over_between_categories(shop):
    """Who prefers a style among shirts prefers it among dresses, on average over styles."""
    kinds = np.array(shop.items["category"])
    tags = [set(tags.split("|")) for tags in shop.items["tags"]]
    alike = []
    for style in {style for held in tags for style in held}:
        has = np.array([style in held for held in tags])
        gaps = [
            shop.utility[:, has & (kinds == kind)].mean(1)
            - shop.utility[:, ~has & (kinds == kind)].mean(1)
            for kind in ("shirt", "dress")
        ]
        alike.append(np.corrcoef(*gaps)[0, 1])
    assert 0.1 < np.mean(alike) < 0.95


def test_what_is_clicked_drifts(shop, clicked):
    """Categories have their seasons, and months far apart differ more than their halves do."""
    _, item, day = clicked
    kinds = sorted(CATEGORIES)
    kind = np.array([kinds.index(name) for name in shop.items["category"]])[item]
    chosen = np.random.default_rng(0).random(len(item)) < 0.5

    def shares(rows):
        return np.bincount(kind[rows], minlength=len(kinds)) / rows.sum()

    def gap(one, other):
        return np.abs(shares(one) - shares(other)).sum()

    early, late = (day > 180) & (day < 270), (day > 360) & (day < 450)
    assert gap(early, late) > 3 * gap(early & chosen, early & ~chosen)
    first = np.full(1000, np.inf)
    np.minimum.at(first, item, day)
    assert 0.15 < (first[np.isfinite(first)] > 120).mean() < 0.5


def test_regret_of_known_values(tiny):
    assert tiny.regret("ann", ["a", "d"]) == 0
    assert tiny.regret("ann", ["b", "c"]) == pytest.approx(2.0)
    assert tiny.regret("ann", ["c"], ["b", "c"]) == 0
    assert tiny.regret("bob", ["a"], ["a", "b", "c"]) == pytest.approx(1.0)


def test_regret_is_zero_of_the_best_and_positive_of_others(shop):
    random = np.random.default_rng(0)
    for user in (0, 700, 1499):
        best = [shop.items["item"][place] for place in np.argsort(-shop.utility[user])[:10]]
        assert shop.regret(shop.users["user"][user], best) == pytest.approx(0, abs=1e-6)
        some = [shop.items["item"][place] for place in random.choice(1000, 10, replace=False)]
        assert shop.regret(shop.users["user"][user], some) > 0.5


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("eve", ["a"]), "no user 'eve'"),
        (("ann", ["x"]), "no item 'x'"),
        (("ann", ["a"], ["x"]), "no item 'x'"),
        (("ann", []), "at least, got none"),
        (("ann", ["a", "a"]), "must come once"),
        (("ann", ["a"], ["b", "c"]), "among those to choose from, got 'a'"),
    ],
)
def test_a_bad_question_is_one_clear_error(tiny, asked, said):
    with pytest.raises(DataError, match=said):
        tiny.regret(*asked)


@pytest.mark.parametrize("size", [{"users": 9}, {"items": 35}, {"interactions": 1499}])
def test_a_shop_that_is_too_small_is_refused(size):
    with pytest.raises(DataError, match="at least, got"):
        recommend.shop(**size)


def test_training_pays_where_preferences_are_known():
    """For users of whom nothing was known, by what they like and not by what they click."""
    made = recommend.shop(users=400, items=300, interactions=12_000)
    rows = list(zip(*made.interactions.values(), strict=True))
    new = set(made.users["user"][::4])
    training = zip(*(row for row in rows if row[0] not in new), strict=True)
    market = recommend.train(dict(zip(made.interactions, training, strict=True)), made.items)
    count = Counter(item for user, item, _ in rows if user not in new)
    by_count = sorted(made.items["item"], key=lambda item: -count[item])
    gaps = []
    for user in sorted(new):
        first = [item for who, item, _ in rows if who == user][:5]
        left = [item for item in made.items["item"] if item not in first]
        ours = [row.item for row in market.top(market.adapt(first), k=10)]
        theirs = [item for item in by_count if item not in first][:10]
        gaps.append(made.regret(user, theirs, left) - made.regret(user, ours, left))
    assert np.mean(gaps) > 2 * np.std(gaps) / len(gaps) ** 0.5
