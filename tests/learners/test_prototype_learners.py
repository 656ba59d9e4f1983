"""Learners that compare queries with what stands for each class: FEAT, Meta-Baseline."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import nn

from quickstudy.core import Examples, Task, examples, fit
from quickstudy.core.functional import ABSENT
from quickstudy.core.tasks import tree_map
from quickstudy.data import Blobs
from quickstudy.errors import TaskError
from quickstudy.learners import FEAT, MetaBaseline, ProtoNet
from quickstudy.nets import MLP


def identity(features):
    net = nn.Identity()
    net.features = features
    return net


def feat(features=4, **arguments):
    torch.manual_seed(0)
    learner = FEAT(identity(features), **arguments).double()
    with torch.no_grad():
        for parameter in learner.attention.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return learner


def torchs_attention(learner):
    """The same weights in torch's own module, and its norm beside what came in."""
    ours = learner.attention
    attention = nn.MultiheadAttention(len(ours.norm.weight), num_heads=1, bias=False).double()
    with torch.no_grad():
        weights = [ours.query.weight, ours.key.weight, ours.value.weight]
        attention.in_proj_weight.copy_(torch.cat(weights))
        attention.out_proj.weight.copy_(ours.out.weight)

    def adapted(x):
        return ours.norm(x + attention(x, x, x)[0] + ours.out.bias)

    return adapted


def some(rows, way, features=4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, features, generator=generator, dtype=torch.float64)
    made = examples(x, torch.arange(rows) % way, way)
    return Examples(x, made.y.double(), made.mask.double())


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_prototypes_adapt_as_by_torchs_attention(distance):
    learner = feat(distance=distance, temperature=3.0)
    support, x = some(6, way=3), torch.randn(5, 4).double()
    means = torch.stack([support.x[k::3].mean(0) for k in range(3)])
    theirs = torchs_attention(learner)(means).detach().numpy()
    if distance == "euclidean":
        wanted = -cdist(x.numpy(), theirs, "sqeuclidean") / 3
    else:
        wanted = 3 * (1 - cdist(x.numpy(), theirs, "cosine"))
    ours = learner.predict(learner.adapt(support), x).detach()
    np.testing.assert_allclose(ours.numpy(), wanted, rtol=1e-6)


def test_a_way_without_support_is_seen_by_no_other():
    learner = feat()
    support, x = some(6, way=3), torch.randn(5, 4).double()
    wider = support._replace(y=torch.cat([support.y, torch.zeros(6, 2).double()], 1))
    logits = learner.predict(learner.adapt(wider), x)
    torch.testing.assert_close(logits[:, :3], learner.predict(learner.adapt(support), x))
    assert (logits[:, 3:] == ABSENT).all()


def test_without_what_it_attends_to_it_is_prototypical_on_normed_means():
    learner = feat(temperature=2.0)
    with torch.no_grad():
        for parameter in learner.attention.out.parameters():
            parameter.zero_()
    support, x = some(6, way=3), torch.randn(5, 4).double()
    plain = ProtoNet(nn.Identity(), temperature=2.0).double()
    sums = plain.adapt(support)["sums"] / 2
    normed = {"sums": learner.attention.norm(sums), "counts": torch.ones(3).double()}
    torch.testing.assert_close(learner.predict(learner.adapt(support), x), plain.predict(normed, x))


@pytest.mark.parametrize("labelled", [True, False])
def test_the_contrast_is_that_of_each_class_for_itself(labelled):
    learner, plain = feat(contrast=0.5).train(), feat(contrast=0.0).train()
    support, query = some(3, way=3), some(9, way=3, seed=2)
    if not labelled:  # the last example of each class
        query.y[6:] = 0
    rows = torch.cat([support.x, query.x if labelled else query.x[:6]])
    adapted = torchs_attention(learner)
    of_class = [adapted(rows[k::3]) for k in range(3)]
    centres = torch.stack([z.mean(0) for z in of_class])
    losses = [
        nn.functional.cross_entropy(
            -((z[:, None] - centres[None]) ** 2).sum(-1) / learner.temperature,
            torch.full((len(z),), k),
        )
        for k, z in enumerate(of_class)
    ]
    task = Task(support, query)
    wanted = plain.loss(task) + 0.5 * torch.stack(losses).mean()
    torch.testing.assert_close(learner.loss(task), wanted)


def test_angles_alone_count_for_the_meta_baseline():
    learner = MetaBaseline(nn.Identity(), scale=7.0).double()
    support, x = some(6, way=3), torch.randn(5, 4).double()
    means = np.stack([support.x[k::3].numpy().mean(0) for k in range(3)])
    wanted = 7 * (1 - cdist(x.numpy(), means, "cosine"))
    state = learner.adapt(support)
    np.testing.assert_allclose(learner.predict(state, x).detach().numpy(), wanted, rtol=1e-6)
    torch.testing.assert_close(learner.predict(state, 9 * x), learner.predict(state, x))


def test_the_scale_is_learned():
    torch.manual_seed(0)
    learner = MetaBaseline(MLP(2, [8], 4), scale=3.0)
    for _ in fit(learner, Blobs(way=3, shot=2), steps=5):
        pass
    assert learner.log_temperature.exp().item() != pytest.approx(3.0, abs=1e-4)


@pytest.mark.parametrize("make", [lambda: feat(), lambda: MetaBaseline(nn.Identity()).double()])
def test_extending_equals_adapting_to_all_at_once(make):
    learner, support, x = make(), some(8, way=3), torch.randn(5, 4).double()
    first, rest = (tree_map(lambda t, s=s: t[s], support) for s in (slice(3), slice(3, 8)))
    grown = learner.extend(learner.adapt(first), rest)
    torch.testing.assert_close(
        learner.predict(grown, x), learner.predict(learner.adapt(support), x)
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FEAT(MLP(5), contrast=-1.0), "contrast must be a number >= 0, got -1.0"),
        (lambda: FEAT(MLP(5), contrast=float("nan")), "takes contrast as a finite number, got nan"),
        (lambda: FEAT(MLP(5), temperature=0.0), "temperature must be positive, got 0.0"),
        (lambda: FEAT(MLP(5), "manhattan"), "euclidean or cosine, got 'manhattan'"),
        (lambda: FEAT(nn.Linear(5, 5)), "FEAT needs a net that says its output width"),
        (lambda: MetaBaseline(MLP(5), scale=0.0), "scale of the cosines must be positive, got 0"),
    ],
)
def test_impossible_arguments_are_refused(make, message):
    with pytest.raises(TaskError, match=message):
        make()
