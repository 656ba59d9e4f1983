"""Openings of categories: what is known, and what is asked."""

import numpy as np
import pytest

from quickstudy.apps import recommend
from quickstudy.apps.recommend.launches import FEWEST_LATER, Launches
from quickstudy.apps.recommend.tasks import Timelines
from quickstudy.apps.recommend.training import joined


@pytest.fixture(scope="module")
def shop():
    made = recommend.shop(users=120, items=90, interactions=4000)
    return joined(recommend.interactions(made.interactions), recommend.items(made.items))


@pytest.fixture(scope="module")
def hats(shop):
    log, _ = shop
    return Launches(log, np.flatnonzero([name.startswith("hat") for name in log.items]))


def test_the_support_set_comes_before_the_query_and_what_was_before_does_not_exist(shop, hats):
    log, _ = shop
    for seed in range(5):
        launch = hats.draw(12, np.random.default_rng(seed))
        assert len(launch.support.item) == 12
        assert launch.support.time.max() == launch.moment <= log.time[launch.query].min()
        before = len(hats.rows) - 12 - len(launch.query)
        assert 0 <= before <= len(hats.rows) // 2


def test_a_cut_opens_where_it_says(hats):
    launch = hats.draw(5, np.random.default_rng(0), share=0.5)
    assert len(launch.query) == len(hats.rows) - len(hats.rows) // 2 - 5


def test_ties_are_broken_by_the_generator(shop, hats):
    log, _ = shop
    tied = Launches(log._replace(time=np.zeros_like(log.time)), hats.items)
    drawn = {
        tuple(tied.draw(5, np.random.default_rng(s), share=0.1).support.item) for s in range(4)
    }
    assert len(drawn) > 1


def test_elsewhere_knows_nothing_of_the_category(hats):
    assert not np.isin(hats.elsewhere().item, hats.items).any()


def test_there_is_no_opening_without_anything_later(hats):
    generator = np.random.default_rng(0)
    assert hats.draw(len(hats.rows) - FEWEST_LATER + 1, generator) is None
    assert hats.draw(len(hats.rows) - FEWEST_LATER, generator) is not None


def test_asked_are_items_liked_later_and_not_had_before(shop, hats):
    log, _ = shop
    launch = hats.draw(40, np.random.default_rng(3))
    asked = hats.asked(launch, Timelines(hats.elsewhere(), 0))
    assert asked
    later = {(int(log.user[row]), int(hats.place[log.item[row]])) for row in launch.query}
    for one in asked:
        assert len(one.relevant)
        assert not np.isin(one.relevant, one.seen).any()
        assert {(one.user, item) for item in one.relevant.tolist()} <= later
        assert not np.isin(one.history.items, hats.items).any()


def test_behind_a_cut_only_the_past_is_known(shop, hats):
    log, _ = shop
    launch = hats.draw(10, np.random.default_rng(0), share=0.3)
    for one in hats.asked(launch, Timelines(hats.elsewhere(), 0), past_only=True):
        theirs = log.time[(log.user == one.user) & np.isin(log.item, one.history.items)]
        assert (theirs < one.history.time).all()
