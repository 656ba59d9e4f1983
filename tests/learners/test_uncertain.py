"""Learners that say how sure they are: Bayesian linear regression, Gaussian processes."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct
from torch import nn

from quickstudy.core import Examples, Predictive, Task, evaluate, examples, fit
from quickstudy.core.functional import ABSENT
from quickstudy.core.tasks import tree_map
from quickstudy.data import Sinusoids
from quickstudy.errors import TaskError
from quickstudy.learners import DKT, R2D2, ALPaCA, SupportMean
from quickstudy.nets import MLP

KERNELS = ["rbf", "linear", "cosine"]


def some(rows, features=3, outputs=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(rows, k, generator=generator).double() for k in (features, outputs))
    return Examples(x, y, torch.ones(rows).double())


def classes(rows, way, seed=1):
    x = some(rows, seed=seed).x
    made = examples(x, torch.arange(rows) % way, way)
    return Examples(x, made.y.double(), made.mask.double())


def alpaca(features=3, outputs=2, **arguments):
    torch.manual_seed(0)
    net = nn.Identity()
    net.features = features
    learner = ALPaCA(net, outputs, **arguments).double()
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    return learner


def dkt(kernel, **arguments):
    learner = DKT(nn.Identity(), kernel, length=0.8, scale=1.7, noise=0.2, **arguments).double()
    with torch.no_grad():
        learner.mean.fill_(0.3)
    return learner


def process(learner, d=3):
    """The same process by scikit-learn, for targets less the mean; and the noise's variance."""
    if learner.kernel == "rbf":
        base = RBF(math.exp(learner.log_length.item()) * math.sqrt(d))
    else:
        base = DotProduct(0.0, "fixed") * ConstantKernel(
            1 / d if learner.kernel == "linear" else 1.0
        )
    scale = math.exp(learner.log_scale.item())
    noise = scale * (math.exp(learner.log_noise.item()) + 1e-4)
    kernel = ConstantKernel(scale) * base
    return GaussianProcessRegressor(kernel, alpha=noise, optimizer=None), noise


def as_seen(learner, x):
    x = x.numpy()
    return x / np.linalg.norm(x, axis=1, keepdims=True) if learner.kernel == "cosine" else x


def test_a_posterior_is_that_of_jointly_normal_weights_and_observations():
    learner, support, x = alpaca(), some(5), some(4, seed=2).x
    lower = learner.prior_factor.detach().tril(-1) + learner.prior_factor.diagonal().exp().diag()
    spread = torch.linalg.inv(lower @ lower.T).detach().numpy()
    means, variances = learner.predictive(learner.adapt(support), x)
    z, q = support.x.numpy(), x.numpy()
    for k in range(2):
        noise = math.exp(2 * learner.log_noise[k].item())
        prior = learner.prior_mean[:, k].detach().numpy()
        # By covariances of what is observed: nothing of the learner's information form.
        gain = q @ spread @ z.T @ np.linalg.inv(z @ spread @ z.T + np.eye(5))
        wanted = q @ prior + gain @ (support.y[:, k].numpy() - z @ prior)
        left = q @ spread @ q.T - gain @ z @ spread @ q.T
        np.testing.assert_allclose(means[:, k].detach(), wanted, rtol=1e-9)
        np.testing.assert_allclose(variances[:, k].detach(), noise * (1 + left.diagonal()))


def test_without_support_the_prior_answers():
    learner, x = alpaca(), some(4).x
    nothing = Examples(x, torch.full_like(x[:, :2], torch.nan), torch.zeros(4).double())
    answer = learner.predict(learner.adapt(nothing), x)
    torch.testing.assert_close(answer, x @ learner.prior_mean)


def test_extending_equals_adapting_to_all_at_once():
    learner, support = alpaca(), some(9)
    first, rest = (tree_map(lambda t, s=s: t[s], support) for s in (slice(2), slice(2, 9)))
    grown, whole = learner.extend(learner.adapt(first), rest), learner.adapt(support)
    for key in whole:
        torch.testing.assert_close(grown[key], whole[key])


