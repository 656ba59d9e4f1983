"""Features of users: read alike for new ones, and evidence of what users alike like."""

import numpy as np
import pytest
from tests.apps.recommend import tastes

from quickstudy import recommend
from quickstudy.apps.recommend import statistics
from quickstudy.apps.recommend.evidence import (
    ALIKE,
    LATELY,
    NEIGHBOURS,
    RANKING,
    expected,
    for_ranking,
    ranking_names,
)
from quickstudy.apps.recommend.people import KINDS, People, Traits
from quickstudy.apps.recommend.reader import meta_train
from quickstudy.apps.recommend.state import to_history, to_state
from quickstudy.apps.recommend.statistics import ALIKE_SHRINKAGE, History, Statistics
from quickstudy.apps.recommend.tasks import Timelines, folds, of_users
from quickstudy.apps.recommend.training import joined
from quickstudy.errors import ArtefactError, DataError

TOWNS = tastes.TOWNS
ABOUT = "liked by users alike"


@pytest.fixture(scope="module")
def log():
    return recommend.interactions(tastes.interactions())


@pytest.fixture(scope="module")
def market():
    return recommend.train(tastes.interactions(), tastes.items(), tastes.users(), categories=False)


def even(best):
    """The share of items that are of the first taste, but for the one that was never sold."""
    return np.mean([int(row.item[1:]) % 2 == 0 for row in best if row.item != "new"])


@pytest.mark.parametrize("about", [
    {"town": "north"}, {"age": 25}, {"town": "north", "age": 30.0, "member": None},
    {"user": ["zoe"], "town": ["north"]},
])  # fmt: skip
def test_who_has_done_nothing_yet_is_served_by_what_they_tell(market, about):
    if "user" in about:
        pa = pytest.importorskip("pyarrow")
        about = pa.table(about)
    assert even(market.top(market.adapt(about=about), k=8)) >= 0.85


def test_who_tells_the_other_thing_is_served_the_other_items(market):
    assert even(market.top(market.adapt(about={"town": "south"}), k=8)) <= 0.15
    assert even(market.top(market.adapt([], about={"age": 75}), k=8)) <= 0.15


def test_what_they_do_speaks_beside_what_they_tell(market):
    """Clicks of one taste move a user who tells of the other."""
    told = market.adapt(about={"town": "north"})
    clicked = market.adapt(["i1", "i3", "i5", "i7", "i9"], about={"town": "north"})
    assert even(market.top(clicked, k=8)) < even(market.top(told, k=8))


def test_kinds_that_nobody_had_say_nothing(market):
    unknown = market.adapt(["i0"], about={"town": "west"})
    assert not unknown["about"].any()
    assert market.top(unknown, k=50) == market.top(market.adapt(["i0"]), k=50)


def test_the_moment_of_who_has_done_nothing_is_now(market):
    state = market.adapt(about={"town": "north"})
    assert float(state["time"]) == market.reader.known.now
    assert len(state["items"]) == 0
    assert state["about"].shape == (len(market.reader.traits.labels),)


def test_one_more_interaction_keeps_what_was_told(market):
    told = {"town": "south", "age": 60}
    extended = market.extend(market.adapt(["i1"], about=told), "i3")
    assert market.top(extended, k=50) == market.top(market.adapt(["i1", "i3"], about=told), k=50)
    first = market.extend(market.adapt(about=told), "i1")
    assert market.top(first, k=50) == market.top(market.adapt(["i1"], about=told), k=50)


def test_reasons_name_what_users_alike_like(market):
    state = market.adapt(about={"town": "north"})
    effects = {reason.evidence: reason.effect for reason in market.explain(state, "i6")}
    against = {reason.evidence: reason.effect for reason in market.explain(state, "i5")}
    assert set(effects) == {*RANKING, ABOUT}
    assert effects[ABOUT] > 0 > against[ABOUT]


def test_questions_and_ratings_of_who_has_done_nothing(market):
    state = market.adapt(about={"town": "north"})
    assert len(market.ask(state, k=3)) == 3
    scores = market.score(state, ["i0", "i1", "new"])
    assert ((scores >= 1) & (scores <= 5)).all()


def test_what_is_stored_is_what_comes_back(market, tmp_path):
    market.save(tmp_path / "run")
    loaded = recommend.load(tmp_path / "run")
    state = market.adapt(["i0"], about={"town": "north", "age": 31})
    market.save_state(state, tmp_path / "mine.state")
    kept = loaded.load_state(tmp_path / "mine.state")
    assert loaded.top(kept, k=50) == market.top(state, k=50)
    again = loaded.adapt(about={"town": "south", "member": True})
    assert loaded.top(again, k=50) == market.top(
        market.adapt(about={"town": "south", "member": True}), k=50
    )


