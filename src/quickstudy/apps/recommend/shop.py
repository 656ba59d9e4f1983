"""A made-up shop to try recommending in: what its users would like is known, unlike in life.

Nothing in it is made for any method. Items are what can be seen (category, brand, price, styles,
colour) and what cannot; so are tastes, which people carry from one category to another. What is
clicked is drawn by utility, by how much an item is shown, and by season, with some slips.
"""

import csv
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quickstudy.apps.recommend.log import check_seed
from quickstudy.artefacts.atomic import write_atomically
from quickstudy.errors import DataError

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
Table = dict[str, list[Any]]

CATEGORIES = {
    "shoe": 90.0, "coat": 160.0, "shirt": 40.0, "dress": 80.0, "bag": 70.0,
    "hat": 25.0, "scarf": 20.0, "lamp": 60.0, "mug": 12.0,
}  # fmt: skip
"""Kinds of things, and their usual prices."""
STYLES = (
    "airy", "bold", "classic", "cosy", "playful", "plain", "rustic", "sleek", "sporty", "vintage"
)  # fmt: skip
COLOURS = ("black", "blue", "brown", "green", "grey", "pink", "red", "violet", "white", "yellow")
SYLLABLES = ("ba", "do", "fi", "ku", "la", "mo", "ne", "pi", "ro", "su", "ta", "vo")
AGES = ("under 25", "25 to 39", "40 to 59", "60 and over")
REGIONS = ("north", "east", "south", "west")
BRANDS = 24
TASTES = 6
"""Directions in which tastes differ; nobody can see them."""
SPREAD = 200 / 60
"""The size of the largest category, in sizes of the smallest."""
START = 1_640_995_200
"""The first moment: 2022 begins."""
DAY = 86_400.0
DAYS, FORTNIGHTS = 728, 52
SESSION = 3.5
"""Clicks in one visit, on average; a visit is to one category."""
SLIPS = 0.05
"""The share of clicks that say nothing of what is liked."""
REPEATED = 2.0
"""Clicks drawn for each that is wanted: who clicks a thing again is counted once."""
TOGETHER = 20_000
"""Clicks that are drawn at once."""


class Shop(NamedTuple):
    """Interactions in a made-up shop, and the preferences behind them.

    Attributes:
        interactions: a table: user, item, and time in seconds; in the order of time.
        items: a table: item, category, brand, price, tags (styles, as `a|b`) and title.
        users: a table: user, age and region.
        utility: what each item is worth to each user [users, items], in the tables' order.
    """

    interactions: Table
    items: Table
    users: Table
    utility: NDArray[np.float32]

    def regret(self, user: str, chosen: Sequence[str], among: Sequence[str] | None = None) -> float:
        """How much better than these items a user could have been served, in mean utility.

        Args:
            user: their name.
            chosen: items that were recommended.
            among: those that could have been; the whole catalogue if not given.

        Raises:
            DataError: the user or an item is unknown, an item comes twice, nothing was chosen, or
                what was chosen could not have been.

        Examples:
            >>> utility = np.array([[3.0, 1.0, 2.0]], np.float32)
            >>> tiny = Shop({}, {"item": ["x", "y", "z"]}, {"user": ["ann"]}, utility)
            >>> tiny.regret("ann", ["x", "z"]), tiny.regret("ann", ["y"], ["y", "z"])
            (0.0, 1.0)
        """
        mine = self.utility[_places("user", [user], self.users["user"])[0]].astype(np.float64)
        names = self.items["item"]
        could = np.arange(len(names)) if among is None else _places("item", among, names)
        taken = _places("item", chosen, names)
        if not len(taken):
            raise DataError("regret is of one item at least, got none")
        foreign = np.setdiff1d(taken, could)
        if len(foreign):
            raise DataError(
                f"chosen items must be among those to choose from, got {names[foreign[0]]!r}"
            )
        best = np.sort(mine[could])[-len(taken) :]
        return float(best.mean() - mine[taken].mean())

    def write(self, folder: Path | str) -> None:
        """Store interactions.csv, items.csv and users.csv in a folder; what is there is replaced.

        Raises:
            ArtefactError: they cannot be written.
        """
        for name in ("interactions", "items", "users"):
            table: Table = getattr(self, name)
            write_atomically(Path(folder) / f"{name}.csv", partial(_to_csv, table))


