import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quickstudy.core import Batching, Learner, evaluate, expected_calibration_error
from quickstudy.core.calibration import BINS, calibration_table
from quickstudy.core.evaluate import accuracy
from quickstudy.core.functional import ABSENT
from quickstudy.data import Blobs, Sinusoids
from quickstudy.learners import MAML, NearestMean
from quickstudy.nets import MLP


def sure(confidences, ways=4):
    """Logits whose first class has these probabilities."""
    p = torch.tensor(confidences, dtype=torch.float64)[:, None]
    return torch.cat([p, ((1 - p) / (ways - 1)).expand(-1, ways - 1)], dim=1).log()


def test_a_known_case_by_hand():
    """Bins of a tenth: ten answers of 0.95, nine right; ten of 0.45, none right."""
    logits = sure([0.95] * 10 + [0.45] * 10)
    y = torch.eye(4)[[0] * 9 + [1] * 11]
    table = calibration_table(logits, y, torch.ones(20), bins=10)
    wanted = torch.zeros(10, 3, dtype=torch.float64)
    wanted[9] = torch.tensor([10, 9.5, 9])
    wanted[4] = torch.tensor([10, 4.5, 0])
    torch.testing.assert_close(table, wanted)
    assert expected_calibration_error(table) == pytest.approx((0.5 + 4.5) / 20)


def test_bins_are_open_below_and_closed_above():
    logits = sure([0.5, 0.75, 1.0])
    y = torch.eye(4)[[0, 0, 0]]
    assert calibration_table(logits, y, torch.ones(3), bins=4)[:, 0].tolist() == [0, 1, 1, 1]


def test_padding_unlabelled_rows_and_absent_ways():
    logits = torch.tensor([[2.0, 0, ABSENT], [0, 2.0, ABSENT], [torch.nan] * 3, [2.0, 0, ABSENT]])
    y = torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    mask = torch.tensor([1.0, 1.0, 0, 1.0])
    table = calibration_table(logits, y, mask)
    confidence = 1 / (1 + math.exp(-2))
    # The first is right; the last, of a way without support, is wrong; the others do not count.
    torch.testing.assert_close(table.sum(0), torch.tensor([2, 2 * confidence, 1]))
    assert table[:, 0].count_nonzero() == 1
    assert table.isfinite().all()


@given(st.integers(0, 2**31), st.integers(2, 7), st.integers(1, 20))
def test_tables_add_up_and_agree_with_accuracy(seed, ways, rows):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, ways, generator=generator, dtype=torch.float64) * 4
    y = torch.eye(ways)[torch.randint(ways, (rows,), generator=generator)]
    mask = torch.ones(rows)
    whole = calibration_table(logits, y, mask)
    assert whole[:, 0].sum() == rows
    assert whole[:, 2].sum() == round(rows * float(accuracy(logits, y, mask)))
    assert 0 <= expected_calibration_error(whole) <= 1
    cut = rows // 2
    parts = calibration_table(logits[:cut], y[:cut], mask[:cut])
    parts = parts + calibration_table(logits[cut:], y[cut:], mask[cut:])
    torch.testing.assert_close(parts, whole)
    batch = torch.func.vmap(calibration_table)(*(t[None] for t in (logits, y, mask)))
    torch.testing.assert_close(batch[0], whole)


class Oracle(Learner):
    """Right in a known share of the answers, and as sure as it is told."""

    def __init__(self, confidence):
        super().__init__()
        self.confidence = confidence

    def adapt(self, support):
        return {"x": support.x, "y": support.y}

    def predict(self, state, x):
        near = torch.cdist(x, state["x"]).argmin(1)
        rest = (1 - self.confidence) / (state["y"].shape[1] - 1)
        return (state["y"][near] * (self.confidence - rest) + rest).log()


@pytest.mark.parametrize("mode", ["loop", "vmap"])
def test_the_error_is_the_distance_between_confidence_and_accuracy(mode):
    source = Blobs(way=5, shot=1, spread=0.8)
    found = evaluate(Oracle(0.9), source, tasks=45, batching=Batching(mode, 7))
    assert found.calibration.shape == (BINS, 3)
    assert found.calibration.sum(0)[0] == 45 * 75
    assert found.mean < 0.8
    assert found.ece == pytest.approx(0.9 - found.mean, abs=1e-6)
    honest = evaluate(Oracle(found.mean), source, tasks=45)
    assert honest.ece == pytest.approx(0, abs=1e-6)


def test_no_learning_by_distance_in_pixels_is_far_too_sure():
    source = Blobs(way=5, shot=1, dimensions=50, spread=2.0)
    found = evaluate(NearestMean(), source, tasks=20)
    assert found.mean < 0.7
    assert found.ece > 0.2


def test_real_targets_have_none_and_no_numbers_give_no_number():
    learner = MAML(MLP(1, [8], 8), outputs=1, targets="values", steps=1)
    found = evaluate(learner, Sinusoids(), tasks=2)
    assert found.calibration is None
    assert found.ece is None
    assert math.isnan(evaluate(Oracle(math.nan), Blobs(), tasks=2).ece)
    assert math.isnan(expected_calibration_error(torch.zeros(15, 3)))
