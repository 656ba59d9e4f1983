"""A new category, opened from a few interactions."""

from itertools import pairwise

import numpy as np
import pytest
from tests.apps.recommend import tastes

from quickstudy.apps import recommend
from quickstudy.apps.recommend.openings import held_out
from quickstudy.apps.recommend.training import joined
from quickstudy.errors import DataError


def part(table, chosen):
    return {name: [v for v, ok in zip(column, chosen, strict=True) if ok]
            for name, column in table.items()}  # fmt: skip


@pytest.fixture(scope="module")
def made():
    """A shop that has never sold a mug, mugs, and all that will be done with them."""
    shop = recommend.shop(users=300, items=270, interactions=9000)
    mug = [name.startswith("mug") for name in shop.items["item"]]
    sold = [name.startswith("mug") for name in shop.interactions["item"]]
    known = part(shop.items, [not is_mug for is_mug in mug])
    elsewhere = part(shop.interactions, [not is_mug for is_mug in sold])
    return shop, known, elsewhere, part(shop.items, mug), part(shop.interactions, sold)


@pytest.fixture(scope="module")
def rec(made):
    _, known, elsewhere, _, _ = made
    return recommend.train(elsewhere, known)


@pytest.fixture(scope="module")
def state(made, rec):
    _, _, elsewhere, _, _ = made
    user = elsewhere["user"][0]
    return rec.adapt(part({"item": elsewhere["item"]}, [u == user for u in elsewhere["user"]]))


@pytest.fixture(scope="module")
def opened(made, rec):
    *_, mugs, drunk = made
    return rec.adapt_category(part(drunk, [n < 12 for n in range(len(drunk["item"]))]), mugs)


def test_users_are_served_better_than_by_what_is_popular(made, rec, opened):
    shop, _, elsewhere, mugs, drunk = made
    first = drunk["item"][:12]
    popular = sorted(mugs["item"], key=lambda item: -first.count(item))[:5]
    gains = []
    for user in sorted(set(drunk["user"][12:]))[:60]:
        theirs = part({"item": elsewhere["item"]}, [u == user for u in elsewhere["user"]])
        if theirs["item"]:
            best = [row.item for row in opened.top(rec.adapt(theirs), 5)]
            regrets = [shop.regret(user, chosen, mugs["item"]) for chosen in (popular, best)]
            gains.append(regrets[0] - regrets[1])
    assert np.mean(gains) > 2 * np.std(gains) / np.sqrt(len(gains))


def test_all_items_are_ranked_by_their_scores(made, state, opened):
    best = opened.top(state, k=1000)
    assert sorted(row.item for row in best) == sorted(opened.items) == sorted(made[3]["item"])
    scores = opened.score(state, [row.item for row in best])
    np.testing.assert_allclose([row.score for row in best], scores, rtol=1e-5)
    assert all(earlier >= later for earlier, later in pairwise(scores))


def test_what_a_user_took_there_is_left_out(made, state, opened):
    *_, drunk = made
    user, item = drunk["user"][0], drunk["item"][0]
    assert item not in [row.item for row in opened.top(state, 1000, user=user)]
    assert item in [row.item for row in opened.top(state, 1000, user=user, exclude_seen=False)]
    assert item in [row.item for row in opened.top(state, 1000, user="nobody")]


def test_what_a_stranger_took_is_left_out_too(made, rec, state):
    mugs = made[3]
    took = {"user": ["ann", "ann", "bob"], "item": [*mugs["item"][:2], mugs["item"][2]]}
    best = [row.item for row in rec.adapt_category(took, mugs).top(state, 1000, user="ann")]
    assert sorted(best) == sorted(mugs["item"][2:])


def test_without_times_it_has_just_happened(made, rec, state):
    *_, mugs, drunk = made
    first = part(drunk, [n < 12 for n in range(len(drunk["item"]))])
    late = {**first, "time": [max(made[2]["time"])] * 12}
    timeless = {key: first[key] for key in ("user", "item")}
    lately = [
        {reason.evidence: reason.effect for reason in
         rec.adapt_category(table, mugs).explain(state, first["item"][0])}["likes lately"]
        for table in (late, timeless)
    ]  # fmt: skip
    assert lately[0] == pytest.approx(lately[1], abs=0.05)


