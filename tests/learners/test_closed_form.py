import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import nn

from quickstudy.core import Examples, examples, fit
from quickstudy.core.functional import ABSENT, logistic
from quickstudy.data import Blobs
from quickstudy.errors import TaskError
from quickstudy.learners import LRD2, R2D2
from quickstudy.nets import MLP


@pytest.mark.parametrize(("n", "d"), [(4, 7), (12, 3)])
def test_values_are_fitted_as_by_scikit_learn(n, d):
    torch.manual_seed(0)
    z, y, x = (torch.randn(*shape).double() for shape in ((n, d), (n, 2), (5, d)))
    learner = R2D2(nn.Identity(), penalty=0.7, targets="values").double()
    state = learner.adapt(Examples(z, y + 3, torch.ones(n).double()))
    wanted = Ridge(alpha=learner.log_penalty.exp().item()).fit(z.numpy(), y.numpy() + 3)
    ours = learner.predict(state, x).detach().numpy()
    np.testing.assert_allclose(ours, wanted.predict(x.numpy()), rtol=1e-9)


def test_class_scores_are_the_scaled_regression_on_one_hot_labels():
    learner = R2D2(nn.Identity(), penalty=1.0, scale=4.0)
    # An unlabelled row and a way without support: neither changes what the others get.
    support = examples(
        torch.tensor([[3.0, 0, 0], [0, 1, 0], [9, 9, 9]]), torch.tensor([0, 1, -1]), way=3
    )
    logits = learner.predict(learner.adapt(support), torch.tensor([[1.0, 1, 0]]))
    # weights 3 / (9 + 1) of the first number and 1 / (1 + 1) of the second
    torch.testing.assert_close(logits[0, :2], torch.tensor([4 * 0.3, 4 * 0.5]))
    assert logits[0, 2] == ABSENT


def test_penalty_and_scale_are_learned():
    torch.manual_seed(0)
    learner = R2D2(MLP(2, [8], 4), penalty=2.0, scale=3.0)
    for _ in fit(learner, Blobs(way=3, shot=2), steps=5):
        pass
    assert learner.log_penalty.exp().item() != pytest.approx(2.0, abs=1e-4)
    assert learner.slope.item() != pytest.approx(3.0, abs=1e-4)


@pytest.mark.parametrize("batched", [False, True])
def test_a_penalty_that_vanishes_among_equal_examples_is_one_clear_error(batched):
    learner = R2D2(nn.Identity())
    with torch.no_grad():
        learner.log_penalty.fill_(-200.0)  # 0 in float32
    support = examples(torch.ones(3, 8), torch.tensor([0, 1, 1]), way=2)
    adapt = learner.adapt
    if batched:
        support = Examples(*(t.expand(2, *t.shape) for t in support))
        adapt = torch.func.vmap(adapt)
    with pytest.raises(TaskError, match=r"ridge regression is singular.*wanted a larger one"):
        adapt(support)


