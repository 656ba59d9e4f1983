import numpy as np
import pytest
from tests.apps.recommend import tastes

from quickstudy import recommend
from quickstudy.apps.recommend import reader
from quickstudy.apps.recommend.statistics import History


@pytest.fixture(scope="module")
def log():
    return recommend.interactions(tastes.interactions())


def parts(log):
    return reader._held_out(log, 0)


def test_every_user_is_asked_about_once_by_the_statistics_of_others(log):
    asked = np.concatenate([users for _, users in parts(log)])
    assert np.sort(asked).tolist() == np.unique(log.user).tolist()
    assert all(not np.isin(users, others).any() for others, users in parts(log))


def test_of_more_users_than_heads_need_some_are_asked_about(log, monkeypatch):
    count = len(log.users)
    monkeypatch.setattr(reader, "TASK_USERS", count // 2)
    held = parts(log)
    assert len(held) == 5
    assert sum(len(users) for _, users in held) <= count // 2
    assert all(len(others) >= count * 3 // 4 for others, _ in held)


def test_many_users_are_held_out_once_and_learned_from(log, monkeypatch):
    """Heads learn from the users that were held out; statistics are of all in the end."""
    monkeypatch.setattr(reader, "TASK_USERS", len(log.users) // 5)
    monkeypatch.setattr(reader, "MANY_USERS", len(log.users))
    ((others, users),) = parts(log)
    assert len(users) == len(log.users) // 5
    assert len(users) + len(others) == len(log.users)
    market = recommend.train(log, tastes.items())
    even = [name for name in market.items if name != "new" and int(name[1:]) % 2 == 0]
    best = [row.item for row in market.top(market.adapt(["i0", "i2", "i4"]), k=8)]
    assert sum(item in even for item in best) >= 7
    known = market.reader.known
    assert known.counts.sum() == len(log.user)
    assert np.isfinite(market.reader.rank([History(np.array([0]), np.ones(1), 0.0)])).all()
