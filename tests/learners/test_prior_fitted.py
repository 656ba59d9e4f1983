"""A transformer that was fitted to a prior."""

import math

import pytest
import torch
import torch.nn.functional as F

from quickstudy.core import Batching, Examples, Task, examples, fit
from quickstudy.core.functional import ABSENT
from quickstudy.errors import TaskError
from quickstudy.learners import PriorFitted
from quickstudy.nets import MLP


def as_one_sequence(learner, support, query):
    """Support and queries as one sequence, and a matrix of who may look at whom."""
    z, x = learner.net(support.x), learner.net(query)
    n, m = len(z), len(x)
    centre = z.mean(0)
    spread = ((z - centre).square().mean() + 1e-3).sqrt()
    y = F.pad(support.y, (0, learner._labels - support.y.shape[1]))
    written = F.pad(y @ learner.labels.weight.T, (0, 0, 0, m))
    tokens = learner.enter((torch.cat([z, x]) - centre) / spread) + written
    may_look = torch.zeros(n + m, n + m, dtype=torch.bool)
    may_look[:, :n] = True
    for block in learner.blocks:
        q = block.query(F.layer_norm(tokens, [learner.width], *parameters(block.before)))
        of = F.layer_norm(tokens, [learner.width], *parameters(block.of_set))
        k, v = block.key(of), block.value(of)
        heads = [t.view(n + m, learner.heads, -1).transpose(0, 1) for t in (q, k, v)]
        read = F.scaled_dot_product_attention(*heads, attn_mask=may_look)
        tokens = tokens + block.out(read.transpose(0, 1).reshape(n + m, -1))
        tokens = tokens + block.rest(tokens)
    return learner.leave(tokens[n:])


def parameters(norm):
    return norm.weight, norm.bias


def perturbed(learner):
    """No parameter at a special value."""
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return learner.double().eval()


def test_it_is_a_transformer_whose_queries_look_at_the_support_alone():
    torch.manual_seed(0)
    learner = perturbed(PriorFitted(MLP(4, [8], 6), width=12, heads=3, layers=3, ways=7))
    x, query = torch.randn(8, 4).double(), torch.randn(5, 4).double()
    made = examples(x, torch.arange(8) % 4, way=4)
    support = Examples(x, made.y.double(), made.mask.double())
    logits = learner.predict(learner.adapt(support), query)
    torch.testing.assert_close(logits, as_one_sequence(learner, support, query)[:, :4])
    values = PriorFitted(MLP(4, [8], 6), width=12, heads=3, outputs=2, targets="values")
    values, support = perturbed(values), support._replace(y=torch.randn(8, 2).double())
    means = values.predict(values.adapt(support), query)
    torch.testing.assert_close(means, as_one_sequence(values, support, query))


class Lines:
    """A prior whose posterior is known: y = slope x + intercept + noise, all normal."""

    noise = 0.5

    def sample(self, count, generator, shot=3, queries=12):
        points = shot + queries
        x = 4 * torch.rand(count, points, 1, generator=generator) - 2
        slope, intercept = torch.randn(2, count, 1, 1, generator=generator)
        y = slope * x + intercept + self.noise * torch.randn(x.shape, generator=generator)
        mask = torch.ones(count, points)
        halves = zip(*(part.split([shot, queries], dim=1) for part in (x, y, mask)), strict=True)
        return Task(*(Examples(*half) for half in halves))

    def answer(self, task, penalty):
        """Bayesian linear regression (Bishop 2006, eq. 3.53 and 3.54), [count, queries, 1]."""
        design, ask = (
            torch.cat([part.x, torch.ones_like(part.x)], -1) for part in (task.support, task.query)
        )
        gram = design.mT @ design + penalty * torch.eye(2)
        return ask @ torch.linalg.solve(gram, design.mT @ task.support.y)