def _to_csv(table: Table, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(table)
        rows.writerows(zip(*table.values(), strict=True))


def _places(what: str, wanted: Sequence[str], names: Sequence[str]) -> Ints:
    places = {name: place for place, name in enumerate(names)}
    unknown = [name for name in wanted if name not in places]
    if unknown:
        raise DataError(f"the shop has no {what} {unknown[0]!r}; {names[0]!r} is one")
    if len(set(wanted)) < len(wanted):
        raise DataError(f"each {what} must come once, got {len(wanted)} with repeats")
    return np.array([places[name] for name in wanted], np.int64)


def shop(
    seed: int = 0, *, users: int = 1500, items: int = 1000, interactions: int = 60_000
) -> Shop:
    """Make up a shop of nine categories over two years.

    Categories differ in size and price, brands sell in several, items come and age, styles and
    categories have their seasons, and some users are far more active than others. Memory grows with
    users times items, of which the preferences are stored.

    Args:
        seed: of everything that is drawn; the same one makes the same shop.
        users: how many.
        items: how many.
        interactions: how many, or fewer, where users would click the same things again.

    Raises:
        DataError: no seed, fewer than 10 users, 4 items a category, or 1 interaction a user.

    Examples:
        >>> made = shop(users=20, items=90, interactions=200)
        >>> list(made.interactions), len(made.items["item"]), made.utility.shape
        (['user', 'item', 'time'], 90, (20, 90))
    """
    check_seed(seed)
    for name, count, least in (
        ("users", users, 10),
        ("items", items, 4 * len(CATEGORIES)),
        ("interactions", interactions, users),
    ):
        if count < least:
            raise DataError(f"a shop needs {least} {name} at least, got {count}")
    random = np.random.default_rng(seed)
    goods = _goods(items, random)
    people = _people(users, random)
    utility = _utility(people, goods)
    user, item, time = _clicks(utility, goods, interactions, random)
    table = _item_table(goods)
    names = [f"u{place:0{len(str(users - 1))}d}" for place in range(users)]
    return Shop(
        interactions={
            "user": [names[place] for place in user.tolist()],
            "item": [table["item"][place] for place in item.tolist()],
            "time": time.tolist(),
        },
        items=table,
        users={
            "user": names,
            "age": [AGES[place] for place in people.age],
            "region": [REGIONS[place] for place in people.region],
        },
        utility=utility,
    )


class _Goods(NamedTuple):
    """Items: what can be seen, what cannot, and how much they are shown."""

    category: Ints  # [items], in order
    brand: Ints
    brands: list[str]
    styles: NDArray[np.bool_]  # [items, styles], one to three each
    colour: Ints
    price: Floats
    level: Floats  # of the logarithm of the price, standardised in its category
    manner: Floats  # [items, tastes]
    quality: Floats
    born: Floats  # in days; of most before the beginning
    shown: Floats  # logarithm


class _People(NamedTuple):
    """Users: two things that can be seen, and tastes that follow from them in part."""

    age: Ints
    region: Ints
    taste: Floats  # [users, tastes]
    love: Floats  # of brands [users, brands]
    thrift: Floats  # in each category [users, categories]
    need: Floats  # of each category [users, categories]


def _goods(count: int, random: np.random.Generator) -> _Goods:
    kinds = len(CATEGORIES)
    sizes = random.permutation(SPREAD ** np.linspace(0, 1, kinds))
    edges = np.round(count * np.cumsum(sizes) / sizes.sum()).astype(np.int64)
    category = np.searchsorted(edges, np.arange(count), side="right")
    sold = (random.random((kinds, BRANDS)) < 0.5) * random.lognormal(0, 0.8, BRANDS) + 1e-3
    brand = _choose(sold[category], random)
    pairs = random.choice(len(SYLLABLES) ** 2, BRANDS, replace=False)
    brands = [
        (SYLLABLES[p // len(SYLLABLES)] + SYLLABLES[p % len(SYLLABLES)]).title() for p in pairs
    ]
    styles = _styles(brand, random)
    colour = random.integers(len(COLOURS), size=count)
    expensive = random.normal(0, 0.4, BRANDS)[brand] + random.normal(0, 0.4, count)
    usual = np.log(np.array(list(CATEGORIES.values())))[category]
    of_category = category[:, None] == np.arange(kinds)
    centred = expensive - (expensive @ of_category / of_category.sum(0))[category]
    level = centred / np.sqrt(centred**2 @ of_category / of_category.sum(0))[category]
    manner = (
        styles @ _directions(len(STYLES), random) / np.sqrt(styles.sum(1, keepdims=True)) * 0.65
        + _directions(BRANDS, random)[brand] * 0.4
        + _directions(len(COLOURS), random)[colour] * 0.35
        + _directions(count, random) * 0.55
    )
    early = (random.random(count) < 0.65) | (np.diff(category, prepend=-1) > 0)
    born = np.where(early, -random.random(count) * 365, random.random(count) * 0.95 * DAYS)
    return _Goods(
        category=category,
        brand=brand,
        brands=brands,
        styles=styles,
        colour=colour,
        price=np.round(np.exp(usual + expensive), 2),
        level=level,
        manner=manner,
        quality=0.35 * level + 0.6 * random.normal(size=count),
        born=born,
        shown=random.normal(0, 0.5, kinds)[category] + random.normal(0, 0.7, count),
    )


def _directions(count: int, random: np.random.Generator) -> Floats:
    """Random vectors [count, tastes], of length one on average."""
    return random.normal(0, TASTES**-0.5, (count, TASTES))


def _styles(brand: Ints, random: np.random.Generator) -> NDArray[np.bool_]:
    """One to three styles of each item, those that its brand is given to first."""
    given = random.normal(0, 1.2, (BRANDS, len(STYLES)))[brand]
    order = (given + random.gumbel(size=given.shape)).argsort(1).argsort(1)
    return order >= len(STYLES) - random.integers(1, 4, (len(brand), 1))


def _people(count: int, random: np.random.Generator) -> _People:
    age = random.integers(len(AGES), size=count)
    region = random.integers(len(REGIONS), size=count)
    kinds = len(CATEGORIES)
    thrift = random.normal(0, 0.25, len(AGES))[age] + random.normal(0, 0.45, count)
    return _People(
        age=age,
        region=region,
        taste=random.normal(0, 0.6, (len(AGES), TASTES))[age]
        + random.normal(0, 1, (count, TASTES)),
        love=random.normal(0, 0.3, (len(REGIONS), BRANDS))[region]
        + random.gamma(0.5, 0.7, (count, BRANDS)),
        thrift=thrift[:, None]
        + random.normal(0.35, 0.35, kinds)
        + random.normal(0, 0.25, (count, kinds)),
        need=random.normal(0, 0.4, (len(AGES), kinds))[age] + random.normal(0, 0.7, (count, kinds)),
    )


def _utility(people: _People, goods: _Goods) -> NDArray[np.float32]:
    """Taste, brand, quality and need, less the price as far as one minds it [users, items]."""
    utility = people.taste.astype(np.float32) @ goods.manner.T.astype(np.float32)
    utility += people.love.astype(np.float32)[:, goods.brand]
    utility += people.need.astype(np.float32)[:, goods.category]
    utility += goods.quality.astype(np.float32)
    utility -= (people.thrift.astype(np.float32))[:, goods.category] * goods.level.astype(
        np.float32
    )
    return utility


def _shown(goods: _Goods, random: np.random.Generator) -> Floats:
    """How much each item is seen in each fortnight [fortnights, items]; none before it is there."""
    day = (np.arange(FORTNIGHTS) + 0.5)[:, None] * DAYS / FORTNIGHTS
    kinds, styles = len(CATEGORIES), len(STYLES)
    swing, when = random.gamma(2, 0.2, kinds), random.random(kinds)
    season = swing * np.cos(2 * np.pi * (day / 365 - when))
    slow, shift = random.uniform(250, 700, styles), random.random(styles)
    fashion = 0.4 * np.sin(2 * np.pi * (day / slow + shift))
    age = day - goods.born
    seen = goods.shown + season[:, goods.category] + fashion @ goods.styles.T
    seen += np.exp(-np.maximum(age, 0) / 45) - age / DAYS
    return np.where(age > 0, np.exp(seen), 0.0)


def _clicks(
    utility: NDArray[np.float32], goods: _Goods, count: int, random: np.random.Generator
) -> tuple[Ints, Ints, Ints]:
    """Users, items and times of what was clicked, in the order of time.

    A visit is to a category, which is chosen by all that it holds for the user just then; so each
    click alone follows a softmax over the whole catalogue of utility and of what is shown.
    """
    shown = _shown(goods, random)
    user, visit, time = _visits(len(utility), int(count * REPEATED), random)
    fortnight = np.minimum(time / DAY * FORTNIGHTS / DAYS, FORTNIGHTS - 1).astype(np.int64)
    first = np.flatnonzero(np.diff(visit, prepend=-1))
    held = [np.flatnonzero(goods.category == kind) for kind in range(len(CATEGORIES))]
    worth = [np.exp(utility[:, of]) @ shown[:, of].T for of in held]
    at = user[first], fortnight[first]
    kind = _choose(np.stack([w[at] for w in worth], axis=1), random)[visit]
    item = np.empty(len(user), np.int64)
    for place, of in enumerate(held):
        rows = np.flatnonzero(kind == place)
        for part in np.split(rows, range(TOGETHER, len(rows), TOGETHER)):
            seen = shown[fortnight[first][visit[part]]][:, of]
            slip = random.random((len(part), 1)) < SLIPS
            wanted = np.exp(utility[user[part]][:, of])
            item[part] = of[_choose(np.where(slip, seen, wanted * seen), random)]
    _, once = np.unique(user * len(goods.category) + item, return_index=True)
    kept = np.sort(random.permutation(once)[:count])
    kept = kept[np.argsort(time[kept], kind="stable")]
    return user[kept], item[kept], START + time[kept].astype(np.int64)


def _visits(users: int, count: int, random: np.random.Generator) -> tuple[Ints, Ints, Floats]:
    """Of each click the user, the visit (numbered from 0), and the time in seconds.

    Users come at some time and stay for a while; a few of them click very much.
    """
    active = random.lognormal(0, 0.9, users)
    visits = np.maximum(np.round(active * count / SESSION / active.sum()), 1).astype(np.int64)
    came = random.random(users) * 0.92 * DAYS
    stays = np.minimum(7 + random.exponential(150, users), DAYS - came)
    user = np.repeat(np.arange(users), visits)
    begun = came[user] + stays[user] * random.random(len(user))
    clicks = random.geometric(1 / SESSION, len(user))
    visit = np.repeat(np.arange(len(user)), clicks)
    start = np.cumsum(clicks) - clicks
    minutes = 2.0 * (np.arange(len(visit)) - start[visit]) + random.random(len(visit))
    return user[visit], visit, begun[visit] * DAY + 60 * minutes


def _choose(weights: Floats, random: np.random.Generator) -> Ints:
    """A column of each row, by weight."""
    total = weights.cumsum(1)
    drawn = random.random(len(weights)) * total[:, -1]
    place: Ints = np.minimum((total <= drawn[:, None]).sum(1), weights.shape[1] - 1)
    return place


def _item_table(goods: _Goods) -> Table:
    kinds = list(CATEGORIES)
    digits = len(str(int(np.bincount(goods.category).max()) - 1))
    place = np.arange(len(goods.category)) - np.searchsorted(goods.category, goods.category)
    category = [kinds[kind] for kind in goods.category]
    brand = [goods.brands[of] for of in goods.brand]
    styles = [[STYLES[s] for s in np.flatnonzero(row)] for row in goods.styles]
    return {
        "item": [f"{k} {p:0{digits}d}" for k, p in zip(category, place, strict=True)],
        "category": category,
        "brand": brand,
        "price": goods.price.tolist(),
        "tags": ["|".join(row) for row in styles],
        "title": [
            f"{b} {' '.join(s)} {COLOURS[m]} {k}"
            for b, s, m, k in zip(brand, styles, goods.colour, category, strict=True)
        ],
    }
