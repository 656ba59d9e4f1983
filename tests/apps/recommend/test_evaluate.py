import numpy as np
import pytest
from tests.apps.recommend import tastes

from quickstudy.apps.recommend import interactions, items
from quickstudy.apps.recommend.evaluate import by_folds, by_time, evaluate
from quickstudy.apps.recommend.figures import OURS
from quickstudy.apps.recommend.tasks import Timelines
from quickstudy.apps.recommend.training import joined
from quickstudy.errors import DataError


@pytest.fixture(scope="module")
def market():
    return joined(interactions(tastes.interactions()), items(tastes.items()))


@pytest.fixture(scope="module")
def judged(market):
    log, content = market
    return evaluate(list(by_folds(log, 1)), content, [1, 4])


def test_every_user_is_asked_once_a_seed_and_never_known(market):
    log, _ = market
    for seed in (0, 1):
        splits = [split for split in by_folds(log, 2) if split.seed == seed]
        asked = np.concatenate([split.users for split in splits])
        assert sorted(asked.tolist()) == list(range(len(log.users)))
        for split in splits:
            assert not np.isin(split.known.user, split.users).any()


def test_behind_a_cut_nothing_later_is_known(market):
    log, _ = market
    (split,) = by_time(log, 0.7, 1)
    first = {user: log.time[log.user == user].min() for user in split.users}
    assert split.known.time.max() <= min(first.values())
    assert not np.isin(split.known.user, split.users).any()


def test_the_support_comes_before_the_query(market):
    log, _ = market
    task = Timelines(log, 0).task(5, 4)
    times = {
        int(i): t for i, t in zip(log.item[log.user == 5], log.time[log.user == 5], strict=True)
    }
    assert max(times[i] for i in task.history.items.tolist()) == task.history.time
    assert task.history.time < min(times[i] for i in task.later.tolist())


def test_ties_in_time_are_broken_by_the_seed(market):
    log, _ = market
    tied = log._replace(time=np.zeros_like(log.time))
    orders = {tuple(Timelines(tied, seed).task(0, 4).history.items) for seed in range(8)}
    assert len(orders) > 1


def test_ours_beats_every_control_that_does_not_personalise(judged):
    better = {
        pair["control"]: pair["better"]
        for pair in judged["paired"]
        if pair["metric"] == "ndcg10" and pair["shots"] == 4
    }
    assert better["popularity"]
    assert better["recent popularity"]
    assert better["item mean"]


def test_rows_and_pairs_are_of_the_same_figures(judged):
    row = {(r["model"], r["shots"]): r for r in judged["rows"]}
    for pair in judged["paired"]:
        ours, theirs = (row[m, pair["shots"]][pair["metric"]] for m in (OURS, pair["control"]))
        assert pair["difference"] == pytest.approx(ours - theirs, abs=1e-9)
    assert [r["model"] for r in judged["rows"] if not r["control"]] == [OURS, OURS]
    assert row[OURS, 4]["users"] == 60


def test_what_only_ranks_has_no_error_of_ratings(judged):
    errors = {r["model"] for r in judged["rows"] if r["rmse"] is not None}
    assert errors == {OURS, "item mean", "bias fold-in", "rating ALS"}


def test_bad_wishes_are_one_clear_error(market):
    log, content = market
    with pytest.raises(DataError, match=r"between 0 and 1, got 1\.5"):
        list(by_time(log, 1.5, 1))
    with pytest.raises(DataError, match="more than 50 interactions"):
        evaluate(list(by_folds(log, 1))[:1], content, [50])


def test_the_library_implicit_is_a_control(market, need):
    need.package("implicit")
    log, content = market
    told = evaluate(list(by_folds(log, 1))[:1], content, [4], outside=True)
    found = {row["model"]: row for row in told["rows"]}
    als = found["implicit (library), ALS"]
    assert als["control"]
    # The same model as ours of that name, from another start: of the same worth.
    assert als["ndcg10"] == pytest.approx(found["implicit ALS"]["ndcg10"], abs=0.1)
    assert found["implicit (library), BM25"]["ndcg10"] > 0.2


def test_real_films(need):
    """One fold of MovieLens small: above controls with its interval, below their errors."""
    ratings = need.data("movielens_latest_small_ratings.parquet")
    films = need.data("movielens_latest_small_movies.parquet")
    log, content = joined(interactions(ratings), items(films))
    assert (len(log.user), len(log.users), len(log.items)) == (100_836, 610, 9_742)
    judged = evaluate(list(by_folds(log, 1))[:1], content, [5])
    better = {(pair["metric"], pair["control"]): pair["better"] for pair in judged["paired"]}
    assert better["ndcg10", "popularity"]
    assert better["ndcg10", "item neighbours + log-popularity"]
    assert better["rmse", "bias fold-in"]