def test_a_state_of_other_features_is_refused(market, log, tmp_path):
    other = recommend.train(log, tastes.items(), recommend.users(tastes.users(), columns=["town"]),
                            categories=False)  # fmt: skip
    market.save_state(market.adapt(about={"town": "north"}), tmp_path / "mine.state")
    with pytest.raises(ArtefactError, match="another catalogue or users"):
        other.load_state(tmp_path / "mine.state")


def test_without_features_of_users_nothing_is_as_it_would_not_have_been(log, tmp_path):
    """The evidence, the head and what is stored have no place for them."""
    plain = recommend.train(log, tastes.items(), categories=False)
    known = plain.reader.known
    assert ranking_names(known) == RANKING
    assert plain.reader.ranking.centre.shape == (len(RANKING),)
    plain.save(tmp_path)
    stored = (tmp_path / "recommender.safetensors").read_bytes()
    assert b"tastes" not in stored
    assert b"traits" not in stored
    assert set(plain.adapt(["i0"])) == {"items", "values", "time"}
    with pytest.raises(DataError, match="trained without features of users"):
        plain.adapt(["i0"], about={"town": "north"})


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"twon": "north"}, "no feature 'twon' of users in training; there were town, age, member"),
        ({"age": "old"}, "'age' of a user must be a number, as it was in training, got 'old'"),
        ({"age": True}, "must be a number, .* got True"),
        ({"town": 3}, "'town' of a user must be text or true/false, .* got 3"),
        ({}, "must tell a feature of the user at least, got none"),
        ({"town": object()}, "cannot be read as a table"),
        ("north", "no such table: north"),
    ],
)
def test_bad_features_are_one_clear_error(market, about, said):
    with pytest.raises(DataError, match=said):
        market.adapt(["i0"], about=about)


def test_features_of_two_users_are_refused(market):
    pa = pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match="of one user, got 2 rows"):
        market.adapt(about=pa.table({"town": ["north", "south"]}))


def test_nobody_is_refused(market):
    with pytest.raises(DataError, match="at least one interaction, got none"):
        market.adapt()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"user": ["u1", "u1"], "town": TOWNS}, "each user must have one row .* got 'u1' twice"),
        ({"town": TOWNS}, "no column that looks like the user"),
        ({"user": ["zoe", "tom"], "town": TOWNS}, "nobody of the interactions, 'u0' for one; .*"),
        ({"user": ["u1", "u2"]}, "numbers, kinds or tags beside their names"),
    ],
)
def test_bad_tables_of_users_are_one_clear_error(log, table, said):
    with pytest.raises(DataError, match=said):
        recommend.train(log, users=table, categories=False)


def test_an_unknown_column_of_users_is_refused():
    with pytest.raises(DataError, match="no feature column 'twon'; did you mean 'town'"):
        recommend.users(tastes.users(), columns=["twon"])


def test_of_users_who_are_not_in_the_table_nothing_is_known(log):
    table = {name: column[:30] for name, column in tastes.users().items()}
    some = People.of(recommend.users(table), log.users)
    known = {f"u{user}" for user in range(30)}
    assert [bool(row.any()) for row in some.rows] == [name in known for name in log.users]
    timelines = Timelines(log, 0, some.rows)
    for user, name in enumerate(log.users):
        assert (timelines.task(user, 1).history.about is None) == (name not in known)


def test_a_user_without_interactions_is_asked_at_the_moment_they_come(log):
    task = Timelines(log, 0).task(5, 0)
    assert len(task.history.items) == 0
    assert task.history.time == log.time[log.user == 5].min()
    assert len(task.later) == (log.user == 5).sum()


def test_only_the_most_common_kinds_are_features():
    """What one user has is left out where many kinds are shared by two."""
    count = KINDS + 50
    tags = [f"t{n // 2}" if n < 2 * KINDS else f"x{n}" for n in range(2 * count)]
    table = {"user": [str(n) for n in range(2 * count)], "likes": [[tag] for tag in tags]}
    traits = Traits.of(recommend.users(table))
    assert sorted(traits.labels) == sorted(f"likes=t{n}" for n in range(KINDS))
    assert not traits.row({"likes": ["x499"]}).any()
    assert traits.row({"likes": ["t7", "x499"]})[traits.labels.index("likes=t7")] > 0


def test_tastes_are_likes_over_what_is_expected(log):
    """By hand, of users of two kinds: those of each town, observed and expected."""
    rows = np.array([[user % 2 == 0, user % 2 == 1] for user in
                     (int(name[1:]) for name in log.users)], np.float32)  # fmt: skip
    known = Statistics.of(log, factors=False, about=rows)
    liked = np.zeros((len(log.users), len(log.items)))
    liked[log.user[log.liked], log.item[log.liked]] = 1
    for town in (0, 1):
        observed = liked[rows[:, town] > 0].sum(0)
        expected = observed.sum() * liked.sum(0) / liked.sum()
        wanted = np.log((observed + ALIKE_SHRINKAGE) / (expected + ALIKE_SHRINKAGE))
        assert known.tastes[town] == pytest.approx(wanted, abs=1e-5)


