import numpy as np
import pytest
from tests.apps.recommend import tastes

from quickstudy import recommend
from quickstudy.apps.recommend.asking import questions
from quickstudy.apps.recommend.statistics import History
from quickstudy.errors import DataError


@pytest.fixture(scope="module")
def market():
    return recommend.train(tastes.interactions(), tastes.items())


def history(*items):
    return History(np.array(items, np.int64), np.full(len(items), 5.0, np.float32), 1000.0)


def test_what_was_seen_is_not_asked(market):
    asked = [row.item for row in market.ask(market.adapt(["i0", "i2"]), k=100)]
    assert not {"i0", "i2"} & set(asked)
    assert len(asked) == len(set(asked)) == tastes.ITEMS + 1 - 2


def test_the_first_is_of_the_highest_chance_times_information(market):
    """By the formula, item by item: p .5 log(1 + v' (V'V + lambda I)^-1 v)."""
    reader = market.reader
    factors, known = reader.known.factors, history(4, 7, 9)
    scores = reader.rank([known])[0].astype(float)
    scores[known.items] = -np.inf
    chance = np.exp(scores - scores.max())
    chance /= chance.sum()
    rows = factors.items[known.items].astype(float)
    inverse = np.linalg.inv(rows.T @ rows + factors.penalty * 3 * np.eye(rows.shape[1]))
    wanted = [
        p * 0.5 * np.log(1 + v @ inverse @ v)
        for p, v in zip(chance, factors.items.astype(float), strict=True)
    ]
    places, expected = questions(reader, known, 1)
    assert places.tolist() == [int(np.argmax(wanted))]
    assert expected == pytest.approx([max(wanted)], rel=1e-4)


def test_the_second_counts_the_first_as_answered(market):
    """Each is worth its chance times half the growth of the log-determinant after those before."""
    reader, known = market.reader, history(4)
    factors = reader.known.factors
    places, expected = questions(reader, known, 4)
    scores = reader.rank([known])[0].astype(float)
    scores[known.items] = -np.inf
    chance = np.exp(scores - scores.max())
    chance /= chance.sum()
    first = factors.items[known.items].astype(float)
    precision = first.T @ first + factors.penalty * np.eye(first.shape[1])
    for place, said in zip(places, expected, strict=True):
        vector = factors.items[place].astype(float)
        after = precision + np.outer(vector, vector)
        grown = np.linalg.slogdet(after)[1] - np.linalg.slogdet(precision)[1]
        assert said == pytest.approx(chance[place] * grown / 2, rel=1e-3)
        precision = after


def test_a_new_user_is_asked_too(market):
    (row,) = market.ask()
    assert row.item in market.items
    assert row.score > 0
    assert market.ask(k=3)[0] == row


def test_answers_tell_tastes_apart(market):
    """Who answers three questions by a taste is recommended what is of it."""
    names = [row.item for row in market.ask(k=3)]
    for taste in (0, 1):
        stars = [5 if int(name[1:]) % 2 == taste else 1 for name in names]
        state = market.adapt({"item": names, "stars": stars})
        best = [row.item for row in market.top(state, k=6) if row.item != "new"]
        assert np.mean([int(name[1:]) % 2 == taste for name in best]) > 0.8


def test_implicit_feedback_asks_for_what_is_likely():
    rows = tastes.interactions()
    shop = recommend.train({"user": rows["user"], "item": rows["item"]})
    state = shop.adapt(["i0", "i2"])
    asked = [row.item for row in shop.ask(state, k=3)]
    assert asked == [row.item for row in shop.top(state, k=3)]


def test_a_bad_wish_is_one_clear_error(market):
    with pytest.raises(DataError, match="at least 1, got 0"):
        market.ask(k=0)
