"""New categories and never-seen items, by ours and by every control: protocol and figures."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from quickstudy.apps.recommend.coding import CATEGORIES
from quickstudy.apps.recommend.content import Content
from quickstudy.apps.recommend.elsewhere import Elsewhere
from quickstudy.apps.recommend.figures import (
    OURS,
    Figures,
    count_errors,
    count_ranking,
    pairs,
    rows,
)
from quickstudy.apps.recommend.launches import FEWEST_LATER, Asked, Launches
from quickstudy.apps.recommend.log import Log
from quickstudy.apps.recommend.metrics import ranked
from quickstudy.apps.recommend.newcomers import Newcomers, newcomers
from quickstudy.apps.recommend.opening_controls import (
    Opened,
    OpeningControls,
    best_fits,
    tune,
)
from quickstudy.apps.recommend.opening_ratings import OURS as RATED
from quickstudy.apps.recommend.openings import held_out, meta_train_openings
from quickstudy.apps.recommend.tasks import Timelines
from quickstudy.errors import DataError

ASKED = 200
"""Users who are asked in one opening, at most."""
TUNED_ON, TUNED_USERS = 6, 60
"""Meta-validation sets of items that controls are tuned on, and users of each."""
FITTED_ON = 2
"""Of these, those that settings which need fitting anew are chosen on."""
NEW = 0.2
"""Of all items, that are never seen."""


def categories(log: Log, content: Content, column: str | None) -> dict[str, NDArray[np.int64]]:
    """The items of each category [c], by name, but for those without any interaction.

    Args:
        log: the interactions.
        content: features of their catalogue.
        column: of the items' table; the usual ones, or the only one with tags, where None.

    Raises:
        DataError: there is no such column, or none that tells categories.
    """
    held = sorted(content.coding.tag_columns)
    if column is None:
        usual = [name for want in CATEGORIES for name in held if name.lower() == want]
        column = next(iter(usual or (held if len(held) == 1 else [])), None)
    if column is None or column not in held:
        wanted = "a column of the items that tells categories" if column is None else repr(column)
        raise DataError(
            f"new categories need {wanted}, with kinds or tags; columns that have such: "
            f"{', '.join(held) or 'none'}"
        )
    taken = np.bincount(log.item, minlength=len(log.items)) > 0
    among = sparse.csc_matrix(content.kinds[:, content.coding.tag_columns[column]])
    found = {}
    for place, name in enumerate(content.coding.values(column)):
        items = np.sort(among.indices[among.indptr[place] : among.indptr[place + 1]])
        found[name] = items[taken[items]].astype(np.int64)
    return found


class Known(NamedTuple):
    """What is fitted without a set of items, once for all of its openings.

    Attributes:
        ours: the meta-learned head.
        controls: closed forms.
        fits: settings of the controls.
        weights: of the controls' mixtures, for each support size.
    """

    ours: torch.nn.Module
    controls: OpeningControls
    fits: tuple[float, float, float]
    weights: Mapping[int, dict[str, float]]


class Judge:
    """Openings of sets of items, by ours and by every control.

    Args:
        log: all interactions.
        content: features of their catalogue.
        sizes: of support sets.
        time_cut: the share of a set's interactions that come before its opening, after which
            nothing is known; None: the moment is drawn and what happens elsewhere is known.
    """

    def __init__(
        self, log: Log, content: Content, sizes: Sequence[int], time_cut: float | None = None
    ) -> None:
        self.log, self.content, self.sizes, self.time_cut = log, content, sizes, time_cut
        self.figures: Figures = defaultdict(lambda: defaultdict(list))
        self.supporters: dict[int, list[int]] = {size: [] for size in sizes}

    def learn(self, items: NDArray[np.int64], seed: int) -> Known:
        """All that is fitted without these items; and behind a cut, before their opening only."""
        launches = Launches(self.log, items)
        log = launches.elsewhere()
        if self.time_cut is not None:
            opening = launches.draw(0, np.random.default_rng(seed), share=self.time_cut)
            log = log.rows(log.time <= (np.inf if opening is None else opening.moment))
        groups = held_out(log, self.content, seed)
        if not groups:
            raise DataError(
                f"{len(log.user)} interactions elsewhere are too few to learn how categories open"
            )
        head = meta_train_openings(log, self.content, groups, seed=seed)
        fits, weights = self._tuned(log, groups, seed)
        return Known(head, OpeningControls(log, self.content, fits), fits, weights)

    def _tuned(
        self, log: Log, groups: Sequence[NDArray[np.int64]], seed: int
    ) -> tuple[tuple[float, float, float], dict[int, dict[str, float]]]:
        """Settings of the controls and weights of their mixtures, on sets that are held out."""
        generator = np.random.default_rng([seed, 1])
        chosen = [groups[place] for place in generator.permutation(len(groups))[:TUNED_ON].tolist()]
        opened = [self._opened(Launches(log, items), generator) for items in chosen]
        fits = best_fits([(log, list(of.values())) for log, of in opened[:FITTED_ON]], self.content)
        openings: dict[int, list[tuple[OpeningControls, Opened]]] = {s: [] for s in self.sizes}
        for before, of in opened:
            controls = OpeningControls(before, self.content, fits)
            for size, one in of.items():
                openings[size].append((controls, one))
        return fits, {size: tune(found) for size, found in openings.items()}

    def _opened(
        self, launches: Launches, generator: np.random.Generator
    ) -> tuple[Log, dict[int, Opened]]:
        """The interactions elsewhere, and openings of a set that is held out, of each size."""
        before = launches.elsewhere()
        elsewhere, histories = Elsewhere.of(before, self.content), Timelines(before, 0)
        found = {}
        for size in self.sizes:
            launch = launches.draw(size, generator)
            if launch is not None:
                asked = launches.asked(launch, histories, most=TUNED_USERS, generator=generator)
                opened = newcomers(elsewhere, self.content, launch, self.log.liked_from)
                if asked:
                    found[size] = Opened(opened, asked, opened.evidence(asked))
        return before, found

    def judge(
        self,
        items: NDArray[np.int64],
        known: Known,
        seed: int,
        unit: int | None,
        *,
        from_start: bool = False,
    ) -> int:
        """Figures of one opening of every size; how many users were asked, all in all.

        Args:
            items: that are new; equal scores are ranked in an order that the seed draws.
            known: what was fitted without them.
            seed: of the moment, the order and the users.
            unit: what the figures are counted for; each user where None.
            from_start: whether the set opens before all of its interactions.
        """
        generator = np.random.default_rng([seed, 2])
        launches = Launches(self.log, generator.permutation(items))
        total = 0
        for size in self.sizes:
            found = self.opening(launches, known, size, generator, from_start=from_start)
            if found is not None and found[1]:
                opened, asked, controls = found
                self.supporters[size].append(len(np.unique(opened.support.user)))
                self._count(opened, asked, known._replace(controls=controls), size, unit)
                total += len(asked)
        return total

    def opening(
        self,
        launches: Launches,
        known: Known,
        size: int,
        generator: np.random.Generator,
        *,
        from_start: bool = False,
    ) -> tuple[Newcomers, list[Asked], OpeningControls] | None:
        """What an opening shows, who is asked, and the controls that know what is known then."""
        launch = launches.draw(size, generator, share=0.0 if from_start else self.time_cut)
        if launch is None:
            return None
        elsewhere = launches.elsewhere()
        past_only = self.time_cut is not None
        asked = launches.asked(
            launch, Timelines(elsewhere, 0), past_only=past_only, most=ASKED, generator=generator
        )
        controls = known.controls
        if past_only:
            elsewhere = elsewhere.rows(elsewhere.time <= launch.moment)
            controls = OpeningControls(elsewhere, self.content, known.fits)
        here = Elsewhere.of(elsewhere, self.content)
        opened = newcomers(here, self.content, launch, self.log.liked_from)
        return opened, asked, controls

    def scores(
        self, opened: Newcomers, asked: Sequence[Asked], known: Known, size: int
    ) -> dict[str, NDArray[np.float32]]:
        """Scores [asked, c] of ours and of every control."""
        evidence = opened.evidence(asked)
        scores = known.controls.scores(opened, asked, evidence, known.weights[size])
        with torch.no_grad():
            scores[OURS] = known.ours(torch.from_numpy(evidence)).numpy()
        return scores

    def _count(
        self, opened: Newcomers, asked: Sequence[Asked], known: Known, size: int, unit: int | None
    ) -> None:
        scores = self.scores(opened, asked, known, size)
        rated = known.controls.rated
        ratings = {} if rated is None else rated.ratings(opened, asked)
        if ratings:
            ratings[OURS] = ratings.pop(RATED)
        for row, one in enumerate(asked):
            place = one.user if unit is None else unit
            for model, ranking in scores.items():
                found = ranked(ranking[row], one.seen, one.relevant)
                count_ranking(self.figures, model, size, place, found)
            for model, said in ratings.items():
                count_errors(self.figures, model, size, place, said[row, one.later], one.values)

    def told(self, unit: str) -> dict[str, Any]:
        """Rows of all models, and the differences of ours from each control."""
        return {
            "unit": unit,
            "support_users": {str(s): float(np.mean(n)) for s, n in self.supporters.items() if n},
            "rows": rows(self.figures, self.sizes, unit=unit),
            "paired": pairs(self.figures, self.sizes),
        }


def evaluate_categories(
    log: Log,
    content: Content,
    groups: Mapping[str, NDArray[np.int64]],
    sizes: Sequence[int],
    seeds: int,
    *,
    time_cut: float | None = None,
    looked: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """New categories: each held out in turn, opened with so many interactions, ranked inside.

    The moment of an opening is drawn in the first half of a category's interactions. What came
    before does not exist; the next are the support set, all later ones the query. Users' histories
    elsewhere are known. Candidates are all items of the category but for those that a user has in
    the support set. Means and intervals are over categories, whose figures are means over users
    and seeds; over users where there is but one category.

    Args:
        log: all interactions.
        content: features of their catalogue.
        groups: items of each category.
        sizes: of support sets.
        seeds: moments of opening.
        time_cut: the share of a category's interactions that come before it opens; nothing later
            than the moment is known then, and all before it, elsewhere.
        looked: called with how many openings are done, and of all.

    Raises:
        DataError: no category is large enough.
    """
    judge = Judge(log, content, sizes, time_cut)
    usable, left_out = _usable(log, groups, max(sizes) + FEWEST_LATER, time_cut)
    judged: list[str] = []
    for name, items in usable.items():
        try:
            known = judge.learn(items, 0)
        except DataError as error:
            left_out.append(f"{name}: {error}")
            continue
        asked = 0
        for seed in range(seeds):
            asked += judge.judge(items, known, seed, len(judged) if len(usable) > 1 else None)
            if looked is not None:
                looked(list(usable).index(name) * seeds + seed + 1, len(usable) * seeds)
        if asked:
            judged.append(name)
        else:
            left_out.append(f"{name}: nobody likes anything there after it opens")
    if not judged:
        raise DataError(
            f"no category has two items and {max(sizes) + FEWEST_LATER} interactions after its "
            f"opening; {'; '.join(left_out[:5]) or 'there is none'}"
        )
    return {
        **judge.told("categories" if len(usable) > 1 else "users"),
        "categories": _each(judge, judged) if len(usable) > 1 else {},
        "left_out": left_out,
    }


def _usable(
    log: Log, groups: Mapping[str, NDArray[np.int64]], needed: int, time_cut: float | None
) -> tuple[dict[str, NDArray[np.int64]], list[str]]:
    """Categories that can be opened with so many interactions, and why others cannot."""
    usable, left_out = {}, []
    wanted = len(np.unique(log.item))
    for name, items in groups.items():
        inside = int(np.isin(log.item, items).sum())
        later = inside - inside // 2 if time_cut is None else inside - int(time_cut * inside)
        if not 2 <= len(items) < wanted - 1:
            left_out.append(f"{name}: {len(items)} of {wanted} items")
        elif later < needed:
            left_out.append(f"{name}: {inside} interactions leave {later} to open with")
        else:
            usable[name] = items
    return usable, left_out


def _each(judge: Judge, names: Sequence[str]) -> dict[str, Any]:
    """nDCG@10 of every model in each category, by support size."""
    return {
        name: {
            str(size): {
                model: float(np.nanmean(units[unit]))
                for (model, held, metric), units in judge.figures.items()
                if (held, metric) == (size, "ndcg10") and unit in units
            }
            for size in judge.sizes
        }
        for unit, name in enumerate(names)
    }


def evaluate_items(
    log: Log,
    content: Content,
    seeds: int,
    *,
    looked: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Never-seen items: a fifth of all, drawn by each seed, ranked among each other.

    No interaction with them is known. Users' histories elsewhere are; asked is who likes one of
    them. Means and intervals are over users, whose figures are means over seeds.

    Raises:
        DataError: too few items or interactions.
    """
    judge = Judge(log, content, [0])
    wanted = np.unique(log.item)
    for seed in range(seeds):
        drawn = np.random.default_rng([seed, 3]).permutation(wanted)
        items = drawn[: max(int(NEW * len(wanted)), 2)]
        judge.judge(items, judge.learn(items, seed), seed, None, from_start=True)
        if looked is not None:
            looked(seed + 1, seeds)
    if not judge.figures:
        raise DataError(
            f"a fifth of the items must have {FEWEST_LATER} interactions to ask for, "
            f"got {len(log.user)} with all {len(wanted)} items"
        )
    return judge.told("users")
