"""Evidence for new items, and the closed forms that it is judged beside."""

import numpy as np
import pytest
from scipy import sparse
from tests.apps.recommend import tastes

from quickstudy.apps import recommend
from quickstudy.apps.recommend.elsewhere import Elsewhere, Foreseen
from quickstudy.apps.recommend.evaluate_openings import Judge
from quickstudy.apps.recommend.evidence import profiles
from quickstudy.apps.recommend.launches import Launches
from quickstudy.apps.recommend.newcomers import EVIDENCE, newcomers
from quickstudy.apps.recommend.opening_controls import OpeningControls
from quickstudy.apps.recommend.opening_ratings import OpeningRatings
from quickstudy.apps.recommend.tasks import Timelines
from quickstudy.apps.recommend.training import joined


@pytest.fixture(scope="module")
def shop():
    made = recommend.shop(users=150, items=120, interactions=4000)
    return joined(recommend.interactions(made.interactions), recommend.items(made.items))


@pytest.fixture(scope="module")
def hats(shop):
    log, _ = shop
    return Launches(log, np.flatnonzero([name.startswith("hat") for name in log.items]))


def opening(shop, launches, size=15):
    log, content = shop
    before = launches.elsewhere()
    launch = launches.draw(size, np.random.default_rng(0))
    asked = launches.asked(launch, Timelines(before, 0))
    opened = newcomers(Elsewhere.of(before, content), content, launch, log.liked_from)
    return opened, asked, before


def test_a_column_of_evidence_for_every_name(shop, hats):
    opened, asked, _ = opening(shop, hats)
    evidence = opened.evidence(asked)
    assert evidence.shape == (len(asked), len(hats.items), len(opened.names))
    assert np.isfinite(evidence).all()
    likes = np.bincount(opened.support.item, minlength=len(hats.items))
    np.testing.assert_allclose(evidence[0, :, EVIDENCE.index("log likes")], np.log1p(likes))


def test_nothing_that_is_asked_for_is_known(shop, hats):
    """Other interactions after the support set change no score, of ours or of any control."""
    log, content = shop
    opened, asked, before = opening(shop, hats)
    launch = hats.draw(15, np.random.default_rng(0))
    moved = log.item.copy()
    moved[launch.query] = np.random.default_rng(1).permutation(moved[launch.query])
    other = Launches(log._replace(item=moved), hats.items)
    again, _, elsewhere = opening((other.log, content), other)
    evidence = opened.evidence(asked)
    np.testing.assert_array_equal(again.evidence(asked), evidence)
    there = OpeningControls(before, content).pure(opened, asked, evidence)
    here = OpeningControls(elsewhere, content).pure(again, asked, evidence)
    for name, scores in there.items():
        np.testing.assert_array_equal(here[name], scores, err_msg=name)


