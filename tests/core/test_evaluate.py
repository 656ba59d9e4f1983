import math

import pytest
import torch

from quickstudy.core import Batching, Examples, Judged, Learner, Task, evaluate, summarise
from quickstudy.core.evaluate import accuracy
from quickstudy.core.tasks import tree_map
from quickstudy.data import Blobs, Sinusoids
from quickstudy.errors import TaskError
from quickstudy.learners import DKT, MAML, R2D2, NearestMean, SupportMean
from quickstudy.nets import MLP


def test_the_interval_is_the_normal_one_over_tasks():
    found = summarise(Judged(torch.tensor([0.0, 1.0, 1.0, 0.0])))
    assert found.mean == 0.5
    assert found.interval95 == pytest.approx(1.96 * (1 / 3) ** 0.5 / 2)
    assert found.tasks == 4


def test_the_same_seed_gives_every_learner_the_same_tasks():
    source = Blobs(way=4, shot=2, spread=0.8)
    first = evaluate(NearestMean(), source, tasks=45, seed=7)
    assert torch.equal(first.values, evaluate(NearestMean(), source, tasks=45, seed=7).values)
    assert not torch.equal(first.values, evaluate(NearestMean(), source, tasks=45, seed=8).values)
    assert first.values.shape == (45,)


def test_batching_changes_no_figure():
    source = Blobs(way=4, shot=2, spread=0.8)
    one, many = (
        evaluate(NearestMean(), source, tasks=30, batching=Batching(mode, 7))
        for mode in ("loop", "vmap")
    )
    assert torch.equal(one.values, many.values)


class Coin(Learner):
    def adapt(self, support):
        return {}

    def predict(self, state, x):
        return torch.ones(len(x), 5)


def test_a_learner_that_knows_nothing_is_at_chance():
    assert evaluate(Coin(), Blobs(way=5, queries=5), tasks=20).mean == pytest.approx(0.2)


def test_evaluation_leaves_the_mode_and_needs_tasks():
    learner = NearestMean().train()
    evaluate(learner, Blobs(), tasks=1)
    assert learner.training
    with pytest.raises(TaskError, match="at least one task, got 0"):
        evaluate(learner, Blobs(), tasks=0)


def test_regressors_are_judged_by_squared_error():
    torch.manual_seed(0)
    learner = MAML(MLP(1, [8], 8), outputs=1, targets="values", steps=1)
    found = evaluate(learner, Sinusoids(), tasks=20)
    assert found.metric == "squared_error"
    assert found.score == -found.mean < 0


def test_padding_and_unlabelled_rows_are_not_judged():
    logits = torch.eye(2)[[0, 0, 1, 1]]
    y = torch.tensor([[1.0, 0], [0, 1.0], [0, 0], [0, 1.0]])
    assert accuracy(logits, y, torch.tensor([1.0, 1.0, 1.0, 0.0])).item() == 0.5


class Broken(Coin):
    def predict(self, state, x):
        return torch.full((len(x), 5), torch.nan)


def test_logits_that_are_no_numbers_are_not_chance():
    assert math.isnan(evaluate(Broken(), Blobs(way=5), tasks=20).mean)


def test_a_frozen_part_stays_in_its_mode():
    learner = MAML(MLP(2, [4], 4))
    learner.train()
    learner.net.eval()
    evaluate(learner, Blobs(), tasks=1)
    assert learner.training
    assert not learner.net.training


def test_tasks_may_differ_in_the_number_of_targets():
    class Alternating:
        turns = 0

        def sample(self, count, generator):
            self.turns += 1
            y = torch.rand(count, 5, 1 + self.turns % 2, generator=generator)
            half = Examples(torch.rand(count, 5, 3, generator=generator), y, torch.ones(count, 5))
            return Task(half, half)

    found = evaluate(R2D2(MLP(3, [8], 8), targets="values"), Alternating(), tasks=45)
    assert found.tasks == 45
    assert math.isfinite(found.mean)
    assert found.errors is None


def test_the_error_of_each_target():
    class Two:
        def sample(self, count, generator):
            y = torch.tensor([[0.0, 0.0], [2.0, 4.0]]).repeat(count, 1, 1)
            half = Examples(torch.zeros(count, 2, 1), y, torch.ones(count, 2))
            padded = half._replace(mask=torch.tensor([[1.0, 0.0]]).repeat(count, 1))
            return Task(half, padded)

    found = evaluate(SupportMean(), Two(), tasks=3)
    assert found.errors.tolist() == [[1.0, 4.0]] * 3
    assert found.mean == 2.5


class Certain(Learner):
    """Says 0 with a variance of 4, whatever is asked."""

    targets = "values"

    def adapt(self, support):
        return ()

    def predict(self, state, x):
        return torch.zeros_like(x)

    def predictive(self, state, x):
        return torch.zeros_like(x), torch.full_like(x, 4.0)


class Spaced:
    """Two targets for each of four queries, the last of which is padding."""

    def sample(self, count, generator):
        y = torch.tensor([[0.0, 1.0], [3.2, -3.4], [9.0, 0.0], [torch.nan, torch.nan]])
        mask = torch.tensor([1.0, 1.0, 1.0, 0.0])
        half = Examples(torch.where(y.isnan(), 0.0, y), y, mask)
        return tree_map(lambda t: t.expand(count, *t.shape), Task(half, half))


@pytest.mark.parametrize("batching", ["loop", "vmap"])
def test_who_is_unsure_is_judged_by_density_and_coverage(batching):
    found = evaluate(Certain(), Spaced(), tasks=21, batching=Batching(batching))
    targets = torch.tensor([0.0, 1.0, 3.2, -3.4, 9.0, 0.0])
    density = torch.distributions.Normal(0.0, 2.0).log_prob(targets).mean()
    # The central 90% end at 1.645 deviations, 3.29: all but two of the six lie within.
    wanted = torch.stack([-density, torch.tensor(4 / 6)]).expand(21, 2)
    torch.testing.assert_close(found.predictive, wanted)
    assert found.mean == pytest.approx(targets.square().mean().item())


def test_who_says_nothing_of_it_is_not():
    assert evaluate(SupportMean(), Spaced(), tasks=2).predictive is None
    assert evaluate(DKT(MLP(2, [], 4)), Blobs(), tasks=2).predictive is None