def test_equal_examples_are_no_trouble_where_there_is_a_penalty():
    learner = R2D2(nn.Identity(), targets="values")
    half = Examples(torch.ones(4, 3), torch.tensor([[1.0], [2], [3], [6]]), torch.ones(4))
    # Features without variance tell nothing: the mean is left.
    answer = learner.predict(learner.adapt(half), torch.ones(2, 3))
    torch.testing.assert_close(answer, torch.full((2, 1), 3.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"penalty": 0.0}, "ridge penalty must be positive, got 0.0"),
        ({"penalty": float("nan")}, "takes penalty as a finite number, got nan"),
        ({"scale": -1.0}, "scale of the logits must be positive, got -1.0"),
        ({"targets": "both"}, "classes or values, got 'both'"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(TaskError, match=message):
        R2D2(MLP(5), **arguments)


def one_against_all(z, labels, way, penalty):
    """Weights [d, way] by scikit-learn, each class for itself."""
    each = LogisticRegression(C=1 / penalty, fit_intercept=False, tol=1e-10, max_iter=10_000)
    return np.stack([each.fit(z, labels == k).coef_[0].copy() for k in range(way)], axis=1)


@pytest.mark.parametrize(("n", "d"), [(5, 9), (12, 3), (4, 4)])
@pytest.mark.parametrize("penalty", [0.05, 1.0])
def test_classes_are_regressed_one_against_all_as_by_scikit_learn(n, d, penalty):
    torch.manual_seed(0)
    z, labels, x = torch.randn(n, d), torch.arange(n) % 3, torch.randn(5, d).double()
    learner = LRD2(nn.Identity(), penalty, steps=15, scale=2.0).double()
    # An unlabelled row and a way without support: neither changes what the others get.
    support = examples(
        torch.cat([z, 9 * torch.ones(1, d)]), torch.cat([labels, torch.tensor([-1])]), way=4
    )
    support = Examples(*(t.double() for t in support))
    state = learner.adapt(support)
    weights = one_against_all(z.double().numpy(), labels.numpy(), 3, penalty)
    np.testing.assert_allclose(state["weights"][:, :3].detach().numpy(), weights, atol=1e-5)
    logits = learner.predict(state, x).detach()
    np.testing.assert_allclose(logits[:, :3].numpy(), 2 * x.numpy() @ weights, atol=1e-4)
    assert (logits[:, 3] == ABSENT).all()


def test_both_forms_of_newtons_step_are_the_same_step():
    torch.manual_seed(0)
    z, y = torch.randn(6, 6).double(), torch.eye(3).double()[torch.arange(6) % 3]
    wide = torch.cat([z, torch.zeros(6, 1).double()], 1)  # n < d
    for steps in (1, 2, 4):
        narrow = logistic(z, y, torch.ones(6).double(), 0.3, steps)
        other = logistic(wide, y, torch.ones(6).double(), 0.3, steps)
        torch.testing.assert_close(narrow, other[:6])
    # The first step, from zero, is ridge regression: on 2 and -2, all weights being a quarter.
    first = Ridge(alpha=4 * 0.3, fit_intercept=False).fit(z.numpy(), 4 * y.numpy() - 2)
    ours = logistic(z, y, torch.ones(6).double(), 0.3, 1)
    np.testing.assert_allclose(ours.numpy(), first.coef_.T, rtol=1e-9)


def test_a_regression_that_is_sure_has_finite_weights_and_gradients():
    z = (10 * torch.eye(4, 9)).requires_grad_()
    y = torch.eye(2)[torch.arange(4) % 2]
    weights = logistic(z, y, torch.ones(4), 1e-3, 20)
    assert ((z @ weights > 5) == (y > 0)).all()
    weights.sum().backward()
    assert z.grad.isfinite().all()


@pytest.mark.parametrize(("scale", "penalty"), [(1.0, 1.0), (1000.0, 1.0), (1.0, 1e-6)])
def test_a_logistic_regression_on_large_features_is_that_of_float64(scale, penalty):
    generator = torch.Generator().manual_seed(0)
    z = scale * torch.randn(25, 64, generator=generator)
    y = torch.eye(5)[torch.arange(25) % 5]
    scores = z @ logistic(z, y, torch.ones(25), penalty, 5)
    exact = z.double() @ logistic(z.double(), y.double(), torch.ones(25).double(), penalty, 5)
    torch.testing.assert_close(scores.double(), exact, rtol=1e-3, atol=1e-3)
    assert torch.equal(scores.argmax(1), y.argmax(1))


def test_penalty_and_scale_of_the_logistic_regression_are_learned():
    torch.manual_seed(0)
    learner = LRD2(MLP(2, [8], 4), penalty=2.0, scale=3.0)
    for _ in fit(learner, Blobs(way=3, shot=2), steps=5):
        pass
    assert learner.log_penalty.exp().item() != pytest.approx(2.0, abs=1e-4)
    assert learner.slope.item() != pytest.approx(3.0, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"penalty": 0.0}, "penalty of a logistic regression must be positive, got 0.0"),
        ({"steps": 0}, "one step or more, got 0"),
        ({"scale": float("nan")}, "takes scale as a finite number, got nan"),
    ],
)
def test_impossible_logistic_regressions_are_refused(arguments, message):
    with pytest.raises(TaskError, match=message):
        LRD2(MLP(5), **arguments)
