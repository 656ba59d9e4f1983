import numpy as np
import pytest
import torch
from tests.apps.recommend import tastes

from quickstudy import recommend
from quickstudy.errors import ArtefactError, DataError


@pytest.fixture(scope="module")
def market():
    return recommend.train(tastes.interactions(), tastes.items())


def even(names):
    return [name for name in names if name != "new" and int(name[1:]) % 2 == 0]


def test_a_few_interactions_show_a_taste(market):
    for liked, wanted in ((["i0", "i2", "i4"], 1.0), (["i1", "i3", "i5"], 0.0)):
        best = [row.item for row in market.top(market.adapt(liked), k=8)]
        assert len(even(best)) / 8 == pytest.approx(wanted, abs=0.2)


def test_ratings_are_on_the_scale_and_follow_the_taste(market):
    state = market.adapt({"item": ["i0", "i2", "i1"], "stars": [5, 5, 1]})
    scores = market.score(state, ["i4", "i6", "i3", "i5"])
    assert scores.min() >= 1
    assert scores.max() <= 5
    assert scores[:2].min() > scores[2:].max()


def test_what_was_never_sold_is_ranked_by_its_features(market):
    ranks = []
    for liked in (["i0", "i2", "i4"], ["i1", "i3", "i5"]):
        names = [row.item for row in market.top(market.adapt(liked), k=100)]
        ranks.append(names.index("new"))
    assert ranks[1] < ranks[0]


def test_adapting_changes_nothing_and_is_the_same_twice(market):
    before = market.reader.ranking.state_dict()
    before = {name: tensor.clone() for name, tensor in before.items()}
    first, second = market.adapt(["i0", "i3"]), market.adapt(["i0", "i3"])
    assert market.top(first) == market.top(second)
    after = market.reader.ranking.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_order_of_a_history_does_not_matter(market):
    one, other = (market.top(market.adapt(h), k=50) for h in (["i0", "i3"], ["i3", "i0"]))
    assert [row.item for row in one] == [row.item for row in other]


def test_one_more_interaction_is_as_if_it_had_been_there(market):
    extended = market.extend(market.adapt(["i0", "i2"]), "i4")
    assert market.top(extended) == market.top(market.adapt(["i0", "i2", "i4"]))
    again = market.extend(extended, "i4", value=1.0)
    assert again["items"].tolist() == extended["items"].tolist()
    assert again["values"].tolist() == [5, 5, 1]


def test_what_was_seen_is_left_out_unless_wanted(market):
    state = market.adapt(["i0", "i2"])
    assert not {"i0", "i2"} & {row.item for row in market.top(state, k=100)}
    assert {"i0", "i2"} <= {row.item for row in market.top(state, k=100, exclude_seen=False)}
    assert len(market.top(state, k=100)) == tastes.ITEMS + 1 - 2


def test_reasons_are_told_for_an_item(market):
    state = market.adapt(["i0", "i2", "i4"])
    effects = {reason.evidence: reason.effect for reason in market.explain(state, "i6")}
    against = {reason.evidence: reason.effect for reason in market.explain(state, "i5")}
    assert effects["neighbours of liked"] > against["neighbours of liked"]
    strengths = [abs(reason.effect) for reason in market.explain(state, "i6")]
    assert strengths == sorted(strengths, reverse=True)


def test_the_same_seed_gives_the_same_recommender(market):
    again = recommend.train(tastes.interactions(), tastes.items())
    state = market.adapt(["i0", "i3"])
    assert again.top(state, k=50) == market.top(state, k=50)


def test_what_is_stored_is_what_comes_back(market, tmp_path):
    market.save(tmp_path / "run")
    loaded = recommend.load(tmp_path / "run")
    state = market.adapt({"item": ["i0", "i3"], "stars": [5, 1], "time": [3, 4]})
    market.save_state(state, tmp_path / "mine.state")
    kept = loaded.load_state(tmp_path / "mine.state")
    assert loaded.top(kept, k=50) == market.top(state, k=50)
    assert np.array_equal(loaded.score(kept, ["i5", "new"]), market.score(state, ["i5", "new"]))


def test_implicit_feedback_has_no_ratings_and_still_ranks():
    rows = tastes.interactions()
    rows = {"user": rows["user"], "item": rows["item"], "time": rows["time"]}
    market = recommend.train(rows)
    best = [row.item for row in market.top(market.adapt(["i0", "i2", "i4"]), k=8)]
    assert len(even(best)) >= 6
    assert market.reader.rating is None


