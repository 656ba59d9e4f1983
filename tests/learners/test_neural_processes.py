"""Neural processes: a mean and a variance for each query."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import norm

from quickstudy.core import Batching, Examples, Task, evaluate, fit, gaussian_nll
from quickstudy.data import Sinusoids
from quickstudy.errors import TaskError
from quickstudy.learners import ANP, CNP, SupportMean
from quickstudy.nets import MLP


def values(n, outputs=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(n, d, generator=generator).double() for d in (3, outputs))
    return Examples(x, y, torch.ones(n).double())


def made(learner, **options):
    torch.manual_seed(0)
    learner = learner(MLP(3, [8], 6), outputs=2, **options).double().eval()
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return learner


def mlp(net, x):
    """A perceptron by NumPy."""
    layers = [layer for layer in net.layers if isinstance(layer, torch.nn.Linear)]
    for place, layer in enumerate(layers):
        x = x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        x = np.maximum(x, 0) if place < len(layers) - 1 else x
    return x


def relative(learner, support, x):
    """Embeddings of support and queries about the support's mean, by NumPy."""
    z, queries = mlp(learner.net, support.x.numpy()), mlp(learner.net, x.numpy())
    spread = np.sqrt(((z - z.mean(0)) ** 2).mean() + 1e-3)
    return (z - z.mean(0)) / spread, (queries - z.mean(0)) / spread


def decoded(learner, queries, read):
    out = mlp(learner.decode, np.hstack([queries, read]))
    deviation = learner.least_deviation + np.log1p(np.exp(out[:, learner.outputs :]))
    return out[:, : learner.outputs], deviation**2


def test_a_conditional_neural_process_is_a_mean_over_examples():
    learner, support, x = made(CNP, width=10), values(5), values(4, seed=1).x
    mean, variance = learner.predictive(learner.adapt(support), x)
    z, queries = relative(learner, support, x)
    said = mlp(learner.write, np.hstack([z, support.y.numpy()])).mean(0)
    wanted = decoded(learner, queries, np.tile(said, (4, 1)))
    np.testing.assert_allclose(mean.detach().numpy(), wanted[0])
    np.testing.assert_allclose(variance.detach().numpy(), wanted[1])
    assert torch.equal(learner.predict(learner.adapt(support), x), mean)


def test_an_attentive_one_looks_up_the_examples_near_a_query():
    learner, support, x = made(ANP, width=12, heads=3, layers=0), values(5), values(4, seed=1).x
    mean, variance = learner.predictive(learner.adapt(support), x)
    z, queries = relative(learner, support, x)
    rows = torch.from_numpy(mlp(learner.write, np.hstack([z, support.y.numpy()])))
    look = learner.look
    q, k, v = (
        part.unflatten(1, (3, 4)).transpose(0, 1)
        for part in (
            look.query(torch.from_numpy(queries)), look.key(torch.from_numpy(z)), look.value(rows),
        )
    )  # fmt: skip
    read = look.out(F.scaled_dot_product_attention(q, k, v).transpose(0, 1).flatten(1))
    wanted = decoded(learner, queries, read.detach().numpy())
    np.testing.assert_allclose(mean.detach().numpy(), wanted[0])
    np.testing.assert_allclose(variance.detach().numpy(), wanted[1])


@pytest.mark.parametrize("learner", [CNP, ANP])
def test_the_loss_is_the_likelihood_of_the_query(learner):
    learner = made(learner, width=16)
    task = Task(values(5), values(4, seed=1))
    mean, variance = learner.predictive(learner.adapt(task.support), task.query.x)
    surprise = -norm.logpdf(
        task.query.y.numpy(), mean.detach().numpy(), variance.detach().sqrt().numpy()
    )
    for mode in (learner.train(), learner.eval()):
        assert mode.loss(task).item() == pytest.approx(surprise.mean())
    squared = made(type(learner), width=16, objective="squared_error")
    errors = (squared.answer(task) - task.query.y).square().mean()
    for mode in (squared.train(), squared.eval()):
        torch.testing.assert_close(mode.loss(task), errors)


def test_the_likelihood_leaves_padding_out():
    y = torch.tensor([[1.0, 2.0], [torch.nan, torch.nan]])
    mean, variance = torch.zeros(2, 2), torch.tensor([[1.0, 4.0], [1.0, 1.0]])
    wanted = -norm.logpdf([1.0, 2.0], 0, [1, 2]).mean()
    got = gaussian_nll(mean, variance, y, torch.tensor([1.0, 0.0]))
    assert got.item() == pytest.approx(wanted)


@pytest.fixture(scope="module")
def trained():
    """Both, after as many sinusoids; and tasks that neither saw."""
    steps, learners = 800, {}
    for cls in (CNP, ANP):
        torch.manual_seed(0)
        learner = learners[cls.__name__] = cls(MLP(1, [64], 64), width=64)
        for _ in fit(
            learner,
            Sinusoids(10, 10),
            steps=steps,
            tasks_per_step=16,
            schedule=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, steps),
            optimizer=lambda p: torch.optim.Adam(p, 2e-3),
            batching=Batching("vmap"),
        ):
            pass
    return learners, Sinusoids(10, 10).sample(500, torch.Generator().manual_seed(9))


def test_both_learn_what_a_sinusoid_is(trained):
    learners, _ = trained
    mean = evaluate(SupportMean(), Sinusoids(10, 10), tasks=500, seed=9).mean
    for learner in learners.values():
        assert evaluate(learner, Sinusoids(10, 10), tasks=500, seed=9).mean < mean / 8


def test_attention_fits_the_support_better(trained):
    learners, tasks = trained
    errors = {}
    for name, learner in learners.items():
        with torch.no_grad():
            fitted = torch.func.vmap(lambda s, of=learner: of.predict(of.adapt(s), s.x))(
                tasks.support
            )
        errors[name] = float((fitted - tasks.support.y).square().mean())
    assert errors["ANP"] < 0.7 * errors["CNP"], errors


def test_nine_of_ten_intervals_hold_the_target(trained):
    learners, tasks = trained
    for name, learner in learners.items():

        def asked(task, of=learner):
            return of.predictive(of.adapt(task.support), task.query.x)

        with torch.no_grad():
            mean, variance = torch.func.vmap(asked)(tasks)
        within = (mean - tasks.query.y).abs() < norm.ppf(0.95) * variance.sqrt()
        assert 0.8 < within.float().mean() < 0.97, name


@pytest.mark.parametrize("learner", [CNP, ANP])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"width": 0}, "positive width and outputs, got 0 and 1"),
        ({"outputs": 0}, "positive width and outputs, got 128 and 0"),
        ({"least_deviation": 0.0}, "least deviation must be positive, got 0.0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(learner, options, said):
    with pytest.raises(TaskError, match=said):
        learner(MLP(3), **options)
    with pytest.raises(TaskError, match=r"needs a net that says its output width"):
        learner(torch.nn.Linear(3, 3))


def test_layers_heads_and_targets_that_do_not_fit_are_refused():
    with pytest.raises(TaskError, match="fewer than zero layers of attention, got -1"):
        ANP(MLP(3), layers=-1)
    with pytest.raises(TaskError, match="multiple of the heads, got 12 and 5"):
        ANP(MLP(3), width=12, heads=5)
    for learner in (CNP(MLP(3)), ANP(MLP(3))):
        with pytest.raises(TaskError, match="has 1 outputs, got a task with 2"):
            learner.adapt(Examples(torch.randn(4, 3), torch.randn(4, 2), torch.ones(4)))