def test_a_state_of_a_larger_catalogue_is_refused(opened, rec, state):
    state = {**state, "items": state["items"] + 10_000}
    for serve in (opened.top, rec.top):
        with pytest.raises(DataError, match="of another recommender"):
            serve(state)


def test_what_sells_goes_up(made, rec, state):
    *_, mugs, drunk = made
    item = mugs["item"][5]
    often = {"user": drunk["user"][:10], "item": [item] * 10}
    before = rec.adapt_category(None, mugs).score(state, [item])
    assert rec.adapt_category(often, mugs).score(state, [item]) > before


def test_without_interactions_features_speak(made, rec, state):
    opened = rec.adapt_category(items=made[3])
    assert opened.interactions == 0
    assert len({row.score for row in opened.top(state, 1000)}) > 10


def test_items_of_the_catalogue_by_tag_or_name(rec, state):
    tagged = rec.adapt_category(items="category=hat")
    assert all(name.startswith("hat") for name in tagged.items)
    named = rec.adapt_category(items=tagged.items)
    assert named.top(state, 5) == tagged.top(state, 5)


def test_strangers_are_said(made, rec):
    mugs = made[3]
    opened = rec.adapt_category({"user": ["x", "y"], "item": mugs["item"][:2]}, mugs)
    assert opened.report == ["2 of 2 users were not there in training"]


def test_reasons_add_up_to_something(opened, state):
    reasons = opened.explain(state, opened.items[0])
    assert {"log likes", "brand, as of liked"} <= {reason.evidence for reason in reasons}
    assert max(abs(reason.effect) for reason in reasons) > 0


def test_what_was_stored_opens_as_before(tmp_path, made, rec, state, opened):
    rec.save(tmp_path)
    *_, mugs, drunk = made
    again = recommend.load(tmp_path).adapt_category(
        part(drunk, [n < 12 for n in range(len(drunk["item"]))]), mugs
    )
    assert again.top(state, 10) == opened.top(state, 10)


@pytest.mark.parametrize(
    ("interactions", "items", "said"),
    [
        (None, {"item": ["m"]}, "no feature column|columns"),
        (None, ["hat 00"], "two items at least, got 1"),
        (None, None, "two items at least, got 0"),
        (None, ["hat 00", "spoon"], "'spoon' is not in the catalogue"),
        ({"user": ["a"], "item": ["spoon"]}, "category=hat", "with its items .* got 'spoon'"),
        ({"user": ["a", ""], "item": ["hat 00", "hat 01"]}, "category=hat", "bad rows, 1"),
    ],
)
def test_bad_input_is_one_clear_error(rec, interactions, items, said):
    with pytest.raises(DataError, match=said):
        rec.adapt_category(interactions, items)


def test_a_category_of_one_item_is_refused(made, rec):
    one = part(made[3], [n == 0 for n in range(len(made[3]["item"]))])
    with pytest.raises(DataError, match="two items at least, got 1"):
        rec.adapt_category(None, one)


def test_ratings_off_the_scale_are_refused():
    rec = recommend.train(tastes.interactions(), tastes.items())
    with pytest.raises(DataError, match="is not on the scale 1 to 5"):
        rec.adapt_category({"user": ["u1"], "item": ["i1"], "stars": [9]}, "kind=odd")
    table = {"user": ["u1", "u3"], "item": ["i1", "i3"], "stars": [1, 5]}
    rated = rec.adapt_category(table, "kind=odd").score(rec.adapt(["i5"]), ["i1", "i3"])
    assert 1 <= rated[0] < rated[1] <= 5
    log = recommend.interactions({**table, "stars": [10, 90]})
    with pytest.raises(DataError, match="must be on the scale"):
        rec.adapt_category(log, "kind=odd")


def test_little_is_no_reason_to_fail():
    rec = recommend.train(
        {"user": [n // 4 for n in range(80)], "item": list("vwxyvxwzyzwv" * 7)[:80]}
    )
    with pytest.raises(DataError, match="learned nothing about new categories"):
        rec.adapt_category(None, ["v", "w"])


def test_tags_and_draws_are_held_out(made):
    _, known, elsewhere, _, _ = made
    log, content = joined(recommend.interactions(elsewhere), recommend.items(known))
    groups = held_out(log, content, 0)
    wanted = set(np.unique(log.item).tolist())
    assert len(groups) == 24
    assert all(1 < len(group) < len(wanted) and set(group.tolist()) <= wanted for group in groups)