def test_broken_and_foreign_files_are_refused(market, tmp_path):
    with pytest.raises(ArtefactError, match="no recommender in"):
        recommend.load(tmp_path)
    market.save(tmp_path)
    (stored,) = tmp_path.iterdir()
    raw = bytearray(stored.read_bytes())
    raw[-1] ^= 1
    stored.write_bytes(raw)
    with pytest.raises(ArtefactError, match="damaged"):
        recommend.load(tmp_path)


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ([], "at least one interaction"),
        (["i0", "hat"], "got 'hat'"),
        ({"item": ["i0"], "stars": [9]}, "on the scale 1 to 5, got 9"),
        ({"item": ["i0"], "stars": ["much"]}, "'stars' is no number .row 0: 'much'"),
        ({"item": ["i0", None]}, "1 of 2 rows: 1 where 'item' is missing"),
        ({"item": ["i0", "hat", "coat"]}, "got 'hat', 'coat'"),
        ({"item": ["i0"], "time": ["noon"]}, "ISO 8601 date .row 0: 'noon'"),
        ({"user": ["a", "b"], "item": ["i0", "i1"]}, "one user's, got 2 in column 'user'"),
        ({"user": [], "item": []}, "at least one row"),
    ],
)
def test_a_bad_history_is_one_clear_error(market, history, said):
    with pytest.raises(DataError, match=said):
        market.adapt(history)


def test_a_bad_question_is_one_clear_error(market):
    state = market.adapt(["i0"])
    for ask in (lambda: market.score(state, ["hat"]), lambda: market.explain(state, "hat")):
        with pytest.raises(DataError, match="no item 'hat'"):
            ask()
    with pytest.raises(DataError, match="at least 1, got 0"):
        market.top(state, k=0)


def test_too_few_users_are_too_few():
    with pytest.raises(DataError, match="10 users at least, got 4"):
        recommend.train(tastes.interactions(users=4))


def test_a_shortlist_of_a_large_catalogue_holds_the_best():
    """What is served of 3,000 items is what ranking all of them puts first."""
    random = np.random.default_rng(0)
    rows = {"user": [], "item": []}
    for user in range(80):
        sold = (1500 * random.random(25) ** 2).astype(int)
        rows["user"] += [user] * 25
        rows["item"] += [f"i{2 * item + user % 2}" for item in sold]
    names = [f"i{item}" for item in range(3000)]
    market = recommend.train(rows, {"item": names, "price": list(range(3000))})
    for history in (["i0", "i2"], ["i1", "i3", "i101"], ["i2998"]):
        state = market.adapt(history)
        few = market.top(state, k=20)
        every = market.top(state, k=3000)
        assert [row.item for row in few] == [row.item for row in every[:20]]
        assert len(every) == 3000 - len(history)
        asked = [row.item for row in market.ask(state, k=3)]
        assert len(set(asked) - set(history)) == 3


@pytest.mark.parametrize("seed", [-1, 2**40, "a", None])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(DataError, match="a seed must be a whole number"):
        recommend.train(tastes.interactions(), seed=seed)


@pytest.mark.parametrize("time", [float("nan"), float("inf"), "2022-01-01"])
def test_a_moment_is_a_finite_number(market, time):
    state = market.adapt(["i0"])
    with pytest.raises(DataError, match="a time must be a finite number"):
        market.extend(state, "i2", time=time)


@pytest.mark.parametrize("k", [0, 1.5, None, "3"])
def test_what_is_no_count_is_refused(market, k):
    with pytest.raises(DataError, match="k must be at least 1"):
        market.top(market.adapt(["i0"]), k)


def test_a_text_is_no_list_of_items(market):
    with pytest.raises(DataError, match="got the text 'i0'"):
        market.score(market.adapt(["i0"]), "i0")


def test_items_of_another_shop_are_refused():
    with pytest.raises(DataError, match="none of the 40 items of the interactions"):
        recommend.train(tastes.interactions(), {"item": ["a", "b"], "price": [1, 2]})


def test_what_an_earlier_version_stored_is_said(tmp_path, market, monkeypatch):
    monkeypatch.setattr("quickstudy.apps.recommend.recommender.to_tree", lambda *_: {"items": 3})
    market.save(tmp_path)
    with pytest.raises(ArtefactError, match="by another version of quickstudy"):
        recommend.load(tmp_path)