def test_the_loss_is_the_queries_density_or_the_objective_that_is_named():
    task = Task(some(5), some(4, seed=2))
    for training in (True, False):
        learner = alpaca().train(training)
        means, variances = learner.predictive(learner.adapt(task.support), task.query.x)
        each = norm.logpdf(task.query.y, means.detach(), variances.sqrt().detach())
        assert learner.loss(task).item() == pytest.approx(-each.mean())
        learner = alpaca(objective="squared_error").train(training)
        assert learner.loss(task).item() == pytest.approx(
            ((means - task.query.y) ** 2).mean().item()
        )


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_process_predicts_as_scikit_learns(kernel):
    learner, support, x = dkt(kernel, targets="values"), some(6), some(4, seed=2).x
    theirs, noise = process(learner)
    theirs.fit(as_seen(learner, support.x), support.y.numpy() - 0.3)
    wanted, deviations = theirs.predict(as_seen(learner, x), return_std=True)
    state = learner.adapt(support)
    means, variances = learner.predictive(state, x)
    np.testing.assert_allclose(means.detach(), wanted + 0.3, rtol=1e-6)
    np.testing.assert_allclose(variances.detach(), deviations**2 + noise, rtol=1e-6)
    torch.testing.assert_close(learner.predict(state, x), means)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("targets", ["classes", "values"])
def test_the_loss_is_the_marginal_likelihood_of_scikit_learn(kernel, targets):
    learner = dkt(kernel, targets=targets)
    theirs, _ = process(learner)
    if targets == "values":
        task = Task(some(6), some(4, seed=2))
        y = torch.cat([half.y for half in task]).numpy()
        x = torch.cat([half.x for half in task])
    else:
        # A way without support, a query of it, and an unlabelled example: none of them counts.
        support, query = classes(6, 3), classes(5, 3, seed=2)
        wider = [torch.cat([half.y, torch.zeros(len(half.y), 1)], 1) for half in (support, query)]
        wider[1][4] = torch.tensor([0.0, 0.0, 0.0, 1.0])
        wider[0][5] = 0.0
        task = Task(support._replace(y=wider[0]), query._replace(y=wider[1]))
        y = 2 * torch.cat([wider[0][:5, :3], wider[1][:4, :3]]).numpy() - 1
        x = torch.cat([support.x[:5], query.x[:4]])
    likelihoods = [
        theirs.fit(as_seen(learner, x), y[:, [k]] - 0.3).log_marginal_likelihood_value_
        for k in range(y.shape[1])
    ]
    for mode in (learner.train(), learner.eval()):
        assert mode.loss(task).item() == pytest.approx(-np.sum(likelihoods) / y.size, rel=1e-6)


def test_class_probabilities_are_those_of_one_hot_labels():
    learner = dkt("rbf")
    support, x = classes(6, 3), some(4, seed=2).x
    wider = support._replace(y=torch.cat([support.y, torch.zeros(6, 1)], 1))
    state = learner.adapt(wider)
    means, variances = (t.detach().numpy()[:, :3] for t in learner.predictive(state, x))
    densities = np.stack([norm.pdf(2 * np.eye(3)[k] - 1, means, variances**0.5) for k in range(3)])
    wanted = densities.prod(-1) / densities.prod(-1).sum(0)
    ours = learner.probabilities(state, x).detach()
    np.testing.assert_allclose(ours[:, :3], wanted.T, rtol=1e-6)
    assert (learner.predict(state, x)[:, 3] == ABSENT).all()
    assert (ours[:, :3].argmax(1).numpy() == means.argmax(1)).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_equal_examples_are_no_trouble_with_next_to_no_noise(kernel):
    learner = DKT(nn.Identity(), kernel, noise=1e-30, targets="values")
    half = Examples(torch.ones(30, 3), torch.arange(30.0)[:, None], torch.ones(30))
    answer = learner.predict(learner.adapt(half), torch.ones(2, 3))
    torch.testing.assert_close(answer, torch.full((2, 1), 14.5), rtol=1e-2, atol=0.0)


