"""Evaluation of new categories and of items that nobody has seen."""

import numpy as np
import pytest
from tests.apps.recommend import tastes

from quickstudy.apps import recommend
from quickstudy.apps.recommend.evaluate_openings import (
    categories,
    evaluate_categories,
    evaluate_items,
)
from quickstudy.apps.recommend.figures import OURS
from quickstudy.apps.recommend.training import joined
from quickstudy.errors import DataError


@pytest.fixture(scope="module")
def shop():
    made = recommend.shop(users=300, items=200, interactions=8000)
    return joined(recommend.interactions(made.interactions), recommend.items(made.items))


@pytest.fixture(scope="module")
def judged(shop):
    log, content = shop
    groups = categories(log, content, "category")
    some = {name: groups[name] for name in ("bag", "hat", "mug")}
    return evaluate_categories(log, content, some, [5, 20], 1)


def test_categories_are_the_items_of_each_tag(shop):
    log, content = shop
    groups = categories(log, content, None)
    assert len(groups) == 9
    for name, items in groups.items():
        assert all(log.items[item].startswith(name) for item in items)


def test_a_column_that_tells_no_categories_is_refused(shop):
    log, content = shop
    with pytest.raises(DataError, match=r"'price', with kinds or tags; .* brand, category, tags"):
        categories(log, content, "price")
    plain, nothing = joined(recommend.interactions(tastes.interactions()), None)
    with pytest.raises(DataError, match="columns that have such: none"):
        categories(plain, nothing, None)


def test_rows_are_means_over_categories(judged):
    row = {(r["model"], r["shots"]): r for r in judged["rows"]}
    for (model, shots), found in row.items():
        each = [judged["categories"][name][str(shots)][model] for name in ("bag", "hat", "mug")]
        assert found["ndcg10"] == pytest.approx(np.mean(each))
        assert found["control"] == (model != OURS)
        assert found["categories"] == 3
    assert {"popularity", "item neighbours", "EASE", "implicit ALS", "content neighbours",
            "EASE + log-popularity"} <= {model for model, _ in row}  # fmt: skip


def test_pairs_are_differences_of_rows(judged):
    row = {(r["model"], r["shots"]): r for r in judged["rows"]}
    for pair in judged["paired"]:
        ours, theirs = (row[m, pair["shots"]][pair["metric"]] for m in (OURS, pair["control"]))
        assert pair["difference"] == pytest.approx(ours - theirs)


def test_what_cannot_be_opened_is_left_out_and_said(shop):
    log, content = shop
    groups = categories(log, content, "category")
    some = {"hat": groups["hat"], "one thing": groups["mug"][:1]}
    told = evaluate_categories(log, content, some, [5], 1)
    assert told["left_out"] == [f"one thing: 1 of {len(np.unique(log.item))} items"]
    assert told["unit"] == "users"
    with pytest.raises(DataError, match="one thing: 1 of"):
        evaluate_categories(log, content, {"one thing": some["one thing"]}, [5], 1)


def test_behind_a_cut(shop):
    log, content = shop
    groups = categories(log, content, "category")
    told = evaluate_categories(log, content, {"hat": groups["hat"]}, [5], 1, time_cut=0.5)
    assert told["rows"][0]["model"] == OURS
    assert told["rows"][0]["ndcg10"] > 0


def test_real_genres(need):
    """One genre of MovieLens small, opened: above every control."""
    ratings = need.data("movielens_latest_small_ratings.parquet")
    films = need.data("movielens_latest_small_movies.parquet")
    log, content = joined(recommend.interactions(ratings), recommend.items(films))
    western = categories(log, content, None)["Western"]
    told = evaluate_categories(log, content, {"Western": western}, [50], 1)
    found = {r["model"]: r["ndcg10"] for r in told["rows"] if r["ndcg10"] is not None}
    assert found[OURS] == max(found.values())
    assert {"rmse", "mae"} <= {pair["metric"] for pair in told["paired"]}


def test_real_films_that_nobody_has_seen(need):
    ratings = need.data("movielens_latest_small_ratings.parquet")
    films = need.data("movielens_latest_small_movies.parquet")
    told = evaluate_items(*joined(recommend.interactions(ratings), recommend.items(films)), 1)
    better = {pair["control"]: pair["better"] for pair in told["paired"]
              if pair["metric"] == "ndcg10"}  # fmt: skip
    assert better["content neighbours"]
    assert better["content popularity"]
