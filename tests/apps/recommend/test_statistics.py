import numpy as np
import pytest
from tests.apps.recommend import tastes

from quickstudy.apps.recommend import interactions, statistics
from quickstudy.apps.recommend.content import nothing
from quickstudy.apps.recommend.evidence import (
    LATELY,
    NEIGHBOURS,
    RANKING,
    expected,
    for_ranking,
    profiles,
)
from quickstudy.apps.recommend.factors import Factors
from quickstudy.apps.recommend.statistics import EASE_PENALTY, RECENT, History, Statistics


@pytest.fixture(scope="module")
def log():
    return interactions(tastes.interactions())


@pytest.fixture(scope="module")
def known(log):
    return Statistics.of(log)


@pytest.fixture(scope="module")
def likes(log):
    """Who liked what [users, items]."""
    matrix = np.zeros((len(log.users), len(log.items)))
    matrix[log.user[log.liked], log.item[log.liked]] = 1
    return matrix


def test_neighbours_are_cosines_of_likes(known, likes):
    scaled = likes / np.sqrt(np.maximum(likes.sum(0), 1))
    wanted = scaled.T @ scaled
    np.fill_diagonal(wanted, 0)
    assert known.neighbours.toarray() == pytest.approx(wanted, abs=1e-6)


def test_of_many_neighbours_the_nearest_are_kept_whatever_is_held_at_once(log, monkeypatch):
    whole = Statistics.of(log, factors=False).neighbours.toarray()
    monkeypatch.setattr(statistics, "NEIGHBOURS", 5)
    monkeypatch.setattr(statistics, "HELD", 3 * len(log.items))
    few = Statistics.of(log, factors=False).neighbours.toarray()
    assert ((few > 0).sum(1) <= 5).all()
    assert np.sort(few)[:, -5:] == pytest.approx(np.sort(whole)[:, -5:])


def test_ease_is_the_closed_form_of_its_paper(known, likes):
    """Steck 2019, eq. 8: B = I - P diag(1 / P)."""
    chosen = likes[:, known.eased]
    inverse = np.linalg.inv(chosen.T @ chosen + EASE_PENALTY * np.eye(chosen.shape[1]))
    wanted = np.eye(len(inverse)) - inverse / np.diag(inverse)
    assert known.ease == pytest.approx(wanted, abs=1e-5)


def test_recent_popularity_fades(log):
    early = log.rows(log.time < 300)
    known = Statistics.of(early, factors=False)
    moments = np.array([early.time.min(), early.time.max()])
    recent = np.exp(known.recently_liked(moments)[:, 0])
    first = int(early.item[early.liked][early.time[early.liked].argmin()])
    assert recent[0, first] > recent[1, first]


def test_recent_popularity_weighs_each_like_by_its_distance(known, log):
    """As if every like were weighed alone: short bins of time change next to nothing."""
    liked = log.rows(log.liked)
    users, moment = len(log.users), known.moments[7]
    for place, rate in enumerate(RECENT):
        weights = np.exp(-np.abs(liked.time - moment) / known.span / rate)
        share = np.bincount(liked.item, weights, len(log.items)) / weights.mean() / users
        wanted = np.log(share + 0.5 / users)
        assert known.recent[7, place] == pytest.approx(wanted, abs=5e-3)


def test_a_user_without_ratings_has_no_bias_and_no_factors(known):
    nobody = np.empty(0, np.int64)
    assert known.factors.bias(np.empty(0, np.float32)) == 0
    assert not known.factors.user(nobody, np.empty(0, np.float32)).any()


def test_folding_in_is_ridge_regression(log):
    factors = Factors.of(log, width=3, penalty=0.2)
    items, residuals = np.array([1, 4, 7, 9]), np.array([1.0, -1.0, 0.5, 2.0], np.float32)
    chosen = factors.items[items].astype(float)
    wanted = np.linalg.solve(chosen.T @ chosen + 0.2 * 4 * np.eye(3), chosen.T @ residuals)
    assert factors.user(items, residuals) == pytest.approx(wanted, rel=1e-3, abs=1e-5)


def test_factors_explain_the_ratings_they_were_fitted_to(log):
    factors = Factors.of(log, penalty=0.05)
    means = np.abs(log.value - log.value.mean()).mean()
    wrong = []
    for user in range(len(log.users)):
        rows = np.flatnonzero(log.user == user)
        left = log.value[rows] - factors.level[log.item[rows]]
        bias = factors.bias(left)
        said = bias + factors.items[log.item[rows]] @ factors.user(log.item[rows], left - bias)
        wrong.append(np.abs(left - said).mean())
    assert np.mean(wrong) < means / 2


def test_profiles_tell_liked_from_not(known):
    history = History(np.array([2, 5, 6]), np.array([5.0, 1.0, 5.0], np.float32), 0.0)
    liked, others, both = profiles([history], known.items, known.liked_from)
    assert liked.nonzero()[1].tolist() == [2, 6]
    assert others.nonzero()[1].tolist() == [5]
    assert both.nonzero()[1].tolist() == [2, 5, 6]


def test_evidence_has_a_column_for_each_name_and_is_finite(known, log):
    history = History(np.array([2]), np.array([5.0], np.float32), 10.0)
    evidence = for_ranking(known, nothing(log.items), [history, history])
    assert evidence.shape == (2, len(log.items), len(RANKING))
    assert np.isfinite(evidence).all()


def test_a_prior_is_a_weighted_sum_of_evidence(known, log):
    history = History(np.array([2, 5, 9]), np.array([5.0, 1.0, 5.0], np.float32), 99.0)
    evidence = for_ranking(known, nothing(log.items), [history])[0]
    wanted = 0.5 * evidence[:, LATELY] + 3 * evidence[:, NEIGHBOURS]
    assert expected(known, history, {LATELY: 0.5, NEIGHBOURS: 3}) == pytest.approx(wanted, abs=1e-5)
