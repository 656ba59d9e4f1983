"""Learners of the catalogue as readers of histories, on the market of two tastes."""

import numpy as np
import pytest
from tests.apps.recommend import tastes

from quickstudy.apps.recommend import interactions, items
from quickstudy.apps.recommend.content import nothing
from quickstudy.apps.recommend.embedding import ItemFeatures, liking_factors, reduced
from quickstudy.apps.recommend.learned import (
    chances,
    learner_named,
    margins,
    meta_train_learned,
    support_of,
)
from quickstudy.apps.recommend.metrics import ranked
from quickstudy.apps.recommend.statistics import History, Statistics
from quickstudy.apps.recommend.tasks import Timelines
from quickstudy.apps.recommend.training import joined
from quickstudy.errors import DataError

NAMES = ("R2D2", "ANIL", "ProtoNet", "SetTransformer")
STEPS = 80


@pytest.fixture(scope="module")
def market():
    return joined(interactions(tastes.interactions()), items(tastes.items()))


@pytest.fixture(scope="module")
def trained(market):
    return {name: meta_train_learned(name, *market, steps=STEPS) for name in NAMES}


def even_shopper(log, count=3):
    """A history of the first taste: even items liked."""
    chosen = [log.items.index(f"i{2 * item}") for item in range(count)]
    return History(np.array(chosen), np.full(count, 5, np.float32), float(log.time.max()))


@pytest.mark.parametrize("name", NAMES)
def test_new_users_get_what_they_like_sooner_than_what_is_popular(name, market, trained):
    log, _ = joined(interactions(tastes.interactions(seed=1)), items(tastes.items()))
    known = trained[name].features.known
    tasks = Timelines(log, 0).tasks(range(len(log.users)), 3)
    assert log.items == market[0].items
    scores = trained[name].rank([task.history for task in tasks])
    popular = np.log1p(known.likes)

    def mean(rows):
        found = [
            ranked(row, task.history.items, task.relevant(log.liked_from)).ndcg10
            for row, task in zip(rows, tasks, strict=True)
        ]
        return np.nanmean(found)

    assert scores.shape == (len(tasks), len(log.items))
    assert mean(scores) > mean([popular] * len(tasks)) + 0.1


@pytest.mark.parametrize("name", NAMES)
def test_an_item_that_nobody_touched_is_scored_by_its_features(name, market, trained):
    log, _ = market
    liked = even_shopper(log)
    odd = liked._replace(items=np.array([log.items.index(f"i{n}") for n in (1, 3, 5)]))
    new = log.items.index("new")
    assert trained[name].features.known.counts[new] == 0
    for_even, for_odd = trained[name].rank([liked, odd])
    assert np.isfinite([for_even, for_odd]).all()
    # It is of the odd kind; only differences within one ranking say anything.
    assert for_odd[new] - for_odd.mean() > for_even[new] - for_even.mean()


def test_rankings_do_not_depend_on_who_else_is_ranked(market, trained):
    log, _ = market
    one, other = even_shopper(log, 2), even_shopper(log, 5)
    together = trained["R2D2"].rank([one, other])
    np.testing.assert_array_equal(together[0], trained["R2D2"].rank([one])[0])
    assert trained["R2D2"].rank([]).shape == (0, len(log.items))


def test_the_same_seed_gives_the_same_model(market):
    log, content = market
    first, second = (meta_train_learned("R2D2", log, content, steps=3) for _ in range(2))
    history = [even_shopper(log)]
    np.testing.assert_array_equal(first.rank(history), second.rank(history))


def test_without_content_and_with_implicit_feedback(market):
    table = tastes.interactions()
    stars = table.pop("stars")
    bought = {k: [v for v, s in zip(vs, stars, strict=True) if s > 3] for k, vs in table.items()}
    log = interactions(bought)
    model = meta_train_learned("ProtoNet", log, nothing(log.items), steps=STEPS)
    scores = model.rank([even_shopper(log)])[0]
    even = np.array([int(name[1:]) % 2 == 0 for name in log.items])
    assert scores[even].mean() > scores[~even].mean()


@pytest.mark.parametrize("name", NAMES)
def test_a_history_that_liked_nothing_is_ranked_too(name, market, trained):
    log, _ = market
    disliked = even_shopper(log)._replace(values=np.full(3, 1, np.float32))
    scores = trained[name].rank([disliked])[0]
    assert np.isfinite(scores).all()
    assert np.abs(scores).max() < 1e3  # no class without support shows through


@pytest.mark.parametrize("name", ["R2D3", "NearestMean", "SupportMean", "SimpleShot", ""])
def test_a_learner_that_is_none_is_refused(name, market):
    with pytest.raises(DataError, match=r"a learner must be one of ANIL, .* got "):
        meta_train_learned(name, *market)


def test_names_may_be_written_otherwise():
    assert learner_named("proto_net") is learner_named("ProtoNet")


def test_too_few_users_are_refused(market):
    log, content = market
    with pytest.raises(DataError, match="users at least, got 4"):
        meta_train_learned("R2D2", log.rows(log.user < 4), content)


def test_a_support_set_holds_the_history_and_untouched_others(market):
    log, content = market
    features = ItemFeatures.of(Statistics.of(log, factors=False), reduced(content), log)
    history = even_shopper(log)
    history.values[0] = 1
    chance = chances(features.known, history.time)
    np.testing.assert_allclose(chance.sum(), 1)
    assert (chance > 0).all()
    support = support_of(features, history, chance, np.random.default_rng(0))
    assert support.y[:3].tolist() == [[0, 1], [1, 0], [1, 0]]
    assert support.y[3:, 1].all()
    np.testing.assert_array_equal(
        support.x[:3].numpy(), features.at(history.time, history.items).numpy()
    )
    touched = {tuple(row) for row in support.x[:3].tolist()}
    assert not touched & {tuple(row) for row in support.x[3:].tolist()}


def test_a_class_without_support_counts_as_nothing():
    import torch

    logits = torch.tensor([[-1e9, 2.0], [3.0, 1.0]])
    assert margins(logits).tolist() == [-2.0, 2.0]


def test_factors_are_turned_onto_a_frame_and_keep_their_products(market):
    log, content = market
    random = np.random.default_rng(0)
    turn = np.linalg.qr(random.standard_normal((24, 24)))[0]
    own = liking_factors(log)
    frame = (own @ turn).astype(np.float32)
    known = Statistics.of(log, factors=False)
    turned = ItemFeatures.of(known, reduced(content), log, frame).lasting[:, -own.shape[1] :]
    np.testing.assert_allclose(turned, frame, atol=1e-4)
    np.testing.assert_allclose(turned @ turned.T, own @ own.T, atol=1e-4)


def test_where_nobody_liked_anything_features_are_there_all_the_same(market):
    log, content = market
    none = log.rows(~log.liked)
    known = Statistics.of(none, factors=False)
    features = ItemFeatures.of(known, reduced(content), none, liking_factors(log))
    assert features.at(known.now).shape == (len(log.items), features.width)
    assert features.at(known.now).isfinite().all()
    assert (liking_factors(none) == 0).all()


def test_what_looks_untouched_looks_like_what_is(market):
    log, content = market
    features = ItemFeatures.of(Statistics.of(log, factors=False), reduced(content), log)
    new, other = log.items.index("new"), log.items.index("i3")
    real, hidden = (
        features.at(log.time.max(), np.array([place]), np.array([place == other]))[0]
        for place in (new, other)
    )
    np.testing.assert_allclose(hidden[features.content :], real[features.content :], atol=1e-3)
    assert not hidden[: features.content].equal(real[: features.content])
