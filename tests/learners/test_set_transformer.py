"""Reading the support set in context."""

import pytest
import torch
from torch import nn

from quickstudy.core import Examples, examples
from quickstudy.errors import TaskError
from quickstudy.learners import SetTransformer
from quickstudy.nets import MLP


class Same(nn.Module):
    """Embeddings are the inputs."""

    features = 4

    def forward(self, x):
        return x


@pytest.fixture
def learner():
    torch.manual_seed(0)
    return SetTransformer(Same(), width=8, heads=2, layers=2).double().eval()


@pytest.fixture
def support():
    x = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    made = examples(x, torch.tensor([0, 0, 1, 1, 2, 2]), way=3)
    return Examples(x, made.y.double(), made.mask.double())


def test_classes_that_change_places_change_their_logits_alike(learner, support):
    query = torch.randn(5, 4, dtype=torch.float64)
    order = [2, 0, 1]
    logits = learner.predict(learner.adapt(support), query)
    turned = learner.predict(learner.adapt(support._replace(y=support.y[:, order])), query)
    torch.testing.assert_close(turned, logits[:, order])
    assert logits.std(1).min() > 1e-3


def test_where_all_embeddings_lie_and_how_far_apart_does_not_matter(learner, support):
    query = torch.randn(5, 4, dtype=torch.float64)
    logits = learner.predict(learner.adapt(support), query)
    moved = learner.adapt(support._replace(x=100 * support.x + 7))
    # Alike but for the little that keeps one example from having no spread.
    torch.testing.assert_close(learner.predict(moved, 100 * query + 7), logits, rtol=0, atol=1e-2)


def test_an_unlabelled_example_is_not_read(learner, support):
    query = torch.randn(5, 4, dtype=torch.float64)
    y = support.y.clone()
    y[5] = 0
    without = Examples(support.x[:5], support.y[:5], support.mask[:5])
    torch.testing.assert_close(
        learner.predict(learner.adapt(support._replace(y=y)), query),
        learner.predict(learner.adapt(without), query),
    )


def test_labels_matter_beyond_a_class_of_its_own(learner, support):
    """Each class reads the examples of the others too."""
    query = torch.randn(5, 4, dtype=torch.float64)
    logits = learner.predict(learner.adapt(support), query)
    other = support.x.clone()
    other[4] += 3  # of the third class; mean and spread are put back below
    state, moved = learner.adapt(support), learner.adapt(support._replace(x=other))
    moved |= {key: state[key] for key in ("mean", "spread")}
    assert (learner.predict(moved, query) - logits)[:, 0].abs().max() > 1e-4


def test_one_example_is_enough(learner):
    one = Examples(torch.ones(1, 4).double(), torch.eye(2)[:1].double(), torch.ones(1).double())
    logits = learner.predict(learner.adapt(one), torch.ones(2, 4).double())
    assert logits[:, 0].isfinite().all()
    assert (logits[:, 1] < -1e6).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"width": 0}, "positive width, heads and layers, got 0, 4 and 2"),
        ({"layers": 0}, "positive width, heads and layers"),
        ({"width": 10}, "a multiple of the heads, got 10 and 4"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, said):
    with pytest.raises(TaskError, match=said):
        SetTransformer(MLP(4), **options)