class Noisy:
    """Sinusoids that are observed with an error, in support and query alike."""

    def __init__(self, error):
        self.sines, self.error = Sinusoids(), error

    def sample(self, count, generator):
        def observed(half):
            errors = torch.randn(half.y.shape, generator=generator)
            return half._replace(y=half.y + self.error * errors)

        return Task(*map(observed, self.sines.sample(count, generator)))


MADE = {
    "alpaca": lambda: ALPaCA(MLP(1, [40, 40], 32)),
    "dkt-rbf": lambda: DKT(MLP(1, [40, 40], 32), "rbf", targets="values"),
    "dkt-linear": lambda: DKT(MLP(1, [40, 40], 32), "linear", targets="values"),
    "dkt-cosine": lambda: DKT(MLP(1, [40, 40], 32), "cosine", targets="values"),
}


def trained(name, source, steps=800):
    torch.manual_seed(0)
    learner = MADE[name]()
    adam = lambda parameters: torch.optim.Adam(parameters, 5e-3)  # noqa: E731
    for _ in fit(learner, source, steps=steps, tasks_per_step=8, optimizer=adam):
        pass
    return learner


def unlearned(source, tasks=200):
    """How much the central 90% about the support's mean hold, by its variance; and its width."""
    support, query = source.sample(tasks, torch.Generator().manual_seed(1))
    deviation = support.y.std(1, keepdim=True)
    inside = (query.y - support.y.mean(1, keepdim=True)).abs() <= 1.645 * deviation
    return inside.double().mean().item(), deviation.mean().item()


@pytest.mark.parametrize(
    ("name", "error"),
    [("alpaca", 0.0), ("dkt-rbf", 0.0), *((name, 0.3) for name in MADE)],
)
def test_intervals_hold_what_they_say_and_are_narrower_than_without_learning(name, error):
    source = Noisy(error)
    learner = trained(name, source)
    judged = evaluate(learner, source, tasks=200, seed=1)
    surprise, coverage = judged.predictive.mean(0).tolist()
    assert 0.8 <= coverage <= 0.97
    batch = source.sample(200, torch.Generator().manual_seed(1))
    with torch.no_grad():
        variances = torch.func.vmap(
            lambda task: learner.predictive(learner.adapt(task.support), task.query.x)[1]
        )(batch)
    covered, deviation = unlearned(source)
    assert 0.8 <= covered <= 0.97  # as honest, and
    assert variances.sqrt().mean() < 0.5 * deviation
    if error:  # what nobody can know
        assert 0.8 * error < variances.sqrt().min() < 1.3 * error
        assert surprise < norm.entropy(scale=deviation)


def test_who_is_sure_of_what():
    assert isinstance(alpaca(), Predictive)
    assert isinstance(dkt("rbf"), Predictive)
    assert not isinstance(R2D2(nn.Identity()), Predictive)
    assert not isinstance(SupportMean(), Predictive)


def test_another_number_of_targets_is_refused():
    with pytest.raises(TaskError, match="this ALPaCA has 3 outputs, got a task with 2"):
        alpaca(outputs=3).adapt(some(4))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ALPaCA(MLP(5), outputs=0), "one output or more, got 0"),
        (lambda: ALPaCA(MLP(5), noise=0.0), "noise must be a positive number, got 0.0"),
        (lambda: ALPaCA(MLP(5), objective="hinge"), "objective must be one of"),
        (lambda: ALPaCA(nn.Linear(5, 5)), "ALPaCA needs a net that says its output width"),
        (lambda: DKT(MLP(5), "matern"), "kernel must be rbf, linear or cosine, got 'matern'"),
        (lambda: DKT(MLP(5), length=-1.0), "length must be a positive number, got -1.0"),
        (lambda: DKT(MLP(5), scale=math.inf), "takes scale as a finite number, got inf"),
        (lambda: DKT(MLP(5), noise=math.nan), "takes noise as a finite number, got nan"),
        (lambda: DKT(MLP(5), targets="both"), "classes or values, got 'both'"),
    ],
)
def test_impossible_arguments_are_refused(make, message):
    with pytest.raises(TaskError, match=message):
        make()