def test_behind_a_cut_nothing_later_is_known(shop, hats):
    """Whatever happens after the moment, anywhere, changes no score of those asked at it."""
    log, content = shop
    judge = Judge(log, content, [10], 0.5)
    known = judge.learn(hats.items, 0)
    opened, asked, controls = judge.opening(hats, known, 10, np.random.default_rng(0))
    moment = hats.draw(10, np.random.default_rng(0), share=0.5).moment
    asked = [one._replace(history=one.history._replace(time=moment)) for one in asked[:20]]
    later = log.time > moment
    moved = log.item.copy()
    moved[later] = np.random.default_rng(1).permutation(moved[later])
    judge = Judge(log._replace(item=moved), content, [10], 0.5)
    other = Launches(judge.log, hats.items)
    same = judge.learn(hats.items, 0)
    again, _, theirs = judge.opening(other, same, 10, np.random.default_rng(0))
    scores = judge.scores(opened, asked, known._replace(controls=controls), 10)
    for name, found in judge.scores(again, asked, same._replace(controls=theirs), 10).items():
        np.testing.assert_allclose(found, scores[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_folding_in_is_what_the_formulas_say(shop, hats):
    opened, asked, before = opening(shop, hats)
    _, content = shop
    controls = OpeningControls(before, content)
    scores = controls.pure(opened, asked, opened.evidence(asked))
    likes = controls.likes.toarray()
    taken = np.zeros((len(likes), len(hats.items)))
    taken[opened.support.user, opened.support.item] = 1
    one = next(place for place, user in enumerate(asked) if not len(user.seen))
    liked = profiles([asked[one].history], likes.shape[1], 0.0)[0].toarray()[0]
    cosines = (likes / controls.norms).T @ (taken / np.sqrt(np.maximum(taken.sum(0), 1)))
    np.testing.assert_allclose(scores["item neighbours"][one], liked @ cosines, atol=1e-5)
    ridge = np.linalg.solve(likes.T @ likes + 200 * np.eye(len(liked)), likes.T @ taken)
    np.testing.assert_allclose(scores["EASE"][one], liked @ ridge, atol=1e-4)
    factors, model = controls.implicit.items.astype(float), controls.implicit
    gram = factors.T @ factors + model.penalty * np.eye(factors.shape[1])
    mine = factors[liked > 0]
    user = np.linalg.solve(
        gram + model.confidence * mine.T @ mine, (1 + model.confidence) * mine.sum(0)
    )
    known = sparse.csr_matrix((liked > 0).astype(np.float32)[None])
    np.testing.assert_allclose(model.fold(known)[0], user, atol=1e-4)


def test_what_a_user_disliked_there_is_not_what_they_liked():
    log, content = joined(
        recommend.interactions(tastes.interactions(users=200)), recommend.items(tastes.items())
    )
    launches = Launches(log, np.arange(1, 40, 4))
    opened, asked, _ = opening((log, content), launches, 60)
    one = next(user for user in asked if len(user.seen))
    stars = [one._replace(seen_values=np.full(len(one.seen), v, np.float32)) for v in (1, 5)]
    column = EVIDENCE.index("tags of liked")
    low, high = opened.evidence(stars)[:, :, column]
    assert (high >= low).all()
    assert (high > low).any()


def test_items_of_which_a_number_is_not_known_have_no_place_beside_their_kind():
    names = [f"i{n}" for n in range(40)]
    price = [None if n == 7 else n % 20 + (100 if n >= 20 else 0) for n in range(40)]
    table = {"item": names, "category": ["x"] * 20 + ["y"] * 20, "price": price}
    log = recommend.interactions({"user": ["p", "q"] * 20, "item": names})
    log, content = joined(log, recommend.items(table))
    relative = dict(zip(log.items, Elsewhere.of(log, content).relative[:, 0], strict=True))
    assert relative["i7"] == 0
    assert relative["i0"] < relative["i19"]
    assert relative["i20"] < relative["i39"]
    # From one kind to the other it is no further than within each: the kinds' means are taken off.
    assert relative["i20"] - relative["i19"] < relative["i19"] - relative["i0"]


def test_what_features_foresee_is_what_known_items_have(shop):
    log, content = shop
    elsewhere = Elsewhere.of(log, content)
    foreseen = Foreseen.of(elsewhere, content, content)
    assert np.corrcoef(foreseen.popularity, elsewhere.popularity)[0, 1] > 0.3


def test_ratings_are_above_the_mean_where_the_support_is():
    log, content = joined(
        recommend.interactions(tastes.interactions(users=100)), recommend.items(tastes.items())
    )
    launches = Launches(log, np.arange(8))
    opened, asked, before = opening((log, content), launches, 60)
    ratings = OpeningRatings.of(before).ratings(opened, asked)
    means = [opened.support.value[opened.support.item == i].mean() for i in range(8)]
    assert np.corrcoef(ratings["item mean"][0], means)[0, 1] > 0.9
    true = np.concatenate([one.values for one in asked])
    errors = {
        name: np.concatenate([said[row, one.later] for row, one in enumerate(asked)]) - true
        for name, said in ratings.items()
    }
    assert (errors["ours"] ** 2).mean() < (errors["item mean"] ** 2).mean()