def test_items_that_nobody_liked_are_liked_by_nobody_more(log):
    wider = log.catalogued(["new", *log.items])
    rows = np.eye(2, dtype=np.float32)[np.arange(len(log.users)) % 2]
    assert Statistics.of(wider, factors=False, about=rows).tastes[:, 0].tolist() == [0, 0]


def test_evidence_of_users_alike_is_only_from_the_others(log, monkeypatch):
    """A fold's tastes are counted from users of other folds: what one user did changes nothing."""
    seen = []
    counted = statistics._tastes
    monkeypatch.setattr(statistics, "_tastes", lambda matrix, about: seen.append(
        (matrix.shape[0], len(about))) or counted(matrix, about))  # fmt: skip
    catalogued, content = joined(log, recommend.items(tastes.items()))
    told = People.of(recommend.users(tastes.users()), log.users)
    meta_train(catalogued, content, people=told)
    fold = len(log.users) * 4 // 5
    assert seen == [(fold, fold)] * 5 + [(len(log.users), len(log.users))]


def test_evidence_is_zero_for_who_tells_nothing(market):
    none = np.empty(0, np.int64)
    history = History(none, none.astype(np.float32), 10.0)
    told = to_history(market.adapt(about={"town": "north"}), len(market.items))
    evidence = for_ranking(market.reader.known, market.reader.content, [history, told])
    place = ranking_names(market.reader.known).index(ABOUT)
    assert not evidence[0, :, place].any()
    assert evidence[1, :, place].any()


def test_a_prior_weighs_what_users_alike_like(market):
    known = market.reader.known
    told = to_history(
        market.adapt(["i0", "i3"], about={"town": "north", "age": 33}), len(market.items)
    )
    evidence = for_ranking(known, market.reader.content, [told])[0]
    weights = {LATELY: 0.5, NEIGHBOURS: 3.0, ALIKE: 2.0}
    wanted = sum(weight * evidence[:, place] for place, weight in weights.items())
    assert expected(known, told, weights) == pytest.approx(wanted, abs=1e-5)


def test_a_shortlist_holds_what_users_alike_like():
    """Of 3,000 items, of which each half is liked in one town, what is served is of the town."""
    random = np.random.default_rng(0)
    rows = {"user": [], "item": []}
    for user in range(80):
        sold = (1500 * random.random(25) ** 2).astype(int)
        rows["user"] += [f"u{user}"] * 25
        rows["item"] += [f"i{2 * item + user % 2}" for item in sold]
    names = [f"i{item}" for item in range(3000)]
    rec = recommend.train(rows, {"item": names, "price": list(range(3000))}, tastes.users(80),
                          categories=False)  # fmt: skip
    state = rec.adapt(about={"town": "north"})
    few, every = rec.top(state, k=20), rec.top(state, k=3000)
    assert [row.item for row in few] == [row.item for row in every[:20]]
    assert even(few) >= 0.85


def test_new_users_of_a_shop_are_served_better_for_what_they_tell():
    """Mean regret over users who were not trained on, before and after the first click."""
    made = recommend.shop(users=250, items=180, interactions=9_000)
    log = recommend.interactions(made.interactions)
    learned_from, new = next(folds(log, 5, 0))
    known = of_users(log, learned_from)
    without = recommend.train(known, made.items, categories=False)
    rec = recommend.train(known, made.items, made.users, categories=False)
    about = {
        name: {"age": age, "region": region} for name, age, region in zip(*made.users.values(),
                                                                         strict=True)
    }  # fmt: skip
    timelines = Timelines(log, 0)
    nobody = to_state(np.empty(0, np.int64), np.empty(0, np.float32), rec.reader.known.now)
    regrets = {"nothing": [], "told": [], "clicked": [], "both": []}
    for user in new.tolist():
        name = log.users[user]
        first = [log.items[timelines.task(user, 1).history.items[0]]]
        for model, state, key in (
            (without, nobody, "nothing"),
            (rec, rec.adapt(about=about[name]), "told"),
            (without, without.adapt(first), "clicked"),
            (rec, rec.adapt(first, about=about[name]), "both"),
        ):
            best = [row.item for row in model.top(state, k=10)]
            regrets[key].append(made.regret(name, best))
    mean = {key: np.mean(values) for key, values in regrets.items()}
    assert mean["told"] < mean["nothing"] - 0.1
    assert mean["both"] < mean["clicked"] - 0.1