def test_it_comes_near_the_posterior_mean_of_its_prior():
    torch.manual_seed(0)
    net = MLP(1, [32], 32)
    learner = PriorFitted(net, width=32, heads=2, layers=2, outputs=1, targets="values")
    prior, steps = Lines(), 800
    for _ in fit(
        learner,
        prior,
        steps=steps,
        tasks_per_step=32,
        optimizer=lambda p: torch.optim.Adam(p, 5e-3),
        schedule=lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps),
        batching=Batching("vmap"),
    ):
        pass
    task = prior.sample(1000, torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = torch.func.vmap(learner.answer)(task)
    posterior = prior.answer(task, penalty=prior.noise**2)
    least_squares = prior.answer(task, penalty=1e-4)

    def apart(answers):
        return float((answers - posterior).square().mean() / posterior.var())

    assert apart(ours) < 0.1
    # Three noisy points say too little without the prior.
    assert apart(least_squares) > 0.3
    assert apart(task.support.y.mean(1, keepdim=True).expand_as(posterior)) > 0.5


def test_only_the_order_of_classes_matters():
    torch.manual_seed(0)
    learner = perturbed(PriorFitted(MLP(4, [8], 8), width=16, ways=6))
    x, query = torch.randn(6, 4).double(), torch.randn(5, 4).double()
    y = torch.eye(3).repeat(2, 1).double()
    support = Examples(x, y, torch.ones(6).double())
    logits = learner.predict(learner.adapt(support), query)
    order = [3, 1, 5, 0, 2, 4]
    turned = Examples(x[order], y[order], torch.ones(6).double())
    torch.testing.assert_close(learner.predict(learner.adapt(turned), query), logits)
    other = learner.predict(learner.adapt(support._replace(y=y[:, [2, 0, 1]])), query)
    assert (other - logits[:, [2, 0, 1]]).abs().max() > 1e-3  # rows of the table differ


def test_more_classes_than_it_knows_are_refused_and_fewer_are_not():
    learner = PriorFitted(MLP(4, [8], 8), width=16, ways=3)
    support = examples(torch.randn(4, 4), torch.arange(4), way=4)
    with pytest.raises(TaskError, match=r"tells 3 classes apart, got a task with 4; .*ways=4 or"):
        learner.adapt(support)
    three = examples(torch.randn(4, 4), torch.tensor([0, 0, 2, -1]), way=3)
    logits = learner.predict(learner.adapt(three), torch.randn(2, 4))
    assert (logits[:, 1] == ABSENT).all()
    assert logits[:, [0, 2]].isfinite().all()
    values = PriorFitted(MLP(4), width=16, outputs=2, targets="values")
    with pytest.raises(TaskError, match="has 2 outputs, got a task with 4"):
        values.adapt(support)


def test_an_unlabelled_example_is_not_read():
    learner = perturbed(PriorFitted(MLP(4, [8], 8), width=16, ways=3))
    x, query = torch.randn(5, 4).double(), torch.randn(5, 4).double()
    y = torch.eye(3)[[0, 1, 2, 0, 1]].double()
    y[4] = 0
    support = Examples(x, y, torch.ones(5).double())
    without = Examples(*(part[:4] for part in support))
    torch.testing.assert_close(
        learner.predict(learner.adapt(support), query),
        learner.predict(learner.adapt(without), query),
    )


def test_it_starts_by_answering_what_is_alike():
    """Before any training: a query that equals an example takes its class, mostly."""
    torch.manual_seed(0)
    learner = PriorFitted(MLP(16, [], 64), layers=1, ways=5).eval()
    right = []
    for _ in range(50):
        x = torch.randn(5, 16)
        support = examples(x, torch.arange(5), way=5)
        right.append(learner.predict(learner.adapt(support), x).argmax(1) == torch.arange(5))
    assert torch.stack(right).float().mean() > 0.4  # chance is 0.2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layers": 0}, "positive width, heads and layers, got 64, 4 and 0"),
        ({"width": 10}, "a multiple of the heads, got 10 and 4"),
        ({"ways": 1}, "two ways or more, got 1"),
        ({"targets": "values"}, "real targets need their number, outputs >= 1, got None"),
        ({"targets": "both"}, "classes or values, got 'both'"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, said):
    with pytest.raises(TaskError, match=said):
        PriorFitted(MLP(4), **options)


def test_the_state_is_what_each_block_reads():
    learner = PriorFitted(MLP(4), width=16, heads=2, layers=3)
    state = learner.adapt(examples(torch.randn(4, 4), torch.arange(4), way=4))
    assert [tuple(tokens.shape) for tokens in state["tokens"]] == [(4, 16)] * 3
    assert math.isclose(float(state["real"].sum()), 4)
