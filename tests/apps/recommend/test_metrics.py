import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from quickstudy.apps.recommend.metrics import ranked, top

places = st.sets(st.integers(0, 29), max_size=12)
scores = st.lists(st.integers(-5, 5), min_size=30, max_size=30)


@given(scores, places, places)
def test_figures_are_those_of_a_full_sort(values, support, relevant):
    order = [p for p in sorted(range(30), key=lambda p: (-values[p], p)) if p not in support]
    wanted = relevant - support
    found = ranked(
        np.array(values, np.float32),
        np.array(sorted(support), int),
        np.array(sorted(relevant), int),
    )
    if not wanted:
        assert np.isnan(found.ndcg10)
        assert np.isnan(found.recall20)
        return
    gains = [1 / np.log2(rank + 2) for rank in range(10)]
    gained = sum(g for g, item in zip(gains, order, strict=False) if item in wanted)
    assert np.isclose(found.ndcg10, gained / sum(gains[: len(wanted)]))
    assert np.isclose(found.recall20, len(wanted & set(order[:20])) / len(wanted))


@given(scores, st.integers(1, 40))
def test_top_is_the_head_of_a_stable_sort(values, count):
    wanted = sorted(range(30), key=lambda place: (-values[place], place))[:count]
    assert top(np.array(values, float), count).tolist() == wanted
